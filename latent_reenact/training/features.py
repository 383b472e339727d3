"""Our own networks in the places where the recipe has ArcFace and LPIPS, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from latent_reenact.models import FeatureDistance, load_networks


@dataclass(frozen=True)
class Features:
    """identity: images [B, 3, H, W] in [-1, 1] -> unit vectors [B, E]; reader: -> a `FaceReading`."""

    identity: nn.Module
    reader: nn.Module
    distance: FeatureDistance = field(init=False)  # two batches -> [B]

    def __post_init__(self) -> None:
        object.__setattr__(self, "distance", FeatureDistance([self.reader, self.identity]))

    @classmethod
    def load(cls, model: str | Path) -> Features:
        """From a folder with `face_reader` and `identity`, as the estimators' recipe writes it."""
        return cls.of(load_networks(model))

    @classmethod
    def of(cls, networks: Mapping[str, nn.Module]) -> Features:
        """From networks by name."""
        frozen = {name: networks[name].eval().requires_grad_(False) for name in ("identity", "face_reader")}
        return cls(frozen["identity"], frozen["face_reader"])

    def networks(self) -> dict[str, nn.Module]:
        """By the names that a model folder has."""
        return {"face_reader": self.reader, "identity": self.identity}

    def to(self, device: torch.device) -> Features:
        return Features(self.identity.to(device), self.reader.to(device))
