"""Other people's programs: known by their files, run apart from us, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_reenact.errors import MissingDependencyError, UsageError
from latent_reenact.evaluation import anchors


def clone(folder: Path, text: str) -> Path:
    (folder / "psp.py").write_text(text)
    return folder


def test_smoke(tmp_path: Path) -> None:
    program = anchors.recognise(clone(tmp_path, ""))
    assert (program.name, program.path) == (anchors.METHOD, tmp_path)
    (tmp_path / "psp.py").unlink()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "networks.py").touch()
    assert anchors.recognise(tmp_path).name == anchors.NVIDIA


def test_feature_table_and_ratio() -> None:
    versus = anchors.Versus("them", (anchors.Race("frame", 3000.0, 500.0, 5),), ("ours: bfloat16",))
    assert versus.as_dict()["rows"][0]["ratio"] == 6
    assert "6.00 times as fast" in versus.table()
    assert versus.table().endswith("ours: bfloat16")


def test_exception_not_a_clone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no clone of JahodaPetr"):
        anchors.recognise(tmp_path)


def test_exception_its_imports_are_missing(tmp_path: Path) -> None:
    program = anchors.recognise(clone(tmp_path, "import a_module_of_theirs"))
    with pytest.raises(MissingDependencyError, match="needs what is not here: No module named 'a_module_of_theirs'"):
        anchors.compare(program, device="cpu", rounds=1)
