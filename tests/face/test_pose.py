from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_face import mirrored_face, moved, template

from latent_reenact.errors import NoFaceError
from latent_reenact.face import DlibDetector, head_pose, measure
from latent_reenact.face.pose import _HEAD


def turned_head(yaw_deg: float, pitch_deg: float, roll_deg: float, *, distance: float = 90) -> np.ndarray:
    """Landmarks [68, 2] of the generic head as a camera of focal 1000 px sees it, around (500, 400)."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    # Built from what each angle does: roll turns x towards y (up), pitch z towards y, yaw z towards x.
    around_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    around_x = [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    around_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    rotation = np.array(around_y) @ around_x @ around_z
    landmarks = template() * 0.1  # anything for the points that the pose does not use
    for index, point in _HEAD.items():
        x, y, z = rotation @ point
        landmarks[index] = (500 + 1000 * x / (distance - z), 400 - 1000 * y / (distance - z))
    return landmarks


def test_smoke() -> None:
    pose = measure(moved(template(), zoom=2, shift=(300, 200)))
    assert abs(pose.yaw_deg) < 0.5
    assert abs(pose.roll_deg) < 0.5
    assert abs(pose.pitch_deg) < 25


@settings(max_examples=60, deadline=None)
@given(st.floats(-50, 50), st.floats(-35, 35), st.floats(-40, 40))
def test_property_known_angles_come_back(yaw_deg: float, pitch_deg: float, roll_deg: float) -> None:
    landmarks = turned_head(yaw_deg, pitch_deg, roll_deg) - 0.5
    assert head_pose(landmarks, (800, 1000)) == pytest.approx((yaw_deg, pitch_deg, roll_deg), abs=0.1)


def test_feature_signs() -> None:
    """The tip of the nose moves to where the face turns; the brow to where the head leans."""
    right, up, left_lean = turned_head(25, 0, 0), turned_head(0, 25, 0), turned_head(0, 0, 15)
    assert right[30, 0] > right[27, 0]
    assert up[30, 1] < turned_head(0, 0, 0)[30, 1]
    assert left_lean[27, 0] < left_lean[8, 0]
    assert measure(right).yaw_deg > 15
    assert measure(up).pitch_deg > measure(turned_head(0, 0, 0)).pitch_deg + 15
    assert measure(left_lean).roll_deg == pytest.approx(15, abs=2)


@given(st.floats(-30, 30), st.floats(-20, 20), st.floats(-20, 20))
@settings(max_examples=30, deadline=None)
def test_property_a_mirrored_face_turns_the_other_way(yaw_deg: float, pitch_deg: float, roll_deg: float) -> None:
    landmarks = turned_head(yaw_deg, pitch_deg, roll_deg)
    seen, mirrored = measure(landmarks), measure(mirrored_face(landmarks, 1000))
    assert mirrored == pytest.approx((-seen.yaw_deg, seen.pitch_deg, -seen.roll_deg), abs=0.5)


@given(st.floats(0.3, 6), st.tuples(st.floats(-300, 3000), st.floats(-300, 3000)))
@settings(max_examples=30, deadline=None)
def test_property_framing_does_not_matter(zoom: float, shift: tuple[float, float]) -> None:
    landmarks = turned_head(20, -8, 6)
    assert measure(landmarks * zoom + shift) == pytest.approx(measure(landmarks), abs=0.05)


def test_feature_picture(detector: DlibDetector, portrait: np.ndarray) -> None:
    seen, mirrored = measure(portrait, detector), measure(portrait[:, ::-1].copy(), detector)
    assert abs(seen.yaw_deg) < 45
    assert abs(seen.yaw_deg + mirrored.yaw_deg) < 6


def test_exception_no_face(detector: DlibDetector) -> None:
    with pytest.raises(NoFaceError, match="no face found in the picture"):
        measure(np.zeros((100, 100, 3), np.uint8), detector)


def test_exception_shape() -> None:
    with pytest.raises(ValueError, match="68 iBUG points"):
        head_pose(np.zeros((5, 2)))
