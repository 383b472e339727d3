"""Key-frames: the frames in between, and films with their mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from latent_reenact.editing import film, in_between, read_settings
from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.media import probe_video, read_provenance, with_badge

PERSON = tiny.reenactor().identity(tiny.picture())


def test_smoke() -> None:
    frames = [frame["smile"] for frame in in_between([{"smile": 0.0}, {"smile": 1.0}], 4)]
    assert frames == pytest.approx([0, 0.1464, 0.5, 0.8536, 1], abs=1e-4)


@given(
    st.lists(st.floats(-30, 30), min_size=2, max_size=5),
    st.integers(1, 9),
    st.booleans(),
)
def test_feature_every_key_frame_is_met(values: list[float], steps: int, loop: bool) -> None:
    frames = [frame["yaw_deg"] for frame in in_between([{"yaw_deg": v} for v in values], steps, loop=loop)]
    assert len(frames) == steps * (len(values) if loop else len(values) - 1) + (not loop)
    assert frames[::steps][: len(values)] == values
    assert min(values) - 1e-9 <= min(frames) <= max(frames) <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("frames", "steps", "words"),
    [
        ([{"smile": 0.0}], 4, "at least 2"),
        ([{"smile": 0.0}, {"yaw_deg": 1.0}], 4, "key-frame 2"),
        ([{"smile": 0.0}, {"smile": float("nan")}], 4, "key-frame 2"),
        ([{"smile": 0.0}, {"smile": 1.0}], 0, "frames a step"),
        ([{"smile": 0.0}, {"smile": 1.0}], 10_000, "at most"),
    ],
)
def test_exception_key_frames(frames: list[dict[str, float]], steps: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        list(in_between(frames, steps))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_feature_film_is_marked_and_whole(tmp_path: Path, suffix: str) -> None:
    told: list[tuple[float, float | None, str]] = []
    key_frames = [{"yaw_deg": -20.0}, {"yaw_deg": 20.0, "smile": 1.0}]
    out = tmp_path / f"film{suffix}"
    count = film(
        tiny.reenactor(),
        PERSON,
        key_frames,
        out,
        fps=10,
        seconds_per_step=0.5,
        loop=True,
        finish=with_badge,
        progress=lambda *now: told.append(now),
    )
    assert count == probe_video(out).frames == 10
    assert told[-1] == (10, 10, "frames")
    mark = read_provenance(out)
    assert mark is not None
    assert (mark.model, mark.operation) == ("tiny", "key-frames")


def test_exception_unknown_control_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        film(tiny.reenactor(), PERSON, [{"nose": 0.0}, {"nose": 1.0}], tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def test_feature_own_settings_change_nothing() -> None:
    """A control that stands where it stood is not touched, so the person is drawn as pictured."""
    reenactor = tiny.reenactor()
    own = read_settings(reenactor, PERSON)
    assert own.keys() == {"yaw_deg", "smile"}
    again = reenactor.pose(PERSON, **own).image.astype(int)
    assert np.abs(again - reenactor.pose(PERSON).image).max() <= 1
