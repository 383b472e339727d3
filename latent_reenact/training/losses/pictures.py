"""Losses of the paired stage: known factors -> the exact picture."""

from __future__ import annotations

from torch import Tensor


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures in [-1, 1], inside `mask` [B, 1, R, R] if given."""
    error = (image.clamp(-1, 1) - truth).square().mean(1, keepdim=True)  # [B, 1, R, R]
    if mask is None:
        error = error.mean((1, 2, 3))
    else:
        error = (error * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
    return float((10 * (4 / error.clamp(min=1e-8)).log10()).mean())
