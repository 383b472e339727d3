"""Thousands of damaged files, each in a child with little memory and little time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from attacks import media_corpus, mutate
from video_samples import make_video


def fuzz(kind: str, folder: Path, count: int, seed: int = 0) -> None:
    """Let a child read `count` mutants of the `seed-*` files in `folder`; the bars are those of the test plan."""
    tests = Path(__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, mutate.__file__, kind, str(folder), str(count), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{done.stderr[-2000:]} (see {folder})"  # libtiff has its own say on stderr
    figures = json.loads(done.stdout)
    assert figures["count"] == count
    assert figures["refused"] > count / 20
    assert figures["slowest_s"] < 2
    assert figures["grown_mb"] < 100


def video_seeds(folder: Path) -> None:
    common = {"frames": 8, "size": (32, 32)}
    make_video(folder / "seed-a.mp4", audio="aac", **common)
    make_video(folder / "seed-turned.mov", rotation_deg=90, **common)
    make_video(folder / "seed-vfr.mp4", times_s=[Fraction(i * i, 50) for i in range(8)], **common)
    make_video(folder / "seed-a.mkv", audio="aac", **common)
    make_video(folder / "seed-a.webm", codec="libvpx-vp9", audio="libopus", **common)
    make_video(folder / "seed-a.avi", codec="mpeg4", **common)
    make_video(folder / "seed-a.gif", codec="gif", **common)


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_feature_images(tmp_path: Path, count: int) -> None:
    media_corpus.image_seeds(tmp_path)
    fuzz("image", tmp_path, count)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_feature_videos(tmp_path: Path, count: int) -> None:
    video_seeds(tmp_path)
    fuzz("video", tmp_path, count)
