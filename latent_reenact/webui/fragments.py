"""Pieces of the page that Gradio has no component for: the stage with a result on it, progress, notes."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from urllib.parse import quote

import numpy as np

from latent_reenact.media import Provenance
from latent_reenact.media.images import encode_image
from latent_reenact.webui.messages import Trouble
from latent_reenact.webui.running import Progress

_SHOWN_PX = 1024  # longer side of a picture on the page; the download has all of it
_ENLARGED_PX = 384  # smaller ones are enlarged smoothly: browsers do it less well
_FACTS = {"frames": "frame", "people": "person", "systems": "system"}


def data_url(image: np.ndarray, marks: Provenance) -> str:
    """A picture inside the page, marked like every file: one can save it from there."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_image(_sized(image), "JPEG", marks=marks)).decode()


def file_url(path: Path) -> str:
    """Where the browser finds a file of the workspace, relative to the page."""
    return f"gradio_api/file={quote(str(path))}"


def empty(words: str) -> str:
    return _stage(f'<div class="lr-empty"><p>{html.escape(words)}</p></div>')


def picture(url: str, alt: str, before: str | None = None) -> str:
    """A picture; `before` lies over it while somebody holds the button to compare."""
    over = f'<img class="lr-before" src="{before}" alt="">' if before else ""
    return _stage(f'<img class="lr-now" src="{url}" alt="{html.escape(alt)}">{over}')


def compare(before: str, after: str, alt: str) -> str:
    """Two pictures under a slider."""
    return _stage(
        f'<div class="lr-wipe" style="--cut:50%"><img class="lr-now" src="{after}" alt="{html.escape(alt)}">'
        f'<img class="lr-cut" src="{before}" alt="">'
        '<span class="lr-line" aria-hidden="true"></span>'
        '<span class="lr-tag lr-left" aria-hidden="true">before</span>'
        '<span class="lr-tag lr-right" aria-hidden="true">after</span>'
        '<input type="range" min="0" max="100" value="50" aria-label="Compare before and after"></div>'
    )


def video(path: Path, alt: str) -> str:
    if path.suffix == ".gif":
        return _stage(f'<img class="lr-now" src="{file_url(path)}" alt="{html.escape(alt)}">')
    return _stage(
        f'<video class="lr-now" src="{file_url(path)}" controls autoplay loop muted playsinline '
        f'aria-label="{html.escape(alt)}"></video>'
    )


def progress(now: Progress, title: str) -> str:
    share = 0 if not now.total else min(1.0, now.done / now.total)
    bar = f'<span style="width:{100 * share:.1f}%"></span>' if now.total else '<span class="lr-unknown"></span>'
    return _stage(
        f'<div class="lr-progress"><p class="lr-title">{html.escape(title)}</p>'
        f'<div class="lr-bar" role="progressbar" aria-label="{html.escape(title)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{100 * share:.0f}">{bar}</div>'
        f"<p>{html.escape(progress_words(now))}</p></div>"
    )


def progress_words(now: Progress) -> str:
    """`42 of 75 frames, about 3 s left`"""
    if not now.total:
        return now.unit.capitalize() if now.unit and now.unit != "frames" else f"{now.done:.0f} frames" * (now.done > 0)
    unit = now.unit if now.total != 1 else _FACTS.get(now.unit, now.unit)
    left = "" if now.left_s is None else f", about {time_words(now.left_s)} left"
    return f"{now.done:.0f} of {now.total:.0f} {unit}{left}"


def time_words(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def trouble(what: Trouble) -> str:
    return _stage(
        f'<div class="lr-trouble" role="alert"><p class="lr-title">{html.escape(what.title)}</p>'
        f"<p>{html.escape(what.advice)}</p></div>"
    )


def caption(words: str) -> str:
    return f'<p class="lr-caption" role="status">{html.escape(words)}</p>' if words else ""


def note(words: str) -> str:
    return f'<p class="lr-note">{html.escape(words)}</p>'


def _stage(inside: str) -> str:
    return f'<div class="lr-stage">{inside}</div>'


def _sized(image: np.ndarray) -> np.ndarray:
    import cv2

    longer = max(image.shape[:2])
    goal = min(max(longer, _ENLARGED_PX), _SHOWN_PX)
    if longer == goal:
        return image
    size = tuple(max(1, round(n * goal / longer)) for n in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if goal > longer else cv2.INTER_AREA)
