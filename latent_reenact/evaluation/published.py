"""The figures that the method's author published, beside ours: does the order agree?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from latent_reenact.evaluation.measures import Measure, bootstrap

COLUMNS = ("Pose MAE", "FL", "FAU", "CSIM")
READERS = ("HopeNet", "dlib", "OpenGraphAU", "ArcFace")
TABLE_4_1: dict[str, tuple[float, float, float, float]] = {
    "linear-psp": (8.491, 0.656, 0.210, 0.671),
    "linear-e4e": (8.720, 0.621, 0.113, 0.563),
    "gen": (8.325, 0.556, 0.002, 0.760),
    "cos": (7.968, 0.528, 0.082, 0.762),
    "latent": (7.673, 0.620, 0.142, 0.801),
}
"""Jahoda 2023, Table 4.1: VoxCeleb2 test clips, cross-reenactment; READERS read the pictures."""

_SAME = {"linear": "linear-psp", "best": "latent"}


def published_row(system: str) -> tuple[float, float, float, float] | None:
    """The figures of a system's namesake in the table, if it has one."""
    name = system.lower()
    return TABLE_4_1.get(_SAME.get(name, name))


@dataclass(frozen=True)
class Agreement:
    """Two systems under one measure. ours: True where our order is the published one, None where it is undecided."""

    measure: Measure
    better: str
    worse: str
    ours: bool | None

    def text(self) -> str:
        verdict = {True: "agrees", False: "**the other way round**", None: "undecided here"}[self.ours]
        order = f"published {self.better} over {self.worse}"
        return f"{self.measure.published}, here {self.measure.text} [{self.measure.reader}]: {order}; {verdict}"

    def as_dict(self) -> dict[str, object]:
        return {"measure": self.measure.key, "better": self.better, "worse": self.worse, "agrees": self.ours}


def agreements(
    measures: Sequence[Measure], values: Mapping[str, Sequence[Mapping[str, float]]], seed: int = 0
) -> list[Agreement]:
    """For each measure with a published column, each two systems with a published row.

    Their order here is decided where the interval of their differences, pair by pair, leaves out 0.

    Args:
        values: system -> each pair's values by measure; the same pairs for all.
    """
    found = []
    for measure in measures:
        if measure.published not in COLUMNS:
            continue
        column, sign = COLUMNS.index(measure.published), 1 if measure.better == "more" else -1
        rows = {name: row for name in values if (row := published_row(name))}
        for one, other in combinations(rows, 2):
            if sign * (rows[one][column] - rows[other][column]) < 0:
                one, other = other, one
            nan = float("nan")
            both = zip(values[one], values[other], strict=True)
            gain = bootstrap([sign * (a.get(measure.key, nan) - b.get(measure.key, nan)) for a, b in both], seed=seed)
            if gain.n:
                found.append(Agreement(measure, one, other, None if gain.low <= 0 <= gain.high else gain.mean > 0))
    return found
