"""Clips of aligned faces as the method takes them: two frames of one person, two of another.

Keys name frames, `{person}/{clip}/{frame:04d}`: what stands before the last slash is the clip, before the first the
person.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import ConfigError, CorruptFileError, UsageError
from latent_reenact.training.shards.format import clip_of, person_of, read_index
from latent_reenact.training.shards.reading import decode, read_raw
from latent_reenact.training.shards.stream import Clips, Stream, stream_clips
from latent_reenact.training.stage import Setup

_READ_SAMPLES = 128  # read from disk in one go


@dataclass(frozen=True)
class ClipBatch:
    """B samples. Of the identities the keys suffice: their latents and pictures are inverted beforehand."""

    driving_a: Tensor  # uint8 [B, 3, S, S]
    driving_r: Tensor  # uint8 [B, 3, S, S], of another person
    driving_a_keys: tuple[str, ...]
    identity_a_keys: tuple[str, ...]  # other frames of the same clips
    identity_r_keys: tuple[str, ...]


class ClipSource(Protocol):
    """Where clips come from."""

    def start(self, setup: Setup) -> None:
        """Called before the first draw and after a resume."""

    def draw(self, random: torch.Generator, batch: int) -> ClipBatch:
        """A batch; whatever is random comes from `random`, or from the place that `start` was told."""

    def counters(self) -> Mapping[str, int]:
        """Such as samples that could not be read."""


class ClipSet:
    """Clips in memory.

    Args:
        pictures: uint8 [N, 3, S, S].
        keys: their names; frames of one clip need not lie together.

    Raises:
        ConfigError: fewer than two people, or a clip of a single frame.
    """

    def __init__(self, pictures: Tensor, keys: Sequence[str]) -> None:
        if len(pictures) != len(keys):
            raise ConfigError(f"clips: got {len(pictures)} pictures and {len(keys)} keys, expected as many of each")
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.pictures, self.keys = pictures[order], tuple(keys[i] for i in order)
        self.clips, starts, self.frames = _runs([clip_of(key) for key in self.keys])
        people, self._first, self._count = _runs([person_of(clip) for clip in self.clips])
        if len(people) < 2:
            raise ConfigError(f"clips: got {len(people)} people, expected two or more: one drives, another is drawn")
        if int(self.frames.min()) < 2:
            short = self.clips[int(self.frames.argmin())]
            raise ConfigError(f"clip {short}: got one frame, expected two or more: one drives, another is the identity")
        self.starts = starts
        self._person = torch.repeat_interleave(torch.arange(len(people)), self._count)

    def __len__(self) -> int:
        """Clips."""
        return len(self.clips)

    def start(self, setup: Setup) -> None:
        """Nothing to open."""

    def counters(self) -> Mapping[str, int]:
        """Nothing to count."""
        return {}

    def draw(self, random: torch.Generator, batch: int) -> ClipBatch:
        """Clips, then frames, uniformly; R is anybody but A."""
        a = torch.randint(len(self), (batch,), generator=random)
        r = self._another_person(a, random)
        driving_a, identity_a = self._two_frames(a, random)
        driving_r, identity_r = self._two_frames(r, random)
        return ClipBatch(
            self.pictures[driving_a],
            self.pictures[driving_r],
            self._keys(driving_a),
            self._keys(identity_a),
            self._keys(identity_r),
        )

    def spread(self, count: int) -> ClipSet:
        """`count` of the clips, evenly spread over the people; all where there are no more."""
        chosen = torch.linspace(0, len(self) - 1, min(count, len(self))).round().long().tolist()
        rows = torch.cat([self.rows(clip) for clip in chosen])
        return ClipSet(self.pictures[rows], self._keys(rows))

    def rows(self, clip: int) -> Tensor:
        """The rows of `pictures` that are a clip's frames, in order of time."""
        return torch.arange(int(self.starts[clip]), int(self.starts[clip] + self.frames[clip]))

    def partner(self, clip: int) -> int:
        """A clip of the next person: who is drawn where this clip drives in an evaluation."""
        person = int(self._person[clip])
        return int(self._first[person] + self._count[person]) % len(self)

    def _another_person(self, clips: Tensor, random: torch.Generator) -> Tensor:
        """A person's clips lie together: a step beyond them, by less than all the others, meets every other clip."""
        person = self._person[clips]
        others = len(self) - self._count[person]
        steps = (torch.rand(len(clips), generator=random, dtype=torch.float64) * others).long()
        return (self._first[person] + self._count[person] + steps) % len(self)

    def _two_frames(self, clips: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows of two different frames of each clip."""
        count = self.frames[clips]
        one, other = torch.rand(2, len(clips), generator=random, dtype=torch.float64)
        first = (one * count).long()
        second = (first + 1 + (other * (count - 1)).long()) % count
        return self.starts[clips] + first, self.starts[clips] + second

    def _keys(self, rows: Tensor) -> tuple[str, ...]:
        return tuple(self.keys[row] for row in rows.tolist())


def _runs(names: Sequence[str]) -> tuple[list[str], Tensor, Tensor]:
    """Equal neighbours taken together: (name, first index, count) of each run."""
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    counts = np.diff([*starts, len(names)])
    return [names[i] for i in starts], torch.tensor(starts), torch.from_numpy(counts)


class ClipStream:
    """Clips read from shards as they are needed, split over ranks and workers.

    Args:
        shards: tar files.
        resolution: side that pictures are averaged to; None keeps theirs.
        workers: processes beside each rank's own that read and decode.
    """

    def __init__(self, shards: Sequence[Path], *, seed: int, resolution: int | None = None, workers: int = 0) -> None:
        self.shards, self.seed, self.resolution, self.workers = tuple(shards), seed, resolution, workers
        self._stream: Stream[Clips] | None = None

    def start(self, setup: Setup) -> None:
        """Open the stream at the place that the run has come to."""
        self._stream = stream_clips(
            self.shards,
            seed=self.seed,
            batch=setup.batch,
            start=setup.step * setup.accumulate,
            rank=setup.rank,
            world_size=setup.world_size,
            workers=self.workers,
            resolution=self.resolution,
        )

    def draw(self, random: torch.Generator, batch: int) -> ClipBatch:
        """The next clips of the stream, whose order is its own: `random` is not used."""
        if self._stream is None:
            raise UsageError("the stream of clips is not open: call start(setup) before the first draw")
        clips = next(self._stream)
        return ClipBatch(
            clips.driving_a.images,
            clips.driving_r.images,
            clips.driving_a.keys,
            clips.identity_a.keys,
            clips.identity_r.keys,
        )

    def counters(self) -> Mapping[str, int]:
        """Unreadable samples and shards so far, on this rank."""
        return {} if self._stream is None else dict(self._stream.skipped)


def shard_pictures(path: Path, size: int | None = None) -> Iterator[tuple[str, Tensor]]:
    """Key and picture, uint8 [3, S, S], of each readable sample of a shard; averaged to `size` where that is given.

    What cannot be read is left out: a stream counts it when it comes to it.
    """
    index = read_index(path)
    for first in range(0, len(index), _READ_SAMPLES):
        start, end = index.offsets[first], index.offsets[min(first + _READ_SAMPLES, len(index))]
        for raw in read_raw(path, int(start), int(end), lambda error: True):
            with contextlib.suppress(CorruptFileError):
                face = decode(raw, size)
                yield face.key, torch.from_numpy(face.picture.transpose(2, 0, 1).copy())


def load_clips(paths: Sequence[Path], size: int | None = None, limit: int | None = None) -> ClipSet:
    """The clips of shards in memory, at most `limit` pictures; clips of a single frame are left out.

    Raises:
        ConfigError: no clip of two frames, or pictures of several sizes and no `size` to bring them to.
    """
    samples = list(islice((sample for path in paths for sample in shard_pictures(path, size)), limit))
    frames = Counter(clip_of(key) for key, _ in samples)
    kept = [sample for sample in samples if frames[clip_of(sample[0])] > 1]
    sides = sorted({picture.shape[-1] for _, picture in kept})
    if len(sides) != 1:
        raise ConfigError(
            f"clips: got pictures of {sides} px in clips of two or more frames, out of {len(paths)} shards; expected "
            "one size: prepare them again, or give the size to bring them to"
        )
    return ClipSet(torch.stack([picture for _, picture in kept]), [key for key, _ in kept])
