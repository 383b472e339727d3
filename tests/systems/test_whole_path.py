"""From file to file: what overlaps gives the same files, lets go of everything, and stays small."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from face_files import face_picture, moving_face, save, save_video
from fake_reenactor import FakeReenactor

from latent_reenact.errors import BackendError, OutputError
from latent_reenact.media import VideoReader, VideoWriter
from latent_reenact.systems import drawing
from latent_reenact.systems.jobs import reenact


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return save_video(tmp_path / "talk.mp4", moving_face(40))


def test_feature_videos_are_drawn_fast_once_the_operators_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.networks().generator.synthesis
    codes = torch.zeros(2, tiny.L, tiny.D)
    built = threading.Event()

    class Fast:
        def __init__(self, given: object, precision: str) -> None:
            assert given is network

        def __call__(self, w_plus: torch.Tensor) -> torch.Tensor:
            built.wait(10)
            return torch.full((len(w_plus),), 7.0)

    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    monkeypatch.setattr(drawing, "FastSynthesis", Fast)
    monkeypatch.setattr(drawing, "_PATIENCE_S", 0.05)
    draw = drawing.FastestSynthesis(network)
    draw.start()
    assert torch.equal(draw(codes), network(codes))
    built.set()
    monkeypatch.setattr(drawing, "_PATIENCE_S", 10)
    draw.start()
    assert draw(codes).tolist() == [7.0, 7.0]


def test_feature_videos_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: object, precision: str) -> None:
        raise BackendError("no compiler")

    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    monkeypatch.setattr(drawing, "FastSynthesis", broken)
    network = tiny.networks().generator.synthesis
    draw = drawing.FastestSynthesis(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        draw.start()
    codes = torch.zeros(1, tiny.L, tiny.D)
    assert torch.equal(draw(codes), network(codes))


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
