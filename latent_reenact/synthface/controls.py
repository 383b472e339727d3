"""The sliders in the synthetic world: how far they go, what motion they stand for, and how a motion reads on them."""

from __future__ import annotations

from collections.abc import Mapping

from latent_reenact.errors import ConfigError
from latent_reenact.synthface.factors import EXPRESSION_INDEX, EXPRESSION_SLIDERS, Motion

MOTION_ANGLES = ("yaw_deg", "pitch_deg", "roll_deg", "gaze_yaw_deg", "gaze_pitch_deg")
"""The angles that stand before the 53 expression coefficients in a motion vector of 58."""

CONTROL_RANGES = {
    "yaw_deg": (-30.0, 30.0),
    "pitch_deg": (-15.0, 15.0),
    "roll_deg": (-8.0, 8.0),
    "gaze_yaw_deg": (-18.0, 18.0),
    "gaze_pitch_deg": (-12.0, 12.0),
    **dict.fromkeys(EXPRESSION_SLIDERS, (0.0, 1.0)),
    "jaw_open": (0.0, 0.7),
}
"""Slider -> the range that portraits of the world fill: about two standard deviations, or what occurs."""


def control_columns(control: str) -> list[int]:
    """The columns of a motion vector [58] whose mean a slider is. Raises ConfigError for a slider of another world."""
    if control in MOTION_ANGLES:
        return [MOTION_ANGLES.index(control)]
    if control not in EXPRESSION_SLIDERS:
        known = ", ".join(CONTROL_RANGES)
        raise ConfigError(f"unknown control {control!r}; the synthetic world knows {known}")
    return [len(MOTION_ANGLES) + EXPRESSION_INDEX[name] for name in EXPRESSION_SLIDERS[control]]


def motion_of(controls: Mapping[str, float]) -> Motion:
    """The motion of a face at rest but for these sliders. Raises ConfigError for an unknown one."""
    for name in controls:
        control_columns(name)
    angles = {name: float(value) for name, value in controls.items() if name in MOTION_ANGLES}
    expression = {shape: float(value) for name, value in controls.items() for shape in EXPRESSION_SLIDERS.get(name, ())}
    return Motion(**angles, expression=expression)  # type: ignore[arg-type]
