"""`prepare`, once for each kind of data, and every way to ask for it wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from actor_detector import ActorDetector
from video_samples import make_video

from latent_reenact.training.preparation import plan as planning
from latent_reenact.training.preparation import videos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two people with a video each, and a detector that needs no models."""
    monkeypatch.setattr(videos, "_detector", lambda make: ActorDetector())
    for person in ("ann", "bob"):
        (tmp_path / "videos" / person).mkdir(parents=True)
        make_video(tmp_path / "videos" / person / "1.mp4", frames=45)
    return tmp_path / "videos"


def test_smoke_videos(cli, folder: Path, tmp_path: Path) -> None:
    words = ["--frames", "4", "--size", "32", "--max-yaw", "30", "--val", "0", "--test", "1", "--jobs", "1"]
    done = cli("prepare", folder, "-o", tmp_path / "data", *words)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == str(tmp_path / "data")
    assert lines[1] == "train  1 people, 1 clips, 2 faces in 1 shards"
    assert lines[2] == "test   1 people, 1 clips, 2 faces in 1 shards"
    assert lines[3] == "dropped  extreme pose: 2, no face: 2"
    again = cli("prepare", folder, "-o", tmp_path / "data", *words, "--json")
    assert again.json == json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert again.json["config"]["max_yaw_deg"] == 30


def test_smoke_synthetic(cli, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    from latent_reenact.synthface.tiny import tiny_arrays

    np.savez(tmp_path / "mesh.npz", **tiny_arrays())
    words = ["--synthetic", "3", "--frames", "2", "--size", "16", "--seed", "8", "--mesh", tmp_path / "mesh.npz"]
    done = cli("prepare", *words, "-o", tmp_path / "data", "--jobs", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1] == "train  3 people, 3 clips, 6 faces in 1 shards"
    assert json.loads((tmp_path / "data/train/00000.json").read_text())["keys"][0] == "8-0000000/0/0000"


def test_feature_dry_run(cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("prepare", folder, "-o", tmp_path / "data", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[:4] == [
        "people   2 train, 0 val, 0 test",
        "clips    2",
        "frames   20 at most",
        "shards   2, of which 0 are there",
    ]
    assert done.out.rstrip().endswith("which fits")
    assert not (tmp_path / "data").exists()
    monkeypatch.setattr(planning, "_free_bytes", lambda out: 10)
    assert "DOES NOT FIT" in cli("prepare", folder, "-o", tmp_path / "data", "--dry-run").out
    plan = cli("prepare", folder, "-o", tmp_path / "data", "--dry-run", "--json").json
    assert (plan["samples"], plan["fits"]) == (20, False)
    refused = cli("prepare", folder, "-o", tmp_path / "data", "--jobs", "1")
    assert refused.code == 1
    assert "10 bytes free" in refused.error


def test_feature_unreadable_videos_are_named(cli, folder: Path, tmp_path: Path) -> None:
    for i in range(7):
        (folder / "ann" / f"broken{i}.mp4").write_bytes(b"not a video")
    done = cli("prepare", folder, "-o", tmp_path / "data", "--size", "32", "--clips", "9", "--jobs", "1")
    assert done.code == 0
    assert done.err.count("warning: ann/broken") == 5
    assert "and 2 more" in done.err


def test_exception_interrupted(cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self, image: np.ndarray, *, thorough: bool = True) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ActorDetector, "detect", stop)
    done = cli("prepare", folder, "-o", tmp_path / "data", "--jobs", "1")
    assert done.code == 3
    assert "run it again" in done.error


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "either a FOLDER of videos or --synthetic"),
        (["here", "--synthetic", "3"], 2, "either a FOLDER of videos or --synthetic"),
        (["--synthetic", "3"], 2, "needs --mesh"),
        (["--synthetic", "3", "--mesh", "m.npz", "--clips", "2", "--max-yaw", "4"], 2, "--clips and --max-yaw"),
        (["here", "--seed", "3"], 2, "got --seed, which is for --synthetic only"),
        (["none"], 1, "none is not a folder"),
        (["--synthetic", "3", "--mesh", "none.npz", "--jobs", "1"], 1, "none.npz"),
        (["--synthetic", "3", "--mesh", "m.npz", "--val", "0.7", "--test", "0.4", "--dry-run"], 1, "val, test"),
    ],
)
def test_exception_arguments(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("prepare", *words, "-o", tmp_path / "data")
    assert done.code == code
    assert message in done.error
    assert not (tmp_path / "data").exists()
