"""Cross- and self-reenactment over clips (Jahoda 2023, section 4): systems against each other on the same pairs.

cross: a clip of one person drives the identity of another; the right answer is known in the synthetic world alone.
self: a clip drives its own first frame; the right answer is the clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latent_reenact.errors import ConfigError
from latent_reenact.evaluation.clips import ClipSource
from latent_reenact.evaluation.comparison import Comparison, Strip
from latent_reenact.evaluation.contestants import Contestant
from latent_reenact.evaluation.estimators import Estimator, FaceReading
from latent_reenact.evaluation.measures import (
    PICTURE_MEASURES,
    Estimate,
    Measure,
    bootstrap,
    distance_measure,
    frechet_of,
    id_threshold,
    measure_reading,
    reading_measures,
)
from latent_reenact.evaluation.pairs import Pair, draw_pairs, read_pairs, write_pairs
from latent_reenact.evaluation.running import ANSWER, ProtocolConfig, Run
from latent_reenact.evaluation.store import Store, slug
from latent_reenact.evaluation.world import Progress

__all__ = ["ProtocolConfig", "compare"]


def compare(
    contestants: Sequence[Contestant],
    source: ClipSource,
    estimators: Sequence[Estimator],
    folder: Path,
    config: ProtocolConfig,
    *,
    pairs_file: str | Path | None = None,
    remarks: Sequence[str] = (),
    progress: Progress = lambda done, total, unit: None,
) -> Comparison:
    """Run every system on every pair, read what came out, and write the report into `folder`.

    What is already there is not done again. A pair that a system cannot do is skipped, counted and named.

    Raises:
        ConfigError: two systems or estimators of one name; another evaluation in the folder; a bad list of pairs.
        UsageError: clips of one person only. OutputError: the folder cannot be written.
    """
    _check_names([c.name for c in contestants], "systems")
    _check_names([slug(e.name) for e in estimators], "estimators")
    people = source.people()
    listed = folder / "pairs.json"
    chosen = pairs_file or (listed if listed.is_file() else None)
    pairs = read_pairs(chosen, people) if chosen else draw_pairs(people, config.protocol, config.pairs, config.seed)
    asked = {k: v for k, v in asdict(config).items() if k not in ("bootstrap", "strips")}
    names = hashlib.sha256("\n".join(people).encode()).hexdigest()[:8]
    store = Store(folder, {**asked, **source.about(), "clip_names": names})
    if listed.is_file() and read_pairs(listed, people) != pairs:
        raise ConfigError(f"{listed} lists other pairs than {pairs_file}; choose another folder, or remove it")
    write_pairs(listed, pairs, config.protocol, config.seed)
    run = Run(list(contestants), source, list(estimators), store, config, pairs, people, progress, remarks)
    run.work()
    comparison = _Tables(run).comparison()
    comparison.save(folder)
    return comparison


@dataclass(frozen=True)
class _Tables:
    """A finished run as a report: from what is kept in files, but for the pictures of clips."""

    run: Run

    def comparison(self) -> Comparison:
        values, measures = self._values()
        table = {
            name: {
                m.key: bootstrap(
                    [row.get(m.key, float("nan")) for row in rows],
                    rounds=self.run.config.bootstrap,
                    seed=self.run.config.seed,
                )
                for m in measures
            }
            for name, rows in values.items()
        }
        for name in table:
            table[name] |= self._frechet(name)
        measures += [Measure(**about) for about in self._frechet_columns()]
        done = {name: sum(any(np.isfinite(v) for v in row.values()) for row in rows) for name, rows in values.items()}
        return Comparison(
            protocol=self.run.config.protocol,
            settings={**asdict(self.run.config), **self.run.source.about(), "pairs_drawn": len(self.run.pairs)},
            measures=[m for m in measures if any(table[name][m.key].n for name in table if m.key in table[name])],
            table=table,
            done=done,
            skipped=self.run.skipped,
            bad_clips=self.run.bad_clips,
            takes_clips={
                name: bool(self.run.store.noted(key).get("takes_clips")) for name, key in self.run.keys.items()
            },
            remarks=self.run.remarks,
            values=values,
            strips=self._strips(),
        )

    def _values(self) -> tuple[dict[str, list[dict[str, float]]], list[Measure]]:
        """Every pair's values by system, and the columns that they fill."""
        values: dict[str, list[dict[str, float]]] = {c.name: [{} for _ in self.run.pairs] for c in self.run.contestants}
        measures: list[Measure] = []
        for tag, (estimator, reader) in self.run.readers.items():
            known = self._identities(reader)
            threshold = id_threshold({self.run.people[name]: vector for name, vector in known.items()})
            example: FaceReading | None = None
            for contestant in self.run.contestants:
                for index, pair in enumerate(self.run.pairs):
                    reading, driving, answer = self._readings(reader, contestant, index, pair)
                    if reading is None or driving is None:
                        continue
                    example = example or reading
                    values[contestant.name][index] |= measure_reading(
                        tag, estimator.units, reading, driving, known.get(pair.identity), answer, threshold
                    )
            if example is not None:
                measures += reading_measures(estimator, tag, example, has_answer=self.run.has_answer)
        if self.run.has_answer:
            for contestant in self.run.contestants:
                for index in range(len(self.run.pairs)):
                    seen = self.run.store.values(self.run.pictures_key, self.run.keys[contestant.name], index)
                    values[contestant.name][index] |= seen or {}
            measures += list(PICTURE_MEASURES)
            measures += [distance_measure(self.run.distance[0])] if self.run.distance else []
        return values, measures

    def _readings(
        self, reader: str, contestant: Contestant, index: int, pair: Pair
    ) -> tuple[FaceReading | None, FaceReading | None, FaceReading | None]:
        """(of the output, of the driving clip, of the right answer)."""
        store = self.run.store
        own = store.reading(reader, self.run.keys[contestant.name], index)
        driving = store.reading(reader, "clips", self.run.numbers[pair.driving])
        compared = self.run.has_answer and contestant.name != ANSWER
        return own, driving, store.reading(reader, self.run.keys[ANSWER], index) if compared else None

    def _identities(self, reader: str) -> dict[str, np.ndarray]:
        """Clip -> the embedding of its first frame that has one."""
        found = {}
        for name in {p.identity: None for p in self.run.pairs} | {p.driving: None for p in self.run.pairs}:
            reading = self.run.store.reading(reader, "clips", self.run.numbers[name])
            if reading is not None and reading.identity is not None:
                seen = np.isfinite(reading.identity).all(1)
                found[name] = reading.identity[int(seen.argmax())]
        return found

    def _frechet_columns(self) -> list[dict[str, str]]:
        return [
            {
                "key": f"{tag}.frechet",
                "text": f"Fréchet distance to the clips, features of {estimator.name}",
                "better": "less",
            }
            for tag, (estimator, _) in self.run.readers.items()
        ]

    def _frechet(self, name: str) -> dict[str, Estimate]:
        """Of all frames together: a number without an interval."""
        estimates = {}
        for tag, (_, reader) in self.run.readers.items():
            of = [self.run.store.reading(reader, self.run.keys[name], i) for i in range(len(self.run.pairs))]
            real = [
                self.run.store.reading(reader, "clips", number)
                for number in {self.run.numbers[pair.identity] for pair in self.run.pairs}
            ]
            value = frechet_of([r for r in of if r is not None], [r for r in real if r is not None])
            if value is not None:
                estimates[f"{tag}.frechet"] = Estimate(value, float("nan"), float("nan"), len(of))
        return estimates

    def _strips(self) -> list[Strip]:
        """The first pairs that every system has done, as pictures."""
        strips: list[Strip] = []
        for index, pair in enumerate(self.run.pairs):
            if len(strips) == self.run.config.strips:
                break
            if not all(self.run.store.has_frames(key, index) for key in self.run.keys.values()):
                continue
            rows = {"driving": self.run.clip(pair.driving).frames}
            rows |= {name: self.run.frames(key, index, pair) for name, key in self.run.keys.items()}
            strips.append(Strip(index, pair, self.run.clip(pair.identity).frames[0], rows))
        return strips


def _check_names(names: list[str], what: str) -> None:
    if len({*map(slug, names)}) < len(names) or not names or ANSWER in names:
        raise ConfigError(f"{what}: got {', '.join(names) or 'none'}, expected one or more, each of another name")
