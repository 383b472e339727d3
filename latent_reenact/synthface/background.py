"""The picture behind the portrait."""

from __future__ import annotations

import math

import cv2
import numpy as np

from latent_reenact.synthface.factors import Background, linear

_GRID = 48


def draw_background(background: Background, size: int) -> np.ndarray:
    """float32 [size, size, 3], linear light: a gradient with a vignette, drawn small and enlarged."""
    first, second = linear(background.colours[0]), linear(background.colours[1])
    y, x = np.mgrid[0:_GRID, 0:_GRID] / (_GRID - 1.0) - 0.5
    angle = math.radians(background.angle_deg)
    t = np.clip(0.5 + 0.5 * (math.cos(angle) * x + math.sin(angle) * y) * 1.6, 0, 1)[..., None]
    vignette = 1.25 - 1.1 * (x**2 + (y + 0.05) ** 2)[..., None]
    small = ((first * (1 - t) + second * t) * vignette).astype(np.float32)
    return np.ascontiguousarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 2))
