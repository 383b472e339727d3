"""How fast the pass between convolutions runs, against a copy: `python -m latent_reenact.custom_ops.bench_styled`.

One row a case: after which convolution ("up": with the filter; "same": with colours), [B, C, side], dtype; a copy that
moves as many bytes (ms, GB/s, bytes read and written both counted), the pass (ms, GB/s, percent of the copy's speed). A
result unlike the reference's reads WRONG.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import bench
from .styled import ToColours, styled_activation

CHECKED = 16  # side of the small pictures that are compared with the reference's


@dataclass(frozen=True)
class Case:
    """One pass."""

    after: str  # "up" or "same"
    batch: int
    channels: int
    side: int
    dtype: str
    device: str

    def __str__(self) -> str:
        return f"{self.after:5} {f'{self.batch}x{self.channels}x{self.side}':13} {self.dtype}"

    def arguments(self, side: int) -> dict[str, Any]:
        """Of `styled_activation`, at any side."""
        b, c, extra = self.batch, self.channels, int(self.after == "up")
        torch.manual_seed(0)
        x = torch.randn(b, c, side + extra, side + extra, device=self.device).to(bench.DTYPES[self.dtype])
        taps = torch.tensor([0.25, 0.75, 0.75, 0.25], device=self.device)
        vectors = {"scale": torch.rand(b, c), "bias": torch.randn(c), "after": torch.rand(b, c)}
        arguments: dict[str, Any] = {name: vector.to(self.device) for name, vector in vectors.items()}
        arguments |= {"x": x.contiguous(memory_format=torch.channels_last), "clamp": 256.0}
        arguments["noise"] = torch.randn(1, side, side, device=self.device)
        if self.after == "up":
            return arguments | {"taps": taps}
        weight, before = torch.rand(b, 3, c, device=self.device), torch.randn(b, 3, side // 2, side // 2)
        bias = torch.zeros(3, device=self.device)
        return arguments | {"colours": ToColours(weight=weight, bias=bias, before=before.to(self.device), taps=taps)}

    def moved(self, arguments: dict[str, Any]) -> int:
        """Bytes read and written."""
        x = arguments["x"]
        result = self.batch * self.channels * self.side**2 * x.element_size()
        picture = 5 * arguments["colours"].before.nbytes if self.after == "same" else 0  # the old and the new
        return x.nbytes + result + arguments["noise"].nbytes + picture


def row(case: Case, backend: str) -> dict:
    """What was measured, or the error."""
    arguments = case.arguments(case.side)
    moved = case.moved(arguments)
    found: dict = {**vars(case), "backend": backend}
    try:
        error = difference(case, backend)
        if not error <= bench.TOLERANCES[bench.DTYPES[case.dtype]]:
            raise ValueError(f"WRONG by {error:.1e} of the largest value")
        ms = bench.measure(lambda: styled_activation(**arguments, backend=backend), case.device)
    except Exception as error:  # whatever it is, the others are still to be measured
        return found | {"error": (str(error) or repr(error)).strip().splitlines()[0]}
    copy_ms = bench.measure(torch.empty(moved // 2, dtype=torch.uint8, device=case.device).clone, case.device)
    speeds = {"copy_ms": copy_ms, "copy_gb_s": moved / copy_ms / 1e6, "ms": ms, "gb_s": moved / ms / 1e6}
    return found | speeds | {"percent": 100 * copy_ms / ms}


def difference(case: Case, backend: str) -> float:
    """From the reference on a small picture, of the largest value."""
    found, expected = (styled_activation(**case.arguments(CHECKED), backend=name) for name in (backend, "reference"))
    pairs: list[tuple[Tensor | None, Tensor | None]] = list(zip(found, expected, strict=True))
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs if a is not None and b is not None)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m latent_reenact.custom_ops.bench_styled", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=50.0, help="begin no case after so many")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    options = parser.parse_args(argv)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    backend, dtypes, batches = ("triton", ("fp16",), (16, 1)) if device == "cuda" else ("cpu", ("fp32", "bf16"), (1,))
    machine = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {machine}, {backend}")
    print(f"{'case':24} {'copy ms':>8} {'GB/s':>5} {'pass ms':>8} {'GB/s':>5}    %")
    rows: list[dict] = []
    deadline = time.perf_counter() + options.seconds
    for batch, (channels, side), after, dtype in itertools.product(batches, bench.PLANES[::-1], ("up", "same"), dtypes):
        if time.perf_counter() > deadline:
            print("time is up (--seconds)")
            break
        case = Case(after, batch, channels, side, dtype, device)
        rows.append(row(case, backend))
        line = (
            "{error}" if "error" in rows[-1] else "{copy_ms:8.3f} {copy_gb_s:5.4g} {ms:8.3f} {gb_s:5.4g} {percent:4.0f}"
        )
        print(case, line.format(**rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "machine": machine, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
