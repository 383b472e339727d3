"""The method's recipe from a model, estimators and shards on disk to a model that reenacts, at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from test_method_stage import BODY, clips, sample

from latent_reenact.config import from_dict, load_yaml
from latent_reenact.errors import WeightsNotFoundError
from latent_reenact.models import (
    HopeNet,
    HopeNetConfig,
    IdentityEmbedder,
    IdentityEmbedderConfig,
    ResNetConfig,
    load_networks,
    save_networks,
)
from latent_reenact.models.face_reader import FaceReader, FaceReaderConfig
from latent_reenact.models.pixels import from_pixels
from latent_reenact.systems import load
from latent_reenact.training.method_slots import EstimatorsConfig, OfficialReader, WholePicture, load_slots, our_angles
from latent_reenact.training.reenactment import ReenactmentRecipeConfig, train_reenactment
from latent_reenact.training.shards.format import write_shard

CONFIGS = Path(tiny.__file__).parent.parent / "latent_reenact" / "training" / "configs"
VARIANTS = ("gen", "cos", "fau")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """base/, estimators/ and shards/ of a world of noise."""
    folder = tmp_path_factory.mktemp("world")
    networks = tiny.networks()
    base = {"generator": networks.generator, "inversion": networks.inversion}
    save_networks(folder / "base", base, {**tiny.ABOUT, "system": None})
    body = from_dict(FaceReaderConfig, {"body": BODY}).body
    torch.manual_seed(0)
    estimators = {
        "face_reader": FaceReader(FaceReaderConfig(input_size=32, body=body, heat_width=4, bottleneck=8)),
        "identity": IdentityEmbedder(IdentityEmbedderConfig(input_size=32, embedding=8, body=body)),
    }
    save_networks(folder / "estimators", estimators, {"name": "estimators"})
    for split, people in (("train", "abc"), ("val", "xy")):
        part = clips(people, 0)
        samples = [sample(key, picture) for key, picture in zip(part.keys, part.pictures, strict=True)]
        write_shard(folder / "shards" / split / "00000.tar", samples)
    return folder


def recipe(world: Path, folder: Path, stage=(), data=()) -> ReenactmentRecipeConfig:
    encoder = {"input_size": 32, "n_styles": tiny.L, "motion_dim": tiny.N, "bottleneck": 8, "body": BODY}
    mapper = {"form": "separate", "n_styles": tiny.L, "w_dim": tiny.D, "motion_dim": tiny.N}
    optimizer = {"kind": "ranger", "lr": 1e-3}
    values = {
        "name": "toy",
        "folder": str(folder),
        "model": str(world / "base"),
        "estimators": {"own": str(world / "estimators")},
        "data": {"folder": str(world / "shards"), "held_out_clips": 2, "workers": 0, **dict(data)},
        "stage": {"encoder": encoder, "mapper": mapper, "optimizer": optimizer, **dict(stage)},
        "loop": {"images": 8, "batch": 4, "report_images": 4},
        "run": {"accelerator": "cpu", "devices": 1},
    }
    return from_dict(ReenactmentRecipeConfig, values)


@pytest.mark.parametrize("in_memory", [True, False])
def test_smoke_from_shards_to_a_model_that_reenacts(world, tmp_path, in_memory) -> None:
    path = train_reenactment(recipe(world, tmp_path, data={"in_memory": in_memory}))
    reenactor = load(path, device="cpu")
    identity = reenactor.identity(tiny.picture(size=32), aligned=True)
    assert reenactor(identity, tiny.picture(1, 32), aligned=True).image.shape == (32, 32, 3)
    assert reenactor.framing == tiny.ABOUT["framing"]
    assert (tmp_path / "reenactment" / "best.safetensors").exists()  # chosen by the stage's score


def test_feature_a_finished_run_is_not_run_again(world, tmp_path) -> None:
    first = load_networks(train_reenactment(recipe(world, tmp_path)))
    inverted = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part-*")}
    again = load_networks(train_reenactment(recipe(world, tmp_path)))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part-*")} == inverted
    for name, value in first["mapper"].state_dict().items():
        assert torch.equal(value, again["mapper"].state_dict()[name])


def test_feature_gen_keeps_the_inversions_own_generator(world, tmp_path) -> None:
    """The drawing generator has changed; what inverts still looks at the one that it was trained with."""
    stage = {"train_generator": True, "optimizer": {"kind": "ranger", "lr": 1.0}}  # seen in half precision too
    networks = load_networks(train_reenactment(recipe(world, tmp_path, stage=stage)))
    base = load_networks(world / "base")["generator"].synthesis
    assert torch.equal(networks["inversion"].generator.synthesis.const, base.const)
    assert not torch.equal(networks["generator"].synthesis.const, base.const)
    assert load(tmp_path / "toy", device="cpu").resolution == 32


def test_feature_fau_is_a_system_of_its_own(world, tmp_path) -> None:
    units = {"n_units": 53, "n_angles": 2, "n_styles": tiny.L, "motion_dim": tiny.N, "hidden": [8]}
    path = train_reenactment(recipe(world, tmp_path, stage={"units": units}))
    networks, estimators = load_networks(path), load_networks(world / "estimators")
    assert networks["motion_encoder"].config.n_inputs == 55
    reenactor = load(path, device="cpu")
    identity = reenactor.identity(tiny.picture(size=32), aligned=True)
    driving = tiny.picture(1, 32)
    result = reenactor(identity, driving, aligned=True)
    read = estimators["face_reader"](
        from_pixels(torch.tensor(driving).permute(2, 0, 1)[None])
    )  # it goes with the model
    readings = torch.cat([read.expression, read.pose_deg[:, :2]], dim=1)
    np.testing.assert_allclose(result.motion, networks["motion_encoder"](readings)[0].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "path", [*CONFIGS.glob("jahoda*.yaml"), *CONFIGS.glob("variants-64/*.yaml")], ids=lambda p: p.stem
)
def test_feature_shipped_configs_are_read(path) -> None:
    config = load_yaml(ReenactmentRecipeConfig, path)
    assert config.loop.images == 8 * (1_000_000 if path.stem == "jahoda-voxceleb2" else 1_500)  # steps of 8


def test_feature_variants_differ_from_plain_in_one_thing() -> None:
    def stage(name: str):
        return load_yaml(ReenactmentRecipeConfig, CONFIGS / "variants-64" / f"{name}.yaml").stage

    plain = stage("plain")
    changed = {n: {f for f in vars(plain) if getattr(stage(n), f) != getattr(plain, f)} for n in VARIANTS}
    assert changed == {"gen": {"train_generator"}, "cos": {"losses"}, "fau": {"units"}}


def test_feature_published_config_is_the_default() -> None:
    """What the file says and what the code assumes are the same recipe."""
    config = load_yaml(ReenactmentRecipeConfig, CONFIGS / "jahoda-voxceleb2.yaml")
    assert config.stage == type(config.stage)()
    assert config.estimators == EstimatorsConfig()


class Detector:
    """The points at the corners of the box."""

    def landmarks(self, image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        left, top, right, bottom = box
        return np.repeat([[left, top], [right, bottom]], 34, axis=0)


def test_feature_official_reader_reads_every_picture() -> None:
    torch.manual_seed(0)
    small = ResNetConfig(block="basic", depths=(1, 1, 1, 1), num_classes=None)
    reader = OfficialReader(HopeNet(HopeNetConfig(input_size=32, backbone=small)).eval(), Detector())
    read = reader(torch.rand(2, 3, 64, 64))
    assert read.landmarks.shape == (2, 68, 2)
    torch.testing.assert_close(read.landmarks[0, 0].float(), torch.tensor([0.2, 0.27]))
    assert read.pose_deg.shape == (2, 3)


def test_feature_hopenets_signs_become_ours() -> None:
    assert our_angles(torch.tensor([[10.0, 20.0, 30.0]])).tolist() == [[-10.0, 20.0, -30.0]]


def test_feature_identity_is_read_from_the_whole_picture() -> None:
    torch.manual_seed(0)
    body = from_dict(FaceReaderConfig, {"body": BODY}).body
    embedder = IdentityEmbedder(IdentityEmbedderConfig(input_size=32, embedding=8, body=body)).eval()
    images = torch.rand(1, 3, 256, 256)
    edge = images.clone()
    edge[:, :, :20] = -1  # above the crop that pSp reads
    assert torch.equal(embedder(images), embedder(edge))
    assert not torch.equal(WholePicture(embedder)(images), WholePicture(embedder)(edge))


def test_exception_estimators_that_are_not_there(world) -> None:
    with pytest.raises(WeightsNotFoundError, match="models fetch lpips-alex"):
        load_slots(EstimatorsConfig(), with_units=False)
    with pytest.raises(WeightsNotFoundError, match="no face_reader or identity"):
        load_slots(EstimatorsConfig(own=str(world / "base")), with_units=False)


def test_exception_model_without_an_inversion(world, tmp_path) -> None:
    config = recipe(world, tmp_path)
    with pytest.raises(WeightsNotFoundError, match="expected a generator and its inversion"):
        train_reenactment(from_dict(ReenactmentRecipeConfig, {**vars(config), "model": str(world / "estimators")}))
