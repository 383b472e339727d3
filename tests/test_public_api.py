"""The README's Python block, run as a reader would run it: on the embedded model, with the shipped samples."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from latent_reenact.media import VideoReader, VideoWriter, probe_video, read_image, read_provenance, write_image

REPO = Path(__file__).parent.parent
SAMPLES = REPO / "latent_reenact" / "samples"
FRAMES = 12


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the three files the block names; the clip is the start of the shipped one."""
    write_image(tmp_path / "portrait.jpg", read_image(SAMPLES / "portrait_a.png"))
    write_image(tmp_path / "smile.png", read_image(SAMPLES / "driving.png"))
    with VideoReader(SAMPLES / "driving.mp4") as clip, VideoWriter(tmp_path / "talk.mp4", fps=25) as short:
        for frame in islice(clip, FRAMES):
            short.write(frame)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_smoke() -> None:
    """The block names everything the package exports, so that running it covers the public API."""
    import latent_reenact

    (block,) = python_blocks()
    used = {*re.findall(r"lr\.(\w+)", block)}
    assert used <= set(latent_reenact.__all__)
    assert {"load", "sample_identity", "VideoWriter"} <= used


def test_feature_readme_block(desk: Path) -> None:
    names: dict = {}
    exec(compile(python_blocks()[0], "README.md", "exec"), names)
    reenactor, side = names["reenactor"], names["reenactor"].resolution

    for name in ("result", "turned"):
        image = names[name].image
        assert image.shape == (side, side, 3), name
        assert image.dtype == np.uint8, name
        assert image.std() > 10, f"{name}: a picture of nothing"
    assert not np.array_equal(names["turned"].image, names["nobody"].reconstruction)
    assert names["identity"].model == names["nobody"].model == reenactor.name

    assert np.array_equal(read_image(desk / "out.png"), names["result"].image)
    assert probe_video(desk / "out.mp4").frames == FRAMES
    for written in ("out.png", "out.mp4"):
        mark = read_provenance(desk / written)
        assert mark is not None, written
        assert mark.source_type == "trainedAlgorithmicMedia", written
