"""How much fine detail a picture has."""

from __future__ import annotations

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])
Box = tuple[float, float, float, float]


def laplacian_energy(image: np.ndarray, box: Box | None = None) -> float:
    """Mean square of the 4-neighbour Laplacian of luminance 0..1; 0 for a flat picture, less where it is blurred.

    Args:
        image: uint8 [H, W, 3] or [H, W].
        box: (left, top, right, bottom) in pixels, the part that counts; the whole picture without it. The outermost
            row and column have no Laplacian and never count.
    """
    grey = np.asarray(image, np.float64) / 255
    grey = grey @ _LUMA if grey.ndim == 3 else grey
    if grey.ndim != 2 or min(grey.shape) < 3:
        raise ValueError(f"got a picture of shape {list(np.shape(image))}, expected [H, W, 3] or [H, W], 3 x 3 or more")
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    if box is not None:
        left, top, right, bottom = (round(v) for v in box)
        laplacian = laplacian[max(0, top - 1) : max(0, bottom - 1), max(0, left - 1) : max(0, right - 1)]
    if laplacian.size == 0:
        raise ValueError(f"got the box {box}, expected one inside the picture {list(grey.shape)}")
    return float((laplacian**2).mean())
