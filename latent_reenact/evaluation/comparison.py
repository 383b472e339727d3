"""The report of several systems side by side: Markdown for reading, HTML to pass on, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.evaluation.html import page
from latent_reenact.evaluation.measures import Estimate, Measure
from latent_reenact.evaluation.pairs import Pair
from latent_reenact.evaluation.published import COLUMNS, READERS, agreements, published_row
from latent_reenact.media import Provenance, atomic_write_json, side_by_side, write_image
from latent_reenact.media.atomic import atomic_write_text

_SHOWN = 8  # frames of a strip


@dataclass(frozen=True, eq=False)
class Strip:
    """One pair as pictures: the identity, and rows of frames [T, R, R, 3] by title."""

    index: int
    pair: Pair
    identity: np.ndarray
    rows: Mapping[str, np.ndarray]

    def image(self) -> np.ndarray:
        """The identity at the left of every row, then frames spread evenly over the clip."""
        side = self.identity.shape[0]
        lines = []
        for frames in self.rows.values():
            chosen = np.linspace(0, len(frames) - 1, min(_SHOWN, len(frames))).round().astype(int)
            lines.append(side_by_side([self.identity, *frames[chosen]], side))
        return np.concatenate(lines)

    @property
    def caption(self) -> str:
        rows = ", ".join(self.rows)
        return f"pair {self.index}: {self.pair.identity} driven by {self.pair.driving}; rows from the top: {rows}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What systems reached under a protocol.

    measures: the columns. table: system -> measure -> estimate. done: pairs with a value.
    skipped: system -> pair -> why. bad_clips: clip -> why it could not be used. remarks: what else to know.
    takes_clips: whether a system saw the identity's whole clip, not its first frame only.
    values: system -> each pair's values.
    """

    protocol: str
    settings: Mapping[str, Any]
    measures: Sequence[Measure]
    table: Mapping[str, Mapping[str, Estimate]]
    done: Mapping[str, int]
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    bad_clips: Mapping[str, str] = field(default_factory=dict)
    takes_clips: Mapping[str, bool] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    values: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    strips: Sequence[Strip] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the same for the same seed, weights and machine."""
        clean = {s: [{k: _finite(v) for k, v in row.items()} for row in rows] for s, rows in self.values.items()}
        return {
            "protocol": self.protocol,
            "settings": dict(self.settings),
            "measures": [m.as_dict() for m in self.measures],
            "systems": {
                s: {m.key: row[m.key].as_dict() for m in self.measures if m.key in row} for s, row in self.table.items()
            },
            "pairs_done": dict(self.done),
            "skipped": {name: dict(pairs) for name, pairs in self.skipped.items()},
            "clips_left_out": dict(self.bad_clips),
            "whole_identity_clip": dict(self.takes_clips),
            "published_order": [a.as_dict() for a in self._agreements()],
            "values": clean,
        }

    def table_rows(self) -> list[list[str]]:
        """The header, then one row a measure: the systems stand side by side."""
        rows = [["measure", *self.table], ["pairs", *(str(self.done[name]) for name in self.table)]]
        rows += [[m.title, *(estimate_text(row.get(m.key)) for row in self.table.values())] for m in self.measures]
        return rows

    def markdown_table(self) -> str:
        return _markdown(self.table_rows())

    def published_rows(self) -> list[list[str]]:
        """Table 4.1's figures, each above ours; the header alone where no system or measure has a published one."""
        known = {name: row for name in self.table if (row := published_row(name))} if self.protocol == "cross" else {}
        rows = [["measure", *known]]
        for k, column in enumerate(COLUMNS):
            ours = [m for m in self.measures if m.published == column]
            if known and ours:
                rows.append([f"{column}, published [{READERS[k]}]", *(f"{row[k]:g}" for row in known.values())])
            rows += [[m.title, *(estimate_text(self.table[name].get(m.key)) for name in known)] for m in ours if known]
        return rows

    def notes(self) -> list[str]:
        """What to know when reading the table."""
        lines = [
            *self.remarks,
            "Means over pairs, in brackets the middle 95 % of bootstrapped means. Frames are aligned: roll is gone.",
        ]
        whole = [name for name, clips in self.takes_clips.items() if clips]
        if whole:
            lines.append(f"{', '.join(whole)}: saw the identity's whole clip; the others its first frame.")
        lines += ["Id: cosine above that of 99 in 100 pairs of different people's clips, by the same network."] * any(
            m.key.endswith("id_percent") for m in self.measures
        )
        for name, pairs in self.skipped.items():
            lines.append(f"{name}: {len(pairs)} pairs skipped")
            lines += [f"{name}, {pair}: {why}" for pair, why in list(pairs.items())[:10]]
        lines += [f"left out: clip {name}: {why}" for name, why in self.bad_clips.items()]
        return lines

    def markdown(self, pictures: Sequence[str] = ()) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        parts = [f"# Protocol `{self.protocol}`", settings, self.markdown_table()]
        parts.append("\n".join(f"- {line}" for line in self.notes()))
        published = self.published_rows()
        if len(published) > 1:
            order = "\n".join(f"- {a.text()}" for a in self._agreements())
            parts += ["## Beside the thesis's Table 4.1 (VoxCeleb2)", _markdown(published), order]
        parts += [f"![{strip.caption}]({name})" for strip, name in zip(self.strips, pictures, strict=False)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def save(self, folder: Path) -> list[Path]:
        """Write report.json, report.md, report.html and the strips.

        Raises:
            OutputError: they cannot be written.
        """
        pictures = []
        for strip in self.strips:
            path = folder / f"pair-{strip.index:04d}.jpg"
            write_image(path, strip.image(), marks=Provenance(model=", ".join(self.table), operation=strip.caption))
            pictures.append(path)
        atomic_write_json(folder / "report.json", self.as_dict())
        atomic_write_text(folder / "report.md", self.markdown([path.name for path in pictures]))
        atomic_write_text(folder / "report.html", page(self, pictures, [a.text() for a in self._agreements()]))
        return [folder / name for name in ("report.md", "report.html", "report.json")]

    def _agreements(self) -> list[Any]:
        return agreements(self.measures, self.values) if self.protocol == "cross" else []


def estimate_text(estimate: Estimate | None) -> str:
    if estimate is None or not estimate.n:
        return "–"
    if not np.isfinite(estimate.low):
        return f"{estimate.mean:.4g}"
    return f"{estimate.mean:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def _markdown(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, body)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
