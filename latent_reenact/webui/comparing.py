"""A comparison as the page shows it: clips as files, and one sheet to download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_reenact.evaluation.measures import Measure
from latent_reenact.evaluation.one_pair import MEASURES, PairResult
from latent_reenact.media import Provenance, VideoWriter, side_by_side, write_image
from latent_reenact.media.provenance import COMPOSITE

_HEIGHT_PX = 256


@dataclass(frozen=True, eq=False)
class Compared:
    """results: one for each system. driving, clips: a video file, or a picture uint8 [H, W, 3].

    sheet: identity, driving and every result side by side: a picture or a video.
    """

    results: Sequence[PairResult]
    driving: Path | np.ndarray | None
    clips: Mapping[str, Path | np.ndarray]
    sheet: Path
    measures: Sequence[Measure] = MEASURES


def laid_out(results: Sequence[PairResult], identity: np.ndarray, folder: Path) -> Compared:
    """Write what the page needs into `folder`. At least one result has frames."""
    done = [(r, r.frames, r.driving) for r in results if r.frames is not None and r.driving is not None]
    first, _, driving = done[0]
    marks = Provenance(model=", ".join(r.system for r, _, _ in done), operation="compare", source_type=COMPOSITE)
    rows = [
        side_by_side([identity, driving[i], *(frames[i] for _, frames, _ in done)], _HEIGHT_PX)
        for i in range(len(driving))
    ]
    if len(rows) == 1:
        write_image(folder / "compared.png", rows[0], marks=marks)
        return Compared(results, driving[0], {r.system: frames[0] for r, frames, _ in done}, folder / "compared.png")
    _write(folder / "compared.mp4", rows, first.fps, marks)
    clips: dict[str, Path | np.ndarray] = {}
    for number, (result, frames, _) in enumerate(done):
        clips[result.system] = folder / f"{number}.mp4"
        _write(folder / f"{number}.mp4", frames, result.fps, Provenance(model=result.system, operation="compare"))
    _write(folder / "driving.mp4", driving, first.fps, marks)
    return Compared(results, folder / "driving.mp4", clips, folder / "compared.mp4")


def _write(path: Path, frames: Sequence[np.ndarray] | np.ndarray, fps: float, marks: Provenance) -> None:
    with VideoWriter(path, fps=fps, marks=marks) as out:
        for frame in frames:
            out.write(frame)
