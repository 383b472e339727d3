"""The tab Compare: one pair through every system that is installed."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latent_reenact.media import Provenance
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.comparing import Compared
from latent_reenact.webui.inputs import OURS, QUIET
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.running import Progress, Stopped, run
from latent_reenact.webui.session import Desk
from latent_reenact.webui.studio import Studio

_EMPTY = "The same person and the same driving, through every system that is installed here."


def build(studio: Studio, desk: Any) -> None:
    import gradio as gr

    with gr.Row(elem_classes="lr-columns"):
        with gr.Column(scale=3, min_width=280):
            identity = inputs.picture_input(
                "Who", height=220, value=str(studio.workspace.sample("portrait_b.png")), elem_id="lr-compare-identity"
            )
            driving = gr.File(
                label="Does what: a picture or a video",
                file_types=[*inputs.PICTURES, *inputs.VIDEOS],
                type="filepath",
                height=120,
                value=str(studio.workspace.sample("driving.mp4")),
                elem_id="lr-compare-driving",
            )
            gr.HTML('<p class="lr-note">Of a video, the first 50 frames. A linear baseline needs a video.</p>')
            with gr.Row():
                start = gr.Button("Compare", variant="primary", elem_id="lr-compare-go")
                stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="lr-compare-stop")
            download = gr.DownloadButton("Download side by side", visible=False, elem_id="lr-compare-download")
        with gr.Column(scale=7, min_width=320):
            shown = gr.HTML(fragments.note(_EMPTY), elem_id="lr-compared")

    def compare(desk: Desk, who: str | None, what: str | None) -> Iterator[tuple[Any, ...]]:
        busy = (gr.update(visible=False), gr.update(visible=True), gr.update(visible=False))
        idle = (gr.update(visible=True), gr.update(visible=False))
        try:
            if not who or not what:
                raise Trouble("Two files are needed.", "Choose a picture of a person, and what they should do.")
            work = run(
                lambda tell: studio.compare(Path(who), Path(what), tell),
                limit_s=studio.limits.job_seconds,
                job=desk.begin("compare"),
            )
            with about("this pair"):
                for now in work:
                    if isinstance(now, Progress):
                        yield fragments.progress(now, "Comparing"), *busy
                    else:
                        yield _cards(now.value), *idle, gr.update(value=str(now.value.sheet), visible=True)
        except Stopped:
            yield fragments.note("Cancelled."), *idle, gr.update(visible=False)
        except Trouble as trouble:
            yield fragments.trouble(trouble), *idle, gr.update(visible=False)

    outputs = [shown, start, stop, download]
    start.click(compare, [desk, identity, driving], outputs, **OURS)
    stop.click(lambda desk: desk.stop("compare"), [desk], None, queue=False, **QUIET)


def _cards(compared: Compared) -> str:
    """A card for the driving and for every system, then the measures."""
    cards = [_card("Driving", compared.driving, "")]
    for result in compared.results:
        cards.append(_card(result.system, compared.clips.get(result.system), result.problem))
    return f'<div class="lr-cards">{"".join(cards)}</div>{_table(compared)}'


def _card(title: str, shown: Any, problem: str) -> str:
    if shown is None:
        inside = f'<p class="lr-note">{html.escape(problem[:1].upper() + problem[1:])}</p>'
    elif isinstance(shown, Path):
        inside = f'<video src="{fragments.file_url(shown)}" autoplay loop muted playsinline controls></video>'
    else:
        url = fragments.data_url(shown, Provenance(operation="compare"))
        inside = f'<img src="{url}" alt="{html.escape(title)}">'
    return f'<figure class="lr-card"><div>{inside}</div><figcaption>{html.escape(title)}</figcaption></figure>'


def _table(compared: Compared) -> str:
    done = [result for result in compared.results if result.scores is not None]
    if not done:
        return ""
    head = "".join(f'<th scope="col">{html.escape(result.system)}</th>' for result in done)
    rows = []
    for measure in compared.measures:
        values = [result.scores.get(measure.key, math.nan) for result in done]  # type: ignore[union-attr]
        known = [value for value in values if math.isfinite(value)]
        best = (max if measure.better == "more" else min)(known) if len(known) > 1 else None
        cells = "".join(f"<td{' class=lr-best' * (v == best)}>{_number(v)}</td>" for v in values)
        rows.append(f'<tr><th scope="row">{html.escape(measure.title)}</th>{cells}</tr>')
    return (
        f'<table class="lr-table"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        '<p class="lr-note">↓ less is better, ↑ more is better. Read by dlib, which no model here was trained with.</p>'
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"
