"""Who reads what, when: the endless order of a shuffled stream as a function of its seed and position alone.

Units (samples, or whole clips) lie in chunks, runs of one shard that are read in one go. Each epoch shuffles the
chunks and deals them to the readers (rank x worker); each reader takes them a window of several chunks at a time and
shuffles the units of the window. To go on at any position only the chunks' sizes are needed, so nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from latent_reenact.errors import ConfigError

CHUNKS_PER_WINDOW = 8
_CHUNKS_PER_READER = 4  # at least, where there are that many units: so that windows mix
_CHUNKS, _UNITS, _DRAW = range(3)  # what a random generator is for


@dataclass(frozen=True)
class Window:
    """Units that are in memory together.

    chunks: those it is made of. units: in the order in which they are drawn. first: how many of them lie before the
    position asked for.
    """

    epoch: int
    number: int
    chunks: np.ndarray
    units: np.ndarray
    first: int


@dataclass(frozen=True)
class Order:
    """The units of one reader.

    starts: [C + 1], chunk c holds units starts[c] .. starts[c + 1].
    """

    starts: np.ndarray
    seed: int
    reader: int
    readers: int

    def windows(self, position: int) -> Iterator[Window]:
        """From the window that holds the unit at `position` of this reader's stream on, without end."""
        sizes = np.diff(self.starts)
        epoch = 0
        while True:
            chunks = self._chunks(epoch)
            if position >= (size := int(sizes[chunks].sum())):
                position -= size
                epoch += 1
                continue
            for number in range(-(-len(chunks) // CHUNKS_PER_WINDOW)):
                mine = chunks[number * CHUNKS_PER_WINDOW : (number + 1) * CHUNKS_PER_WINDOW]
                size = int(sizes[mine].sum())
                if position < size:
                    yield Window(epoch, number, mine, self._units(epoch, number, mine), position)
                position = max(0, position - size)
            epoch += 1

    def draw(self, window: Window, slot: int) -> np.random.Generator:
        """For what is drawn at one place of the stream."""
        return np.random.default_rng((self.seed, _DRAW, self.reader, window.epoch, window.number, slot))

    def _chunks(self, epoch: int) -> np.ndarray:
        """The chunks of this reader in one epoch."""
        shuffled = np.random.default_rng((self.seed, _CHUNKS, epoch)).permutation(len(self.starts) - 1)
        return shuffled[self.reader :: self.readers]

    def _units(self, epoch: int, number: int, chunks: np.ndarray) -> np.ndarray:
        units = np.concatenate([np.arange(self.starts[c], self.starts[c + 1]) for c in chunks])
        rng = np.random.default_rng((self.seed, _UNITS, self.reader, epoch, number))
        return rng.permutation(units)


def chunk_starts(shard: np.ndarray, *, largest: int, readers: int) -> np.ndarray:
    """Cut units into chunks of nearly equal size that do not cross shards.

    Args:
        shard: [U], the shard of each unit, in order.
        largest: units a chunk at most; fewer where the readers would get too few chunks.

    Returns:
        starts [C + 1], as `Order` takes them.

    Raises:
        ConfigError: fewer units than readers.
    """
    if len(shard) < readers:
        raise ConfigError(
            f"got {len(shard)} samples or clips for {readers} readers (processes x workers); "
            "use fewer workers, or prepare more data"
        )
    size = max(1, min(largest, len(shard) // (_CHUNKS_PER_READER * readers)))
    runs = np.split(np.arange(len(shard)), np.flatnonzero(np.diff(shard)) + 1)  # one for each shard
    starts = [[piece[0] for piece in np.array_split(run, -(-len(run) // size))] for run in runs]
    return np.array([*chain(*starts), len(shard)], np.int64)
