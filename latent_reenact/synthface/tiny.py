"""A small procedural head of the same schema as the real mesh: quick, and free of any download. For tests."""

from __future__ import annotations

import numpy as np

from latent_reenact.synthface.factors import EXPRESSION_NAMES, IDENTITY_MODES
from latent_reenact.synthface.mesh import ANCHOR_CENTRE, LASH, LASH_PARTS, MOUTH, SKIN, Mesh

_ROWS, _COLUMNS = 36, 48
_RADII = np.array([7.5, 9.5, 9.0])
_EYE = np.array([3.1, 3.6, 7.4])

# Where the 68 landmarks are, on the viewer's side of the head (x, y in centimetres)
_JAW = [(8.5 * np.sin(a), 2.5 - 9.5 * np.cos(a)) for a in np.linspace(-1.5, 1.5, 17)]
_BROW = [(5.9, 5.0), (4.9, 5.6), (3.7, 5.9), (2.3, 5.8), (1.0, 5.4)]
_BROWS = [*((-x, y) for x, y in _BROW), *reversed(_BROW)]
_NOSE = [(0, 3.6), (0, 2.4), (0, 1.2), (0, 0.2), (-1.4, -0.9), (-0.7, -1.1), (0, -1.2), (0.7, -1.1), (1.4, -0.9)]
_EYES = [
    (s * 3.1 + 1.5 * np.cos(a), 3.6 + 0.6 * np.sin(a))
    for s in (-1, 1)
    for a in np.radians([180, 120, 60, 0, -60, -120])
]
_LIPS = [(2.5 * np.cos(a), -3.3 + 0.9 * np.sin(a)) for a in np.radians(180 - np.arange(12) * 30)]
_INNER_LIPS = [(2.0 * np.cos(a), -3.3 + 0.2 * np.sin(a)) for a in np.radians(180 - np.arange(8) * 45)]


def tiny_arrays() -> dict[str, np.ndarray]:
    """The arrays of a tiny archive, as `load_mesh` expects them."""
    skin, skin_triangles = _ellipsoid()
    landmarks = _on_ellipsoid(np.array([*_JAW, *_BROWS, *_NOSE, *_EYES, *_LIPS, *_INNER_LIPS]))
    features, feature_triangles, materials, parts = _features(len(skin) + 68)
    rest = np.concatenate([skin, landmarks, features])
    n = len(rest)
    rng = np.random.default_rng(0)
    anchor_index, anchor_weight = _anchors()
    masks = np.zeros((n, 6))
    masks[:, 0], masks[:, 1], masks[:, 2], masks[:, 3] = (
        1,
        _lip_distance(rest),
        _lid_distance(rest),
        (rest[:, 1] - 8) / 10,
    )
    return {
        "neutral": rest.astype(np.float32),
        "identity": _smooth_modes(rng, rest, IDENTITY_MODES).astype(np.float16),
        "expression": _expressions(rest).astype(np.float16),
        "expression_names": np.array(EXPRESSION_NAMES),
        "triangles": np.concatenate([skin_triangles, feature_triangles]).astype(np.uint16),
        "tri_material": np.r_[np.full(len(skin_triangles), SKIN), materials].astype(np.uint8),
        "part": np.r_[np.zeros(len(skin) + 68), parts].astype(np.uint8),
        "landmarks68": np.arange(len(skin), len(skin) + 68, dtype=np.int32),
        "masks": masks.astype(np.float16),
        "anchor_idx": anchor_index,
        "anchor_w": anchor_weight,
        "eye_centre": (_EYE * [[1, 1, 1], [-1, 1, 1]]).astype(np.float32),
        "eye_radius": np.full(2, 1.58, np.float32),
        "eye_centre_id": np.zeros((2, IDENTITY_MODES, 3), np.float32),
        "eye_radius_id": np.zeros((2, IDENTITY_MODES), np.float32),
    }


def tiny_mesh() -> Mesh:
    """An egg-shaped head with landmarks, lips, lashes and a mouth, 1,900 vertices."""
    return Mesh.from_arrays(tiny_arrays())


def _ellipsoid() -> tuple[np.ndarray, np.ndarray]:
    """The head and neck: points [N, 3] over (polar, azimuth) and triangles that face outwards."""
    polar = np.linspace(0.02, np.pi - 0.02, _ROWS)[:, None]
    azimuth = -np.pi + 2 * np.pi * np.arange(_COLUMNS) / _COLUMNS
    x, z = np.sin(polar) * np.sin(azimuth), np.sin(polar) * np.cos(azimuth)
    points = np.stack([x, np.broadcast_to(np.cos(polar), x.shape), z], -1).reshape(-1, 3) * _RADII + [0, 2.0, 0]
    below = points[:, 1] < -6
    points[below, 1] = -6 + (points[below, 1] + 6) * 8  # pull the chin's underside down into a neck
    rows, columns = np.mgrid[0 : _ROWS - 1, 0:_COLUMNS]
    a, b = rows * _COLUMNS + columns, rows * _COLUMNS + (columns + 1) % _COLUMNS
    c, d = a + _COLUMNS, b + _COLUMNS
    return points, np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))])


