from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_reenact.metrics import (
    RATIO_NAMES,
    aspect_ratios,
    cosine_similarity,
    fl_correlation,
    nmse_landmarks,
    pearson,
    pose_mae,
    prmse,
)


def face(*, eye: float = 2, brow: float = 6, mouth: float = 3) -> np.ndarray:
    """68 points with eyes 8 px wide and `eye` px open, brows `brow` px above, the mouth 12 wide and `mouth` open."""
    points = np.zeros((68, 2))
    for first, x in ((36, 0.0), (42, 20.0)):
        h = eye / 2
        points[first : first + 6] = [(x, 0), (x + 3, -h), (x + 5, -h), (x + 8, 0), (x + 5, h), (x + 3, h)]
    for first, x in ((17, 0.0), (22, 20.0)):
        points[first : first + 5] = [(x + 2 * i, -brow) for i in range(5)]
    points[48], points[54] = (8, 20), (20, 20)
    points[62], points[66] = (14, 20 - mouth / 2), (14, 20 + mouth / 2)
    return points


def clip(seed: int, frames: int = 30) -> np.ndarray:
    g = np.random.default_rng(seed)
    return np.stack([face(eye=e, brow=b, mouth=m) for e, b, m in g.uniform((0.5, 4, 0), (3, 9, 8), (frames, 3))])


def test_smoke() -> None:
    assert aspect_ratios(clip(0)).shape == (30, 5)
    assert len(RATIO_NAMES) == 5


def test_feature_aspect_ratios_by_hand() -> None:
    # Eyes: (2 + 2) / (2 * 8). Brows: 6 above, means 0 apart across, over 8. Mouth: 3 over 12.
    assert aspect_ratios(face()) == pytest.approx([0.25, 0.25, 0.75, 0.75, 0.25])


def test_feature_each_ratio_reads_its_own_points() -> None:
    """1-based iBUG: 37-42 and 43-48 are the eyes, 18-22 and 23-27 the brows, 63, 67, 49, 55 the mouth."""
    own = {0: range(37, 43), 1: range(43, 49), 2: [*range(18, 23), *range(37, 43)], 4: [63, 67, 49, 55]}
    own[3] = [*range(23, 28), *range(43, 49)]
    g = np.random.default_rng(0)
    for ratio, points in own.items():
        for point in range(1, 69):
            changed = face()
            changed[point - 1] += g.normal(0, 1, 2)
            moved = aspect_ratios(changed)[ratio] != pytest.approx(aspect_ratios(face())[ratio], abs=1e-12)
            assert moved == (point in points), (ratio, point)


@given(st.floats(0.1, 50), st.floats(-3.1, 3.1), st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))
def test_property_ratios_ignore_size_tilt_and_place(zoom: float, turn: float, shift: tuple[float, float]) -> None:
    rotation = zoom * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert aspect_ratios(face() @ rotation + shift) == pytest.approx(aspect_ratios(face()), rel=1e-6)


def test_feature_fl_correlation() -> None:
    driving = clip(1)
    assert fl_correlation(driving, 3 * driving + 7) == pytest.approx(1)
    opposite = np.stack([face(eye=4 - e, brow=14 - b, mouth=9 - m) for e, b, m in _settings(driving)])
    assert fl_correlation(driving, opposite) == pytest.approx(-1)
    assert abs(fl_correlation(clip(1, 4000), clip(2, 4000))) < 0.05


def test_feature_a_frozen_ratio_counts_as_nothing() -> None:
    driving = clip(1)
    frozen = np.stack([face(eye=1, brow=5, mouth=m) for _, _, m in _settings(driving)])
    assert fl_correlation(driving, frozen) == pytest.approx(1 / 5)  # only the mouth follows


def _settings(landmarks: np.ndarray) -> np.ndarray:
    ratios = aspect_ratios(landmarks)
    return np.stack([ratios[:, 0] * 8, ratios[:, 2] * 8, ratios[:, 4] * 12], 1)


def test_feature_pearson_by_hand() -> None:
    assert pearson(np.array([1, 2, 3]), np.array([1, 3, 2])) == pytest.approx(0.5)
    assert pearson(np.array([1, 2, 3]), np.array([-2, -4, -6])) == pytest.approx(-1)
    assert np.isnan(pearson(np.array([1, 2, 3]), np.array([5, 5, 5])))
    assert np.isnan(pearson(np.full(7, 0.1), np.arange(7)))


def test_feature_pose_by_hand() -> None:
    driving = np.array([[10, 0, 3], [0, 0, 0]])
    generated = np.array([[7, 1, 90], [0, -4, 0]])
    assert pose_mae(driving, generated) == pytest.approx((3 + 1 + 0 + 4) / 4)
    assert pose_mae(driving[:, :2], generated[:, :2]) == pytest.approx(2)
    assert prmse(np.array([[3, 0, 0]]), np.array([[0, 0, 4]])) == pytest.approx(5 / np.sqrt(3))
    assert prmse(np.array([[179, 0, 0]]), np.array([[-179, 0, 0]])) == pytest.approx(2 / np.sqrt(3))


def test_feature_nmse_by_hand() -> None:
    # Every point 5 px away; the eyes' middles are 20 px apart.
    shift = np.array([3, 4])
    assert nmse_landmarks(face(), face() + shift) == pytest.approx(0.25)
    frames = np.stack([face(), 2 * face()])
    assert nmse_landmarks(frames, frames + np.array([[[3, 4]], [[0, 0]]])) == pytest.approx(0.125)


def test_feature_cosine_by_hand() -> None:
    a, b = np.array([[1, 0], [1, 1], [2, 0]]), np.array([[0, 3], [5, 5], [-1, 0]])
    assert cosine_similarity(a, b) == pytest.approx([0, 1, -1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: aspect_ratios(np.zeros((5, 2))),
        lambda: fl_correlation(clip(0, 3), clip(0, 4)),
        lambda: fl_correlation(clip(0, 1), clip(0, 1)),
        lambda: fl_correlation(face(), face()),
        lambda: pearson(np.zeros(3), np.zeros(4)),
        lambda: pearson(np.zeros(0), np.zeros(0)),
        lambda: pose_mae(np.zeros((3, 2)), np.zeros((2, 2))),
        lambda: prmse(np.zeros((3, 2)), np.zeros((3, 2))),
        lambda: nmse_landmarks(np.zeros((68, 2)), face()),
        lambda: cosine_similarity(np.zeros(4), np.ones(4)),
    ],
)
def test_exception_shapes(call: object) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected"):
        call()  # type: ignore[operator]
