"""`reenact`: every form of driving, and what the outputs are."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from face_files import face_picture, moving_face, save, save_changing_video, save_video
from fake_reenactor import SKIN, FakeReenactor
from PIL import Image

from latent_reenact.media import VideoReader, probe_video, read_image, read_provenance, with_badge

GAP = 4  # pixels between the pictures of a row 256 high


def test_smoke_picture(cli, files: Path, out: Path) -> None:
    done = cli("reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == str(out / "a.png")
    picture = read_image(out / "a.png")
    assert picture.shape == (64, 64, 3)
    assert picture[..., 1].mean() > picture[..., 0].mean() + 20, "the colour of the driving face"


def test_smoke_video(cli, files: Path, out: Path) -> None:
    talk = save_video(files / "talk.mp4", moving_face(31), fps=Fraction(30_000, 1001), sound=True)
    done = cli("reenact", files / "portrait.png", talk, "-o", out / "a.mp4", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["frames"] == 31
    assert done.json["frames_without_face"] == 0
    info = probe_video(out / "a.mp4")
    assert (info.frames, info.fps, info.has_audio) == (31, Fraction(30_000, 1001), True)
    assert (info.width, info.height) == (64, 64)
    assert read_provenance(out / "a.mp4").model == "fake"


def test_feature_saved_identity(cli, files: Path, out: Path) -> None:
    assert cli("invert", files / "portrait.png", "-o", out / "id.safetensors").code == 0
    assert cli("reenact", out / "id.safetensors", files / "smile.png", "-o", out / "b.png").code == 0
    assert cli("reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png").code == 0
    assert np.array_equal(read_image(out / "a.png"), read_image(out / "b.png"))


def test_feature_paste_back(cli, files: Path, out: Path) -> None:
    original = face_picture(300, 200, (100, 60, 80))
    save(files / "large.png", original)
    done = cli("reenact", files / "large.png", files / "smile.png", "-o", out / "a.png", "--paste-back")
    assert done.code == 0
    pasted = read_image(out / "a.png")
    assert pasted.shape == original.shape
    assert np.array_equal(pasted[:, :20], original[:, :20]), "nothing changes far from the face"
    assert (pasted != original).any(), "the face does"
    assert read_provenance(out / "a.png").source_type == "compositeWithTrainedAlgorithmicMedia"


def test_feature_paste_back_video(cli, files: Path, out: Path) -> None:
    done = cli("reenact", files / "portrait.png", files / "talk.mp4", "-o", out / "a.mp4", "--paste-back")
    assert done.code == 0
    info = probe_video(out / "a.mp4")
    assert (info.width, info.height, info.frames) == (120, 100, 12)
    assert read_provenance(out / "a.mp4").source_type == "compositeWithTrainedAlgorithmicMedia"


@pytest.mark.parametrize("aligned", [False, True])
def test_feature_side_by_side(cli, files: Path, out: Path, aligned: bool) -> None:
    extra = ["--aligned"] if aligned else []
    done = cli("reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png", "--side-by-side", *extra)
    assert done.code == 0
    row = read_image(out / "a.png")
    driving_width = round(256 * 200 / 160) if aligned else 256  # rows of small pictures are shown at 256
    assert row.shape == (256, 256 + GAP + driving_width + GAP + 256, 3)
    assert np.abs(row[128, 256 + GAP + driving_width // 2].astype(int) - SKIN).max() < 40, (
        "the driving face is in the middle"
    )
    assert cli("reenact", files / "portrait.png", files / "talk.mp4", "-o", out / "a.mp4", "--side-by-side").code == 0
    assert probe_video(out / "a.mp4").width == 256 * 3 + 2 * GAP


@pytest.mark.parametrize("verb", ["reenact", "edit"])
def test_feature_badge(cli, files: Path, out: Path, verb: str) -> None:
    words = [files / "smile.png"] if verb == "reenact" else ["--smile", "0.5"]
    for name, badge in (("plain.png", []), ("badge.png", ["--badge"])):
        assert cli(verb, files / "portrait.png", *words, "-o", out / name, *badge).code == 0
    plain, badge = read_image(out / "plain.png"), read_image(out / "badge.png")
    assert (plain != badge).any(2).mean() < 0.5, "a corner of the picture, no more"
    assert np.array_equal(badge, with_badge(plain))
    assert read_provenance(out / "badge.png") is not None


def test_feature_paste_back_side_by_side(cli, files: Path, out: Path) -> None:
    words = ["reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png"]
    assert cli(*words, "--paste-back", "--side-by-side").code == 0
    wide = round(256 * 120 / 100)
    assert read_image(out / "a.png").shape == (256, wide + GAP + 256 + GAP + wide, 3)


def test_feature_choice_of_face(cli, files: Path, out: Path) -> None:
    two = face_picture(300, 160, (20, 30, 90), (180, 50, 50))
    two[30:120, 20:110, 2] = 120  # the large one is bluer
    save(files / "two.png", two)
    for face in ("largest", "0", "1"):
        done = cli("reenact", files / "portrait.png", files / "two.png", "-o", out / f"{face}.png", "--face", face)
        assert done.code == 0
    large, zero, one = (read_image(out / f"{face}.png") for face in ("largest", "0", "1"))
    assert np.array_equal(large, zero)
    assert large[..., 2].mean() > one[..., 2].mean() + 10


def test_feature_frames_without_face_hold_the_last(cli, files: Path, out: Path) -> None:
    frames = moving_face(12)
    frames[6:9] = [np.full_like(frames[0], 30)] * 3
    video = save_video(files / "gap.mp4", frames)
    done = cli("reenact", files / "portrait.png", video, "-o", out / "a.mp4")
    assert done.code == 0
    assert "12 pictures or frames" in done.out
    assert "3 without a face" in done.out
    assert probe_video(out / "a.mp4").frames == 12


def test_feature_rotation_flag(cli, files: Path, out: Path) -> None:
    video = save_video(files / "turned.mp4", moving_face(8), rotation_deg=90)
    done = cli("reenact", files / "portrait.png", video, "-o", out / "a.mp4", "--side-by-side")
    assert done.code == 0
    assert probe_video(out / "a.mp4").rotation_deg == 0, "turned upright, so the flag is gone"


def test_feature_size_change(cli, files: Path, out: Path) -> None:
    frames = [*moving_face(4), *(face_picture(80, 200, (20, 80, 40)) for _ in range(4))]
    video = save_changing_video(files / "changing.mkv", frames)
    done = cli("reenact", files / "portrait.png", video, "-o", out / "a.mp4")
    assert (done.code, done.err) == (0, "")
    assert probe_video(out / "a.mp4").frames == 8


def test_feature_cut_end(cli, files: Path, out: Path) -> None:
    whole = save_video(files / "whole.mp4", moving_face(50), options={"movflags": "faststart"})
    cut = files / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    done = cli("reenact", files / "portrait.png", cut, "-o", out / "a.mp4", "--json")
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert "warning: " in done.err
    assert "cut off" in done.err
    assert 5 < done.json["frames"] < 50
    assert len(list(VideoReader(out / "a.mp4"))) == done.json["frames"]


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("cmyk.jpg", "CMYK", {}),
        ("grey.png", "L", {}),
        ("deep.png", "I;16", {}),
        ("alpha.png", "RGBA", {}),
        ("moving.webp", "RGB", {"save_all": True, "append_images": []}),
    ],
)
def test_feature_forms_of_pictures(cli, files: Path, out: Path, name: str, mode: str, options: dict) -> None:
    picture = save(files / name, face_picture(80, 80), "L" if mode == "I;16" else mode, **options)
    if mode == "I;16":
        Image.fromarray(np.full((80, 80), 30_000, np.uint16)).save(picture)
    done = cli("reenact", picture, picture, "-o", out / "a.png", "--aligned")
    assert (done.code, done.err) == (0, "")


def test_feature_batch(cli, files: Path, out: Path) -> None:
    driving = files / "driving"
    driving.mkdir()
    save(driving / "a.png", face_picture())
    save(driving / "b.bmp", face_picture())
    save(driving / "nobody.jpg", np.full((60, 60, 3), 20, np.uint8))
    (driving / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (driving / "notes.txt").write_text("not a driving file")
    save_video(driving / "c.mp4", moving_face(5))
    done = cli("reenact", files / "portrait.png", driving, "-o", out / "results", "--json")
    assert done.code == 1
    assert sorted(path.name for path in (out / "results").iterdir()) == ["a.png", "b.png", "c.mp4"]
    assert {Path(f["driving"]).name for f in done.json["failures"]} == {"nobody.jpg", "broken.png"}
    assert done.json["frames"] == 7
    assert done.err.count("error: ") == done.err.count("\n") == 2
    assert "nobody.jpg" in done.err


def test_exception_batch_of_failures_leaves_no_folder(cli, files: Path, out: Path) -> None:
    (files / "driving").mkdir()
    save(files / "driving" / "nobody.png", np.full((60, 60, 3), 20, np.uint8))
    done = cli("reenact", files / "portrait.png", files / "driving", "-o", out / "results")
    assert done.code == 1
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_exception_interrupted(
    cli, fake: FakeReenactor, files: Path, out: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stream = fake.stream

    def interrupted(*args, **kwargs):
        for count, result in enumerate(stream(*args, **kwargs)):
            yield result
            if count == 3 and how == "ctrl-c":
                raise KeyboardInterrupt
            if count == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(fake, "stream", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    done = cli("reenact", files / "portrait.png", files / "talk.mp4", "-o", out / "a.mp4")
    assert done.code == 3
    assert "interrupted" in done.error
    assert list(out.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_exception_the_picture_that_lends_its_pose_is_kept(cli, files: Path) -> None:
    lent = files / "smile.png"
    before = lent.read_bytes()
    done = cli("reenact", files / "portrait.png", files / "talk.mp4", "--pose-from", lent, "-o", lent)
    assert done.code != 0
    done = cli("reenact", files / "portrait.png", files / "portrait.png", "--pose-from", lent, "-o", lent)
    assert done.code == 1
    assert "it is the input" in done.err
    assert lent.read_bytes() == before
