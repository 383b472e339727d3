"""The recipe of the embedded model at toy size, on the tiny procedural mesh, and its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from latent_reenact.config import from_dict, load_yaml
from latent_reenact.errors import ConfigError, MissingDependencyError, UsageError
from latent_reenact.media import read_provenance
from latent_reenact.training import augment, train
from latent_reenact.training.controls import CONTROL_SCALES, control_values

pytest.importorskip("numba")
from latent_reenact.synthface import eye_mouth_mask, sample
from latent_reenact.synthface.tiny import tiny_arrays
from latent_reenact.training.entry import RECIPES, recipe_of
from latent_reenact.training.recipe import DataConfig, Recipe, RecipeConfig
from latent_reenact.training.shards.motion import motion_vector
from latent_reenact.training.stages import paired

CONFIGS = Path(augment.__file__).with_name("configs")
BODY = {"widths": [4, 8, 8], "depths": [1, 1, 1], "se_reduction": 2}
LOOP = {"images": 16, "batch": 8, "report_images": 8}
MUON = {"kind": "muon"}


def recipe(folder: Path, mesh: Path) -> dict:
    return {
        "recipe": "builtin",
        "name": "toy",
        "folder": str(folder),
        "run": {"accelerator": "cpu", "precision": "bf16-mixed"},
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
            "growth": {16: {"loop": LOOP}, 32: {"loop": LOOP}},
        },
        "sharpen": {
            "loop": LOOP,
            "crop": 16,
            "noise_mode": "const",
            "augmentation": {"target": None},
            "discriminator": {"resolution": 16, "channels": {16: 4, 8: 8, 4: 8}, "patch": True, "group": 1},
        },
        "estimators": {
            "face_reader": {"loop": LOOP, "network": {"input_size": 32, "body": BODY, "bottleneck": 8}},
            "identity": {"loop": LOOP, "network": {"input_size": 16, "body": BODY, "embedding": 8}},
        },
        "inversion": {
            "steps": 2,
            "encoder": {"input_size": 32, "n_styles": 8, "w_dim": 16, "head_width": 8, "body": BODY},
            "optimizer": MUON,
            "loop": LOOP,
        },
        "motion": {
            "encoder": {"input_size": 32, "n_styles": 8, "motion_dim": 4, "bottleneck": 8, "body": BODY},
            "mapper": {"form": "separate", "n_styles": 8, "w_dim": 16, "motion_dim": 4},
            "optimizer": MUON,
            "loop": LOOP,
            "portraits": 12,
        },
        "mapping": {"samples": 40, "optimizer": MUON, "loop": LOOP},
        "shifts": {"people": 2, "settings": 30, "inverted": 1},
    }


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(config, its file, the model folder that came out of it)."""
    folder = tmp_path_factory.mktemp("toy")
    np.savez(folder / "mesh.npz", **tiny_arrays())
    values = recipe(folder / "run", folder / "mesh.npz")
    (folder / "toy.yaml").write_text(yaml.safe_dump(values))
    return values, folder / "toy.yaml", train(folder / "toy.yaml")


def test_smoke_whole_recipe(toy) -> None:
    """Render, grow, sharpen, read, invert, learn motion, learn z, export, load and reenact."""
    from latent_reenact.systems import load

    values, _, path = toy
    sheets = list(Path(values["folder"]).rglob("sheet.png"))
    assert len(sheets) >= 5
    assert all(read_provenance(sheet) is not None for sheet in sheets)
    reenactor = load(path, device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    identity = reenactor.identity(picture, aligned=True)
    assert reenactor(identity, picture, aligned=True).image.shape == (32, 32, 3)
    assert reenactor.pose(identity, yaw_deg=10).image.shape == (32, 32, 3)


def test_feature_a_finished_recipe_only_reads(toy) -> None:
    values, file, path = toy
    logs = {log: log.read_text() for log in Path(values["folder"]).rglob("log.jsonl")}
    assert train(file) == path
    assert len(logs) >= 7
    assert all(log.read_text() == text for log, text in logs.items())


def test_feature_a_model_is_where_another_run_begins(toy, tmp_path) -> None:
    """Rates of almost nothing leave the exported model's pictures as they are."""
    from latent_reenact.models import load_networks

    _, file, path = toy
    still = {"kind": "adam", "lr": 1e-12}
    words = [f"folder={tmp_path / 'run'}", "sharpen=null"]
    words += [f"{stage}.optimizer={still}" for stage in ("inversion", "motion")]
    words += [f"generator.growth.32.optimizer={still}"]
    again = train(file, words, init_from=path)
    assert not (tmp_path / "run" / "generator" / "16").exists()
    one, other = load_networks(path), load_networks(again)
    w_plus = torch.randn(2, 8, 16)
    images = one["generator"].synthesis(w_plus), other["generator"].synthesis(w_plus)
    torch.testing.assert_close(*images, atol=1e-2, rtol=1e-2)
    for name in ("inversion", "motion_encoder", "mapper"):
        a, b = (torch.cat([p.flatten() for p in networks[name].parameters()]) for networks in (one, other))
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-2)


