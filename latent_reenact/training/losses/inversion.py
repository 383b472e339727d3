"""Losses of encoders that invert pictures: pSp (arXiv 2008.00951), e4e (2102.02766), ReStyle (2104.02699).

The latent discriminator's logistic losses are those of `losses.adversarial`.

Legend: B batch, L = n_styles, D = w_dim, S side of the encoder's pictures, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import ConfigError

PictureDistance = Callable[[Tensor, Tensor], Tensor]  # a, b [B, 3, S, S] in [-1, 1] -> [B], such as models.LPIPS
Embedder = Callable[[Tensor], Tensor]  # [B, 3, S, S] in [-1, 1] -> unit vectors [B, E], such as models.IdentityEmbedder


@dataclass(frozen=True, kw_only=True)
class InversionWeights:
    """Weights of the terms; a term of weight 0 is not computed. The defaults are ReStyle's over pSp, for faces.

    pSp alone adds w_norm = 0.005 where its training does not start from the average latent.
    e4e adds delta = 2e-4, and its adversary. Its identity weight of 0.5 goes with MoCo features of things that are
    not faces; for faces ReStyle over e4e keeps 0.1.
    """

    l2: float = 1.0
    perceptual: float = 0.8
    identity: float = 0.1
    w_norm: float = 0.0
    delta: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ConfigError(f"{name}: got {value}, expected a weight of 0 or more")


class InversionLoss:
    """The weighted sum of pSp's equation 5, with e4e's delta regularisation.

    Args:
        weights: of the terms.
        perceptual: how different two pictures look.
        embedder: who somebody is.

    Raises:
        ConfigError: a term has a weight and no network to compute it.
    """

    def __init__(
        self, weights: InversionWeights, perceptual: PictureDistance | None = None, embedder: Embedder | None = None
    ) -> None:
        for name, slot in (("perceptual", perceptual), ("identity", embedder)):
            if getattr(weights, name) > 0 and slot is None:
                raise ConfigError(f"{name}: got a weight of {getattr(weights, name)} and no network; give one, or 0")
        self.weights, self.perceptual, self.embedder = weights, perceptual, embedder

    @torch.no_grad()
    def reference(self, truth: Tensor) -> Tensor | None:
        """What needs to be computed once a batch, however many steps it takes: truth [B, 3, S, S] -> [B, E]."""
        return self.embedder(truth) if self.embedder is not None and self.weights.identity > 0 else None

    def pictures(self, images: Tensor, truth: Tensor, reference: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """What the pictures say: L2, perceptual and identity terms.

        Args:
            images, truth: [B, 3, S, S] in [-1, 1].
            reference: `reference(truth)`.

        Returns:
            Their weighted sum, and each term without its weight.
        """
        terms = {}
        if self.weights.l2 > 0:
            terms["l2"] = l2_loss(images, truth)
        if self.weights.perceptual > 0 and self.perceptual is not None:
            terms["perceptual"] = self.perceptual(images, truth).mean()
        if self.embedder is not None and reference is not None:
            terms["identity"] = identity_loss(self.embedder(images), reference)
        return self._sum(terms, images), terms

    def latents(self, w_plus: Tensor, average: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the latents say: the norm of w_plus [B, L, D] minus `average` [L, D], and that of the deltas."""
        terms = {}
        if self.weights.w_norm > 0:
            terms["w_norm"] = w_norm(w_plus - average)
        if self.weights.delta > 0:
            terms["delta"] = delta_norm(w_plus)
        return self._sum(terms, w_plus), terms

    def _sum(self, terms: dict[str, Tensor], like: Tensor) -> Tensor:
        return sum((getattr(self.weights, name) * term for name, term in terms.items()), like.new_zeros([]))


def l2_loss(images: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error. The paper (2008.00951, equation 1) prints a norm, its program takes the mean; so do we."""
    return F.mse_loss(images, truth)


def identity_loss(vectors: Tensor, reference: Tensor) -> Tensor:
    """1 - <R(x), R(y)> of unit vectors [B, E], the mean over the batch (2008.00951, equation 4)."""
    return 1 - (vectors * reference).sum(1).mean()


def w_norm(offset: Tensor) -> Tensor:
    """||w_plus - average||_2 of each picture's offset [B, L, D], the mean over the batch (2008.00951, equation 3)."""
    return torch.linalg.vector_norm(offset, dim=(1, 2)).mean()


def delta_norm(w_plus: Tensor) -> Tensor:
    """sum over i > 0 of ||delta_i||_2, delta_i = w_i - w_0; mean over the batch (2102.02766).

    Styles that have no offset of their own yet add nothing. w_plus [B, L, D].
    """
    return torch.linalg.vector_norm(w_plus[:, 1:] - w_plus[:, :1], dim=2).sum(1).mean()


def progressive_stage(step: int, n_styles: int, *, start: int = 20_000, every: int = 2_000) -> int:
    """How many styles beyond the first have offsets of their own after `step` steps (2102.02766).

    None before `start`; then one, and another one each `every` steps, until all n_styles - 1 have.
    """
    return 0 if step < start else min(n_styles - 1, 1 + (step - start) // every)


def latent_r1_penalty(logits: Tensor, w: Tensor) -> Tensor:
    """E ||grad_w D(w)||_2^2 on real codes w [B, D], which must require gradients (arXiv 1801.04406, equation 9)."""
    (gradient,) = torch.autograd.grad(logits.sum(), w, create_graph=True)
    return gradient.square().sum(1).mean()


def sum_of_separate(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """The sum of losses that share nothing but `parameters`, differentiated one by one.

    Each loss's graph is freed before the next one is asked for, so that memory does not grow with their number. The
    gradient of the sum is the sum of the gradients: a backward pass through what is returned gives the parameters
    what a backward pass of each loss would have given them.

    Args:
        losses: computed lazily, each with a graph of its own; what flows from one to the next is detached.
        parameters: those that require gradients; with none, the sum is a plain number.
    """
    total: Any = 0.0
    gradients: list[Tensor | None] = [None] * len(parameters)
    for loss in losses:
        if parameters:
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            gradients = [a if b is None else b if a is None else a + b for a, b in zip(gradients, found, strict=True)]
        total = total + loss.detach()
    return _KnownGradients.apply(total, gradients, *parameters)


class _KnownGradients(torch.autograd.Function):
    """A value whose gradients with respect to some parameters were computed before."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, *(None if g is None else g * grads[0] for g in ctx.gradients)
