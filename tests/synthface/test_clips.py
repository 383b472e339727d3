"""Talking clips: one person, smooth motion within its limits, the same again."""

from __future__ import annotations

import numpy as np
import pytest

from latent_reenact.errors import UsageError
from latent_reenact.synthface import sample, talking_clip
from latent_reenact.synthface.factors import EXPRESSION_INDEX


def test_smoke() -> None:
    frames = list(talking_clip(1, 0, 10))
    assert len(frames) == 10
    assert {f.identity for f in frames} == {sample(1, 0).identity}
    assert all(f.scene == sample(1, 0).scene for f in frames)


@pytest.mark.parametrize(("frames", "fps"), [(0, 25), (-1, 25), (10, 0), (10, -5), (10, float("nan"))])
def test_exception_arguments(frames: int, fps: float) -> None:
    with pytest.raises(UsageError, match="frame"):
        talking_clip(1, 0, frames, fps)


def test_feature_deterministic_and_open_ended() -> None:
    """A longer clip begins like a shorter one; another number is another clip."""
    short, long = list(talking_clip(1, 0, 30)), list(talking_clip(1, 0, 90))
    assert short == list(talking_clip(1, 0, 30)) == long[:30]
    assert short != list(talking_clip(1, 1, 30))


def test_feature_rate_changes_only_the_sampling() -> None:
    slow, quick = list(talking_clip(1, 0, 20, fps=10)), list(talking_clip(1, 0, 60, fps=30))
    assert [f.motion.yaw_deg for f in slow] == pytest.approx([f.motion.yaw_deg for f in quick[::3]])


def test_feature_smooth_and_within_limits() -> None:
    clips = [[f.motion for f in talking_clip(5, i, 100)] for i in range(12)]
    for clip in clips:
        pose = np.array([(m.yaw_deg, m.pitch_deg, m.roll_deg) for m in clip])
        assert np.abs(np.diff(pose, axis=0)).max() < 3.5  # degrees a frame
        assert np.abs(pose[:, 0]).max() <= 25
        assert pose[:, 1].min() >= -12
        assert pose[:, 1].max() <= 15
        assert np.abs(pose[:, 2]).max() <= 6
        weights = np.array([m.expression_vector() for m in clip])
        assert weights.min() >= 0
        assert weights.max() <= 1
        mouth = np.delete(weights, [EXPRESSION_INDEX["eyeBlink_L"], EXPRESSION_INDEX["eyeBlink_R"]], axis=1)
        assert np.abs(np.diff(mouth, axis=0)).max() < 0.45
    weights = np.array([[m.expression_vector() for m in clip] for clip in clips])
    for name, amount in (("jawOpen", 0.4), ("eyeBlink_L", 0.9), ("mouthSmile_L", 0.7), ("browInnerUp_L", 0.6)):
        assert weights[..., EXPRESSION_INDEX[name]].max() > amount
    assert np.ptp([m.yaw_deg for clip in clips for m in clip]) > 35
