"""The recipe of a generator from noise: shards in, a model folder out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from latent_reenact.models import StyleGAN2Generator, load_network
from latent_reenact.training import train
from latent_reenact.training.shards.format import Sample, write_shard

pytest.importorskip("webdataset")
CHANNELS = {4: 8, 8: 8, 16: 4}


def sample(person: str, frame: int) -> Sample:
    picture = io.BytesIO()
    colour = np.random.default_rng(frame).integers(0, 256, 3, dtype=np.uint8)
    Image.fromarray(np.full((16, 16, 3), colour)).save(picture, "PNG")
    truth = {"time_s": 0.0, "landmarks": np.zeros((68, 2)), "pose_deg": (0.0, 0.0, 0.0)}
    return Sample(person=person, clip="a", frame=frame, picture=picture.getvalue(), suffix="png", **truth)


@pytest.fixture
def config(tmp_path) -> Path:
    write_shard(tmp_path / "data" / "train" / "00000.tar", [sample("anna", i) for i in range(24)])
    write_shard(tmp_path / "data" / "val" / "00000.tar", [sample("berta", i) for i in range(24, 32)])
    sizes = {"resolution": 16, "channels": CHANNELS}
    values = {
        "recipe": "generator",
        "name": "toy",
        "folder": str(tmp_path / "run"),
        "data": {"folder": str(tmp_path / "data"), "workers": 0, "held_out": 8},
        "run": {"accelerator": "cpu", "precision": "32-true"},
        "stage": {
            "generator": {**sizes, "z_dim": 8, "w_dim": 8, "mapping_layers": 2},
            "discriminator": sizes,
            "augmentation": {"target": None},
            "r1_every": 2,
            "path_every": 2,
            "loop": {"images": 64, "batch": 8, "report_images": 32},
        },
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "toy.yaml"


def test_smoke_shards_to_model_folder(config) -> None:
    generator = load_network(train(config))
    assert isinstance(generator, StyleGAN2Generator)
    assert generator(torch.randn(2, 8)).shape == (2, 3, 16, 16)
    assert (config.parent / "run" / "generator" / "sheet.png").exists()


def test_feature_run_in_two_parts_ends_as_one(config, tmp_path) -> None:
    """Longer than planned at first: generator, discriminator, regularisers and the stream of pictures go on."""
    flat = "stage.loop.flat=1.0"
    train(config, [flat, "stage.loop.images=32"])
    parts = load_network(train(config, [flat]))
    whole = load_network(train(config, [flat, f"folder={tmp_path / 'whole'}"]))
    assert all(torch.equal(a, b) for a, b in zip(parts.parameters(), whole.parameters(), strict=True))
