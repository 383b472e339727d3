"""Whole files or none: killed, out of space, out of rights, or just wrong."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from video_samples import frame_picture

from latent_reenact.errors import LatentReenactError, OutputError
from latent_reenact.media import (
    VideoReader,
    VideoWriter,
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    clean_leftovers,
    read_image,
    write_image,
)

NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)


def test_smoke(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a", b"\0\1")
    atomic_write_text(tmp_path / "b", "ü\n")
    atomic_write_json(tmp_path / "c", {"é": [1, 2.5, None]})
    assert (tmp_path / "a").read_bytes() == b"\0\1"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "ü\n"
    assert json.loads((tmp_path / "c").read_text()) == {"é": [1, 2.5, None]}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~_umask()
    assert len(list(tmp_path.iterdir())) == 3


def test_feature_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temp:
        temp.write_text("new")
        assert temp.parent == path.parent
        assert temp.name.startswith(f".tmp-{os.getpid()}-")
        assert temp.suffix == ".txt"
        assert path.read_text() == "old"
    assert path.read_text() == "new"

    def fail() -> None:
        with atomic_path(path) as temp:
            temp.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_feature_links_and_long_names(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    atomic_write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    for name in ("a" * 251 + ".txt", "é" * 125 + ".txt"):
        atomic_write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


def test_exception_places(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    places = {
        tmp_path / "none" / "a": "create it first",
        tmp_path / "folder": "is a folder",
        tmp_path / "file" / "a": "no folder|Not a directory",
        tmp_path / ("a" * 300): "choose another name|too long",
        Path("/dev/full"): "not a regular file",
        Path("/proc/a"): "cannot write",
    }
    for place, words in places.items():
        with pytest.raises(OutputError, match=words) as caught:
            atomic_write_bytes(place, b"x")
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="null"):
        atomic_write_bytes("a\0b", b"x")


def test_feature_leftovers(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".tmp-{dead.pid}-0123abcd-a.png").write_text("")
    keep = [f".tmp-{os.getpid()}-0123abcd-a.png", ".tmp-mine", f".tmp-{dead.pid}-a.png", "a.png", ".tmp-1-0123abcd-x"]
    for name in keep:
        (tmp_path / name).write_text("")
    assert [p.name for p in clean_leftovers(tmp_path)] == [f".tmp-{dead.pid}-0123abcd-a.png"]
    assert {p.name for p in tmp_path.iterdir()} == set(keep)
    assert clean_leftovers(tmp_path / "none") == []


def _write_images(folder: Path) -> None:
    for level in range(10_000):
        write_image(folder / "a.png", NOISE // (1 + level % 3))


def _write_videos(folder: Path) -> None:
    for _ in range(10_000):
        with VideoWriter(folder / "a.mp4", fps=10) as writer:
            for index in range(5):
                writer.write(frame_picture(index))


@pytest.mark.parametrize(
    ("write", "trials"),
    [
        (_write_images, 14),
        (_write_videos, 6),
        pytest.param(_write_images, 150, marks=pytest.mark.slow),
        pytest.param(_write_videos, 50, marks=pytest.mark.slow),
    ],
)
def test_feature_kill_9(tmp_path: Path, write: Callable[[Path], None], trials: int) -> None:
    rng = random.Random(0)
    suffix = ".png" if write is _write_images else ".mp4"
    _first_file(tmp_path, suffix)
    for _ in range(trials):
        pid = _forked(lambda: write(tmp_path))
        time.sleep(rng.uniform(0.01, 0.25))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if suffix == ".png":
            assert read_image(tmp_path / "a.png").shape[1:] == NOISE.shape[1:]
        else:
            assert len(list(VideoReader(tmp_path / "a.mp4", on_truncated="error"))) == 5
        clean_leftovers(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_exception_file_size_limit(tmp_path: Path, suffix: str) -> None:
    """RLIMIT_FSIZE stands in for a full disk where no small disk can be had."""
    _first_file(tmp_path, suffix)
    before = (tmp_path / f"a{suffix}").read_bytes()

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            _overfill(tmp_path / f"a{suffix}")
        except OutputError as error:
            os._exit(0 if "bytes free" in str(error) else 2)

    _, status = os.waitpid(_forked(write), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (tmp_path / f"a{suffix}").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


_ON_A_SMALL_DISK = """
import os, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
import test_atomic
from latent_reenact.errors import OutputError
folder = Path(sys.argv[1])
for suffix in (".png", ".mp4", ".webm"):
    test_atomic._first_file(folder, suffix)
    before = (folder / f"a{suffix}").read_bytes()
    try:
        test_atomic._overfill(folder / f"a{suffix}")
        print("no error")
    except OutputError as error:
        print(error)
    assert (folder / f"a{suffix}").read_bytes() == before
    assert [p.name for p in folder.iterdir()] == [f"a{suffix}"], os.listdir(folder)
    (folder / f"a{suffix}").unlink()
"""


def test_exception_disk_full(tmp_path: Path) -> None:
    here = Path(__file__).parent
    mount = f"mount -t tmpfs -o size=300k none {tmp_path} && exec "
    command = ["unshare", "-Urm", "sh", "-c", mount + '"$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no private mounts here")
    script = [sys.executable, "-c", _ON_A_SMALL_DISK, str(tmp_path), *map(str, (here, *here.parents[:2]))]
    done = subprocess.run([*command, *script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("disk full" in line and "bytes free" in line for line in lines)
    assert "bytes needed" in lines[0]


def _first_file(folder: Path, suffix: str) -> None:
    if suffix == ".png":
        write_image(folder / "a.png", NOISE[:20])
    else:
        with VideoWriter(folder / f"a{suffix}", fps=10) as writer:
            for index in range(5):
                writer.write(frame_picture(index))


def _overfill(path: Path) -> None:
    if path.suffix == ".png":
        write_image(path, NOISE)
    else:
        with VideoWriter(path, crf=0) as writer:
            for shift in range(60):
                writer.write(np.roll(NOISE, 7 * shift, axis=1))


def _forked(work: Callable[[], None]) -> int:
    """Run `work` in a copy of this process; it ends there, with status 1 if `work` comes back or raises.

    Codecs of earlier tests go first: a copy has their memory but not their threads, and would crash on freeing them.
    """
    gc.collect()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except LatentReenactError as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(1)
    return pid


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
