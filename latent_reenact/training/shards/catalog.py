"""What is in a set of shards, without its pictures: every sample's key and place, by sample or by clip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.training.shards.format import clip_of, person_of, read_index
from latent_reenact.training.shards.reading import RawSample, read_raw


@dataclass(frozen=True)
class Catalog:
    """All N samples of some shards, in the order of the shards' paths.

    problems: a line for each shard that is cut off or damaged; what it holds before that is in the catalog.
    """

    shards: tuple[Path, ...]
    keys: tuple[str, ...]
    shard: np.ndarray  # int64 [N], row of `shards`
    start: np.ndarray  # int64 [N], the bytes of each sample
    end: np.ndarray  # int64 [N]
    problems: tuple[str, ...]

    @classmethod
    def of(cls, shards: Iterable[Path]) -> Catalog:
        """Raises ConfigError for no shards, CorruptFileError where they hold no sample."""
        paths = tuple(sorted(Path(path) for path in shards))
        if not paths:
            raise ConfigError("got no shards; expected *.tar files as `latent-reenact prepare` writes them")
        indices = [read_index(path) for path in paths]
        problems = tuple(f"{i.path} is cut off or damaged: {i.truncated}" for i in indices if i.truncated)
        keys = tuple(key for index in indices for key in index.keys)
        if not keys:
            found = problems[0] if problems else f"{paths[0]} is empty"
            raise CorruptFileError(f"no samples in {len(paths)} shards ({found}); prepare them again")
        return cls(
            paths,
            keys,
            np.repeat(np.arange(len(paths)), [len(index) for index in indices]),
            np.concatenate([index.offsets[:-1] for index in indices]),
            np.concatenate([index.offsets[1:] for index in indices]),
            problems,
        )

    def samples(self) -> Units:
        """Every sample a unit."""
        first = np.arange(len(self.keys))
        return Units(self, first, first + 1)

    def clips(self) -> Units:
        """Every clip of two or more samples a unit. Raises ConfigError where there is none."""
        clips = np.array([f"{shard} {clip_of(key)}" for shard, key in zip(self.shard, self.keys, strict=True)])
        edges = np.flatnonzero(clips[1:] != clips[:-1]) + 1
        first, last = np.r_[0, edges], np.r_[edges, len(clips)]
        long = last - first >= 2
        if not long.any():
            raise ConfigError("no clip in the shards has two frames; prepare with --frames 2 or more")
        return Units(self, first[long], last[long])


class Units:
    """What is drawn as one: samples first[u] .. last[u] of a catalog, which lie in one shard.

    shard: [U], row of the catalog's shards. person: [U], numbers that tell people apart.
    """

    def __init__(self, catalog: Catalog, first: np.ndarray, last: np.ndarray) -> None:
        self.catalog, self.first, self.last = catalog, first, last
        self.shard = catalog.shard[first]
        self.person = np.unique([person_of(catalog.keys[i]) for i in first], return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def sample_count(self) -> int:
        return int((self.last - self.first).sum())

    def keys(self, unit: int) -> tuple[str, ...]:
        return self.catalog.keys[self.first[unit] : self.last[unit]]

    def read(self, unit: int, stop: int) -> dict[str, RawSample]:
        """The undecoded samples of units unit .. stop, which lie in one shard, by key; those damaged are missing."""
        catalog, first, last = self.catalog, self.first[unit], self.last[stop - 1]
        samples = read_raw(
            catalog.shards[self.shard[unit]], int(catalog.start[first]), int(catalog.end[last - 1]), lambda error: True
        )
        return {raw["__key__"]: raw for raw in samples}
