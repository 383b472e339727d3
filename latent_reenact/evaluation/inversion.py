"""Is the inverted person the same person? Asked of dlib's recognition network, which no training used.

Picture A of each person is inverted and looked up among pictures B of all people. A and B differ in pose and scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from latent_reenact.errors import UsageError
from latent_reenact.evaluation.judges import OutsideJudge
from latent_reenact.evaluation.report import Bar, Row
from latent_reenact.evaluation.sheets import Sheet
from latent_reenact.evaluation.world import FIRST, Progress, World, calm
from latent_reenact.face import Face
from latent_reenact.metrics import psnr
from latent_reenact.synthface import Factors, sample

RATIO_BAR, RANK_BAR = Bar(at_least=0.8), Bar(at_least=0.8)
_PARTNER = 50_000  # picture B of person i wears motion and scene of sample i + this
_TRIES = 4  # people looked at for each that is wanted, at most: dlib must find both faces

Invert = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Recognition:
    """Cosines of descriptors, and how often the right person is the nearest.

    same: an inversion of A and the same person's B. renders: A itself and B. different: A and others' B.
    rank1, render_rank1: share of inversions, and of pictures A, whose nearest B is theirs.
    own_rank1: share of inversions whose nearest A is theirs.
    """

    same: float
    renders: float
    different: float
    rank1: float
    render_rank1: float
    own_rank1: float

    @property
    def ratio(self) -> float:
        """How much of what two renders of a person share is kept: 1 as much as in a render, 0 a stranger."""
        return (self.same - self.different) / (self.renders - self.different)


def recognition(inverted: np.ndarray, a: np.ndarray, b: np.ndarray) -> Recognition:
    """Descriptors [N, D] of each person's inversion of A, of A, and of B; N at least 2."""
    inverted, a, b = (_unit(descriptors) for descriptors in (inverted, a, b))
    if not inverted.shape == a.shape == b.shape or len(a) < 2:
        raise ValueError(
            f"got {inverted.shape}, {a.shape} and {b.shape}, expected three of one shape, two people or more"
        )
    found, renders, own = inverted @ b.T, a @ b.T, inverted @ a.T  # [N, N]
    strangers = ~np.eye(len(a), dtype=bool)
    return Recognition(
        same=float(found.diagonal().mean()),
        renders=float(renders.diagonal().mean()),
        different=float(renders[strangers].mean()),
        rank1=_rank1(found),
        render_rank1=_rank1(renders),
        own_rank1=_rank1(own),
    )


def _unit(descriptors: np.ndarray) -> np.ndarray:
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def _rank1(likeness: np.ndarray) -> float:
    """Share of rows whose largest entry is on the diagonal."""
    return float((likeness.argmax(1) == np.arange(len(likeness))).mean())


# ---------------------------------------------------------------- a model's rows and pictures


@dataclass(frozen=True, eq=False)
class Pair:
    """Two renders of one person, and where dlib sees the faces."""

    a: np.ndarray
    b: np.ndarray
    face_a: Face
    face_b: Face


def pairs(world: World, judge: OutsideJudge, people: int, *, at_rest: bool) -> Iterator[Pair]:
    """Two pictures each of `people` persons, in both of which dlib finds a face.

    at_rest: resting faces, turned less; otherwise any pose and expression.
    """
    found = 0
    for i in range(FIRST["inversion"], FIRST["inversion"] + _TRIES * people):
        first, partner = sample(world.seed, i), sample(world.seed, i + _PARTNER)
        second = replace(partner, identity=first.identity)
        a, b = (world.render(_shown(factors, at_rest)).image for factors in (first, second))
        face_a = judge.find(a)
        face_b = None if face_a is None else judge.find(b)
        if face_a is not None and face_b is not None:
            yield Pair(a, b, face_a, face_b)
            found += 1
        if found == people:
            return
    raise UsageError(f"dlib found both faces of {found} people only, expected {people}; is this the right mesh?")


def _shown(factors: Factors, at_rest: bool) -> Factors:
    return calm(factors) if at_rest else factors


def measure_inversion(
    world: World, judge: OutsideJudge, invert: Invert, people: int, progress: Progress
) -> tuple[list[Row], list[Sheet]]:
    """invert: aligned picture uint8 [R, R, 3] -> what the generator draws for its inversion, [R, R, 3].

    Two rounds over the same people: at rest, where dlib knows most renders again, and in any pose and expression.
    """
    rows: list[Row] = []
    lines: tuple[list[np.ndarray], ...] = ([], [], [])
    for at_rest in (True, False):
        descriptors: list[list[np.ndarray]] = [[], [], []]
        fidelity, missed = [], 0
        for pair in pairs(world, judge, people, at_rest=at_rest):
            inverted = invert(pair.a)
            face = judge.find(inverted)
            missed += face is None
            fidelity.append(psnr(inverted, pair.a))
            descriptors[0].append(judge.describe(inverted, face, instead=pair.face_a))
            descriptors[1].append(judge.describe(pair.a, pair.face_a, instead=pair.face_a))
            descriptors[2].append(judge.describe(pair.b, pair.face_b, instead=pair.face_b))
            for line, picture in zip(lines, (pair.a, inverted, pair.b), strict=True):
                line.append(picture)
            progress(len(fidelity), people, "people")
        scores = recognition(*(np.stack(part) for part in descriptors))
        rows += _rows(scores, at_rest, people, missed, float(np.mean(fidelity)))
    chosen = [*range(6), *range(people, people + 6)] if people >= 6 else range(people)
    sheet = Sheet(
        "inversion", ("picture A", "inversion", "picture B"), tuple([line[i] for i in chosen] for line in lines)
    )
    return rows, [sheet]


def _rows(scores: Recognition, at_rest: bool, people: int, missed: int, fidelity_db: float) -> list[Row]:
    key, words = ("inversion", "inversion, at rest") if at_rest else ("inversion.free", "inversion, any pose")
    cosines = f"cosines: inversion {scores.same:.4f}, renders {scores.renders:.4f}, strangers {scores.different:.4f}"
    note = f"{cosines}; no face found in {missed} of {people} inversions"
    in_free = "" if at_rest else "no bar: dlib does not know the renders themselves again"
    return [
        Row(
            key=f"{key}.ratio",
            text=f"{words}: likeness kept",
            value=scores.ratio,
            bar=RATIO_BAR,
            ceiling=1.0,
            note=note,
        ),
        Row(
            key=f"{key}.rank1",
            text=f"{words}: rank-1 among {people} people's other pictures",
            value=scores.rank1,
            bar=RANK_BAR if at_rest else None,
            ceiling=scores.render_rank1,
            note=in_free,
        ),
        Row(
            key=f"{key}.own_rank1",
            text=f"{words}: rank-1 among the inverted pictures",
            value=scores.own_rank1,
            ceiling=1.0,
        ),
        Row(key=f"{key}.psnr_db", text=f"{words}: PSNR to the picture, dB", value=fidelity_db),
    ]
