"""What goes wrong: one line on stderr with the next step, exit code 1 or 2, nothing left behind, inputs untouched."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from attacks import media_corpus
from face_files import face_picture, moving_face, save, save_sound, save_video

NOBODY = np.full((80, 80, 3), 20, np.uint8)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    return write(path, path.read_bytes()[: int(path.stat().st_size * share)])


def wide_gif(path: Path) -> Path:
    return save(path, NOBODY, save_all=True, append_images=[])


def truncated(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    return cut(save(folder / "x.png", noise), 0.5)


def truncated_video(folder: Path, share: float, **options: str) -> Path:
    return cut(save_video(folder / "x.mp4", moving_face(6), options=options), share)


# Name -> (how to make it in a folder, words of the message).
BAD_PICTURES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "none.png", "No such file"),
    "a folder": (lambda d: d, "folder"),
    "no face": (lambda d: save(d / "x.png", NOBODY), "no face found"),
    "unreadable": (lambda d: write(d / "x.jpg", b"hello, I am a letter"), "not a picture"),
    "zero bytes": (lambda d: write(d / "x.png", b""), "empty"),
    "truncated": (truncated, "cut off"),
    "enormous": (lambda d: write(d / "x.png", media_corpus.png(50_000, 50_000)), "expected at most"),
    "grey, so no face": (lambda d: save(d / "x.png", face_picture(), "L"), "no face found"),
    "a program": (lambda d: write(d / "x.exe", b"MZ"), "expected"),
}

BAD_VIDEOS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no face": (lambda d: save_video(d / "x.mp4", [NOBODY] * 30), "no face found in the first"),
    "no video stream": (lambda d: save_sound(d / "x.mp4"), "no video stream"),
    "no frames": (lambda d: truncated_video(d, 0.35, movflags="faststart"), "expected an MP4"),
    "no index": (lambda d: truncated_video(d, 0.7), "expected an MP4"),
    "zero bytes": (lambda d: write(d / "x.mp4", b""), "expected an MP4"),
    "unreadable": (lambda d: write(d / "x.mp4", b"not a video at all"), "expected an MP4"),
}


@pytest.fixture
def refused(cli, files: Path, out: Path) -> Iterator[Callable[..., str]]:
    """Run a command that must fail: its line, after making sure that it changed nothing."""

    def run(*words: object, code: int = 1) -> str:
        before = digests(files)
        done = cli(*words)
        assert done.code == code, done
        assert done.out == ""
        assert list(out.iterdir()) == []
        assert digests(files) == before
        return done.error

    return run


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_exception_identity(refused, files: Path, out: Path, case: str) -> None:
    make, words = BAD_PICTURES[case]
    identity = make(files)
    assert words in refused("reenact", identity, files / "smile.png", "-o", out / "a.png")
    assert words in refused("invert", identity, "-o", out / "a.safetensors")


@pytest.mark.parametrize("case", [case for case in BAD_PICTURES if case != "a folder"])
def test_exception_driving_picture(refused, files: Path, out: Path, case: str) -> None:
    make, words = BAD_PICTURES[case]
    assert words in refused("reenact", files / "portrait.png", make(files), "-o", out / "a.png")


@pytest.mark.parametrize("case", BAD_VIDEOS)
def test_exception_driving_video(refused, files: Path, out: Path, case: str) -> None:
    make, words = BAD_VIDEOS[case]
    assert words in refused("reenact", files / "portrait.png", make(files), "-o", out / "a.mp4")


def test_exception_identity_is_no_picture(refused, files: Path, out: Path) -> None:
    words = ["-o", out / "a.png"]
    assert "is a video" in refused("reenact", files / "talk.mp4", files / "smile.png", *words)
    assert "animation" in refused("reenact", wide_gif(files / "x.gif"), files / "smile.png", *words)
    damaged = write(files / "x.safetensors", b"\x08\0\0\0\0\0\0\0{}      ")
    assert "expected an identity" in refused("reenact", damaged, files / "smile.png", *words)
    assert "identity already" in refused("invert", damaged, "-o", out / "a.safetensors", code=2)


def test_exception_several_faces(refused, files: Path, out: Path) -> None:
    two = save(files / "two.png", face_picture(300, 160, (20, 30, 90), (180, 50, 50)))
    video = save_video(files / "two.mp4", [face_picture(300, 160, (20, 30, 90), (180, 50, 50))] * 4)
    pictures = ["reenact", files / "portrait.png", two, "-o", out / "a.png"]
    assert "expected one face" in refused(*pictures, "--face", "only")
    assert "face 7 is not in" in refused(*pictures, "--face", "7")
    assert "run once for each face" in refused(*pictures, "--face", "all", code=2)
    identity = ["reenact", two, files / "smile.png", "-o", out / "a.png"]
    assert "expected one face" in refused(*identity, "--identity-face", "only")
    assert "one face is the identity" in refused(*identity, "--identity-face", "all", code=2)
    assert "expected one face" in refused("invert", two, "-o", out / "i.safetensors", "--face", "only")
    assert "run once" in refused("invert", two, "-o", out / "i.safetensors", "--face", "all", code=2)
    videos = ["reenact", files / "portrait.png", video, "-o", out / "a.mp4"]
    assert "expected one face" in refused(*videos, "--face", "only")
    assert "run once" in refused(*videos, "--face", "all", code=2)


def test_exception_outputs(refused, files: Path, out: Path) -> None:
    picture, video = ["reenact", files / "portrait.png", files / "smile.png"], ["reenact", files / "portrait.png"]
    video.append(files / "talk.mp4")
    assert "create it first" in refused(*picture, "-o", out / "none" / "a.png")
    assert "expected a name that ends in .png" in refused(*picture, "-o", out / "a.xyz")
    assert "is a picture; expected" in refused(*picture, "-o", out / "a.mp4")
    assert "is a video; expected" in refused(*video, "-o", out / "a.png")
    assert "expected .safetensors" in refused("invert", files / "portrait.png", "-o", out / "a.png")
    assert "expected .png" in refused("edit", files / "portrait.png", "--yaw", "5", "-o", out / "a.mp4")
    assert "name a folder" in refused("reenact", files / "portrait.png", files, "-o", files / "smile.png")
    assert "create the folder above it" in refused("reenact", files / "portrait.png", files, "-o", out / "x" / "y")
    assert "create the folder above it" in refused("sample", "-o", out / "x" / "y")
    (files / "folder.png").mkdir()
    assert "it is a folder" in refused(*picture, "-o", files / "folder.png")


def test_exception_output_is_an_input(refused, files: Path, out: Path) -> None:
    (files / "link.png").hardlink_to(files / "portrait.png")
    (files / "soft.png").symlink_to(files / "smile.png")
    for name in ("portrait.png", "smile.png", "link.png", "soft.png"):
        words = ["reenact", files / "portrait.png", files / "smile.png", "-o", files / name]
        assert "is the input" in refused(*words)
    assert "is the input" in refused("reenact", files / "portrait.png", files, "-o", files)
    assert "is the input" in refused("edit", files / "portrait.png", "--yaw", "5", "-o", files / "portrait.png")


def test_exception_batch(refused, files: Path, out: Path) -> None:
    (files / "empty").mkdir()
    assert "holds no picture" in refused("reenact", files / "portrait.png", files / "empty", "-o", out / "x")
    save(files / "smile.bmp", face_picture())
    assert "rename one" in refused("reenact", files / "portrait.png", files, "-o", out / "x", code=2)


@pytest.mark.parametrize("driving", ["smile.png", "talk.mp4"])
def test_exception_disk_full(cli, files: Path, out: Path, driving: str) -> None:
    """A limit on the size of files stands in for a full disk: same place, same error of the system."""
    large = save(files / "large.png", face_picture(1200, 900, (400, 300, 300)))
    words = ["reenact", large, files / driving, "--paste-back", "-o", out / f"a{Path(driving).suffix}"]
    before = digests(files)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        done = cli(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert done.code == 1
    assert "free some space" in done.error
    assert list(out.iterdir()) == []
    assert digests(files) == before


def test_exception_old_output_stays(cli, files: Path, out: Path) -> None:
    (out / "a.png").write_bytes(b"older")
    done = cli("reenact", files / "portrait.png", save(files / "x.png", NOBODY), "-o", out / "a.png")
    assert done.code == 1
    assert [p.read_bytes() for p in out.iterdir()] == [b"older"]


def test_exception_arguments(refused, files: Path, out: Path) -> None:
    picture = ["reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png"]
    assert "see latent-reenact --help" in refused("dance", code=2)
    assert "see latent-reenact reenact --help" in refused(*picture, "--fast", code=2)
    assert "Missing argument" in refused("reenact", files / "portrait.png", code=2)
    assert "--out" in refused(*picture[:3], code=2)
    assert "expected largest" in refused(*picture, "--face", "left", code=2)
    assert "lowpass" in refused(*picture, "--smoothing", "soft", code=2)
    assert "leave one of them out" in refused(*picture, "--paste-back", "--aligned", code=2)
    saved = files / "id.safetensors"
    assert "no original picture" in refused("reenact", saved, *picture[2:], "--paste-back", code=2)
    assert "see latent-reenact sample --help" in refused("sample", "-n", "0", "-o", out, code=2)
    assert "see latent-reenact models --help" in refused("models", code=2)
    assert "nothing to change" in refused("edit", files / "portrait.png", "-o", out / "a.png", code=2)
    edit = ["edit", files / "portrait.png", "-o", out / "a.png"]
    assert "expected name=number" in refused(*edit, "--set", "smile", code=2)
    assert "finite" in refused(*edit, "--yaw", "nan", code=2)
    assert "unknown control 'jaw_open'" in refused(*edit, "--jaw-open", "1")


def test_exception_unknown_model(refused, files: Path, out: Path) -> None:
    model = ["--model", "gothic"]
    assert "'gothic'" in refused("reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png", *model)
    assert "'gothic'" in refused("sample", "-o", out / "people", *model)
    assert "'gothic'" in refused("models", "verify", "gothic")


def test_exception_another_models_identity(cli, fake, files: Path, out: Path) -> None:
    assert cli("invert", files / "portrait.png", "-o", files / "id.safetensors").code == 0
    fake.name = "other"
    done = cli("reenact", files / "id.safetensors", files / "smile.png", "-o", out / "a.png")
    assert done.code == 2
    assert "'fake', not by 'other'" in done.error


def test_exception_as_json(cli, files: Path, out: Path) -> None:
    nobody = save(files / "x.png", NOBODY)
    done = cli("reenact", nobody, files / "smile.png", "-o", out / "a.png", "--json")
    assert done.code == 1
    assert done.json["kind"] == "NoFaceError"
    assert done.json["error"] in done.error


def test_exception_our_own_mistakes_keep_their_traceback(cli, fake, files: Path, out: Path) -> None:
    fake.detector = None
    with pytest.raises(AttributeError):
        cli("reenact", files / "portrait.png", files / "smile.png", "-o", out / "a.png")
    assert list(out.iterdir()) == []
