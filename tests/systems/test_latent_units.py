"""The variant FAU as a system: a driving face is read, and the readings become motion."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.editing import sample_identity
from latent_reenact.errors import ConfigError, UsageError, WeightsNotFoundError
from latent_reenact.models import (
    ActionUnitConfig,
    ActionUnitDetector,
    BodyConfig,
    FaceReader,
    FaceReaderConfig,
    HopeNet,
    HopeNetConfig,
    ResNetConfig,
    UnitMotionEncoder,
    UnitMotionEncoderConfig,
    save_networks,
)
from latent_reenact.models.unit_readers import OfficialUnits, our_angles
from latent_reenact.systems import LinearReenactor, load

ABOUT = {**tiny.ABOUT, "system": "latent-units"}
SMALL = ResNetConfig(block="basic", depths=(1, 1, 1, 1), num_classes=None)


def parts(n_units: int) -> dict:
    base, config = (
        tiny.networks(),
        UnitMotionEncoderConfig(n_units=n_units, n_styles=tiny.L, motion_dim=tiny.N, hidden=(8,)),
    )
    encoder = UnitMotionEncoder(config)
    return {"generator": base.generator, "inversion": base.inversion, "motion_encoder": encoder, "mapper": base.mapper}


def face_reader() -> FaceReader:
    body = BodyConfig(widths=(4, 8), depths=(1, 1), se_reduction=2)
    reader = FaceReader(FaceReaderConfig(input_size=32, body=body, heat_stage=0, heat_width=4, bottleneck=8))
    torch.nn.init.normal_(reader.motion[2].weight)
    return reader


@pytest.mark.parametrize("with_reader", [True, False])
def test_smoke(tmp_path, with_reader) -> None:
    """With the reader in its folder; a folder without one is read by the embedded model's, of the same coefficients."""
    networks = parts(53) | ({"face_reader": face_reader()} if with_reader else {})
    save_networks(tmp_path / "fau", networks, ABOUT)
    reenactor = load(tmp_path / "fau", device="cpu")
    identity = reenactor.identity(tiny.picture(size=32), aligned=True)
    results = list(reenactor.stream(identity, [tiny.picture(1, 32), tiny.picture(2, 32)], aligned=True))
    assert [r.image.shape for r in results] == [(32, 32, 3)] * 2
    assert not np.allclose(results[0].motion, results[1].motion)
    linear = load(tmp_path / "fau", device="cpu", system="linear")
    assert isinstance(linear, LinearReenactor)
    assert linear.name == "linear-tiny"


def test_feature_official_readers_by_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LATENT_REENACT_HOME", str(tmp_path))
    units, pose = ActionUnitDetector(ActionUnitConfig(width=8, backbone=SMALL)), HopeNet(HopeNetConfig(backbone=SMALL))
    save_networks(tmp_path / "my-units", {"units": units}, {"name": "my-units"})
    save_networks(tmp_path / "my-pose", {"pose": pose}, {"name": "my-pose"})
    save_networks(tmp_path / "fau", parts(27), {**ABOUT, "readers": {"units": "my-units", "pose": "my-pose"}})
    reenactor = load(tmp_path / "fau", device="cpu")
    assert isinstance(reenactor.networks.motion_encoder.reader, OfficialUnits)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    read = reenactor.networks.motion_encoder.reader(images)
    assert read.shape == (2, 29)
    own = reenactor.networks.motion_encoder.reader.pose
    torch.testing.assert_close(read[:, 27:], our_angles(own(images))[:, :2])


def test_exception_readers_that_are_not_here(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LATENT_REENACT_HOME", str(tmp_path))
    save_networks(tmp_path / "fau", parts(27), ABOUT)
    with pytest.raises(WeightsNotFoundError, match="models fetch"):
        load(tmp_path / "fau", device="cpu")


def test_exception_another_reader(tmp_path) -> None:
    save_networks(tmp_path / "fau", {**parts(27), "face_reader": face_reader()}, ABOUT)
    with pytest.raises(ConfigError, match="gives 53 units and 2 angles"):
        load(tmp_path / "fau", device="cpu")


def test_exception_random_people_of_the_linear_baseline() -> None:
    with pytest.raises(UsageError, match="from clips"):
        sample_identity(LinearReenactor(tiny.networks().inversion, name="linear-tiny"))
