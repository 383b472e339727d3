"""Softmax losses with a margin on the sphere, which teach an embedder who is who.

    L = -log  exp(s · t(θ_y)) / (exp(s · t(θ_y)) + sum over j ≠ y of exp(s · cos θ_j))

    ArcFace: t(θ) = cos(θ + m)      additive angular margin (Deng et al. 2019, arXiv 1801.07698, equation 3)
    CosFace: t(θ) = cos θ - m       large margin cosine (Wang et al. 2018, arXiv 1801.09414, equation 4)

θ_j is the angle between an embedding and class weight j, or, without classes, between two embeddings of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MarginConfig:
    """Which margin. The defaults are ArcFace's; CosFace has scale 64 and margin 0.35."""

    kind: Literal["arcface", "cosface"] = "arcface"
    scale: float = 64.0
    margin: float = 0.5  # radians for ArcFace, a cosine for CosFace

    def __post_init__(self) -> None:
        if self.scale <= 0 or not 0 <= self.margin < 1:
            raise ConfigError(
                f"scale {self.scale}, margin {self.margin}: expected a scale above 0 and a margin from 0 to below 1"
            )


def with_margin(cosines: Tensor, config: MarginConfig) -> Tensor:
    """t(θ) of the right classes' cosines, any shape.

    For θ + m > π, where cos(θ + m) would rise again, ArcFace goes on as cos θ - (1 - cos m), which meets it there.
    The gradient is finite also at θ = 0 and θ = π.
    """
    if config.kind == "cosface":
        return cosines - config.margin
    cosines = cosines.clamp(-1, 1)
    cos_m, sin_m = math.cos(config.margin), math.sin(config.margin)
    sines = (1 - cosines.square()).clamp(min=1e-6).sqrt()
    beyond = cosines < -cos_m
    return torch.where(beyond, cosines - (1 - cos_m), cosines * cos_m - sines * sin_m)


class MarginClassifier(nn.Module):
    """Class weights on the sphere and the loss against them.

    Args:
        classes: people known in training.
        embedding: size of the embeddings.
        sampled: classes that one batch is compared with, its own among them (arXiv 2203.15565); None: all.
    """

    def __init__(
        self, classes: int, embedding: int, config: MarginConfig | None = None, *, sampled: int | None = None
    ) -> None:
        super().__init__()
        self.config = config or MarginConfig()
        self.sampled = sampled
        self.weight = nn.Parameter(torch.randn(classes, embedding) * embedding**-0.5)

    def forward(self, embeddings: Tensor, labels: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Mean loss of embeddings [B, E] (any length) of the classes `labels` int64 [B].

        random: draws the sampled classes; needed where `sampled` is not None.
        """
        weight: Tensor = self.weight
        if self.sampled is not None and self.sampled < len(weight):
            kept, labels = self._sample(labels, self.sampled, random)
            weight = weight[kept]
        cosines = F.normalize(embeddings.float(), dim=1) @ F.normalize(weight.float(), dim=1).T  # [B, C]
        right = cosines.gather(1, labels[:, None])
        logits = cosines.scatter(1, labels[:, None], with_margin(right, self.config))
        return F.cross_entropy(self.config.scale * logits, labels)

    def _sample(self, labels: Tensor, count: int, random: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """(classes kept, ascending; labels as places among them): the batch's own and random others."""
        order = torch.rand(len(self.weight), generator=random).to(labels.device)
        order[labels] = 2  # the batch's own come first
        kept = order.topk(max(count, len(labels.unique()))).indices.sort().values
        return kept, torch.searchsorted(kept, labels)


def pair_margin_loss(a: Tensor, b: Tensor, person: Tensor, config: MarginConfig) -> Tensor:
    """The same loss where the batch itself is the classifier: `b[i]` shows the person of `a[i]`, all others do not.

    Each of the 2B embeddings in turn is the query, and the other 2B - 1 are the class weights. For more people than
    class weights can be trained for, or with new people in every batch.

    Args:
        a, b: unit vectors [B, E].
        person: int64 [B]; rows of the same person are no negatives of each other.
    """
    both = torch.cat([a, b]).float()  # [2B, E]
    cosines = both @ both.T
    n = len(a)
    partner = torch.arange(2 * n, device=a.device).roll(n)
    right = cosines.gather(1, partner[:, None])
    labels = torch.cat([person, person])
    hidden = labels[:, None] == labels[None]  # the query itself, and further pictures of its person
    logits = cosines.masked_fill(hidden, -math.inf).scatter(1, partner[:, None], with_margin(right, config))
    return F.cross_entropy(config.scale * logits, partner)
