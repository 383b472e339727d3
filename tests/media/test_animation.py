"""GIFs with their mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latent_reenact.errors import OutputError, UsageError
from latent_reenact.media import Provenance, VideoReader, probe_video, read_provenance, write_gif


def frames(count: int) -> list[np.ndarray]:
    return [np.full((32, 48, 3), (40 * i, 200, 90), np.uint8) for i in range(count)]


def test_smoke(tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", iter(frames(5)), fps=10, marks=Provenance(model="m", operation="film"))
    info = probe_video(tmp_path / "a.gif")
    assert (info.width, info.height, info.frames, info.fps) == (48, 32, 5, 10)
    with VideoReader(tmp_path / "a.gif") as reader:
        colours = [frame[0, 0].astype(int) for frame in reader]
    assert np.abs(np.array(colours) - [f[0, 0].astype(int) for f in frames(5)]).max() <= 4
    mark = read_provenance(tmp_path / "a.gif")
    assert mark is not None
    assert (mark.model, mark.operation, mark.source_type) == ("m", "film", "trainedAlgorithmicMedia")


def test_exception_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame"):
        write_gif(tmp_path / "a.gif", [])
    with pytest.raises(UsageError, match="fps"):
        write_gif(tmp_path / "a.gif", frames(2), fps=0)

    def failing():
        yield frames(1)[0]
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        write_gif(tmp_path / "a.gif", failing())
    assert not list(tmp_path.iterdir())
