"""Shapes and rotations: blendshapes, the warps that make the faces appealing, and grids of triangles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from latent_reenact.synthface.factors import EXPRESSION_INDEX, EXPRESSION_NAMES, Identity, Motion
from latent_reenact.synthface.mesh import ShapeBasis

EYE_ENLARGEMENT = 0.17
BASE_EYE_WIDE = 0.30  # the neutral ICT face looks sleepy
NECK_PIVOT = np.array([0, -4.5, -1.5], np.float32)


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Rotation matrix [3, 3]: roll first, then pitch (> 0 looks up), then yaw (> 0 to the viewer's right)."""
    yaw, pitch, roll = np.radians([yaw_deg, -pitch_deg, roll_deg])
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    return (
        np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    )


def head_rotation(motion: Motion) -> np.ndarray:
    return rotation(motion.yaw_deg, motion.pitch_deg, motion.roll_deg)


def skin_to_pose(vertices: np.ndarray, head_weight: np.ndarray, motion: Motion) -> np.ndarray:
    """Turn the head about the neck; the shoulders follow a little. vertices [V, 3], head_weight [V, 1]."""
    head = head_rotation(motion).T.astype(np.float32)
    base = _body_rotation(motion).T.astype(np.float32)
    centred = vertices - NECK_PIVOT
    return (centred @ head) * head_weight + (centred @ base) * (1 - head_weight) + NECK_PIVOT


def unturned_body(points: np.ndarray, motion: Motion) -> np.ndarray:
    """Where points [N, 3] of the posed shoulders were at rest."""
    return (points - NECK_PIVOT) @ _body_rotation(motion) + NECK_PIVOT


def _body_rotation(motion: Motion) -> np.ndarray:
    return rotation(0.22 * motion.yaw_deg, 0.12 * motion.pitch_deg, 0.1 * motion.roll_deg)


# ---------------------------------------------------------------- blendshapes


def expression_with_gaze(motion: Motion) -> np.ndarray:
    """float64 [53]: the expression, the lids following the gaze up and down."""
    weights = motion.expression_vector()
    for side in "LR":
        for name, amount in (("eyeLookUp_", motion.gaze_pitch_deg), ("eyeLookDown_", -motion.gaze_pitch_deg)):
            i = EXPRESSION_INDEX[name + side]
            weights[i] = max(weights[i], min(1.0, max(0.0, amount) / 26.0))
    return weights


def blendshape_weights(motion: Motion) -> np.ndarray:
    """float32 [53]: `expression_with_gaze` plus eyes a little wider than the neutral mesh has them."""
    weights = expression_with_gaze(motion)
    result = np.zeros(len(EXPRESSION_NAMES), np.float32)
    for side in "LR":
        blink, wide = (weights[EXPRESSION_INDEX[f"{name}_{side}"]] for name in ("eyeBlink", "eyeWide"))
        result[EXPRESSION_INDEX[f"eyeWide_{side}"]] = BASE_EYE_WIDE * (1 - min(1.0, 1.3 * blink)) * (1 - wide)
    return result + weights.astype(np.float32)


def neutral_shape(basis: ShapeBasis, shape: np.ndarray) -> np.ndarray:
    """float32 [V, 3]: a person at rest, before the warps. `shape` is float32 [IDENTITY_MODES]."""
    return (shape @ basis.identity).reshape(-1, 3) + basis.rest


def expressed_shape(basis: ShapeBasis, neutral: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 [V, 3]: `neutral` with the blendshapes of `weights` [53] added."""
    used = np.flatnonzero(weights)
    return neutral + (weights[used] @ basis.expression[used]).reshape(-1, 3)


def warped(basis: ShapeBasis, vertices: np.ndarray, identity: Identity, eye_centres: np.ndarray) -> np.ndarray:
    """A copy of `vertices` [V, 3], made slimmer for feminine faces, with enlarged eyes for all."""
    warped_ = vertices.copy()
    if identity.feminine:
        narrow, nose, lips = basis.feminine_warp
        warped_[:, 0] *= narrow
        warped_ -= (warped_ - np.array([0, 0.6, 10.5])) * nose[:, None]
        warped_[:, 1] += (basis.rest[:, 1] + 3.3) * lips
        warped_[:, 2] += 0.5 * lips
    for centre in eye_centres:
        offset = warped_ - centre
        pull = EYE_ENLARGEMENT * np.exp(-(offset**2).sum(1) / 2.5**2)
        warped_ += offset * pull[:, None]
    return warped_


# ---------------------------------------------------------------- grids


@dataclass(frozen=True, eq=False)
class Part:
    """One piece of geometry beside the head, a grid of n x m points (the first and last row may coincide)."""

    vertices: np.ndarray  # float32 [n * m, 3]
    triangles: np.ndarray  # int32 [T, 3]
    material: int
    attributes: np.ndarray  # float32 [n * m, 8]
    tangents: np.ndarray  # float32 [n * m, 3], along the strands of hair, else 0
    grid: tuple[int, int]


def grid_triangles(n: int, m: int) -> np.ndarray:
    """int32 [2 (n - 1) (m - 1), 3]: the triangles of an n x m grid of vertices."""
    index = np.arange(n * m).reshape(n, m)
    a, b, c, d = (x.ravel() for x in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    return np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).astype(np.int32)


def grid_part(points: np.ndarray, material: int, attributes: np.ndarray, tangents: np.ndarray | None = None) -> Part:
    """A `Part` from points [n, m, 3], attributes [n, m, 8] and tangents [n, m, 3]."""
    n, m = points.shape[:2]
    tangents = np.zeros((n * m, 3)) if tangents is None else tangents.reshape(-1, 3)
    return Part(
        points.reshape(-1, 3).astype(np.float32),
        grid_triangles(n, m),
        material,
        attributes.reshape(-1, 8).astype(np.float32),
        tangents.astype(np.float32),
        (n, m),
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] at length one."""
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)
