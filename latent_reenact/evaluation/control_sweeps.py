"""One slider after the other through its range, asked against measured: does it move its own factor and no other?

Legend: P people, K sliders, V values of each, F what a descriptor of a face has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latent_reenact.evaluation.judges import Judges, OutsideJudge
from latent_reenact.evaluation.world import Progress
from latent_reenact.face import Face
from latent_reenact.metrics import pearson
from latent_reenact.synthface.controls import CONTROL_RANGES, control_columns

_MIDDLE = Face((64.0, 80.0, 192.0, 208.0), 0.0, np.zeros((68, 2)))  # where a face lies in an aligned picture of 256²

Settings = Sequence[Mapping[str, float]]
Person = Callable[[Settings], np.ndarray]
"""Somebody drawn with each of the settings: uint8 [B, R, R, 3]."""


@dataclass(frozen=True, eq=False)
class Sweeps:
    """What was asked of P people and what was measured in their pictures.

    names: of the K sliders. asked: [K, V]. measured: [P, K, V, K], the last one the slider that is read.
    rest, ends: descriptors of each person with no slider moved [P, F], and at both ends of every sweep [P, K, 2, F].
    faceless: pictures of these in which the outside judge found no face and looked where the one at rest is.
    """

    names: tuple[str, ...]
    asked: np.ndarray
    measured: np.ndarray
    rest: np.ndarray
    ends: np.ndarray
    faceless: int

    @property
    def spans(self) -> np.ndarray:
        """Width of each slider's range, [K]."""
        return self.asked[:, -1] - self.asked[:, 0]

    def own(self, k: int) -> np.ndarray:
        """Slider k measured along its own sweep, [P, V]."""
        return self.measured[:, k, :, k]

    def correlation(self, k: int) -> float:
        """Asked against measured along the sweeps, every person's own mean taken away."""
        own = self.own(k)
        asked = np.broadcast_to(self.asked[k] - self.asked[k].mean(), own.shape)
        return pearson(asked, own - own.mean(1, keepdims=True))

    def correlation_over_people(self, k: int) -> float:
        """The same, with the differences between people left in: what the judge reads in a resting face counts too."""
        own = self.own(k)
        return pearson(np.broadcast_to(self.asked[k], own.shape), own)

    def error(self, k: int) -> float:
        """Mean absolute error, in the slider's unit."""
        return float(np.abs(self.own(k) - self.asked[k]).mean())

    def leakage(self) -> np.ndarray:
        """How far the average of slider j moves while slider k does, over j's range: [K, K], own movement left at 0."""
        curves = self.measured.mean(0)  # [K, V, K]
        moved = (curves.max(1) - curves.min(1)) / self.spans
        np.fill_diagonal(moved, 0.0)
        return moved

    def worst_leakage(self, k: int) -> tuple[str, float]:
        """The other slider that moves most while k does."""
        row = self.leakage()[k]
        return self.names[int(row.argmax())], float(row.max())

    def leakage_beyond(self, renders: Sweeps) -> np.ndarray:
        """How far the averages drift from those of true renders: what is left where the judge errs in both alike."""
        curves = self.measured.mean(0) - renders.measured.mean(0)
        moved = (curves.max(1) - curves.min(1)) / self.spans
        np.fill_diagonal(moved, 0.0)
        return moved

    def same(self, k: int | None = None) -> float:
        """Mean cosine of each person at the ends of sweep k, by default of all, and at rest."""
        own = np.diagonal(self._cosines(k), axis1=0, axis2=1)
        return float(own.mean())

    def strangers(self, k: int | None = None) -> float:
        """Mean cosine of people at the ends of sweep k, by default of all, and others at rest."""
        return float(self._cosines(k)[~np.eye(len(self.rest), dtype=bool)].mean())

    def rank1(self) -> float:
        """Share of the pictures at the ends whose nearest among all people at rest is the right one."""
        right = self._cosines().argmax(1) == np.arange(len(self.rest))[:, None]
        return float(right.mean())

    def _cosines(self, k: int | None = None) -> np.ndarray:
        """Of the pictures at the ends with everybody at rest, [P, P at rest, pictures]."""
        ends = self.ends if k is None else self.ends[:, k : k + 1]
        ends = _unit(ends.reshape(len(ends), -1, ends.shape[-1]))  # [P, pictures, F]
        return np.einsum("pef,qf->pqe", ends, _unit(self.rest))


def likeness_kept(drawn: Sweeps, renders: Sweeps | None) -> float:
    """How much of what people share with themselves in true renders is kept: 1 as much, 0 as little as strangers.

    (same - strangers) / (renders - strangers), as inversions are judged; the last two are those of the renders. Without
    them it is the drawn strangers that count, and pictures that do not change at all: far stricter.
    """
    best, strangers = (1.0, drawn.strangers()) if renders is None else (renders.same(), renders.strangers())
    return (drawn.same() - strangers) / (best - strangers)


def asked_values(names: Sequence[str], values: int) -> np.ndarray:
    """Every slider's range in `values` steps, float64 [K, V]. Raises ConfigError for one of another world."""
    for name in names:
        control_columns(name)
    return np.stack([np.linspace(*CONTROL_RANGES[name], values) for name in names])


def run_sweeps(
    names: Sequence[str],
    people: Sequence[Callable[[], Person]],
    judges: Judges,
    outside: OutsideJudge,
    values: int,
    progress: Progress,
    show: Callable[[int, np.ndarray], None] = lambda person, pictures: None,
) -> Sweeps:
    """Draw every sweep of every person and read it; one person's pictures are held at a time.

    people: makes each of them. show: told of each person's pictures, uint8 [K, V, R, R, 3].
    """
    asked = asked_values(names, values)
    columns = [control_columns(name) for name in names]
    measured: list[np.ndarray] = []
    rests: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    faceless = 0
    for number, person in enumerate(people):
        draw = person()
        still = draw([{}])[0]
        pictures = np.stack(
            [draw([{name: float(v)} for v in row]) for name, row in zip(names, asked, strict=True)]
        )  # [K, V, R, R, 3]
        motion = judges.motion(pictures.reshape(-1, *pictures.shape[2:]))  # [K * V, 58]
        sliders = np.stack([motion[:, index].mean(1) for index in columns], axis=1)
        measured.append(sliders.reshape(*asked.shape, len(names)))
        rest, at_ends, missed = _descriptors(outside, still, pictures[:, [0, -1]])
        rests, ends, faceless = [*rests, rest], [*ends, at_ends], faceless + missed
        show(number, pictures)
        progress(number + 1, len(people), "people")
    return Sweeps(tuple(names), asked, np.stack(measured), np.stack(rests), np.stack(ends), faceless)


def _descriptors(outside: OutsideJudge, still: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Of a face at rest [F], and of the ends of its sweeps [K, 2, R, R, 3]: [K, 2, F]; how often no face was found."""
    at_rest = outside.find(still)
    place = at_rest or _MIDDLE
    found = [outside.find(picture) for picture in ends.reshape(-1, *ends.shape[2:])]
    rows = [
        outside.describe(picture, face, instead=place)
        for picture, face in zip(ends.reshape(-1, *ends.shape[2:]), found, strict=True)
    ]
    missed = sum(face is None for face in (at_rest, *found))
    return outside.describe(still, at_rest, instead=place), np.stack(rows).reshape(*ends.shape[:2], -1), missed


def _unit(descriptors: np.ndarray) -> np.ndarray:
    return descriptors / np.linalg.norm(descriptors, axis=-1, keepdims=True)
