"""The command line in this process, with a reenactor that needs no weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_files import face_picture, moving_face, save, save_video
from fake_reenactor import FakeReenactor

from latent_reenact import editing, systems
from latent_reenact.cli import main
from latent_reenact.errors import WeightsNotFoundError


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("error: ")
        return self.err


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`cli("verify", path)`; libraries that write to the process's own stderr are heard too."""

    def run(*words: object) -> Outcome:
        code = main([str(word) for word in words])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeReenactor:
    """What every command gets for the name `builtin`."""
    reenactor = FakeReenactor()

    def load(model: str, *, device: str = "auto") -> FakeReenactor:
        if model != "builtin":
            raise WeightsNotFoundError(f"no model {model!r}: expected builtin")
        return reenactor

    monkeypatch.setattr(systems, "load", load)
    monkeypatch.setattr(editing, "sample_identity", _sample_identity)
    return reenactor


def _sample_identity(reenactor: FakeReenactor, seed: int = 0) -> systems.Identity:
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return reenactor.identity(noise, aligned=True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with portrait.png, smile.png and talk.mp4 in it, and an empty folder `out` beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    save(folder / "portrait.png", face_picture())
    save(folder / "smile.png", face_picture(200, 160, (60, 40, 80)))
    save_video(folder / "talk.mp4", moving_face(12))
    return folder


@pytest.fixture
def out(files: Path) -> Path:
    return files.parent / "out"