def test_exception_warm_start_from_a_model_without_factors(toy, tmp_path) -> None:
    from latent_reenact.models import load_networks, save_networks

    _, file, path = toy
    networks = {name: network for name, network in load_networks(path).items() if name != "factors"}
    save_networks(tmp_path / "old", networks, {"name": "old", "system": "latent", "licence": "none"})
    with pytest.raises(ConfigError, match="has no network `factors`"):
        train(file, [f"folder={tmp_path / 'run'}"], init_from=tmp_path / "old")


def test_feature_motion_vector_and_controls_agree_with_the_factors() -> None:
    factors = sample(1, 3)
    motion = torch.from_numpy(motion_vector(factors))[None]
    controls = dict(zip(CONTROL_SCALES, control_values(motion)[0].tolist(), strict=True))
    assert controls["yaw_deg"] == pytest.approx(factors.motion.yaw_deg, abs=1e-4)
    assert controls["jaw_open"] == pytest.approx(factors.motion.expression.get("jawOpen", 0.0), abs=1e-6)


def test_feature_loss_weight_of_a_batch_is_that_of_each_portrait() -> None:
    landmarks = np.random.default_rng(0).uniform(2, 14, (4, 68, 2)).astype(np.float32)
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


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_feature_every_config_of_the_package_is_valid(path) -> None:
    import importlib

    module, config, _ = RECIPES[recipe_of(path)]
    load_yaml(getattr(importlib.import_module(f"latent_reenact.training.{module}"), config), path)


def test_exception_training_on_the_test_seed() -> None:
    with pytest.raises(ConfigError, match="reserved for testing"):
        DataConfig(mesh="x.npz", seed=999)


def test_exception_unknown_resume(tmp_path) -> None:
    with pytest.raises(UsageError, match="auto or never"):
        train(tmp_path / "c.yaml", resume="maybe")


def test_exception_unknown_recipe(tmp_path) -> None:
    (tmp_path / "c.yaml").write_text("recipe: cake\n")
    with pytest.raises(ConfigError, match=r"got 'cake', expected one of builtin, generator"):
        train(tmp_path / "c.yaml")


def test_exception_config_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config"):
        train(tmp_path / "none.yaml")


def test_exception_mesh_that_is_not_there(tmp_path) -> None:
    config = from_dict(RecipeConfig, recipe(tmp_path / "run", tmp_path / "none.npz"))
    with pytest.raises(Exception, match="no mesh archive"):
        Recipe(config)


def test_exception_training_without_its_extra(tmp_path, monkeypatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "webdataset" else found(name))
    (tmp_path / "c.yaml").write_text("recipe: builtin\n")
    with pytest.raises(MissingDependencyError, match=r"training needs webdataset; .*latent-reenact\[train\]"):
        train(tmp_path / "c.yaml")


def test_feature_the_config_of_builtin_fits_its_weights() -> None:
    """So that training can go on from the package's own model."""
    from latent_reenact.models import load_networks

    config, networks = load_yaml(RecipeConfig, CONFIGS / "builtin.yaml"), load_networks("builtin")
    assert networks["inversion"].encoder.config == config.inversion.encoder
    assert networks["motion_encoder"].config == config.motion.encoder
    assert networks["mapper"].config == config.motion.mapper
    assert networks["face_reader"].config == config.estimators.face_reader.network
    assert networks["identity"].config == config.estimators.identity.network
    assert networks["generator"].config.channels == config.generator.generator.channels


def test_feature_the_mask_of_losses_is_the_worlds() -> None:
    landmarks = np.random.default_rng(1).uniform(2, 30, (3, 68, 2)).astype(np.float32)
    mask = paired.eye_mouth_mask(torch.from_numpy(landmarks), 32)
    torch.testing.assert_close(mask, torch.from_numpy(eye_mouth_mask(landmarks, 32)), atol=1e-6, rtol=0)
