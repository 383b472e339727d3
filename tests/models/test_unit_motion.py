"""The FAU variant's motion encoder: numbers read from a face to a motion code."""

from __future__ import annotations

import pytest
import torch

from latent_reenact.errors import ConfigError
from latent_reenact.models import UnitMotionEncoder, UnitMotionEncoderConfig, load_network, save_networks

TINY = UnitMotionEncoderConfig(n_units=5, n_angles=2, n_styles=3, motion_dim=4, hidden=(8,))


def test_smoke_published_sizes() -> None:
    with torch.device("meta"):
        encoder = UnitMotionEncoder()
    assert encoder(torch.empty(2, 29, device="meta")).shape == (2, 18, 512)


@pytest.mark.parametrize(("n_angles", "hidden"), [(0, ()), (2, (8,)), (3, (8, 6))])
def test_shapes(n_angles, hidden) -> None:
    config = UnitMotionEncoderConfig(n_units=5, n_angles=n_angles, n_styles=3, motion_dim=4, hidden=hidden)
    assert UnitMotionEncoder(config)(torch.randn(2, 5 + n_angles)).shape == (2, 3, 4)


def test_feature_angles_are_scaled_and_scores_are_not() -> None:
    encoder = UnitMotionEncoder(UnitMotionEncoderConfig(n_units=1, n_angles=2, n_styles=1, motion_dim=3, hidden=()))
    with torch.no_grad():
        encoder.layers[0].weight.copy_(torch.eye(3))
        encoder.layers[0].bias.zero_()
    torch.testing.assert_close(encoder(torch.tensor([[0.5, 30.0, -60.0]])), torch.tensor([[[0.5, 1.0, -2.0]]]))


def test_feature_goes_through_a_model_folder(tmp_path) -> None:
    encoder = UnitMotionEncoder(TINY)
    save_networks(tmp_path / "fau", {"motion_encoder": encoder}, {"name": "fau"})
    again = load_network(tmp_path / "fau")
    readings = torch.randn(2, 7)
    torch.testing.assert_close(again(readings), encoder(readings), atol=2e-3, rtol=2e-3)  # kept in half precision


def test_exception_readings_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"\[B, 7\]: 5 scores and 2 angles"):
        UnitMotionEncoder(TINY)(torch.zeros(2, 6))


@pytest.mark.parametrize("change", [{"n_angles": 1}, {"n_units": 0, "n_angles": 0}, {"angle_scale_deg": 0.0}])
def test_exception_config(change) -> None:
    with pytest.raises(ConfigError):
        UnitMotionEncoderConfig(**change)
