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


# ---------------------------------------------------------------- cross and self


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    from latent_reenact.evaluation import entry
    from latent_reenact.evaluation.comparison import Comparison
    from latent_reenact.evaluation.measures import Estimate, Measure

    calls: list[dict] = []

    def evaluate(model: str, folder: Path, **options: object) -> Comparison:
        calls.append({"model": model, "folder": folder, **options})
        comparison = Comparison(
            protocol="cross",
            settings={},
            measures=[Measure(key="d.fl", text="FL", reader="dlib")],
            table={"latent": {"d.fl": Estimate(0.5, 0.25, 0.75, 7)}},
            done={"latent": 7},
            skipped={"latent": {"3: a <- b": "no face"}},
        )
        comparison.save(folder)
        return comparison

    monkeypatch.setattr(entry, "evaluate", evaluate)
    return calls


def test_feature_cross(cli, compared: list[dict], tmp_path: Path) -> None:
    words = ["--protocol", "cross", "--systems", "latent,linear-psp", "--command", "x={identity}", "--mesh", "m.npz"]
    done = cli("evaluate", *words, "--judges", "j", "--pairs", "9", "--seed", "4", "-o", tmp_path / "report")
    assert done.code == 0
    assert "| FL ↑ [dlib] | 0.5 [0.25, 0.75] |" in done.out
    assert done.err == "warning: latent: 1 pairs skipped; see report.md\n"
    call = compared[0]
    assert (call["model"], call["systems"], call["commands"]) == ("builtin", "latent,linear-psp", ["x={identity}"])
    assert call["estimators"] == ["j", "dlib"]
    assert (call["config"].protocol, call["config"].pairs, call["config"].seed) == ("cross", 9, 4)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.md", "report.html", "report.json"}


def test_feature_cross_json(cli, compared: list[dict], tmp_path: Path) -> None:
    done = cli("evaluate", "--protocol", "self", "--videos", tmp_path, "--json", "-o", tmp_path)
    assert done.json["systems"]["latent"]["d.fl"] == {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 7}
    assert done.json["skipped"] == {"latent": {"3: a <- b": "no face"}}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--protocol", "cross"], "give one of --mesh"),
        (["--protocol", "cross", "--mesh", "m.npz", "--videos", "v"], "give one of --mesh"),
        (["--protocol", "cross", "--mesh", "m.npz", "--systems", "latent,"], "m.npz"),
        (["--protocol", "cross", "--mesh", "m.npz", "--systems", "cos"], "no model is called 'cos'"),
        (["--protocol", "synthetic"], "needs --mesh"),
    ],
)
def test_exception_clips(cli, tmp_path: Path, words: list[str], why: str) -> None:
    done = cli("evaluate", *words, "-o", tmp_path / "report")
    assert done.code in (1, 2)
    assert why in done.error
    assert not (tmp_path / "report").exists()
