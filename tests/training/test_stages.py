"""Every stage of the recipe at toy size, on the tiny procedural mesh."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latent_reenact.config import from_dict
from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.media import read_provenance
from latent_reenact.training import augment
from latent_reenact.training.controls import CONTROL_SCALES, control_values
from latent_reenact.training.data import Standardizer, load_shards
from latent_reenact.training.recipe import DataConfig, Recipe, RecipeConfig, train

pytest.importorskip("numba")
from latent_reenact.synthface import eye_mouth_mask, sample, tiny_mesh
from latent_reenact.training.prepare import motion_vector, prepare_shards


def recipe(folder, mesh) -> RecipeConfig:
    body = {"widths": [4, 8, 8], "depths": [1, 1, 1], "se_reduction": 2}
    loop = {"images": 16, "batch": 8}
    return from_dict(
        RecipeConfig,
        {
            "name": "toy",
            "folder": str(folder),
            "data": {"mesh": str(mesh), "portraits": 12, "test_portraits": 6},
            "generator": {
                "generator": {
                    "resolution": 32,
                    "w_dim": 16,
                    "mapping_layers": 2,
                    "mapping_lr_multiplier": 1.0,
                    "mapping_skip": True,
                    "normalize_z": False,
                    "channels": {4: 8, 8: 8, 16: 8, 32: 4},
                },
                "growth": {16: loop, 32: loop},
            },
            "inversion": {
                "steps": 2,
                "encoder": {"input_size": 32, "n_styles": 8, "w_dim": 16, "head_width": 8, "body": body},
                "loop": loop,
            },
            "motion": {
                "encoder": {"input_size": 32, "n_styles": 8, "motion_dim": 4, "bottleneck": 8, "body": body},
                "mapper": {"form": "separate", "n_styles": 8, "w_dim": 16, "motion_dim": 4},
                "loop": loop,
            },
            "mapping": {"samples": 40, "loop": loop},
        },
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return list(prepare_shards(tiny_mesh(), folder, seed=5, count=10, size=32, shard_size=6, partners=2))


def test_shapes(shards) -> None:
    portraits = load_shards(shards, 16)
    assert len(portraits) == 10
    assert portraits.images.shape == (10, 3, 16, 16)
    assert portraits.motion.shape == (10, 58)
    assert portraits.swapped.shape[:2] == portraits.partners.shape == (10, 2)


def test_feature_partners_point_into_their_own_shard(shards) -> None:
    portraits = load_shards(shards, 16)
    assert portraits.partners[:6].max() < 6 <= portraits.partners[6:].min()


def test_feature_preparation_is_repeatable_and_keeps_what_is_there(shards, tmp_path) -> None:
    again = list(prepare_shards(tiny_mesh(), tmp_path, seed=5, count=10, size=32, shard_size=6, partners=2))
    for first, second in zip(shards, again, strict=True):
        with np.load(first) as a, np.load(second) as b:
            assert all(np.array_equal(a[name], b[name]) for name in a.files)
    before = again[0].stat().st_mtime_ns
    list(prepare_shards(tiny_mesh(), tmp_path, seed=5, count=10, size=32, shard_size=6, partners=2))
    assert again[0].stat().st_mtime_ns == before


def test_feature_motion_vector_and_controls_agree_with_the_factors() -> None:
    factors = sample(1, 3)
    motion = torch.from_numpy(motion_vector(factors))[None]
    controls = dict(zip(CONTROL_SCALES, control_values(motion)[0].tolist(), strict=True))
    assert controls["yaw_deg"] == pytest.approx(factors.motion.yaw_deg, abs=1e-4)
    assert controls["jaw_open"] == pytest.approx(factors.motion.expression.get("jawOpen", 0.0), abs=1e-6)


def test_feature_standardizer_drops_what_never_varies() -> None:
    values = torch.cat([torch.randn(50, 2) * 3 + 1, torch.ones(50, 1)], dim=1)
    inputs = Standardizer.fit(values)
    assert inputs.size == 2
    assert inputs(values).mean(0).abs().max() < 0.1


def test_feature_loss_weight_of_a_batch_is_that_of_each_portrait(shards) -> None:
    landmarks = load_shards(shards, 16).landmarks[:4].numpy()
    batch = eye_mouth_mask(landmarks, 16)
    assert batch.shape == (4, 16, 16)
    assert batch.max() == 1
    for one, mask in zip(landmarks, batch, strict=True):
        assert np.array_equal(eye_mouth_mask(one, 16), mask)


@pytest.mark.parametrize("change", ["jitter_colours", "jitter_frame", "degrade", "shade"])
def test_feature_augmentation_of_no_strength_changes_nothing(change) -> None:
    images = torch.rand(2, 3, 16, 16) * 1.8 - 0.9
    changed = getattr(augment, change)(images, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed, images, atol=2e-3, rtol=1e-3)


def test_smoke_whole_recipe(tmp_path) -> None:
    """Prepare, grow, invert, learn motion, learn z, export, load and reenact."""
    from latent_reenact.systems import load

    path = Recipe(recipe(tmp_path / "run", "unused"), tiny_mesh()).run()
    for sheet in (tmp_path / "run").rglob("sheet.png"):
        assert read_provenance(sheet) is not None
    reenactor = load(path, device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    identity = reenactor.identity(picture, aligned=True)
    assert reenactor(identity, picture, aligned=True).image.shape == (32, 32, 3)
    assert reenactor.pose(identity, yaw_deg=10).image.shape == (32, 32, 3)


def test_exception_training_on_the_test_seed() -> None:
    with pytest.raises(ConfigError, match="reserved for testing"):
        DataConfig(mesh="x.npz", seed=999)


def test_exception_unknown_resume(tmp_path) -> None:
    with pytest.raises(UsageError, match="auto or never"):
        train(tmp_path / "c.yaml", resume="maybe")
