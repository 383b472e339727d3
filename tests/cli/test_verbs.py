"""Every other verb, once as meant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_reenactor import FakeReenactor

from latent_reenact import __version__, training, weights
from latent_reenact.cli import doctor
from latent_reenact.errors import InterruptedRunError, MissingDependencyError
from latent_reenact.media import read_image, read_provenance
from latent_reenact.systems import Identity

REPO = Path(__file__).parents[2]
HERE = [pytest.param(name, marks=[pytest.mark.slow] * (name == "face detector")) for name in doctor._CHECKS]


def test_smoke_version(cli) -> None:
    assert cli("--version").out == f"latent-reenact {__version__}\n"
    assert cli().out.startswith("Usage: latent-reenact")


def test_smoke_invert(cli, files: Path, out: Path) -> None:
    done = cli("invert", files / "portrait.png", "-o", out / "id.safetensors", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["outputs"] == [str(out / "id.safetensors")]
    assert Identity.load(out / "id.safetensors").model == "fake"


def test_smoke_edit(cli, fake: FakeReenactor, files: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    pose = fake.pose
    monkeypatch.setattr(fake, "pose", lambda identity, **controls: asked.append(controls) or pose(identity, **controls))
    done = cli("edit", files / "portrait.png", "--yaw", "-20", "--set", "smile=.8", "-o", out / "a.png")
    assert (done.code, done.err) == (0, "")
    assert asked == [{"yaw_deg": -20.0, "smile": 0.8}]
    assert read_provenance(out / "a.png").operation == "pose"


def test_smoke_sample(cli, files: Path, out: Path) -> None:
    done = cli("sample", "-n", "3", "--seed", "7", "-o", out / "people")
    assert (done.code, done.err) == (0, "")
    names = [f"person-{seed}{suffix}" for seed in (7, 8, 9) for suffix in (".png", ".safetensors")]
    assert sorted(path.name for path in (out / "people").iterdir()) == names
    assert np.array_equal(
        read_image(out / "people" / "person-8.png"), Identity.load(out / "people" / "person-8.safetensors").picture
    )
    assert cli("sample", "--seed", "8", "-o", out / "again").code == 0
    first, second = (out / folder / "person-8.safetensors" for folder in ("people", "again"))
    assert np.array_equal(Identity.load(first).w_plus, Identity.load(second).w_plus)


def test_smoke_verify(cli, files: Path, out: Path) -> None:
    cli("reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png")
    done = cli("verify", out / "a.png")
    assert done.code == 0
    assert "marked as trainedAlgorithmicMedia" in done.out
    assert "model fake" in done.out
    assert cli("verify", out / "a.png", "--json").json["operation"] == "reenact"
    unmarked = cli("verify", files / "smile.png")
    assert (unmarked.code, unmarked.out) == (1, "")
    assert "no mark" in unmarked.error
    assert cli("verify", files / "smile.png", "--json").json == {"file": str(files / "smile.png"), "marked": False}
    assert "No such file" in cli("verify", files / "none.png").error


def test_smoke_models(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_REENACT_HOME", str(tmp_path))
    torch = pytest.importorskip("torch")
    config = {"name": "tiny", "licence": "CC0", "networks": {"generator": {"class": "X", "config": {"resolution": 32}}}}
    weights.write_model(tmp_path / "tiny", config, {"generator": {"w": torch.ones(2)}})
    line = next(line for line in cli("models", "list").out.splitlines() if line.startswith("tiny "))
    assert "32 x 32" in line
    assert "CC0" in line
    assert "tiny" in [model["name"] for model in cli("models", "list", "--json").json["models"]]
    assert cli("models", "verify", "tiny").code == 0
    file = tmp_path / "tiny" / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert "cut or altered" in cli("models", "verify", "tiny").error


def test_smoke_doctor(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise MissingDependencyError("no tape deck; buy one")

    checks = {"tape deck": absent, "Python": doctor._CHECKS["Python"]}
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    done = cli("doctor")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[0] == "missing  tape deck: no tape deck; buy one"
    assert done.out.splitlines()[1].startswith("ok       Python: 3.")
    monkeypatch.setattr(doctor, "_CHECKS", {"Python": checks["Python"]})
    assert cli("doctor", "--json").json["ok"] is True


@pytest.mark.parametrize("name", HERE)
def test_feature_doctor_on_this_machine(name: str) -> None:
    finding = doctor._examined(name, doctor._CHECKS[name])
    assert finding.ok or name == "builtin model"
    assert "\n" not in finding.detail


def test_smoke_train(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def train(config: Path, overrides: list[str], resume: str, init_from: str | None) -> Path:
        asked.append((config, overrides, resume, init_from))
        if resume == "never":
            raise InterruptedRunError("stopped; run again to go on")
        return tmp_path / "model"

    monkeypatch.setattr(training, "train", train, raising=False)
    done = cli("train", "recipe.yaml", "folder=x", "motion.batch=4", "--init-from", "builtin")
    assert (done.code, done.out) == (0, f"the model is in {tmp_path / 'model'}\n")
    assert asked == [(Path("recipe.yaml"), ["folder=x", "motion.batch=4"], "auto", "builtin")]
    assert cli("train", "recipe.yaml", "--resume", "never").code == 3


def test_smoke_synthface(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    from latent_reenact import synthface
    from latent_reenact.synthface.tiny import tiny_arrays

    class BlankRenderer:  # the real one compiles for half a minute
        def __init__(self, mesh: synthface.Mesh) -> None:
            assert len(mesh.landmarks) == 68

        def render(self, factors: synthface.Factors, size: int) -> synthface.Portrait:
            return synthface.Portrait(np.zeros((size, size, 3), np.uint8), np.ones((68, 2), np.float32), factors)

    monkeypatch.setattr(synthface, "Renderer", BlankRenderer, raising=False)
    np.savez(tmp_path / "mesh.npz", **tiny_arrays())
    words = ["--mesh", tmp_path / "mesh.npz", "-n", "2", "--size", "32", "-o", tmp_path / "out"]
    done = cli("synthface", "render", *words)
    assert (done.code, done.err) == (0, "")
    names = [f"portrait-0-0000{i}{suffix}" for i in (0, 1) for suffix in (".json", ".png")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    truth = json.loads((tmp_path / "out" / names[0]).read_text())
    assert np.shape(truth["landmarks"]) == (68, 2)
    assert truth["yaw_deg"] == synthface.sample(0, 0).motion.yaw_deg
    assert read_provenance(tmp_path / "out" / names[1]).source_type == "algorithmicMedia"


def test_exception_no_mesh(cli, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    done = cli("synthface", "render", "--mesh", tmp_path / "none.npz", "-o", tmp_path / "none")
    assert done.code == 1
    assert "build-mesh" in done.error
    assert list(tmp_path.iterdir()) == []


def test_smoke_build_mesh(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from latent_reenact import synthface

    asked = []
    monkeypatch.setattr(synthface, "build_mesh", lambda *paths: asked.append(paths), raising=False)
    assert cli("synthface", "build-mesh", tmp_path, "-o", tmp_path / "a.npz").out == f"{tmp_path / 'a.npz'}\n"
    assert asked == [(tmp_path, tmp_path / "a.npz")]


def test_feature_python_m() -> None:
    done = subprocess.run([sys.executable, "-m", "latent_reenact", "dance"], cwd=REPO, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: No such command 'dance'; see latent-reenact --help\n"
