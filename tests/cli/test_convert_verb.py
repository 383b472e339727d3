"""`convert` on the command line."""

from __future__ import annotations

import json

import numpy as np

from latent_reenact.cli import main
from toy_upstream import D, jahoda_file, restyle_file


def test_smoke(tmp_path, capsys) -> None:
    files = [str(jahoda_file(tmp_path / "best_model.pt")), str(restyle_file(tmp_path / "restyle.pt"))]
    assert main(["convert", *files, "-o", str(tmp_path / "model")]) == 0
    out = capsys.readouterr().out
    assert "the method's network" in out
    assert f"latent-reenact reenact ... --model {tmp_path / 'model'}" in out
    assert main(["models", "verify", str(tmp_path / "model")]) == 0


def test_feature_json(tmp_path, capsys) -> None:
    np.save(tmp_path / "smile.npy", np.ones(D))
    out = str(tmp_path / "smile.safetensors")
    assert main(["convert", str(tmp_path / "smile.npy"), "-o", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"outputs": [out], "shapes": [[D]]}


def test_exception_code_is_refused_in_one_line(tmp_path, capsys) -> None:
    (tmp_path / "model.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["convert", str(tmp_path / "model.pt"), "-o", str(tmp_path / "model")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "asks for 'os.system'" in captured.err
    assert not (tmp_path / "model").exists()


def test_exception_missing_file(tmp_path, capsys) -> None:
    assert main(["convert", str(tmp_path / "none.pt"), "-o", str(tmp_path / "model")]) == 1
    assert "check the path" in capsys.readouterr().err
