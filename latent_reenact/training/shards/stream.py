"""Endless shuffled batches out of shards, the same ones whenever they are asked for.

Batch k of a rank is a function of (shards, seed, batch, world size, workers, k) alone, so a run that goes on at
`start=k` sees what the unbroken run would have seen; getting there reads no picture. Samples that cannot be read are
counted and another one, drawn at random, takes their place: a broken picture does not stop a run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.models.pixels import from_pixels
from latent_reenact.training.shards.catalog import Catalog, Units
from latent_reenact.training.shards.order import Order, Window, chunk_starts
from latent_reenact.training.shards.reading import Face, RawSample, decode

T = TypeVar("T")
Raw = dict[str, RawSample]

_CHUNK_SAMPLES = 128  # some 4 MB of 256 px JPEG: long enough to read in one go, eight of them fit in memory
_TRIES = 64  # other samples to try in the place of an unreadable one, before the data counts as broken
_PROBLEMS_KEPT = 20


@dataclass(frozen=True)
class Batch:
    """B samples at one resolution R.

    landmarks: pixels of the picture, the centre of the top left one is (0, 0). z: where all samples are synthetic.
    """

    keys: tuple[str, ...]
    people: tuple[str, ...]
    images: Tensor  # uint8 [B, 3, R, R], channels last
    landmarks: Tensor  # float32 [B, 68, 2]
    pose_deg: Tensor  # float32 [B, 3], yaw, pitch, roll
    z: Tensor | None  # float64 [B, LATENT_DIM]

    @classmethod
    def of(cls, faces: Sequence[Face]) -> Batch:
        """Raises CorruptFileError where the faces are not of one size."""
        sides = {len(face.picture) for face in faces}
        if len(sides) > 1:
            raise CorruptFileError(
                f"the shards hold pictures of {sorted(sides)} px; give the resolution to bring them to"
            )
        latents = [face.z for face in faces if face.z is not None]
        return cls(
            keys=tuple(face.key for face in faces),
            people=tuple(face.person for face in faces),
            images=torch.from_numpy(np.stack([face.picture for face in faces])).permute(0, 3, 1, 2),
            landmarks=torch.from_numpy(np.stack([face.landmarks for face in faces])),
            pose_deg=torch.from_numpy(np.stack([face.pose_deg for face in faces])),
            z=torch.from_numpy(np.stack(latents)) if len(latents) == len(faces) else None,
        )

    def pictures(self) -> Tensor:
        """float32 [B, 3, R, R] in [-1, 1]."""
        return from_pixels(self.images)


@dataclass(frozen=True)
class Clips:
    """The method's two clips a step: two frames of one person's clip A, two of another person's clip R."""

    driving_a: Batch
    identity_a: Batch
    driving_r: Batch
    identity_r: Batch

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.driving_a.keys, *self.identity_a.keys, *self.driving_r.keys, *self.identity_r.keys)


class Stream(Iterator[T], Generic[T]):
    """The batches of one rank.

    skipped: "unreadable_samples" and "truncated_shards" so far, of this rank. problems: the last few, in words.
    """

    def __init__(self, reader: _Reader[T]) -> None:
        self.skipped = Counter(truncated_shards=len(reader.catalog.problems), unreadable_samples=0)
        self.problems: deque[str] = deque(reader.catalog.problems, _PROBLEMS_KEPT)
        self._loader = iter(DataLoader(reader, batch_size=None, num_workers=reader.workers, collate_fn=_as_it_is))

    def __next__(self) -> T:
        batch, problems = next(self._loader)
        self.skipped["unreadable_samples"] += len(problems)
        self.problems.extend(problems)
        return batch


def stream(
    shards: Iterable[Path],
    *,
    seed: int,
    batch: int,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    resolution: int | None = None,
) -> Stream[Batch]:
    """Every sample once an epoch, over all ranks and workers together.

    Args:
        start: batches of this rank that are already done.
        workers: processes that read and decode beside this one; part of what the order depends on (0 is as 1).
        resolution: pictures are averaged to this many pixels a side; None keeps their size.

    Raises:
        ConfigError: no shards, or fewer samples than readers. CorruptFileError: nothing in the shards can be read.
    """
    units = Catalog.of(shards).samples()
    return Stream(_PictureReader(units, seed, batch, start, rank, world_size, workers, resolution))


def stream_clips(
    shards: Iterable[Path],
    *,
    seed: int,
    batch: int,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    resolution: int | None = None,
) -> Stream[Clips]:
    """Two random frames of every clip once an epoch, each with two frames of a random clip of someone else.

    Clips of a single frame are left out. Arguments and errors are those of `stream`; also ConfigError where the
    shards show fewer than two people.
    """
    units = Catalog.of(shards).clips()
    if len(np.unique(units.person)) < 2:
        raise ConfigError(
            "the shards hold clips of fewer than two people; expected some of two or more, to swap motion"
        )
    return Stream(_ClipReader(units, seed, batch, start, rank, world_size, workers, resolution))


