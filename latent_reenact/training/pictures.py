"""Aligned pictures out of shards, for the stages that look at pictures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latent_reenact.errors import ConfigError
from latent_reenact.training.shards.catalog import Catalog
from latent_reenact.training.shards.format import find_shards
from latent_reenact.training.shards.stream import PictureStream, stream
from latent_reenact.training.stage import Setup


@dataclass(frozen=True, kw_only=True)
class PicturesConfig:
    """Which pictures.

    folder: as `latent-reenact prepare` writes it, with `train/*.tar` and `val/*.tar`, disjoint by person.
    """

    folder: str
    seed: int = 1  # of the order
    workers: int = 4  # processes that decode
    held_out: int = 256  # pictures of `val` that the encoder is judged by and the best weights chosen by

    def __post_init__(self) -> None:
        if self.workers < 0 or self.held_out < 1:
            raise ConfigError(f"workers {self.workers}, held_out {self.held_out}: expected at least 0 and 1")


class ShardPictures:
    """Pictures of shards, split over the ranks; opened where the run stands.

    Args:
        resolution: side that the pictures are averaged to: what the encoder sees, since no more is looked at.
    """

    def __init__(self, shards: Sequence[Path], config: PicturesConfig, resolution: int) -> None:
        self.shards, self.config, self.resolution = shards, config, resolution
        self._stream: PictureStream | None = None

    def start(self, setup: Setup) -> None:
        """Open the stream behind the batches that are done: one a micro-step."""
        batches = stream(
            self.shards,
            seed=self.config.seed,
            batch=setup.batch,
            start=setup.step * setup.accumulate,
            rank=setup.rank,
            world_size=setup.world_size,
            workers=self.config.workers,
            resolution=self.resolution,
        )
        self._stream = PictureStream(batches)

    def pictures(self, random: torch.Generator, batch: int) -> Tensor:
        """[B, 3, R, R] in [-1, 1]."""
        return self._opened().pictures(random, batch)

    def names(self) -> Sequence[str]:
        return self._opened().keys

    def counters(self) -> Mapping[str, int]:
        return self._opened().batches.skipped

    def _opened(self) -> PictureStream:
        if self._stream is None:
            raise RuntimeError("the stage has to be started before it draws pictures")
        return self._stream


def held_out_pictures(config: PicturesConfig, resolution: int) -> Tensor:
    """Random pictures of `val`, the same in every run, [N, 3, R, R] in [-1, 1]."""
    shards = find_shards(config.folder, "val")
    count = min(config.held_out, len(Catalog.of(shards).keys))
    return next(stream(shards, seed=config.seed, batch=count, resolution=resolution)).pictures()
