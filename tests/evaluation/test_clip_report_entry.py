"""From folders and names to a report: what `evaluate --protocol cross | self` calls."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from tiny import ABOUT, BODY, networks

from latent_reenact import synthface
from latent_reenact.errors import UsageError, WeightsNotFoundError
from latent_reenact.evaluation.entry import evaluate
from latent_reenact.evaluation.protocols import ProtocolConfig
from latent_reenact.models import IdentityEmbedder, IdentityEmbedderConfig, save_networks
from latent_reenact.models.face_reader import FaceReader, FaceReaderConfig

CONFIG = ProtocolConfig(pairs=2, frames=4, strips=1, bootstrap=100)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model, and judges of another seed, in folders; every mesh file is the tiny mesh."""
    monkeypatch.setattr(synthface, "load_mesh", lambda path: synthface.tiny_mesh(), raising=False)
    torch.manual_seed(0)
    reader = FaceReader(FaceReaderConfig(input_size=32, body=BODY, heat_width=4, bottleneck=8))
    identity = IdentityEmbedder(IdentityEmbedderConfig(input_size=32, embedding=8, body=BODY))
    readers = {"face_reader": reader, "identity": identity}
    parts = {name: network for name, network in vars(networks()).items() if network is not None}
    save_networks(tmp_path / "tiny", {**parts, **readers}, ABOUT)
    save_networks(tmp_path / "judges", readers, {"name": "judges", "licence": "CC0"})
    return tmp_path


def test_smoke(models: Path) -> None:
    """The model and the linear baseline on its inversion, at its own resolution, read by judges."""
    (models / "report").mkdir()
    done = evaluate(
        str(models / "tiny"),
        models / "report",
        config=CONFIG,
        systems="latent,linear-psp",
        mesh=models / "mesh.npz",
        estimators=[models / "judges"],
        device="cpu",
    )
    assert done.done == {"latent": 2, "linear-psp": 2, "right answer": 2}
    assert done.settings["size"] == 32
    assert done.remarks == []
    assert (models / "report" / "report.html").is_file()


def test_feature_a_models_own_readers_are_not_trusted_silently(models: Path) -> None:
    (models / "report").mkdir()
    model = str(models / "tiny")
    done = evaluate(
        model, models / "report", config=CONFIG, mesh=models / "m.npz", estimators=[model], device="cpu", size=24
    )
    assert done.settings["size"] == 24
    assert "tiny is compared by its own networks" in done.markdown()


def test_feature_an_outside_program_alone(models: Path) -> None:
    (models / "report").mkdir()
    done = evaluate(
        str(models / "tiny"),
        models / "report",
        config=CONFIG,
        commands=["copy=cp {driving} {output} --verbose --suffix={identity}"],
        mesh=models / "mesh.npz",
        estimators=[models / "judges"],
        size=32,
        device="cpu",
    )
    assert done.done == {"copy": 2, "right answer": 2}
    assert done.table["copy"]["psnr"].mean > 10


def test_exception_names(models: Path) -> None:
    model = str(models / "tiny")
    with pytest.raises(UsageError, match="give one of --mesh"):
        evaluate(model, models, config=CONFIG)
    with pytest.raises(WeightsNotFoundError, match="no model"):
        evaluate(model, models, config=CONFIG, mesh=models / "m.npz", systems=f"cos={models / 'gone'}")
    with pytest.raises(WeightsNotFoundError, match="no model"):
        evaluate(model, models, config=CONFIG, mesh=models / "m.npz", estimators=["gone"])


def test_feature_the_block_of_the_docs() -> None:
    """The one-line measures, as docs/evaluation.md shows them, on the embedded model's readers."""
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    names: dict = {"driving_frames": frames, "drawn_frames": frames}
    exec(compile(block, "evaluation.md", "exec"), names)
    assert names["pose_mae"](names["driving"].pose_deg, names["drawn"].pose_deg) == 0
    assert names["fl_correlation"](names["driving"].landmarks, names["drawn"].landmarks) == pytest.approx(1)
    assert names["driving"].identity.shape[0] == 4