class PictureStream:
    """A stream as adversarial training takes its real pictures: call after call, one batch each.

    Opened at `start`, the number of calls that are already done, it goes on as if never closed.
    """

    def __init__(self, batches: Stream[Batch]) -> None:
        self.batches = batches
        self.keys: tuple[str, ...] = ()  # of the last batch

    def pictures(self, random: torch.Generator, batch: int) -> Tensor:
        """float32 [B, 3, R, R] in [-1, 1]; `random` is not used.

        Raises ConfigError for another batch than the stream was opened with.
        """
        drawn = next(self.batches)
        if len(drawn.keys) != batch:
            raise ConfigError(f"the stream was opened for batches of {len(drawn.keys)}, got {batch}; open another")
        self.keys = drawn.keys
        return drawn.pictures()


class _Reader(IterableDataset, Generic[T]):
    """The batches of one rank, each by one worker in turn; with each, what could not be read for it."""

    def __init__(
        self,
        units: Units,
        seed: int,
        batch: int,
        start: int,
        rank: int,
        world_size: int,
        workers: int,
        resolution: int | None,
    ) -> None:
        if min(batch, world_size, start + 1, workers + 1) < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                f"got batch {batch}, start {start}, workers {workers}, rank {rank} of {world_size}; expected a batch "
                "of 1 or more, start and workers of 0 or more, and a rank below the number of ranks"
            )
        self.units, self.catalog, self.resolution = units, units.catalog, resolution
        self.seed, self.batch, self.start = seed, batch, start
        self.rank, self.workers, self.lanes = rank, workers, max(1, workers)
        self.readers = world_size * self.lanes
        largest = max(1, _CHUNK_SAMPLES * len(units) // max(1, units.sample_count))
        self.starts = chunk_starts(units.shard, largest=largest, readers=self.readers)
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[tuple[T, list[str]]]:
        """Batches k = start + worker, and every `workers`-th after that; the loader takes them in turn."""
        worker = get_worker_info()
        done, lane = divmod(self.start + (worker.id if worker else 0), self.lanes)
        order = Order(self.starts, self.seed, self.rank * self.lanes + lane, self.readers)
        items = self._items(order, done * self.batch)
        while True:
            batch = self.collate(list(islice(items, self.batch)))
            yield batch, self.problems
            self.problems = []

    def _items(self, order: Order, position: int) -> Iterator[Any]:
        for window in order.windows(position):
            raw = self._load(window)
            for slot in range(window.first, len(window.units)):
                yield self.item(window, slot, raw, order.draw(window, slot))

    def item(self, window: Window, slot: int, raw: Raw, random: np.random.Generator) -> Any:
        """What the unit at one place of a window gives to a batch."""
        raise NotImplementedError

    def collate(self, items: list[Any]) -> T:
        raise NotImplementedError

    def _load(self, window: Window) -> Raw:
        """The undecoded samples of a window by key, each chunk in one go."""
        raw: Raw = {}
        for chunk in window.chunks:
            raw |= self.units.read(self.starts[chunk], self.starts[chunk + 1])
        return raw

    def faces(self, unit: int, raw: Raw, count: int, random: np.random.Generator) -> list[Face] | None:
        """`count` readable samples of a unit, drawn at random where it has more; None where it has fewer."""
        found: list[Face] = []
        for key in random.permutation(self.units.keys(unit)):
            try:
                if key not in raw:
                    raise CorruptFileError(f"sample {key} lies in a damaged part of its shard")
                found.append(decode(raw[key], self.resolution))
            except CorruptFileError as error:
                self.problems.append(str(error))
            if len(found) == count:
                return found
        return None

    def elsewhere(
        self, count: int, random: np.random.Generator, *, other_than: int | None = None
    ) -> tuple[int, list[Face]]:
        """A random unit of the whole set, of another person than `other_than`, and `count` samples of it."""
        for _ in range(_TRIES):
            unit = int(random.integers(len(self.units)))
            while self.units.person[unit] == other_than:
                unit = int(random.integers(len(self.units)))
            found = self.faces(unit, self.units.read(unit, unit + 1), count, random)
            if found:
                return unit, found
        raise CorruptFileError(
            f"none of {_TRIES} samples in a row can be read ({self.problems[-1]}); prepare them again"
        )


class _PictureReader(_Reader[Batch]):
    def item(self, window: Window, slot: int, raw: Raw, random: np.random.Generator) -> Face:
        found = self.faces(window.units[slot], raw, 1, random)
        return (found or self.elsewhere(1, random)[1])[0]

    def collate(self, items: list[Face]) -> Batch:
        return Batch.of(items)


class _ClipReader(_Reader[Clips]):
    def item(self, window: Window, slot: int, raw: Raw, random: np.random.Generator) -> list[Face]:
        """driving A, identity A, driving R, identity R."""
        unit, person = window.units[slot], self.units.person
        first = self.faces(unit, raw, 2, random)
        if first is None:
            unit, first = self.elsewhere(2, random)
        others = window.units[person[window.units] != person[unit]]
        second = self.faces(random.choice(others), raw, 2, random) if len(others) else None
        if second is None:
            _, second = self.elsewhere(2, random, other_than=person[unit])
        return [*first, *second]

    def collate(self, items: list[list[Face]]) -> Clips:
        return Clips(*(Batch.of(faces) for faces in zip(*items, strict=True)))


def _as_it_is(batch: T) -> T:
    return batch
