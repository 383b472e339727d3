"""From file to file: what overlaps gives the same files, lets go of everything, and stays small."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
from face_files import face_picture, moving_face, save, save_video
from fake_reenactor import FakeReenactor

from latent_reenact.errors import OutputError
from latent_reenact.media import VideoReader, VideoWriter
from latent_reenact.systems.jobs import reenact


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return save_video(tmp_path / "talk.mp4", moving_face(40))


def test_feature_results_do_not_depend_on_overlap() -> None:
    reenactor = tiny.reenactor()
    identity = reenactor.identity(tiny.picture())
    frames = [tiny.picture(seed) for seed in range(11)]
    streamed = reenactor.stream(identity, frames, aligned=True, batch=4)
    for frame, result in zip(frames, streamed, strict=True):
        assert result.driving_face is not None
        assert result.driving_face.image is frame
        alone = reenactor(identity, frame, aligned=True).image
        assert np.abs(result.image.astype(int) - alone).max() <= 1


def test_feature_a_stream_that_is_left_lets_go(talk: Path) -> None:
    reenactor = tiny.reenactor()
    identity = reenactor.identity(tiny.picture())
    before = threading.active_count()
    with VideoReader(talk) as reader:
        results = reenactor.stream(identity, reader, batch=2)
        next(results)
    # The reader went first, as it does where a caller's own `with` is left by an error; the stream ends all the same.
    assert sum(1 for _ in results) < 40
    assert threading.active_count() == before
    left = reenactor.stream(identity, talk, batch=2)
    next(left)
    left.close()
    assert threading.active_count() == before


def test_feature_frames_are_read_a_batch_ahead() -> None:
    reenactor = tiny.reenactor()
    identity = reenactor.identity(tiny.picture())
    read = itertools.count()

    def frames() -> Iterator[np.ndarray]:
        while True:
            next(read)
            yield tiny.picture()

    results = reenactor.stream(identity, frames(), batch=4)
    for _ in range(4):
        next(results)
    results.close()
    assert next(read) <= 8


def test_exception_while_writing_leaves_nothing(tmp_path: Path, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = VideoWriter.write

    def failing(self: VideoWriter, frame: np.ndarray) -> None:
        if self.frames == 5:
            raise OutputError("the disk is full")
        write(self, frame)

    monkeypatch.setattr(VideoWriter, "write", failing)
    portrait = save(tmp_path / "portrait.png", face_picture())
    with pytest.raises(OutputError, match="disk is full"):
        reenact(FakeReenactor(), portrait, talk, tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["portrait.png", "talk.mp4"]
