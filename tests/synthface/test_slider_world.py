"""Sliders and the motion of the synthetic world are two views of one thing."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")

import torch

from latent_reenact.errors import ConfigError
from latent_reenact.synthface import Factors
from latent_reenact.synthface.controls import CONTROL_RANGES, control_columns, motion_of
from latent_reenact.training.controls import CONTROL_SCALES, control_values
from latent_reenact.training.shards.motion import motion_vector


def test_smoke() -> None:
    assert list(CONTROL_RANGES) == list(CONTROL_SCALES)
    assert motion_of({"yaw_deg": 12, "smile": 0.5}).expression == {"mouthSmile_L": 0.5, "mouthSmile_R": 0.5}


def test_feature_what_is_set_is_read() -> None:
    asked = {name: low + 0.3 * (high - low) for name, (low, high) in CONTROL_RANGES.items()}
    vector = torch.tensor(motion_vector(Factors(motion=motion_of(asked))))[None]
    torch.testing.assert_close(control_values(vector)[0], torch.tensor(list(asked.values())), atol=1e-6, rtol=1e-6)


def test_exception_a_slider_of_another_world() -> None:
    for refuse in (control_columns, lambda name: motion_of({name: 1.0})):
        with pytest.raises(ConfigError, match="unknown control 'wink'"):
            refuse("wink")
