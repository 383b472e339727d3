"""`bench`: what is asked of the measuring, what is printed and written; and `doctor --report`."""

from __future__ import annotations

import getpass
import json
import platform
from dataclasses import replace
from pathlib import Path

import gpu_on_cpu
import pytest
import tiny

from latent_reenact.cli import bug_report, doctor
from latent_reenact.evaluation import anchors, speed

MEASURE = speed.measure


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []

    def measure(model: str, frames: int, *, device: str, progress: object) -> speed.SpeedReport:
        calls.append((model, frames, device))
        return MEASURE(tiny.reenactor(), frames, starts=False)

    monkeypatch.setattr(speed, "measure", measure)
    return calls


def test_smoke(cli, asked: list[tuple], tmp_path: Path) -> None:
    done = cli("bench", "--frames", "4", "--json", tmp_path / "speed.json")
    assert (done.code, done.err) == (0, "")
    assert asked == [("builtin", 4, "auto")]
    data = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in data["stages"]] == list(speed.STAGES)
    assert data["machine"]["cores"] >= 1
    for word in (*speed.STAGES, "whole path", "frames/s"):
        assert word in done.out


def test_feature_against(cli, asked: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(program: anchors.Program, *, device: str, rounds: int) -> anchors.Versus:
        assert (program.name, device, rounds) == (anchors.METHOD, "cpu", 2)
        return anchors.Versus(program.name, (anchors.Race("frame", 30.0, 5.0, rounds),), ())

    monkeypatch.setattr(anchors, "compare", compare)
    (tmp_path / "psp.py").touch()
    words = ["--frames", 1, "--against", tmp_path, "--rounds", 2, "--device", "cpu", "--json", tmp_path / "s.json"]
    done = cli("bench", *words)
    assert (done.code, done.err) == (0, "")
    assert "6.00 times as fast" in done.out
    assert json.loads((tmp_path / "s.json").read_text())["against"]["rows"][0]["ratio"] == 6


def test_feature_against_on_a_gpu(cli, asked: list[tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command: the model, the published sizes, and NVIDIA's program."""
    gpu_on_cpu.install(monkeypatch)
    report = replace(MEASURE(tiny.reenactor(), 2, starts=False), device="cuda:0")
    monkeypatch.setattr(speed, "measure", lambda *_, **__: report)
    monkeypatch.setattr(speed, "measure_published", lambda frames, **_: replace(report, model="published"))
    monkeypatch.setattr(anchors, "compare", lambda program, **_: anchors.Versus(program.name, (), ("notes",)))
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "networks.py").touch()
    done = cli("bench", "--against", tmp_path, "--device", "cuda", "--json", tmp_path / "s.json")
    assert (done.code, done.err) == (0, "")
    data = json.loads((tmp_path / "s.json").read_text())
    assert data["published_sizes"]["model"] == "published"
    assert data["against"]["program"] == anchors.NVIDIA
    assert "published, 32 x 32" in done.out


def test_exception_is_told_before_measuring(cli, asked: list[tuple], tmp_path: Path) -> None:
    assert "is no clone of" in cli("bench", "--against", tmp_path).error
    assert "expected .json" in cli("bench", "--json", tmp_path / "speed.txt").error
    assert cli("bench", "--frames", "0").code == 2
    assert asked == []


# ---------------------------------------------------------------- doctor --report


def test_feature_report(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {name: check for name, check in doctor._CHECKS.items() if name != "face detector"}
    monkeypatch.setattr(doctor, "_CHECKS", quick)
    monkeypatch.setenv("LATENT_REENACT_OPS", "reference")
    done = cli("doctor", "--report")
    assert done.err == ""
    for word in (
        "latent-reenact:",
        "torch:",
        "libavcodec",
        "libx264: there",
        "builtin:",
        "operators:",
        "custom operators",
    ):
        assert word in done.out, word
    assert "LATENT_REENACT_OPS: reference" in done.out
    for private in (str(Path.home()), str(Path(doctor.__file__).parents[2]), platform.node()):
        assert private not in done.out
    facts = cli("doctor", "--report", "--json").json
    assert facts["machine"]["operators"]["reference"] == ""
    assert len(facts["models"]["builtin"].split(",")[0]) == 12


def test_feature_report_hides_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(platform, "node", lambda: "analytical-engine")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    told = {"a": "/home/ada/models/x is missing", "b": ["on analytical-engine by ada", "/srv/ada/secret/file.so: gone"]}
    hidden = bug_report.without_names(told)
    assert hidden == {"a": "~/models/x is missing", "b": ["on <machine> by <user>", ".../file.so: gone"]}
    assert bug_report.without_names({"n": 3, "v": "2.13.0+cpu, Linux x86_64"}) == {
        "n": 3,
        "v": "2.13.0+cpu, Linux x86_64",
    }


def test_feature_doctor_says_why_back_ends_do_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from latent_reenact.custom_ops import dispatch

    report = {"cuda": "no CUDA toolkit: install nvcc", "cpu": "", "reference": ""}
    monkeypatch.setattr(dispatch, "backend_report", lambda: report)
    assert doctor._operators() == "cpu, reference; not cuda: no CUDA toolkit: install nvcc"
