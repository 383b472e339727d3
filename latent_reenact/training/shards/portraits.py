"""Shards of synthetic portraits in memory: pictures, landmarks, conditioning vectors, motion and swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.models.pixels import from_pixels


@dataclass(frozen=True)
class PortraitSet:
    """N portraits at one resolution R, each with P partners that wear its motion."""

    images: Tensor  # uint8 [N, 3, R, R], channels last
    landmarks: Tensor  # float32 [N, 68, 2], pixels
    conditioning: Tensor  # float32 [N, K]
    motion: Tensor  # float32 [N, 58]
    partners: Tensor  # int64 [N, P], rows of this set
    swapped: Tensor  # float32 [N, P, K]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> int:
        return self.images.shape[-1]

    def first(self, count: int) -> PortraitSet:
        """The first portraits; `count` should be a whole number of shards, since partners lie in the same shard."""
        rows = {name: getattr(self, name)[:count] for name in PortraitSet.__dataclass_fields__}
        if len(rows["partners"]) and int(rows["partners"].max()) >= count:
            raise ConfigError(f"portraits: got {count}, expected a whole number of shards")
        return PortraitSet(**rows)

    def pictures(self, index: Tensor) -> Tensor:
        """float [B, 3, R, R] in [-1, 1]."""
        return from_pixels(self.images[index])


def load_shards(paths: Sequence[Path], resolution: int, limit: int | None = None) -> PortraitSet:
    """Read shards (see `prepare`) and average-pool their pictures to `resolution`.

    Raises:
        WeightsNotFoundError: no shards.
    """
    if not paths:
        raise WeightsNotFoundError("no shards of synthetic portraits found; training.prepare.prepare_shards makes them")
    parts: dict[str, list[Tensor]] = {name: [] for name in PortraitSet.__dataclass_fields__}
    count = 0
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            arrays = {name: torch.from_numpy(shard[name]) for name in parts}
        scale = resolution / arrays["images"].shape[1]
        arrays["images"] = _pool(arrays["images"].permute(0, 3, 1, 2), resolution)
        arrays["landmarks"] = arrays["landmarks"] * scale
        arrays["partners"] = arrays["partners"].long() + count
        for name, values in arrays.items():
            parts[name].append(values)
        count += len(arrays["images"])
        if limit is not None and count >= limit:
            break
    return PortraitSet(**{name: torch.cat(values) for name, values in parts.items()})


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
