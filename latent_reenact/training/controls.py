"""The sliders: names, units, and how each is read from the 58 motion factors of a synthetic portrait."""

from __future__ import annotations

import torch
from torch import Tensor

from latent_reenact.synthface.controls import control_columns
from latent_reenact.synthface.factors import EXPRESSION_SLIDERS

# slider -> its typical size, in its own unit
CONTROL_SCALES = {
    "yaw_deg": 15.0,
    "pitch_deg": 8.0,
    "roll_deg": 4.0,
    "gaze_yaw_deg": 9.0,
    "gaze_pitch_deg": 6.0,
    **dict.fromkeys(EXPRESSION_SLIDERS, 0.3),
}


def control_values(motion: Tensor) -> Tensor:
    """Motion factors [B, 58] -> sliders [B, 16], in the order of `CONTROL_SCALES`."""
    return torch.stack([motion[:, control_columns(name)].mean(1) for name in CONTROL_SCALES], dim=1)


def fit_scales(motion: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, deviation) of each motion factor; those that never move get a deviation of 1."""
    deviation = motion.std(0)
    return motion.mean(0), torch.where(deviation > 1e-3, deviation, torch.ones_like(deviation))
