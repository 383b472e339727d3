"""A run of an evaluation: every system on every pair, read by every estimator, kept as it comes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from latent_reenact.errors import ConfigError, LatentReenactError, OutputError
from latent_reenact.evaluation.clips import Clip, ClipSource, SyntheticClips
from latent_reenact.evaluation.contestants import Contestant
from latent_reenact.evaluation.estimators import Estimator
from latent_reenact.evaluation.measures import measure_pictures
from latent_reenact.evaluation.pairs import Pair, Protocol
from latent_reenact.evaluation.store import Store, marked, slug
from latent_reenact.evaluation.world import Progress
from latent_reenact.models import LPIPS

ANSWER = "right answer"
_KEPT_CLIPS = 3  # pairs follow each other in a ring: one's driving clip is the next one's identity


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """How much is measured. The defaults are the standard report."""

    protocol: Protocol = "cross"
    pairs: int = 50
    frames: int = 16  # of a clip
    fps: float = 4.0  # a second: so that 16 frames have a blink, a smile and many syllables in them
    size: int = 128  # pixels, of clips and of what is measured
    seed: int = 0
    bootstrap: int = 2000
    strips: int = 4  # pairs shown as pictures

    def __post_init__(self) -> None:
        least = {"pairs": 2, "frames": 4, "size": 16, "bootstrap": 100, "strips": 0, "seed": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected at least {minimum}")
        if not 0 < self.fps <= 120:
            raise ConfigError(f"fps: got {self.fps}, expected above 0 and at most 120")


class AnswerContestant:
    """Draws the right answer itself: what the readers say of it is what a perfect system would reach."""

    name, fingerprint, takes_clips = ANSWER, "renderer", False

    def __init__(self, source: ClipSource, protocol: Protocol) -> None:
        self._source, self._protocol = source, protocol

    @classmethod
    def known(cls, source: ClipSource, protocol: Protocol) -> bool:
        return protocol == "self" or isinstance(source, SyntheticClips)

    def run(self, identity: Clip, driving: Clip) -> np.ndarray:
        if self._protocol == "self":
            return driving.frames
        assert isinstance(self._source, SyntheticClips)
        return self._source.answer(identity, driving)


@dataclass
class Run:
    """One evaluation at work."""

    contestants: list[Contestant]
    source: ClipSource
    estimators: list[Estimator]
    store: Store
    config: ProtocolConfig
    pairs: list[Pair]
    people: dict[str, str]
    progress: Progress
    remarks: Sequence[str]
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)  # system -> pair -> why
    bad_clips: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clips: OrderedDict[str, Clip] = OrderedDict()
        self.numbers = {name: i for i, name in enumerate(self.people)}
        self.has_answer = AnswerContestant.known(self.source, self.config.protocol)
        if self.has_answer:
            self.contestants.append(AnswerContestant(self.source, self.config.protocol))
        self.keys = {c.name: marked(c.name, c.fingerprint) for c in self.contestants}
        self.readers = {slug(e.name): (e, marked(e.name, e.fingerprint)) for e in self.estimators}
        known = [(d, e.fingerprint) for e in self.estimators if (d := e.distance()) is not None]
        known.sort(key=lambda item: not isinstance(item[0][1], LPIPS))  # where it is there, it is what is asked for
        self.distance: tuple[str, nn.Module] | None = known[0][0] if known else None
        self._distance_print = known[0][1] if known else ""

    # -- work: everything that is kept in files

    def work(self) -> None:
        total = len(self.pairs) * len(self.contestants)
        order = sorted(self.contestants, key=lambda c: c.name != ANSWER)  # the others are compared with it
        for index, pair in enumerate(self.pairs):
            for k, contestant in enumerate(order):
                try:
                    self._do(index, pair, contestant)
                except OutputError:
                    raise
                except LatentReenactError as error:
                    words = f"{index}: {pair.identity} <- {pair.driving}"
                    self.skipped.setdefault(contestant.name, {})[words] = str(error)
                self.progress(index * len(order) + k + 1, total, "clips")

    def _do(self, index: int, pair: Pair, contestant: Contestant) -> None:
        """One pair of one system, as far as it is not done."""
        key, store = self.keys[contestant.name], self.store
        for name in (pair.identity, pair.driving):
            self._read_clip(name)
        if not store.has_frames(key, index):
            identity, driving = self.clip(pair.identity), self.clip(pair.driving)
            frames = contestant.run(identity, driving)
            if frames.shape != driving.frames.shape:
                raise ConfigError(f"got frames {list(frames.shape)}, expected {list(driving.frames.shape)}")
            store.keep_frames(key, index, frames)
            if not store.noted(key):
                store.note(key, {"name": contestant.name, "takes_clips": contestant.takes_clips})
        for estimator, reader in self.readers.values():
            if store.reading(reader, key, index) is None:
                store.keep_reading(reader, key, index, estimator.read(self.frames(key, index, pair)))
        compared = self.has_answer and contestant.name != ANSWER
        if compared and store.values(self.pictures_key, key, index) is None:
            answer = self.frames(self.keys[ANSWER], index, pair)
            store.keep_values(
                self.pictures_key,
                key,
                index,
                measure_pictures(self.frames(key, index, pair), answer, self.distance),
            )

    @property
    def pictures_key(self) -> str:
        return marked("pictures", "" if self.distance is None else f"{self.distance[0]} {self._distance_print}")

    def _read_clip(self, name: str) -> None:
        for estimator, reader in self.readers.values():
            if self.store.reading(reader, "clips", self.numbers[name]) is None:
                reading = estimator.read(self.clip(name).frames)
                self.store.keep_reading(reader, "clips", self.numbers[name], reading)

    def clip(self, name: str) -> Clip:
        if name in self.bad_clips:
            raise ConfigError(f"clip {name}: {self.bad_clips[name]}")
        if name not in self._clips:
            try:
                self._clips[name] = self.source.load(name)
            except LatentReenactError as error:
                self.bad_clips[name] = str(error)
                raise
        self._clips.move_to_end(name)
        while len(self._clips) > _KEPT_CLIPS:
            self._clips.popitem(last=False)
        return self._clips[name]

    def frames(self, key: str, index: int, pair: Pair) -> np.ndarray:
        return self.store.frames(key, index, self._length(pair.driving))

    def _length(self, name: str) -> int:
        for _, reader in self.readers.values():
            reading = self.store.reading(reader, "clips", self.numbers[name])
            if reading is not None and reading.arrays():
                return len(next(iter(reading.arrays().values())))
        return len(self.clip(name).frames)
