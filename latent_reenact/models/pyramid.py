"""A distance of pictures at all scales."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pyramid_loss(image: Tensor, truth: Tensor, weight: Tensor, *, gradients: float = 1.0) -> Tensor:
    """Weighted L1 on colours at every octave down to 8², and on their gradients at the three finest.

    Args:
        image, truth: [B, 3, R, R] in [-1, 1].
        weight: [B, 1, R, R] or what broadcasts to it, mean about 1; larger round eyes and mouth.
        gradients: weight of the gradient terms, which keep edges sharp.
    """
    total = image.new_zeros([])
    level = 0
    while image.shape[-1] >= 8:
        difference = image - truth
        total = total + (1.0 if level == 0 else 0.5) * (difference.abs() * weight).mean()
        if level < 3:
            dy = difference[..., 1:, :] - difference[..., :-1, :]
            dx = difference[..., :, 1:] - difference[..., :, :-1]
            edges = (dy.abs() * weight[..., 1:, :]).mean() + (dx.abs() * weight[..., :, 1:]).mean()
            total = total + gradients * edges
        image, truth, weight = (F.avg_pool2d(t, 2) for t in (image, truth, weight))
        level += 1
    return total
