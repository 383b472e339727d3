"""Measure every golden case anew and write the table of errors.

    python tests/parity_table.py [OUT.md] [PYTEST OPTIONS]     by default docs/golden-parity.md; about ten minutes

Cases that were not run (`-m 'not slow'` leaves the 1024² ones out) keep the row that the table has.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HEAD = """# Golden parity

Largest relative L2 error against the upstream program, on procedural weights, float32 on a CPU; made by
`python tests/parity_table.py` on a processor with AVX-512. Where sums are rounded otherwise, leaky ReLU's slope can
jump in the gradients of `generator_grads`: with AVX2 rosinality's were off by 7e-04 (bound 2e-03). Operators are
compared element by element in `tests/custom_ops` and are not listed.

| case | upstream | error | bound |
|---|---|---|---|
"""


def main(out: Path, *options: str) -> int:
    """Run the golden tests in this process and write `out`."""
    sys.path.insert(0, str(HERE))
    import golden_set

    tests = [str(HERE / "models"), "-k", "golden", "-p", "no:xdist", *options]
    status = pytest.main(tests)
    old = out.read_text(encoding="utf-8") if out.exists() else ""
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` .*$", old, re.MULTILINE)}
    for case, (error, bound) in golden_set.MEASURED.items():
        upstream = json.loads((golden_set.ROOT / case / "case.json").read_text())["upstream"]
        upstream = re.sub(r"@([0-9a-f]{7})[0-9a-f]*", r"@\1", upstream).replace("|", "/")
        rows[case] = f"| `{case}` | {upstream} | {error:.1e} | {bound:.0e} |"
    out.write_text(HEAD + "\n".join(rows[case] for case in sorted(rows)) + "\n", encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "docs" / "golden-parity.md"
    sys.exit(main(target, *sys.argv[2:]))
