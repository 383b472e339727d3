"""The part of the tab Pose and expression that makes films: key-frames in a row, and what lies between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latent_reenact.webui import fragments
from latent_reenact.webui.easel import Easel
from latent_reenact.webui.inputs import OURS, QUICK, QUIET
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.running import Done, Progress, Stopped, run
from latent_reenact.webui.session import Desk
from latent_reenact.webui.studio import Studio


def build(studio: Studio, easel: Easel, desk: Any, badge: Any) -> Any:
    """The accordion; returns the row of key-frames, for whoever changes the person."""
    import gradio as gr

    with gr.Accordion("Film from key-frames", open=False, elem_id="lr-film"):
        row = gr.HTML(_row([]), elem_id="lr-strip")
        with gr.Row():
            add = gr.Button("Add key-frame", size="sm", elem_id="lr-key-add")
            drop = gr.Button("Remove last", size="sm", elem_id="lr-key-drop")
            clear = gr.Button("Clear", size="sm", elem_id="lr-key-clear")
        with gr.Row():
            seconds = gr.Slider(0.2, 4, 1, step=0.1, label="Seconds from one to the next", min_width=200)
            kind = gr.Radio([("Video", "mp4"), ("GIF", "gif")], value="mp4", label="As", min_width=140)
            loop = gr.Checkbox(True, label="Back to the first", min_width=140)
        with gr.Row():
            shoot = gr.Button("Make the film", variant="primary", elem_id="lr-film-go")
            stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="lr-film-stop")
        stage = gr.HTML(elem_id="lr-film-stage")
        download = gr.DownloadButton("Download film", visible=False, elem_id="lr-film-download")

    def add_frame(desk: Desk) -> str:
        if len(desk.key_frames) < studio.limits.key_frames:
            desk.key_frames.append(desk.history.now)
        return strip(easel, desk)

    def drop_frame(desk: Desk) -> str:
        del desk.key_frames[-1:]
        return strip(easel, desk)

    def clear_frames(desk: Desk) -> str:
        desk.key_frames.clear()
        return strip(easel, desk)

    def make(desk: Desk, seconds: float, kind: Any, loop: bool, badge: bool) -> Iterator[tuple[Any, ...]]:
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        try:
            for now in _film(studio, easel, desk, kind=kind, seconds_per_step=seconds, loop=loop, badge=badge):
                if isinstance(now, Progress):
                    yield fragments.progress(now, "Filming"), hidden, hidden, shown
                else:
                    file = gr.update(value=str(now.value), visible=True)
                    yield fragments.video(now.value, "The film"), file, shown, hidden
        except Stopped:
            yield fragments.empty("Cancelled. Nothing was kept."), hidden, shown, hidden
        except Trouble as trouble:
            yield fragments.trouble(trouble), hidden, shown, hidden

    add.click(add_frame, desk, row, **QUICK)
    drop.click(drop_frame, desk, row, **QUICK)
    clear.click(clear_frames, desk, row, **QUICK)
    shoot.click(make, [desk, seconds, kind, loop, badge], [stage, download, shoot, stop], **OURS)
    stop.click(lambda desk: desk.stop("film"), [desk], None, queue=False, **QUIET)
    return row


def strip(easel: Easel, desk: Desk) -> str:
    """The key-frames of a desk in a row. Raises Trouble."""
    return _row([easel.drawn(desk, settings) for settings in desk.key_frames])


def _row(urls: list[str]) -> str:
    if not urls:
        return fragments.note("Set the sliders, add a key-frame, set them anew, add another: the film moves on.")
    cells = "".join(f'<img src="{url}" alt="Key-frame {n}">' for n, url in enumerate(urls, start=1))
    return f'<div class="lr-strip">{cells}</div>'


def _film(studio: Studio, easel: Easel, desk: Desk, **wishes: Any) -> Iterator[Progress | Done[Path]]:
    if len(desk.key_frames) < 2:
        raise Trouble("A film needs two key-frames or more.", "Move the sliders, add a key-frame, and again.")
    frames = [easel.moved(desk, settings) for settings in desk.key_frames]
    sitter, job = desk.sitter, desk.begin("film")
    with about("the film"):
        yield from run(
            lambda tell: studio.film(sitter, frames, tell, **wishes), limit_s=studio.limits.job_seconds, job=job
        )
