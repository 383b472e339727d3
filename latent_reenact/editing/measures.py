"""What can be measured in a face, by name, as the estimators that calibration and retrieval take."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latent_reenact.editing.calibration import Draw, Estimator
from latent_reenact.errors import UsageError
from latent_reenact.metrics.faces import RATIO_NAMES, aspect_ratios
from latent_reenact.models import FaceReader, FaceReading, StyleGAN2Generator
from latent_reenact.synthface.factors import EXPRESSION_INDEX, EXPRESSION_SLIDERS

_POSE = ("yaw_deg", "pitch_deg", "roll_deg")
_GAZE = ("gaze_yaw_deg", "gaze_pitch_deg")
MEASURES = (*_POSE, *_GAZE, *EXPRESSION_SLIDERS, *(f"{name}_ratio" for name in RATIO_NAMES), *EXPRESSION_INDEX)
"""Degrees of head and gaze; expressions in 0..1; the aspect ratios of `metrics.faces`; single blendshapes."""


def reader_estimator(reader: FaceReader, measure: str) -> Estimator:
    """An estimator of one of `MEASURES`, read by the package's own network.

    Raises:
        UsageError: no such measure.
    """
    pick = _picker(measure)

    def estimate(images: Tensor) -> Tensor:
        return pick(reader(images))

    return estimate


def check_measure(measure: str) -> None:
    """Raises UsageError where it is none of `MEASURES`."""
    if measure not in MEASURES:
        named = MEASURES[: -len(EXPRESSION_INDEX)]
        raise UsageError(f"measure: got {measure!r}, expected one of {', '.join(named)}, or a blendshape as jawOpen")


def generator_draw(generator: StyleGAN2Generator) -> Draw:
    """w_plus on the CPU -> pictures on the generator's device."""
    device = next(generator.parameters()).device
    return lambda w_plus: generator.synthesis(w_plus.to(device))


def ratios(landmarks: Tensor) -> Tensor:
    """Landmarks [B, 68, 2] -> the five aspect ratios [B, 5]."""
    return torch.from_numpy(aspect_ratios(landmarks.cpu().numpy())).to(landmarks)


def _picker(measure: str) -> Callable[[FaceReading], Tensor]:
    """From a reading to the one number of each picture, [B]."""
    check_measure(measure)
    if measure in _POSE:
        return lambda read: read.pose_deg[:, _POSE.index(measure)]
    if measure in _GAZE:
        return lambda read: read.gaze_deg[:, _GAZE.index(measure)]
    if measure.removesuffix("_ratio") in RATIO_NAMES and measure.endswith("_ratio"):
        return lambda read: ratios(read.landmarks)[:, RATIO_NAMES.index(measure.removesuffix("_ratio"))]
    names = EXPRESSION_SLIDERS.get(measure, (measure,))
    return lambda read: read.expression[:, [EXPRESSION_INDEX[name] for name in names]].mean(1)
