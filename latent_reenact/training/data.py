"""Shards of synthetic portraits in memory: pictures, landmarks and the factors' conditioning vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import WeightsNotFoundError


@dataclass(frozen=True)
class PortraitSet:
    """N portraits at one resolution R."""

    images: Tensor  # uint8 [N, 3, R, R], channels last
    landmarks: Tensor  # float32 [N, 68, 2], pixels
    conditioning: Tensor  # float32 [N, K]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(images float [B, 3, R, R] in [-1, 1], landmarks, conditioning)."""
        return to_float(self.images[index]), self.landmarks[index], self.conditioning[index]


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def load_shards(paths: Sequence[Path], resolution: int, limit: int | None = None) -> PortraitSet:
    """Read `.npz` shards (images [N, S, S, 3] uint8, landmarks, conditioning) and average-pool them to `resolution`."""
    if not paths:
        raise WeightsNotFoundError("no shards of synthetic portraits found; make them with latent-reenact prepare")
    images, landmarks, conditioning, count = [], [], [], 0
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            pictures = torch.from_numpy(shard["images"]).permute(0, 3, 1, 2)
            scale = resolution / pictures.shape[-1]
            images.append(_pool(pictures, resolution))
            landmarks.append(torch.from_numpy(shard["landmarks"]) * scale)
            conditioning.append(torch.from_numpy(shard["conditioning"]))
        count += len(images[-1])
        if limit is not None and count >= limit:
            break
    return PortraitSet(torch.cat(images), torch.cat(landmarks), torch.cat(conditioning))


def _pool(pictures: Tensor, resolution: int) -> Tensor:
    factor = pictures.shape[-1] // resolution
    if factor > 1:
        parts = [F.avg_pool2d(part.float(), factor).round().to(torch.uint8) for part in pictures.split(128)]
        pictures = torch.cat(parts)
    return pictures.contiguous(memory_format=torch.channels_last)


class Standardizer:
    """Keeps the inputs that vary and brings them to zero mean, unit variance, within ±4."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std, self.keep = mean, std, std > 1e-4

    @classmethod
    def fit(cls, values: Tensor) -> Standardizer:
        """values [N, K]."""
        return cls(values.mean(0), values.std(0))

    @property
    def size(self) -> int:
        """Inputs kept."""
        return int(self.keep.sum())

    def __call__(self, values: Tensor) -> Tensor:
        """[N, K] -> [N, size]."""
        return ((values - self.mean) / self.std.clamp(min=1e-4)).clamp(-4, 4)[:, self.keep]
