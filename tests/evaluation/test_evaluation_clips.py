"""Clips from shards, videos and the synthetic world; what cannot be used is refused by name."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from face_files import moving_face, save_video
from fake_reenactor import SKIN, GreenPatchDetector
from PIL import Image

from latent_reenact.errors import ConfigError, CorruptFileError, LatentReenactError
from latent_reenact.evaluation.clips import ShardClips, SyntheticClips, VideoClips, reframed


def shard(path: Path, clips: dict[str, int], side: int = 16, broken: str = "") -> None:
    """A tar file as `prepare` writes: frame k of a clip is grey of level 10 k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for clip, frames in clips.items():
            for k in range(frames):
                picture = io.BytesIO()
                Image.fromarray(np.full((side, side, 3), 10 * k, np.uint8)).save(picture, "PNG")
                content = b"torn" if clip == broken else picture.getvalue()
                truth = json.dumps({"person": clip.split("/")[0], "clip": clip, "time_s": 0.5 * k}).encode()
                for suffix, data in (("png", content), ("json", truth)):
                    info = tarfile.TarInfo(f"{clip}/{k:04d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def test_smoke(tmp_path: Path) -> None:
    shard(tmp_path / "test" / "00000.tar", {"ann/0": 6, "ann/1": 2, "bob/0": 5})
    clips = ShardClips(tmp_path, frames=5, size=8)
    assert clips.people() == {"ann/0": "ann", "bob/0": "bob"}  # ann/1 is too short
    clip = clips.load("ann/0")
    assert (clip.frames.shape, clip.person, clip.fps) == ((5, 8, 8, 3), "ann", 2.0)
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert clip.factors is None


def test_feature_shards_are_found_by_their_index_too(tmp_path: Path) -> None:
    shard(tmp_path / "test" / "00000.tar", {"ann/0": 6})
    keys = [f"ann/0/{k:04d}" for k in range(6)]
    (tmp_path / "test" / "00000.json").write_text(json.dumps({"keys": keys}), encoding="utf-8")
    assert ShardClips(tmp_path, frames=16, size=16).load("ann/0").frames.shape == (6, 16, 16, 3)


def test_exception_shards(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shards in"):
        ShardClips(tmp_path, frames=5, size=8)
    shard(tmp_path / "test" / "00000.tar", {"ann/0": 6, "bob/0": 6}, broken="bob/0")
    clips = ShardClips(tmp_path, frames=5, size=8)
    assert len(clips.load("ann/0").frames) == 5
    with pytest.raises(CorruptFileError, match="sample bob/0/0000 cannot be read"):
        clips.load("bob/0")


def videos(folder: Path, frames: int = 4) -> VideoClips:
    return VideoClips(folder, frames=frames, fps=12.5, size=32, framing=1.0, detector=GreenPatchDetector())


def test_feature_videos(tmp_path: Path) -> None:
    """Every second frame of 25 a second; the face is cut out, so that it stays where it is."""
    (tmp_path / "ann").mkdir()
    save_video(tmp_path / "ann" / "one.mp4", moving_face(12))
    save_video(tmp_path / "lone.mp4", moving_face(12))
    clips = videos(tmp_path)
    assert clips.people() == {"ann/one.mp4": "ann", "lone.mp4": "lone.mp4"}
    clip = clips.load("ann/one.mp4")
    assert (clip.frames.shape, clip.fps) == ((4, 32, 32, 3), 12.5)
    assert np.abs(clip.frames[:, 16, 16].astype(int) - SKIN).max() < 30
    assert np.abs(clip.frames[3].astype(int) - clip.frames[0]).mean() < 10


def test_exception_videos(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no videos in"):
        videos(tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        videos(tmp_path / "nowhere")
    save_video(tmp_path / "empty.mp4", [np.zeros((60, 80, 3), np.uint8)] * 12)
    save_video(tmp_path / "short.mp4", moving_face(4))
    clips = videos(tmp_path)
    with pytest.raises(LatentReenactError, match="no face found"):
        clips.load("empty.mp4")
    with pytest.raises(CorruptFileError, match="shows a face in 2 frames, expected 4"):
        clips.load("short.mp4")


def test_feature_synthetic_answers() -> None:
    """The answer is the identity's person in their own scene with the driver's motion; of oneself, the clip itself."""
    pytest.importorskip("numba")
    from latent_reenact.synthface import Renderer, tiny_mesh

    clips = SyntheticClips(Renderer(tiny_mesh()), count=2, frames=4, fps=4.0, size=24)
    one, other = (clips.load(name) for name in clips.people())
    assert one.person != other.person
    assert np.array_equal(clips.answer(one, one), one.frames)
    assert clips.answer(one, other).shape == other.frames.shape
    assert not np.array_equal(clips.answer(one, other), other.frames)
    assert np.array_equal(clips.load(one.name).frames, one.frames)


def test_feature_reframed_there_and_back() -> None:
    ramp = np.broadcast_to(np.linspace(0, 240, 40)[None, :, None], (40, 40, 3)).astype(np.uint8)[None]
    narrow = reframed(ramp, 0.8, 40)
    assert narrow[0, 0, 0, 0] == pytest.approx(0.1 * 240, abs=4)
    back = reframed(narrow, 1.25, 40)
    assert np.abs(back[:, 6:34, 6:34].astype(int) - ramp[:, 6:34, 6:34]).max() <= 2
    assert reframed(ramp, 1, 20).shape == (1, 20, 20, 3)
