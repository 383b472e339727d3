"""The two kinds of array this room takes, checked where they come in."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_image(image: Any) -> np.ndarray:
    """`image` itself, after making sure that it is uint8 [H, W, 3].

    Raises:
        ValueError: another type, shape or number format.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"got {_describe(image)}, expected an RGB picture as uint8 [H, W, 3]")
    if image.size == 0:
        raise ValueError(f"got an empty picture {list(image.shape)}, expected at least one pixel")
    return image


def check_landmarks(landmarks: Any) -> np.ndarray:
    """`landmarks` as float64 [68, 2].

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"got landmarks of shape {list(points.shape)}, expected the 68 iBUG points as [68, 2]")
    if not np.isfinite(points).all():
        raise ValueError("got landmarks with NaN or infinite values, expected finite pixels")
    return points


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
