"""Losses of StyleGAN2's adversarial training (Karras et al. 2020, arXiv 1912.04958).

Legend: B batch, L style inputs, D their width. Logits are [B, 1], or [B, 1, r, r] of a patch discriminator.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.training.optim import OptimizerConfig


def generator_loss(drawn_logits: Tensor) -> Tensor:
    """-log sigmoid(D(G(z))), non-saturating (Goodfellow et al. 2014, section 3), mean of the batch."""
    return F.softplus(-drawn_logits).mean()


def discriminator_loss(real_logits: Tensor, drawn_logits: Tensor) -> Tensor:
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))), mean of the batch."""
    return F.softplus(-real_logits).mean() + F.softplus(drawn_logits).mean()


def r1_penalty(real_logits: Tensor, pictures: Tensor) -> Tensor:
    """Squared norm of D's gradient at real pictures, mean of the batch (Mescheder et al. 2018, equation 9).

    Weigh it with gamma / 2. A patch discriminator's D(x) is the mean of its map.

    Args:
        real_logits: the discriminator's answer to `pictures`, with its graph.
        pictures: [B, 3, R, R], which require a gradient.
    """
    logits = real_logits.flatten(1).mean(1).sum()
    (gradient,) = torch.autograd.grad(logits, pictures, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def path_lengths(images: Tensor, w_plus: Tensor, random: torch.Generator) -> Tensor:
    """|J_w^T y| of equation 4, [B]: how far a random change of the picture moves w.

    y is N(0, I) / sqrt(H W), so that the length does not grow with the resolution; over the L copies of w the root
    mean square is taken, as the published program does.

    Args:
        images: [B, 3, H, W], drawn from `w_plus` with its graph.
        w_plus: [B, L, D], which requires a gradient.
    """
    y = torch.randn(images.shape, generator=random, dtype=images.dtype).to(images.device)
    weighted = (images * y).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(weighted, w_plus, create_graph=True)  # J^T y
    return gradient.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """(|J_w^T y| - a)², mean of the batch (equation 4); `mean` is a, the running mean of the lengths."""
    return (lengths - mean).square().mean()


def lazy_optimizer(config: OptimizerConfig, every: int) -> OptimizerConfig:
    """The optimiser's settings where each k-th step brings one more, for a regulariser (section 3.1, appendix B).

    With c = k / (k + 1): learning rate c lr, and betas raised to the power c, so that k + 1 updates move and forget as
    much as k did. The regulariser's loss is to be multiplied by k.
    """
    c = every / (every + 1)
    betas = (config.betas[0] ** c, config.betas[1] ** c)
    return replace(config, lr=config.lr * c, adam_lr=config.adam_lr * c, betas=betas)
