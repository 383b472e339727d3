"""The help of every verb, frozen in help.txt: what users rely on changes there in the same change as in the code.

python tests/cli/test_help.py        writes help.txt anew
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import typer

from latent_reenact.cli import main

REPO = Path(__file__).parents[2]
FROZEN = Path(__file__).with_name("help.txt")
GROUPS = ("directions", "models", "synthface")
HEAVY = {"torch", "numpy", "scipy", "PIL", "cv2", "av", "dlib", "numba", "safetensors", "yaml", "tqdm"}


def help_of(*words: str) -> str:
    printed = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"), contextlib.redirect_stdout(printed):
        assert main([*words, "--help"]) == 0
    return printed.getvalue()


def verbs(text: str) -> list[str]:
    return re.findall(r"^  ([a-z-]+) ", text.partition("Commands:")[2], re.MULTILINE)


def all_help() -> str:
    """The help of the program and of every verb, under the version of typer that drew it."""
    parts = [f"typer {typer.__version__}", help_of()]
    for verb in verbs(parts[1]):
        parts.append(help_of(verb))
        if verb in GROUPS:
            parts += [help_of(verb, name) for name in verbs(parts[-1])]
    return "\n".join(parts)


def test_feature_help_is_frozen() -> None:
    now, frozen = all_help(), FROZEN.read_text(encoding="utf-8")
    if frozen.splitlines()[0] != now.splitlines()[0]:  # another typer may draw the same options in another way
        now, frozen = (re.findall(r"(?<=\s)--?[a-z][a-z-]*", text) for text in (now, frozen))
    assert now == frozen, "the help changed: if that is meant, run python tests/cli/test_help.py"


def test_smoke_every_verb_is_there() -> None:
    expected = (
        "demo reenact invert edit sample convert verify doctor bench prepare train evaluate app "
        "directions models synthface"
    )
    assert verbs(help_of()) == expected.split()


@pytest.mark.parametrize("words", [[], ["reenact"], ["synthface", "render"]])
def test_feature_help_is_light(words: list[str]) -> None:
    code = (
        f"import sys; from latent_reenact.cli import main; main([*{words}, '--help'])\n"
        f"print(*{HEAVY} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


if __name__ == "__main__":
    FROZEN.write_text(all_help(), encoding="utf-8")
    sys.exit(0)
