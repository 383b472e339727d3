"""The table of the operators' speed: it runs where there is no GPU, and a failing back end does not stop it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latent_reenact.custom_ops import bench, bench_styled, build

TINY = ((4, 8),)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.001)
    monkeypatch.setattr(bench, "PLANES", TINY)


class Broken(bench.Reference):
    """Fails in one operator, and is wrong in the other."""

    @staticmethod
    def upfirdn2d(*arguments):
        raise RuntimeError("no such kernel\nand more")

    @staticmethod
    def bias_act(x, *arguments):
        return x + 1


def test_smoke() -> None:
    every = list(bench.cases(TINY, (1, 2), ("fp32", "bf16"), bench.OPERATORS))
    assert len(every) == len(set(every)) == 2 * 2 * 4 * 2
    for case in every[:8]:
        row = bench.row(case, {"reference": bench.Reference, "broken": Broken}, "cpu")
        assert row["copy"]["ms"] > 0
        assert row["reference"]["percent"] > 0
        assert row["broken"]["error"].startswith("WRONG by" if case.operator == "lrelu" else "no such kernel")


@pytest.mark.parametrize("seconds", ["0", "60"])
def test_feature_table(seconds: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "speed.json"
    arguments = ["--device", "cpu", "--backends", "reference", "--seconds", seconds, "--json", str(file)]
    assert bench.main(arguments) == 0
    rows, printed = json.loads(file.read_text())["rows"], capsys.readouterr().out
    assert ("time is up" in printed) == (len(rows) < 16)
    assert len(rows) == 16 or seconds == "0"
    assert all(row["reference"]["gb_s"] > 0 for row in rows)


@pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")
def test_feature_table_of_the_pass(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "pass.json"
    assert bench_styled.main(["--device", "cpu", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [(row["after"], row["dtype"]) for row in rows] == [
        *(("up", "fp32"), ("up", "bf16"), ("same", "fp32"), ("same", "bf16"))
    ]
    assert all(row["percent"] > 0 for row in rows)
    assert "GB/s" in capsys.readouterr().out
    assert bench_styled.main(["--device", "cpu", "--seconds", "0"]) == 0
    assert "time is up" in capsys.readouterr().out


def test_feature_a_wrong_pass_is_said_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    case = bench_styled.Case("same", 2, 4, 8, "fp32", "cpu")
    right = bench_styled.styled_activation
    monkeypatch.setattr(
        bench_styled,
        "styled_activation",
        lambda x, *, backend, **how: right(x if backend == "reference" else x + 1, **how, backend="reference"),
    )
    assert bench_styled.row(case, "triton")["error"].startswith("WRONG by")
