"""A comparison as one HTML file that needs nothing else: tables, plots drawn as SVG, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latent_reenact.evaluation.measures import Estimate, Measure

if TYPE_CHECKING:
    from latent_reenact.evaluation.comparison import Comparison

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #ddd; padding: .3em .7em; text-align: left; font-variant-numeric: tabular-nums }
figure { margin: 1.5em 0 } figcaption { font-size: 13px; color: #555 } img { max-width: 100%; image-rendering: auto }
.plots { display: flex; flex-wrap: wrap; gap: 1em } svg text { font: 12px system-ui, sans-serif; fill: #222 }
"""
_WIDTH, _LABEL, _LINE, _TOP = 420, 130, 22, 30  # pixels of a plot


def page(comparison: Comparison, pictures: Sequence[Path], order: Sequence[str]) -> str:
    """The whole file.

    Args:
        pictures: the strips, in order. order: how it compares with the published one, line by line.
    """
    title = f"Protocol {comparison.protocol}"
    settings = ", ".join(f"{name} {value}" for name, value in comparison.settings.items())
    plots = [
        interval_plot(m, {name: row[m.key] for name, row in comparison.table.items() if m.key in row})
        for m in comparison.measures
    ]
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(settings)}</p>", _table(comparison.table_rows())]
    parts += [_list(comparison.notes()), f'<div class="plots">{"".join(plots)}</div>']
    published = comparison.published_rows()
    if len(published) > 1:
        parts += ["<h2>Beside the thesis's Table 4.1 (VoxCeleb2)</h2>", _table(published)]
        parts.append(_list([line.replace("**", "") for line in order]))
    parts += [_figure(path, strip.caption) for path, strip in zip(pictures, comparison.strips, strict=True)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def interval_plot(measure: Measure, estimates: dict[str, Estimate]) -> str:
    """An SVG with a dot and an interval for each system, on one axis."""
    known = {name: e for name, e in estimates.items() if e.n and np.isfinite(e.mean)}
    if not known:
        return ""
    ends = [v for e in known.values() for v in (e.low, e.mean, e.high) if np.isfinite(v)]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.1 * (abs(high) or 1)
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return _LABEL + (_WIDTH - _LABEL - 15) * (value - low) / (high - low)

    height = _TOP + _LINE * len(known) + 22
    marks = [f'<text x="0" y="15" font-weight="bold">{escape(measure.title)}</text>']
    for k, (name, e) in enumerate(known.items()):
        y = _TOP + _LINE * k + 8
        marks.append(f'<text x="0" y="{y + 4}">{escape(name)}</text>')
        if np.isfinite(e.low):
            marks.append(f'<line x1="{x(e.low):.1f}" x2="{x(e.high):.1f}" y1="{y}" y2="{y}" stroke="#4a7db5"/>')
        marks.append(f'<circle cx="{x(e.mean):.1f}" cy="{y}" r="4" fill="#1f4e82"/>')
    base = height - 18
    marks.append(f'<line x1="{_LABEL}" x2="{_WIDTH - 15}" y1="{base}" y2="{base}" stroke="#999"/>')
    for value, anchor in ((low + margin, "start"), (high - margin, "end")):
        marks.append(f'<text x="{x(value):.1f}" y="{height - 4}" text-anchor="{anchor}">{value:.3g}</text>')
    return f'<svg width="{_WIDTH}" height="{height}" role="img">{"".join(marks)}</svg>'


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
