"""What an evaluation says: rows with bars, as JSON for programs and as a table for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_reenact.media import atomic_write_json
from latent_reenact.media.atomic import atomic_write_text


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a measure should reach: within [at_least, at_most]."""

    at_least: float = -math.inf
    at_most: float = math.inf

    def met(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most  # never for NaN

    def text(self) -> str:
        if math.isinf(self.at_most):
            return f"≥ {self.at_least:g}"
        if math.isinf(self.at_least):
            return f"≤ {self.at_most:g}"
        return f"{self.at_least:g} – {self.at_most:g}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure of a model.

    key: its name for programs, `section.measure_unit`. text: for people.
    value: None where it could not be measured; `note` then says why.
    ceiling: the same measure of the true renders, read by the same judge: what a perfect model would reach.
    """

    key: str
    text: str
    value: float | None
    bar: Bar | None = None
    ceiling: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no bar, or no value."""
        return None if self.bar is None or self.value is None else self.bar.met(self.value)

    def as_dict(self) -> dict[str, Any]:
        bar = None if self.bar is None else self.bar.text()
        values = {"value": _number(self.value), "ceiling": _number(self.ceiling)}
        return {"key": self.key, "measure": self.text, **values, "bar": bar, "met": self.met, "note": self.note}


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation: what was measured, on what, further tables in Markdown, and pictures' names to look at."""

    protocol: str
    model: str
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    details: Mapping[str, Any] = field(default_factory=dict)
    sheets: Sequence[str] = ()
    tables: Sequence[str] = ()

    @property
    def missed(self) -> list[Row]:
        """Bars that are not met, or could not be measured."""
        return [row for row in self.rows if row.bar is not None and not row.met]

    def as_dict(self) -> dict[str, Any]:
        return {
            "protocol": self.protocol,
            "model": self.model,
            "settings": dict(self.settings),
            "rows": [row.as_dict() for row in self.rows],
            "details": dict(self.details),
            "sheets": list(self.sheets),
        }

    def table(self) -> str:
        """The rows as a Markdown table."""
        lines = ["| measure | bar | measured | true renders | |", "|---|---|---|---|---|"]
        for row in self.rows:
            bar = "" if row.bar is None else row.bar.text()
            verdict = {None: "", True: "met", False: "**missed**"}[row.met]
            lines.append(f"| {row.text} | {bar} | {_shown(row.value, row.note)} | {_shown(row.ceiling)} | {verdict} |")
        return "\n".join(lines)

    def markdown(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        notes = [f"- {row.text}: {row.note}" for row in self.rows if row.note]
        sheets = [f"![{Path(name).stem}]({name})" for name in self.sheets]
        title = f"# {self.model}, protocol `{self.protocol}`"
        parts = [title, settings, self.table(), "\n".join(notes), *self.tables, *sheets]
        return "\n\n".join(part for part in parts if part) + "\n"

    def save(self, folder: Path) -> list[Path]:
        """Write report.json and report.md.

        Raises:
            OutputError: they cannot be written.
        """
        atomic_write_json(folder / "report.json", self.as_dict())
        atomic_write_text(folder / "report.md", self.markdown())
        return [folder / "report.json", folder / "report.md"]


def _shown(value: float | None, note: str = "") -> str:
    if value is None:
        return "not available" if note else ""
    return f"{value:.4g}"


def _number(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)
