"""A distance on features of our own networks, which stands where the recipe has LPIPS.

It has the form of LPIPS (Zhang et al. 2018, arXiv 1801.03924, equation 1) with all weights one:

    d(a, b) = sum over maps of mean over pixels of |f(a) - f(b)|²,     f unit-normalised over channels

and it is not LPIPS: the features are those of networks trained on synthetic faces, and no human judgement was fitted.
Both are called alike, `distance(a, b) -> [B]`, so that either goes into the same slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from latent_reenact.models.identity import IdentityEmbedder, id_crop


class MapNetwork(Protocol):
    """A network that shows its intermediate maps, as `FaceReader` does."""

    def features(self, images: Tensor) -> list[Tensor]:
        """images [B, 3, H, W] in [-1, 1] -> maps [B, C, h, w]."""


class FeatureDistance(nn.Module):
    """Perceptual distance of aligned faces, frozen: gradients flow to the pictures alone.

    Args:
        networks: face readers and identity embedders, one or several; they are frozen and put in evaluation mode.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FeatureDistance:
        """Stays in evaluation mode, whatever it is part of: its statistics must not move."""
        return super().train(False)

    def layers(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b [B, 3, H, W] in [-1, 1] -> each map's term [B, M]."""
        pairs = zip(self._maps(a), self._maps(b), strict=True)
        return torch.stack([(f - g).square().sum(1).mean((1, 2)) for f, g in pairs], dim=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b [B, 3, H, W] in [-1, 1] -> distances [B]."""
        return self.layers(a, b).sum(1)

    def _maps(self, images: Tensor) -> list[Tensor]:
        found = [x.float() for network in self.networks for x in feature_maps(network, images)]
        return [x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt() for x in found]


def feature_maps(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Intermediate maps of a reader, or the stem's and each stage's of an identity embedder, fine to coarse.

    images [B, 3, H, W] in [-1, 1].
    """
    if not isinstance(network, IdentityEmbedder):
        return cast(MapNetwork, network).features(images)
    x = network.input_layer(id_crop(images, network.config.input_size))
    found = [x]
    for i, unit in enumerate(network.body):
        x = unit(x)
        if i in network.config.body.stage_ends:
            found.append(x)
    return found
