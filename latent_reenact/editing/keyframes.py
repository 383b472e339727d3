"""Key-frames: settings of the sliders at some moments, and the frames in between as a short video or GIF."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from latent_reenact.editing.parts import read_settings
from latent_reenact.errors import UsageError
from latent_reenact.media import Provenance, VideoWriter
from latent_reenact.media.animation import write_gif
from latent_reenact.systems import Identity, LatentReenactor, Reenactor

Settings = Mapping[str, float]
MAX_FRAMES = 3000
_BATCH = 8  # frames drawn together


def in_between(
    key_frames: Sequence[Settings], frames_per_step: int, *, loop: bool = False
) -> Iterator[dict[str, float]]:
    """The settings of every frame: each key-frame is met exactly, and left and reached gently (a cosine).

    Args:
        key_frames: two or more, all with the same controls.
        frames_per_step: from one key-frame to the next.
        loop: come back to the first one, which is then not shown twice.

    Raises:
        UsageError: fewer than two key-frames, other controls in one of them, or too few or many frames.
    """
    if len(key_frames) < 2:
        raise UsageError(f"got {len(key_frames)} key-frame(s), expected at least 2 to move between")
    names = sorted(key_frames[0])
    for number, settings in enumerate(key_frames, start=1):
        if sorted(settings) != names or not all(map(math.isfinite, settings.values())):
            raise UsageError(
                f"key-frame {number} sets {sorted(settings)}, expected numbers for {names} as in the first"
            )
    stops = [*key_frames, key_frames[0]] if loop else list(key_frames)
    if frames_per_step < 1 or (len(stops) - 1) * frames_per_step > MAX_FRAMES:
        raise UsageError(
            f"got {frames_per_step} frames a step and {len(stops) - 1} steps, expected 1 or more and at most "
            f"{MAX_FRAMES} frames in all"
        )
    for start, end in pairwise(stops):
        for i in range(frames_per_step):
            share = (1 - math.cos(math.pi * i / frames_per_step)) / 2
            yield {name: start[name] + (end[name] - start[name]) * share for name in names}
    if not loop:
        yield dict(stops[-1])


def film(
    reenactor: Reenactor,
    identity: Identity,
    key_frames: Sequence[Settings],
    out: str | Path,
    *,
    fps: int = 25,
    seconds_per_step: float = 1.0,
    loop: bool = False,
    finish: Callable[[np.ndarray], np.ndarray] = lambda image: image,
    progress: Callable[[float, float | None, str], None] = lambda done, total, unit: None,
) -> int:
    """Draw a person moving through key-frames, into a marked video (.mp4, .webm, ...) or .gif, whole or not at all.

    Args:
        key_frames: controls that one leaves out stand as in the person's own picture.
        seconds_per_step: from one key-frame to the next.
        loop: come back to the first one.
        finish: a last touch to every picture, uint8 [R, R, 3].
        progress: told after every frame.

    Returns:
        How many frames were written.

    Raises:
        UsageError: as `in_between`. ConfigError: a control that the model does not have. OutputError.
    """
    own = read_settings(reenactor, identity)
    steps = max(1, round(fps * seconds_per_step))
    all_settings = list(in_between([{**own, **settings} for settings in key_frames], steps, loop=loop))
    marks = Provenance(model=reenactor.name, operation="key-frames")

    def pictures() -> Iterator[np.ndarray]:
        for done, image in enumerate(_drawn(reenactor, identity, all_settings, own), start=1):
            yield finish(image)
            progress(done, len(all_settings), "frames")

    if Path(out).suffix.lower() == ".gif":
        write_gif(out, pictures(), fps=fps, marks=marks)
    else:
        with VideoWriter(out, fps=fps, marks=marks) as writer:
            for picture in pictures():
                writer.write(picture)
    return len(all_settings)


def _drawn(
    reenactor: Reenactor, identity: Identity, all_settings: Sequence[Settings], own: Settings
) -> Iterator[np.ndarray]:
    """A picture for each of the settings; sliders that stand where they stood are not touched."""
    moved = ({name: value for name, value in one.items() if value != own.get(name)} for one in all_settings)
    if not isinstance(reenactor, LatentReenactor):
        yield from (reenactor.pose(identity, **one).image for one in moved)
        return
    while batch := list(islice(moved, _BATCH)):
        yield from (result.image for result in reenactor.poses(identity, batch, fast=True))
