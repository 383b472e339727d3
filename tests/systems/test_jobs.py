"""Jobs as a program calls them: what is checked first, what is told on the way, what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from face_files import face_picture, moving_face, save, save_video
from fake_reenactor import FakeReenactor

from latent_reenact import systems
from latent_reenact.errors import CorruptFileError, NoFaceError, OutputError, UsageError
from latent_reenact.media import read_image, write_image
from latent_reenact.systems import plan
from latent_reenact.systems.jobs import ReenactOptions, invert, pose, reenact, sample


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return save(tmp_path / "portrait.png", face_picture())


@pytest.fixture
def smile(tmp_path: Path) -> Path:
    return save(tmp_path / "smile.png", face_picture(200, 160, (60, 40, 80)))


@pytest.fixture
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> str:
    def load(model: str, *, device: str) -> None:
        raise AssertionError("loaded a model before the cheap checks")

    monkeypatch.setattr(systems, "load", load)
    return "builtin"


def test_smoke_values(tmp_path: Path, portrait: Path, smile: Path) -> None:
    reenactor = FakeReenactor()
    report = reenact(reenactor, reenactor.identity(portrait), smile, tmp_path / "a.png")
    assert report.outputs == (str(tmp_path / "a.png"),)
    assert (report.frames, report.frames_without_face, report.failures) == (1, 0, ())
    assert json.loads(json.dumps(report.as_dict()))["fps"] == report.fps > 0


def test_feature_model_by_name(tmp_path: Path, portrait: Path, smile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(systems, "load", lambda model, *, device: asked.append((model, device)) or FakeReenactor())
    reenact("gothic", portrait, smile, tmp_path / "a.png", device="cpu")
    assert asked == [("gothic", "cpu")]


def test_feature_progress_of_a_video(tmp_path: Path, portrait: Path) -> None:
    told = []
    video = save_video(tmp_path / "talk.mp4", moving_face(5))
    reenact(FakeReenactor(), portrait, video, tmp_path / "a.mp4", progress=lambda *words: told.append(words))
    assert told == [(n, 5, "frames") for n in range(1, 6)]


def test_feature_progress_of_a_batch(tmp_path: Path, portrait: Path) -> None:
    driving = tmp_path / "driving"
    driving.mkdir()
    save(driving / "a.png", face_picture())
    save(driving / "b.png", np.zeros((50, 50, 3), np.uint8))
    save_video(driving / "c.mp4", moving_face(4))
    told = []
    report = reenact(FakeReenactor(), portrait, driving, tmp_path / "out", progress=lambda *words: told.append(words))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1] == (3, 3, "files")
    assert (2.25, 3, "files") in told
    assert [Path(failure.driving).name for failure in report.failures] == ["b.png"]


def test_exception_checks_come_before_loading(tmp_path: Path, portrait: Path, smile: Path, never_loaded: str) -> None:
    with pytest.raises(CorruptFileError):
        reenact(never_loaded, tmp_path / "none.png", smile, tmp_path / "a.png")
    with pytest.raises(CorruptFileError):
        reenact(never_loaded, portrait, tmp_path / "none.mp4", tmp_path / "a.mp4")
    with pytest.raises(OutputError):
        reenact(never_loaded, portrait, smile, tmp_path / "none" / "a.png")
    with pytest.raises(OutputError):
        invert(never_loaded, portrait, tmp_path / "id.pt")
    with pytest.raises(UsageError):
        pose(never_loaded, portrait, tmp_path / "a.png", {"yaw_deg": float("inf")})
    with pytest.raises(OutputError):
        sample(never_loaded, lambda reenactor, seed: None, [1], tmp_path / "none" / "people")
    with pytest.raises(UsageError):
        sample(never_loaded, lambda reenactor, seed: None, [], tmp_path / "people")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["portrait.png", "smile.png"]


def test_exception_options(tmp_path: Path, portrait: Path, smile: Path) -> None:
    for wrong in (
        {"face": "all"},
        {"identity_face": "all"},
        {"smoothing": "soft"},
        {"paste_back": True, "aligned": True},
    ):
        with pytest.raises(UsageError):
            ReenactOptions(**wrong)
    identity = FakeReenactor().identity(portrait)
    with pytest.raises(UsageError, match="give the picture itself"):
        reenact(FakeReenactor(), identity, smile, tmp_path / "a.png", ReenactOptions(paste_back=True))


def test_exception_failed_stream_keeps_the_old_video(tmp_path: Path, portrait: Path) -> None:
    frames = moving_face(4) + [np.zeros_like(moving_face(1)[0])] * 20
    video = save_video(tmp_path / "gone.mp4", frames)
    (tmp_path / "a.mp4").write_bytes(b"older")
    reenactor = FakeReenactor()
    reenactor.max_gap = 10
    with pytest.raises(NoFaceError, match="is gone since frame"):
        reenact(reenactor, portrait, video, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"older"


def test_feature_batch_names(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.tif", "c.gif", "d.webm", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    tasks = plan.plan_tasks(tmp_path, tmp_path / "out")
    assert [(task.out.name, task.is_video) for task in tasks] == [
        ("a.PNG", False),
        ("b.png", False),
        ("c.mp4", True),
        ("d.webm", True),
    ]


@pytest.mark.parametrize("suffix", plan.IMAGE_SUFFIXES)
def test_feature_picture_suffixes_can_be_written(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", face_picture())
    assert read_image(tmp_path / f"a{suffix}").shape == (100, 120, 3)


@pytest.mark.parametrize("suffix", plan.VIDEO_SUFFIXES)
def test_feature_video_suffixes_can_be_written(tmp_path: Path, portrait: Path, suffix: str) -> None:
    video = save_video(tmp_path / "talk.mp4", moving_face(2))
    assert reenact(FakeReenactor(), portrait, video, tmp_path / f"a{suffix}").frames == 2


@pytest.mark.parametrize("aligned", [False, True])
def test_feature_with_the_real_system(tmp_path: Path, aligned: bool) -> None:
    """The latent system, at toy size, behind every job."""
    tiny = pytest.importorskip("tiny")
    from latent_reenact.editing import sample_identity

    reenactor = tiny.reenactor()
    portrait = save(tmp_path / "portrait.png", face_picture(64, 64))
    video = save_video(tmp_path / "talk.mp4", [face_picture(64, 64)] * 11)
    options = ReenactOptions(aligned=aligned, paste_back=not aligned, side_by_side=True, relative=True)
    report = reenact(reenactor, portrait, video, tmp_path / "a.mp4", options)
    assert (report.frames, report.frames_without_face) == (11, 0)
    reenact(reenactor, portrait, portrait, tmp_path / "a.png", options)
    invert(reenactor, portrait, tmp_path / "id.safetensors", aligned=aligned)
    pose(reenactor, tmp_path / "id.safetensors", tmp_path / "b.png", {"yaw_deg": 10})
    assert read_image(tmp_path / "b.png").shape == (32, 32, 3)
    assert sample(reenactor, sample_identity, [3], tmp_path / "people").frames == 1
