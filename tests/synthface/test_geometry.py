"""Rotations, camera, rasteriser and the baked masks against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_reenact.synthface.bake import _closed_curve, _signed_distance, scalp_anchors
from latent_reenact.synthface.factors import Motion
from latent_reenact.synthface.framing import frame_face, project, to_pixels
from latent_reenact.synthface.geometry import grid_triangles, rotation, skin_to_pose
from latent_reenact.synthface.mesh import ANCHOR_CENTRE, SKIN, Mesh, smoothstep
from latent_reenact.synthface.raster import rasterise, rasterise_depth, vertex_normals

angles = st.floats(-80, 80)


@settings(max_examples=50, deadline=None)
@given(angles, angles, angles)
def test_property_rotation(yaw: float, pitch: float, roll: float) -> None:
    matrix = rotation(yaw, pitch, roll)
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.isclose(np.linalg.det(matrix), 1)
    forward = matrix @ [0, 0, 1]
    assert np.isclose(np.degrees(np.arctan2(forward[0], forward[2])), yaw, atol=1e-6)
    assert np.isclose(np.degrees(np.arcsin(forward[1])), pitch, atol=1e-6)


def test_feature_shoulders_stay_behind() -> None:
    points = np.array([[0, 5, 10], [0, 5, 10]], np.float32)
    turned = skin_to_pose(points, np.array([[1], [0]], np.float32), Motion(yaw_deg=30))
    assert turned[0, 0] > 4 * turned[1, 0] > 0


@settings(max_examples=20, deadline=None)
@given(angles)
def test_property_frame_size_does_not_depend_on_yaw(yaw: float) -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.normal(0, 3, (68, 3)).astype(np.float32)
    turned = (landmarks @ rotation(yaw, 0, 0).T).astype(np.float32)
    assert np.isclose(frame_face(landmarks).half, frame_face(turned).half, rtol=1e-4)


def test_feature_projection() -> None:
    near, far = project(np.array([[1, 1, 10], [1, 1, -10]], np.float32))
    assert near[0] > far[0] > 0
    assert near[1] == far[1] == 0  # at the camera's height
    face = frame_face(np.zeros((68, 3), np.float32) + np.arange(68, dtype=np.float32)[:, None] * 0.01)
    centre = to_pixels(np.zeros((1, 3), np.float32), face, 100)
    assert centre.dtype == np.float32


def test_feature_rasterise_square() -> None:
    """Two triangles that cover the left half of a 4 x 4 picture; the back side does not show, the nearer wins."""
    points = np.array([[0, 0, 5], [2, 0, 5], [0, 4, 5], [2, 4, 5]], np.float32)
    triangles = np.array([[0, 2, 1], [1, 2, 3]], np.int32)
    attributes = np.zeros((4, 8), np.float32)

    def draw(order: np.ndarray) -> np.ndarray:
        depth, winner = np.full((4, 4), 1e9, np.float32), np.full((4, 4), -1, np.int32)
        rasterise(points, order, np.full(len(order), SKIN, np.uint8), attributes, depth, winner, 0.1)
        return winner

    assert ((draw(triangles) >= 0) == [[True, True, False, False]] * 4).all()
    assert (draw(triangles[:, [0, 2, 1]]) == -1).all()
    depth = np.full((4, 4), 1e9, np.float32)
    rasterise_depth(points, triangles[:, [0, 2, 1]], depth)
    assert np.allclose(depth[:, :2], 5)
    assert (depth[:, 2:] == 1e9).all()


def test_feature_normals_of_a_grid() -> None:
    y, x = np.mgrid[0:3, 0:4].astype(np.float32)
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    normals = np.zeros_like(points)
    vertex_normals(points, grid_triangles(3, 4), normals)
    assert np.allclose(np.abs(normals), [0, 0, 1])
    assert len({tuple(n) for n in normals.round(3)}) == 1


def test_feature_signed_distance() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)
    points = np.array([[1, 1], [3, 1], [0.5, 1], [-3, -4]], float)
    assert np.allclose(_signed_distance(square, points), [1, -1, 0.5, -5])
    curve = _closed_curve(square)
    assert curve.shape == (48, 2)
    assert np.allclose(curve[::12], square)


def test_feature_anchors_lie_on_the_skin(mesh: Mesh) -> None:
    skin = mesh.triangles[mesh.materials == SKIN]
    index, weight, distance = scalp_anchors(mesh.basis.rest, skin)
    points = (mesh.basis.rest[index] * weight[..., None]).sum(2)
    assert np.allclose(weight.sum(-1), 1)
    assert np.allclose(np.linalg.norm(points - ANCHOR_CENTRE, axis=-1)[:60], distance[:60], atol=1e-3)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3, -2)])
def test_feature_smoothstep(low: float, high: float) -> None:
    assert smoothstep(low, high, low) == 0
    assert smoothstep(low, high, high) == 1
    assert smoothstep(low, high, (low + high) / 2) == pytest.approx(0.5)
