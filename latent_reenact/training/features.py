"""Our own networks in the places where the recipe has ArcFace and LPIPS, frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from latent_reenact.models import FeatureDistance, load_networks


@dataclass(frozen=True)
class Features:
    """identity: images [B, 3, H, W] in [-1, 1] -> unit vectors [B, E]; distance: two such batches -> [B]."""

    identity: nn.Module
    distance: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def load(cls, model: str | Path) -> Features:
        """From a folder with `face_reader` and `identity`, as the estimators' recipe writes it."""
        networks = load_networks(model)
        identity, reader = networks["identity"], networks["face_reader"]
        return cls(identity, FeatureDistance([reader, identity]))

    def to(self, device: torch.device) -> Features:
        distance = self.distance.to(device) if isinstance(self.distance, nn.Module) else self.distance
        return Features(self.identity.to(device), distance)
