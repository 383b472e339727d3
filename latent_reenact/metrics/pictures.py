"""How alike two pictures are, pixel by pixel and window by window."""

from __future__ import annotations

from typing import Any

import numpy as np


def psnr(a: np.ndarray, b: np.ndarray, *, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / MSE); infinite for equal arrays.

    Args:
        a, b: arrays of one shape.
        peak: distance from black to white: 255 for uint8, 2 for [-1, 1].
    """
    one, other = _pair(a, b)
    error = float(((one - other) ** 2).mean())
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(a: np.ndarray, b: np.ndarray, *, peak: float = 255.0) -> float:
    """Structural similarity (Wang and others 2004): Gaussian window of 11 pixels, sigma 1.5, K1 0.01, K2 0.03.

    Channels are compared one by one and averaged; only windows wholly inside the picture count.

    Args:
        a, b: [H, W] or [H, W, C], at least 11 x 11.
        peak: distance from black to white.

    Returns:
        At most 1, which is reached only by equal pictures.
    """
    one, other = _pair(a, b)
    if one.ndim not in (2, 3) or min(one.shape[:2]) < 11:
        raise ValueError(f"got pictures of shape {list(one.shape)}, expected [H, W] or [H, W, C] of 11 x 11 or more")
    mean_a, mean_b = _window(one), _window(other)
    variance_a = _window(one * one) - mean_a**2
    variance_b = _window(other * other) - mean_b**2
    covariance = _window(one * other) - mean_a * mean_b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((luminance * structure).mean())


def perceptual_distance(a: np.ndarray, b: np.ndarray, distance: Any) -> np.ndarray:
    """How different pictures look to a network; LPIPS only where `distance` is `models.LPIPS` with published weights.

    Args:
        a, b: uint8 [N, H, W, 3].
        distance: a module on pictures [N, 3, H, W] in [-1, 1], such as `models.LPIPS` or `models.FeatureDistance`.

    Returns:
        float64 [N].
    """
    import torch

    one, other = np.asarray(a), np.asarray(b)
    if one.shape != other.shape or one.ndim != 4 or one.shape[3] != 3:
        raise ValueError(f"got pictures {list(one.shape)} and {list(other.shape)}, expected two [N, H, W, 3] of a size")
    parameter = next(iter(distance.parameters()), None) if hasattr(distance, "parameters") else None
    device = "cpu" if parameter is None else parameter.device
    with torch.inference_mode():
        x, y = (torch.from_numpy(p).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1 for p in (one, other))
        return distance(x, y).double().cpu().numpy()


def _window(image: np.ndarray) -> np.ndarray:
    """Gaussian mean over 11 x 11 windows, [H - 10, W - 10, ...]."""
    from scipy.ndimage import correlate1d

    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    return correlate1d(correlate1d(image, taps, axis=0), taps, axis=1)[5:-5, 5:-5]


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if one.shape != other.shape or one.size == 0:
        raise ValueError(f"got shapes {list(one.shape)} and {list(other.shape)}, expected two of the same, not empty")
    return one, other
