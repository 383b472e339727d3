"""The app's parts without a page: limits, jobs, messages, files, history, sliders, fragments, passwords."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_reenact import errors, samples
from latent_reenact.media import Provenance, VideoWriter, write_image
from latent_reenact.systems import Identity
from latent_reenact.webui import fragments
from latent_reenact.webui.files import Workspace
from latent_reenact.webui.history import History
from latent_reenact.webui.limits import Limits
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.running import Done, Progress, Stopped, Tell, run
from latent_reenact.webui.server import AppOptions, read_users
from latent_reenact.webui.session import Desk
from latent_reenact.webui.sliders import GROUPS, changed, sliders_of

# -- limits ------------------------------------------------------------------------------------------------------


def test_smoke_limits() -> None:
    assert Limits().check(samples.path("driving.mp4")) is True
    assert Limits().check(samples.path("driving.png")) is False


@pytest.mark.parametrize("limits", [Limits(video_seconds=1), Limits(video_frames=10), Limits(video_side_px=64)])
def test_exception_video_beyond_the_limits(limits: Limits) -> None:
    with pytest.raises(errors.LimitExceededError):
        limits.check(samples.path("driving.mp4"))


def test_exception_picture_beyond_the_limits(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((1001, 1000, 3), np.uint8), marks=None)
    with pytest.raises(errors.LimitExceededError):
        Limits(picture_megapixels=1).check(tmp_path / "a.png")
    with pytest.raises(errors.LimitExceededError, match="at most 0 MB"):
        Limits(upload_mb=0).check(tmp_path / "a.png")
    (tmp_path / "b.txt").write_text("hello")
    with pytest.raises(errors.CorruptFileError):
        Limits().check(tmp_path / "b.txt")


# -- jobs --------------------------------------------------------------------------------------------------------


def test_feature_job_tells_how_far_it_is() -> None:
    def work(tell: Tell) -> str:
        for i in range(1, 11):
            tell(i, 10, "frames")
            time.sleep(0.02)
        return "made"

    *seen, last = run(work, limit_s=10, every_s=0.02)
    assert last == Done("made")
    shares = [now.done for now in seen if isinstance(now, Progress)]
    assert shares == sorted(shares)
    assert len(shares) > 3


def test_feature_closing_stops_the_work() -> None:
    reached: list[int] = []

    def work(tell: Tell) -> None:
        for i in range(1000):
            tell(i, 1000, "frames")
            reached.append(i)
            time.sleep(0.01)

    job = run(work, limit_s=10, every_s=0.02)
    next(job)
    job.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    count = len(reached)
    time.sleep(0.1)
    assert len(reached) == count < 100


def test_feature_a_stopped_job_ends_and_is_no_trouble() -> None:
    """By its own button, or by the job that a person asks for next."""
    ended = threading.Event()

    def endless(tell: Tell) -> None:
        try:
            while True:
                tell(0, None, "")
                time.sleep(0.01)
        finally:
            ended.set()

    desk = Desk()
    for stop in (desk.stop, desk.begin):
        ended.clear()
        work = run(endless, limit_s=60, every_s=0.02, job=desk.begin("film"))
        next(work)
        stop("film")
        with pytest.raises(Stopped), about("the film"):
            next(work)
        assert ended.wait(20)
    assert not desk.jobs["film"].stopped
    desk.stop("compare")  # which never ran


def test_exception_time_is_up_and_errors_come_through() -> None:
    def endless(tell: Tell) -> None:
        while True:
            tell(0, None, "")
            time.sleep(0.01)

    with pytest.raises(errors.LimitExceededError, match="longer than"):
        list(run(endless, limit_s=0.1, every_s=0.02))

    def failing(tell: Tell) -> None:
        raise errors.NoFaceError("nobody")

    with pytest.raises(errors.NoFaceError):
        list(run(failing, limit_s=1))


def test_feature_time_left() -> None:
    assert Progress(0, None, "", 5).left_s is None
    assert Progress(5, 20, "frames", 10).left_s == 30
    assert fragments.progress_words(Progress(5, 20, "frames", 10)) == "5 of 20 frames, about 30 s left"
    assert fragments.progress_words(Progress(1, 20, "frames", 10)) == "1 of 20 frames, about 3 min left"
    assert fragments.progress_words(Progress(0, None, "reading the person", 1)) == "Reading the person"


# -- messages ----------------------------------------------------------------------------------------------------

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", KINDS)
def test_feature_every_error_becomes_plain_words(kind: type[Exception]) -> None:
    with pytest.raises(Trouble) as caught, about("the identity picture"):
        raise kind("got /tmp/secret/a.png, expected something else")
    trouble = caught.value
    assert "/tmp" not in str(trouble)
    assert "{" not in str(trouble)
    assert trouble.title[0].isupper()
    assert trouble.title.endswith(".")
    assert trouble.advice.endswith(".")


def test_exception_our_own_mistakes_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Trouble, match="on our side") as caught, about("the picture"):
        raise KeyError("secret")
    assert "secret" not in str(caught.value)
    assert "secret" in capsys.readouterr().err


def test_feature_what_a_page_shows_is_escaped() -> None:
    shown = fragments.trouble(Trouble("<script>alert(1)</script>", '"><img onerror=x>'))
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in fragments.empty("<b>")
    assert "<b>" not in fragments.picture("data:,", "<b>")


# -- files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace():
    space = Workspace()
    yield space
    space.close()
    assert not space.root.exists()


def test_feature_only_own_files_are_held(workspace: Workspace, tmp_path: Path) -> None:
    mine = workspace.new_folder() / "a.png"
    mine.write_bytes(b"x")
    (tmp_path / "out.png").write_bytes(b"x")
    (workspace.uploads / "link.png").symlink_to(tmp_path / "out.png")
    assert workspace.holds(str(mine))
    for path in (
        *(str(tmp_path / "out.png"), str(workspace.uploads / "link.png"), str(mine.parent), "", ".", "a.png"),
        *(f"{mine.parent}/../../../etc/passwd", "/etc/passwd", f"{mine}\0", "a" * 5000, "http://x/a.png"),
    ):
        assert not workspace.holds(path), path
    assert workspace.root.stat().st_mode & 0o077 == 0


def test_feature_failed_jobs_leave_nothing(workspace: Workspace) -> None:
    def failing() -> None:
        with workspace.job_folder() as folder:
            (folder / "half.mp4").write_bytes(b"x")
            raise ValueError("no")

    before = set(workspace.uploads.iterdir())
    with pytest.raises(ValueError, match="no"):
        failing()
    assert set(workspace.uploads.iterdir()) == before
    with workspace.job_folder() as folder:
        (folder / "whole.mp4").write_bytes(b"x")
    assert (folder / "whole.mp4").exists()


def test_feature_next_app_cleans_up_after_one_that_was_killed() -> None:
    code = "from latent_reenact.webui.files import Workspace; print(Workspace().root, flush=True); input()"
    living = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert living.stdout is not None
    left = Path(living.stdout.readline().strip())
    Workspace().close()
    assert left.exists(), "it still runs"
    living.kill()
    living.wait()
    Workspace().close()
    assert not left.exists()


def test_feature_sweep_takes_what_is_old(workspace: Workspace) -> None:
    old, new = workspace.new_folder(), workspace.new_folder()
    for folder in (old, new):
        (folder / "a.png").write_bytes(b"x")
    sample = workspace.sample("portrait_a.png")
    for path in (old / "a.png", old, sample, sample.parent):
        os.utime(path, (1, 1))
    assert workspace.sweep(3600) == 1
    assert not old.exists()
    assert new.exists()
    assert sample.exists()


# -- history and sliders -----------------------------------------------------------------------------------------


def test_smoke_history() -> None:
    history = History()
    history.start({"smile": 0.0, "yaw_deg": 0.0})
    for step in range(1, 6):  # one drag
        history.record({"smile": step / 5, "yaw_deg": 0.0}, step * 0.1)
    history.record({"smile": 1.0, "yaw_deg": 9.0}, 0.7)  # another slider
    assert history.undo() == {"smile": 1.0, "yaw_deg": 0.0}
    assert history.undo() == {"smile": 0.0, "yaw_deg": 0.0}
    assert history.undo() == {"smile": 0.0, "yaw_deg": 0.0}
    assert history.redo() == {"smile": 1.0, "yaw_deg": 0.0}
    history.record({"smile": 0.3, "yaw_deg": 0.0}, 5.0)  # what was undone is gone
    assert history.redo() == {"smile": 0.3, "yaw_deg": 0.0}


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.floats(0, 2)), max_size=40))
def test_feature_undo_and_redo_are_inverse(changes: list[tuple[int, float, float]]) -> None:
    history, now, settings = History(), 0.0, {str(i): 0.0 for i in range(4)}
    history.start(settings)
    for slider, value, pause in changes:
        now += pause
        settings = {**settings, str(slider): value}
        history.record(settings, now)
    assert history.now == settings
    steps = len(history.states)
    for _ in range(steps):
        history.undo()
    assert history.now == {str(i): 0.0 for i in range(4)}
    for _ in range(steps):
        history.redo()
    assert history.now == settings


def test_feature_history_is_bounded() -> None:
    history = History()
    for i in range(1000):
        history.record({"a": float(i + 1)}, i * 10.0)
    assert len(history.states) == 200


def test_feature_sliders_fit_any_model() -> None:
    sliders = sliders_of(["smile", "yaw_deg", "ear_wiggle", "nose_roll_deg"])
    assert [s.name for s in sliders] == ["yaw_deg", "smile", "ear_wiggle", "nose_roll_deg"]
    assert all(s.group in GROUPS for s in sliders)
    assert (sliders[3].low, sliders[3].high) == (-30, 30)
    assert sliders_of([]) == []


@given(st.floats(-100, 100))
def test_feature_shown_values_are_within_and_on_a_step(value: float) -> None:
    for slider in sliders_of(["yaw_deg", "smile"]):
        shown = slider.shown(value)
        assert slider.low <= shown <= slider.high
        assert math.isclose((shown - slider.low) / slider.step, round((shown - slider.low) / slider.step), abs_tol=1e-6)
        assert slider.shown(shown) == shown


def test_feature_untouched_sliders_change_nothing() -> None:
    sliders = sliders_of(["yaw_deg", "smile"])
    own = {"yaw_deg": 3.219, "smile": 0.4567}
    shown = {s.name: s.shown(own[s.name]) for s in sliders}
    assert changed(sliders, own, shown) == {}
    assert changed(sliders, own, {**shown, "smile": 0.8}) == {"smile": 0.8}


# -- pictures on the page ----------------------------------------------------------------------------------------


def test_feature_pictures_on_the_page_are_marked_too(tmp_path: Path) -> None:
    import base64

    from latent_reenact.media import read_image, read_provenance

    url = fragments.data_url(np.full((128, 128, 3), 90, np.uint8), Provenance(model="m", operation="pose"))
    (tmp_path / "saved.jpg").write_bytes(base64.b64decode(url.split(",", 1)[1]))
    assert read_image(tmp_path / "saved.jpg").shape == (384, 384, 3), "small ones are enlarged"
    mark = read_provenance(tmp_path / "saved.jpg")
    assert mark is not None
    assert (mark.model, mark.operation) == ("m", "pose")
    large = fragments.data_url(np.zeros((3000, 1500, 3), np.uint8), Provenance())
    (tmp_path / "large.jpg").write_bytes(base64.b64decode(large.split(",", 1)[1]))
    assert read_image(tmp_path / "large.jpg").shape == (1024, 512, 3)


# -- who may enter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.2", "::"])
def test_exception_other_machines_need_a_password(host: str) -> None:
    with pytest.raises(errors.UsageError, match="--auth"):
        AppOptions(host=host)
    assert not AppOptions(host=host, users={"a": "b"}).is_loopback
    assert AppOptions().is_loopback


def test_feature_users_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users").write_text("ada:correct horse\n\nbob:x:y\n")
    assert read_users(tmp_path / "users") == {"ada": "correct horse", "bob": "x:y"}
    monkeypatch.setenv("LATENT_REENACT_AUTH", "eve:secret")
    assert read_users(None) == {"eve": "secret"}
    monkeypatch.delenv("LATENT_REENACT_AUTH")
    assert read_users(None) == {}


@pytest.mark.parametrize("text", ["", "ada", "ada:", ":secret"])
def test_exception_users(tmp_path: Path, text: str) -> None:
    (tmp_path / "users").write_text(text)
    with pytest.raises(errors.UsageError):
        read_users(tmp_path / "users")
    with pytest.raises(errors.UsageError, match="cannot read"):
        read_users(tmp_path / "nobody")


def test_exception_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from latent_reenact.cli import main

    assert main(["app", "--host", "0.0.0.0"]) == 2
    assert "--auth" in capsys.readouterr().err
    assert main(["app", "--auth", str(tmp_path / "nobody")]) == 2
    assert "cannot read" in capsys.readouterr().err


# -- the studio --------------------------------------------------------------------------------------------------


def test_feature_videos_are_counted_while_they_run(tmp_path: Path, workspace: Workspace) -> None:
    """A file may promise fewer frames than it has."""
    from fake_reenactor import SKIN, FakeReenactor

    from latent_reenact.webui.session import Sitter
    from latent_reenact.webui.studio import Studio, Wishes

    picture = np.full((96, 96, 3), 30, np.uint8)
    picture[24:72, 24:72] = SKIN
    write_image(tmp_path / "a.png", picture, marks=None)
    with VideoWriter(tmp_path / "b.mp4", fps=25) as out:
        for _ in range(12):
            out.write(picture)
    reenactor = FakeReenactor()
    studio = Studio(reenactor, workspace, Limits(), reenactor.detector)
    made = studio.reenact(Sitter(tmp_path / "a.png"), tmp_path / "b.mp4", 0, Wishes(), lambda *now: None)
    assert made.report.frames == 12
    tight = Studio(reenactor, workspace, Limits(video_frames=10), reenactor.detector)
    jobs = set(workspace.uploads.iterdir())
    with pytest.raises(Trouble, match=r"more than this app takes"):
        tight.reenact(Sitter(tmp_path / "a.png"), tmp_path / "b.mp4", 0, Wishes(), lambda *now: None)
    assert set(workspace.uploads.iterdir()) == jobs
    with pytest.raises(Trouble, match="nobody to draw"):
        studio.reenact(Sitter(), tmp_path / "b.mp4", 0, Wishes(), lambda *now: None)
    with pytest.raises(Trouble, match="cannot be"):
        studio.people.open(tmp_path / "b.mp4")


def test_feature_samples_are_read_once_for_everybody(workspace: Workspace) -> None:
    from fake_reenactor import FakeReenactor

    from latent_reenact.webui.session import Sitter
    from latent_reenact.webui.studio import Studio

    class Counting(FakeReenactor):
        read: ClassVar[list[Path]] = []

        def identity(self, picture: Path | np.ndarray, **how: Any) -> Identity:
            assert isinstance(picture, Path)
            self.read.append(picture)
            return super().identity(picture, aligned=True)

    studio = Studio(Counting(), workspace, Limits())
    sample, own = workspace.sample("portrait_a.png"), workspace.new_folder() / "portrait_a.png"
    own.write_bytes(sample.read_bytes())
    people = [studio.people.read(Sitter(path)) for path in (sample, sample, own, own)]
    assert people[0] is people[1]
    assert people[2] is not people[3]
    assert Counting.read == [sample, own, own]
