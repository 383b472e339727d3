"""`evaluate`: what reaches the protocol, and what is printed of its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_reenact.evaluation import synthetic
from latent_reenact.evaluation.report import Bar, Report, Row


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    calls: list[dict] = []

    def evaluate(model: str, folder: Path, **options: object) -> Report:
        calls.append({"model": model, "folder": folder, **options})
        rows = [Row(key="a", text="sharpness", value=0.5, bar=Bar(at_least=0.7)), Row(key="b", text="error", value=1.0)]
        report = Report(protocol="synthetic", model=model, settings={}, rows=rows)
        report.save(folder)
        return report

    monkeypatch.setattr(synthetic, "evaluate", evaluate)
    return calls


def test_smoke(cli, asked: list[dict], tmp_path: Path) -> None:
    done = cli("evaluate", "builtin", "--mesh", "m.npz", "--judges", "j", "--people", "7", "-o", tmp_path / "report")
    assert (done.code, done.err) == (0, "")
    assert "| sharpness | ≥ 0.7 | 0.5 |  | **missed** |" in done.out
    assert done.out.splitlines()[-2:] == ["missed or not measured: sharpness", str(tmp_path / "report" / "report.md")]
    assert (tmp_path / "report" / "report.json").is_file()
    call = asked[0]
    assert (call["mesh"], call["judges"], call["model"]) == (Path("m.npz"), Path("j"), "builtin")
    assert call["config"] == synthetic.SyntheticConfig(people=7)


def test_feature_quick(cli, asked: list[dict], tmp_path: Path) -> None:
    done = cli("evaluate", "builtin", "--mesh", "m.npz", "--quick", "--samples", "9", "--json", "-o", tmp_path)
    assert asked[0]["config"].samples == 9
    assert asked[0]["config"].people == synthetic.QUICK.people
    assert done.json["rows"][0] == {
        **{"key": "a", "measure": "sharpness", "value": 0.5, "ceiling": None},
        **{"bar": "≥ 0.7", "met": False, "note": ""},
    }


def test_exception_protocol(cli, tmp_path: Path) -> None:
    assert cli("evaluate", "builtin", "--mesh", "m.npz", "--protocol", "hearsay", "-o", tmp_path).code == 2
