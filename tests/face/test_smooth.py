from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_reenact.face import Alignment, AlignmentFilter


def square(x: float = 200, y: float = 150, half: float = 50, roll_deg: float = 0) -> Alignment:
    turn = math.radians(-roll_deg)
    return Alignment((x, y), (half * math.cos(turn), half * math.sin(turn)), 1.12)


@given(st.floats(-179, 179), st.floats(10, 500), st.integers(2, 20))
def test_property_rest_stays_at_rest(roll_deg: float, half: float, frames: int) -> None:
    still, smooth = square(half=half, roll_deg=roll_deg), AlignmentFilter()
    for _ in range(frames):
        out = smooth(still)
    assert out.centre == pytest.approx(still.centre)
    assert out.x_axis == pytest.approx(still.x_axis)
    assert out.scale == 1.12


def test_feature_jitter_is_damped() -> None:
    """As large as dlib's noise on a resting head: 0.3 % of the side, 0.2 degrees."""
    noise = np.random.default_rng(1).normal(0, 1, (200, 4)) * (0.3, 0.3, 0.3, 0.2)
    smooth = AlignmentFilter()
    out = [smooth(square(200 + x, 150 + y, 50 + h, r)) for x, y, h, r in noise]
    seen = np.array([(*a.centre, a.side / 2, a.roll_deg) for a in out[20:]])
    assert (np.diff(seen, axis=0).std(0) < 0.3 * np.diff(noise[20:], axis=0).std(0)).all()


def test_feature_motion_is_followed() -> None:
    """A head that crosses its own width in a second is never more than a tenth of the crop behind."""
    smooth = AlignmentFilter(fps=25)
    behind = [abs(smooth(square(x=200 + 4 * i)).centre[0] - (200 + 4 * i)) for i in range(50)]
    assert max(behind) < 10


def test_feature_a_cut_starts_afresh() -> None:
    smooth = AlignmentFilter()
    smooth(square())
    assert smooth(square(x=320)).centre == (320, 150)
    assert smooth(square(x=320, half=120)).side == pytest.approx(240)


def test_feature_angles_pass_the_half_turn() -> None:
    smooth = AlignmentFilter()
    for roll_deg in (176, 178, 180, -178, -176):
        out = smooth(square(roll_deg=roll_deg))
    assert abs(out.roll_deg) > 174
