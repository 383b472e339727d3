"""Motion encoder, mapper and sliders."""

from __future__ import annotations

import pytest
import torch

from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    BodyConfig,
    MotionControl,
    MotionControlConfig,
    MotionEncoder,
    MotionEncoderConfig,
    MotionMapper,
    MotionMapperConfig,
)
from latent_reenact.models.motion import normalize_contrast

BODY = BodyConfig(widths=(4, 4, 8), depths=(1, 1, 1), se_reduction=2)


def tiny_encoder(kind: str = "rgb") -> MotionEncoder:
    return MotionEncoder(
        MotionEncoderConfig(input=kind, input_size=32, n_styles=6, motion_dim=4, bottleneck=8, body=BODY)
    ).eval()


def test_published_sizes() -> None:
    """Names and shapes are those of the published checkpoint (no weights are made: the meta device holds none)."""
    with torch.device("meta"):
        encoder, mapper = MotionEncoder(), MotionMapper()
    state = {name: tuple(t.shape) for name, t in encoder.state_dict().items()}
    assert state["output_layer_2.3.weight"] == (512, 25088)
    assert state["linear.weight"] == (9216, 512)
    assert state["body.23.res_layer.5.fc1.weight"] == (32, 512, 1, 1)
    assert tuple(mapper.linear.weight.shape) == (9216, 18432)


@pytest.mark.parametrize("kind", ["rgb", "grey_normalized"])
def test_shapes(kind) -> None:
    encoder = tiny_encoder(kind)
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, 6, 4)
    assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, 6, 4)  # pooled to its own size


def test_feature_normalized_input_is_blind_to_gain_and_offset() -> None:
    images = torch.rand(1, 3, 32, 32)
    plain = normalize_contrast(images)
    changed = normalize_contrast(0.7 * images + 0.2)
    assert (plain - changed).abs().mean() < 0.05 * plain.abs().mean()


@pytest.mark.parametrize("form", ["full", "shared", "separate"])
def test_feature_mapper_takes_identity_first(form) -> None:
    config = MotionMapperConfig(form=form, n_styles=3, w_dim=4, motion_dim=2)
    mapper = MotionMapper(config)
    with torch.no_grad():
        weight = mapper.linear.weight if form == "full" else mapper.weights[0]
        weight.zero_()
        if form == "full":
            mapper.linear.bias.zero_()
            weight[:12, :12] = torch.eye(12)
        else:
            weight[:, :4] = torch.eye(4)
    identity, motion = torch.randn(2, 3, 4), torch.randn(1, 3, 2)
    torch.testing.assert_close(mapper(identity, motion), identity)


def test_feature_separate_mapper_keeps_styles_apart() -> None:
    mapper = MotionMapper(MotionMapperConfig(form="separate", n_styles=3, w_dim=4, motion_dim=2, hidden=(5,)))
    identity, motion = torch.randn(1, 3, 4), torch.randn(1, 3, 2)
    changed = motion.clone()
    changed[:, 1] += 1
    difference = (mapper(identity, changed) - mapper(identity, motion)).abs().sum(2)[0]
    assert difference[1] > 0
    assert difference[0] == difference[2] == 0


def test_feature_residual_mapper_starts_as_identity() -> None:
    config = MotionMapperConfig(form="separate", n_styles=3, w_dim=4, motion_dim=2, hidden=(5,), residual=True)
    identity = torch.randn(1, 3, 4)
    torch.testing.assert_close(MotionMapper(config)(identity, torch.randn(1, 3, 2)), identity)


def test_feature_control_units() -> None:
    """A control ten times larger in its own unit is the same number to the networks."""
    config = {"controls": ("yaw_deg",), "n_styles": 3, "motion_dim": 2, "hidden": 4}
    control = MotionControl(MotionControlConfig(scales=(10.0,), **config))
    other = MotionControl(MotionControlConfig(scales=(1.0,), **config))
    other.load_state_dict(control.state_dict())
    torch.testing.assert_close(control.encode(torch.tensor([[20.0]])), other.encode(torch.tensor([[2.0]])))
    motion = torch.randn(1, 3, 2)
    torch.testing.assert_close(control.decode(motion), 10 * other.decode(motion))


def test_exception_full_mapper_with_hidden_layers() -> None:
    with pytest.raises(ConfigError, match="single layer"):
        MotionMapperConfig(form="full", hidden=(8,))