def _on_ellipsoid(flat: np.ndarray) -> np.ndarray:
    """Points [N, 3] on the front of the head above x, y [N, 2]."""
    inside = 1 - (flat[:, 0] / _RADII[0]) ** 2 - ((flat[:, 1] - 2.0) / _RADII[1]) ** 2
    return np.column_stack([flat, _RADII[2] * np.sqrt(np.maximum(inside, 0))])


def _features(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A mouth patch and two upper lashes: points, triangles, material per triangle, part per point."""
    quads = [
        (MOUTH, 3, [(-1.8, -3.5), (1.8, -3.5), (1.8, -3.1), (-1.8, -3.1)]),
        (LASH, LASH_PARTS[0], [(1.7, 4.1), (4.5, 4.1), (4.5, 4.6), (1.7, 4.6)]),
        (LASH, LASH_PARTS[1], [(-4.5, 4.1), (-1.7, 4.1), (-1.7, 4.6), (-4.5, 4.6)]),
    ]
    points = np.concatenate([_on_ellipsoid(np.array(corners)) + np.array([0, 0, 0.15]) for _, _, corners in quads])
    corner = start + 4 * np.arange(len(quads))[:, None, None]
    triangles = (corner + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    return points, triangles, np.repeat([q[0] for q in quads], 2), np.repeat([q[1] for q in quads], 4)


def _smooth_modes(rng: np.random.Generator, rest: np.ndarray, count: int) -> np.ndarray:
    """Low-frequency displacements [count, N, 3] of about a millimetre."""
    frequency, phase = rng.normal(0, 0.25, (count, 3, 3)), rng.uniform(0, 6, (count, 1, 3))
    return 0.12 * np.sin(rest @ frequency + phase)


def _expressions(rest: np.ndarray) -> np.ndarray:
    """Each blendshape pushes the part of the face that its name speaks of."""
    modes = np.zeros((len(EXPRESSION_NAMES), *rest.shape))
    for k, name in enumerate(EXPRESSION_NAMES):
        side = {"L": 1, "R": -1}.get(name[-1], 0) if "_" in name else 0
        height = 5.5 if name.startswith("brow") else 3.6 if name.startswith("eye") else -3.3
        near = np.exp(-(((rest - [side * 2.5, height, 8]) / [2.5, 1.5, 4]) ** 2).sum(1))
        if name == "jawOpen":
            near = (rest[:, 1] < -3.35) & (rest[:, 1] > -8) & (rest[:, 2] > 3)
        modes[k, :, 1] = near * (-2.0 if name in ("jawOpen", "eyeBlink_L", "eyeBlink_R") else 0.6)
    return modes


def _lip_distance(rest: np.ndarray) -> np.ndarray:
    ring = np.hypot(rest[:, 0] / 2.5, (rest[:, 1] + 3.3) / 0.9)
    return np.where(rest[:, 2] > 5, np.clip((1 - ring) * 0.9, -3, 3), -3)


def _lid_distance(rest: np.ndarray) -> np.ndarray:
    ring = np.hypot((np.abs(rest[:, 0]) - 3.1) / 1.5, (rest[:, 1] - 3.6) / 0.6)
    return np.where(rest[:, 2] > 5, np.clip(np.abs(ring - 1) * 0.6, 0, 3), 3)


def _anchors() -> tuple[np.ndarray, np.ndarray]:
    """The nearest head vertex in each direction from `ANCHOR_CENTRE`."""
    points, _ = _ellipsoid()
    directions = points - ANCHOR_CENTRE
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    polar, azimuth = (np.arange(96) + 0.5) / 96 * np.pi, (np.arange(192) + 0.5) / 192 * 2 * np.pi - np.pi
    x, z = np.sin(polar)[:, None] * np.sin(azimuth), np.sin(polar)[:, None] * np.cos(azimuth)
    wanted = np.stack([x, np.broadcast_to(np.cos(polar)[:, None], x.shape), z], -1)
    nearest = (wanted @ directions.T).argmax(-1)
    weight = np.zeros((96, 192, 3), np.float16)
    weight[..., 0] = 1
    return np.repeat(nearest[..., None], 3, -1).astype(np.uint16), weight
