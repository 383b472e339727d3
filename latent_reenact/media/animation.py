"""Short animations out: GIF files that carry the mark of their origin, put in place when whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from latent_reenact.errors import OutputError, UsageError
from latent_reenact.media.atomic import atomic_path
from latent_reenact.media.images import as_pixels
from latent_reenact.media.provenance import DEFAULT_MARK, Provenance, to_comment

_TICK_S = 0.01  # GIF counts time in hundredths of a second; browsers slow down what is faster than two of them


def write_gif(path: str | Path, frames: Iterable[Any], *, fps: float = 25, marks: Provenance = DEFAULT_MARK) -> None:
    """Write frames as a GIF that repeats for ever, marked as made by AI in its comment.

    Args:
        frames: whatever `as_pixels` takes, all of one size; 256 colours remain of each.
        fps: frames a second; shown in hundredths of a second, at most 50.

    Raises:
        OutputError: the file cannot be written, or there are no frames. UsageError: another rate, or no pictures.
    """
    if not 0 < fps <= 1000:
        raise UsageError(f"fps: got {fps}, expected more than 0")
    ticks = max(2, round(1 / fps / _TICK_S))
    pictures = _pictures(frames)
    with atomic_path(path) as temporary:
        first = next(pictures, None)
        if first is None:
            raise OutputError(f"cannot write {path}: no frame was given; expected at least one")
        rest = chain(pictures)
        options = {"duration": ticks * 10, "loop": 0, "comment": to_comment(marks).encode()}
        first.save(temporary, "GIF", save_all=True, append_images=rest, **options)


def _pictures(frames: Iterable[Any]) -> Iterator[Image.Image]:
    for frame in frames:
        yield Image.fromarray(as_pixels(frame)).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
