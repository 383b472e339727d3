"""What the shader wants to know about each vertex, computed once on the resting mesh.

Ambient occlusion, signed distance to the lips, distance to the lids, place relative to the hairline, ears, and the
anchors of the scalp on which `hair` builds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial import cKDTree

from latent_reenact.synthface.mesh import ANCHOR_CENTRE, EYE, SKIN
from latent_reenact.synthface.noise import JIT
from latent_reenact.synthface.raster import rasterise_depth, vertex_normals

ANCHOR_ROWS, ANCHOR_COLUMNS = 96, 192
_FACE, _HEAD = 0, 1  # values of `part`
_SCALP_AZIMUTH_DEG = [0, 15, 30, 45, 58, 70, 80, 90, 100, 112, 125, 150, 180]
_SCALP_POLAR_DEG = [51, 51.5, 53, 58, 66, 76, 96, 108, 104, 112, 124, 132, 135]


@dataclass(frozen=True, eq=False)
class Baked:
    masks: np.ndarray  # float64 [V, 6]: occlusion, lip, lid, scalp, ear, z of the normal
    anchor_index: np.ndarray  # int32 [96, 192, 3]
    anchor_weight: np.ndarray  # float64 [96, 192, 3]


def bake(
    rest: np.ndarray, triangles: np.ndarray, materials: np.ndarray, part: np.ndarray, landmarks: np.ndarray
) -> Baked:
    """Bake vertices [V, 3] with triangles [T, 3], material and part per vertex [V] (-1: none) and 68 landmarks."""
    normals = np.zeros_like(rest)
    vertex_normals(rest, triangles, normals)
    skin = triangles[np.isin(part[triangles], (_FACE, _HEAD)).all(1)]
    solid = triangles[materials[triangles[:, 0]] < EYE]
    occlusion = _smoothed(_ambient_occlusion(rest, solid, normals), triangles)
    lip = np.where((rest[:, 2] < 7) | (materials != SKIN), -3, _lip_distance(rest, landmarks))
    lid = _lid_distance(rest, triangles[(part[triangles] == _FACE).all(1)])
    polar, azimuth, radius = _spherical(rest)
    hairline = np.interp(np.degrees(np.abs(azimuth)), _SCALP_AZIMUTH_DEG, _SCALP_POLAR_DEG)
    index, weight, distance = scalp_anchors(rest, skin)
    ear = _ears(rest, polar, azimuth, radius, distance)
    masks = np.stack([occlusion, lip, lid, (hairline - np.degrees(polar)) / 40.0, ear, normals[:, 2]], 1)
    return Baked(masks, index, weight)


def _ambient_occlusion(
    rest: np.ndarray, solid: np.ndarray, normals: np.ndarray, directions: int = 160, size: int = 192
) -> np.ndarray:
    """Share of a cosine-weighted sky that each vertex sees [V], from depth maps of many directions."""
    open_, total = np.zeros(len(rest)), np.zeros(len(rest))
    centred = rest - rest.mean(0)
    for k in range(directions):
        height, turn = 1 - 2 * (k + 0.5) / directions, k * 2.39996  # a spiral of golden angles
        side = math.sqrt(1 - height * height)
        towards = np.array([side * math.cos(turn), height, side * math.sin(turn)])
        across = np.cross([0, 1.0, 0] if abs(height) < 0.9 else [1.0, 0, 0], towards)
        across /= np.linalg.norm(across)
        rows = np.stack([across * size / 48, np.cross(towards, across) * size / 48, -towards])
        points = np.ascontiguousarray(centred @ rows.T + [size / 2, size / 2, 0], np.float32)
        depth = np.full((size, size), 1e9, np.float32)
        rasterise_depth(points, solid, depth)
        x, y = points[:, :2].astype(int).clip(0, size - 1).T
        facing = np.maximum(normals @ towards, 0)
        open_ += facing * (points[:, 2] < depth[y, x] + 0.35)
        total += facing
    return open_ / np.maximum(total, 1e-6)


def _smoothed(values: np.ndarray, triangles: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Half each vertex's own value, half the mean of its neighbours, `rounds` times."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    a, b = np.concatenate([edges, edges[:, ::-1]]).T
    count = np.maximum(np.bincount(a, minlength=len(values)), 1)
    for _ in range(rounds):
        values = 0.5 * values + 0.5 * np.bincount(a, values[b], minlength=len(values)) / count
    return values


# ---------------------------------------------------------------- lips and lids


def _lip_distance(rest: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Signed distance [V] to the outline of the lips, seen from the front, > 0 inside, clipped to ±3 cm."""
    outline = _closed_curve(rest[landmarks[48:60], :2].astype(float))
    return _signed_distance(outline, rest[:, :2]).clip(-3, 3)


def _closed_curve(points: np.ndarray, per_segment: int = 12) -> np.ndarray:
    """A closed Catmull-Rom spline through points [N, 2]."""
    before, after, second = (np.roll(points, shift, 0)[:, None] for shift in (1, -1, -2))
    here, t = points[:, None], np.linspace(0, 1, per_segment, endpoint=False)[None, :, None]
    quadratic = 2 * before - 5 * here + 4 * after - second
    cubic = -before + 3 * here - 3 * after + second
    return (0.5 * (2 * here + (after - before) * t + quadratic * t**2 + cubic * t**3)).reshape(-1, 2)


def _signed_distance(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance [N] of points [N, 2] to a closed polygon [M, 2], negative outside."""
    nearest, inside = np.full(len(points), np.inf), np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        edge, offset = b - a, points - a
        along = np.clip(offset @ edge / (edge @ edge + 1e-12), 0, 1)
        nearest = np.minimum(nearest, ((offset - along[:, None] * edge) ** 2).sum(1))
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        inside ^= crosses & (points[:, 0] < edge[0] * offset[:, 1] / (edge[1] + 1e-12) + a[0])
    return np.where(inside, 1, -1) * np.sqrt(nearest)


def _lid_distance(rest: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Distance [V] to the rims of the eye openings, at most 3 cm; 3 everywhere when the face has no such rims."""
    edges = np.sort(np.concatenate([face[:, [0, 1]], face[:, [1, 2]], face[:, [2, 0]]]), 1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    rim = rest[np.unique(edges[count == 1])]
    rim = rim[(rim[:, 1] > 1) & (rim[:, 1] < 5.5) & (np.abs(rim[:, 0]) < 6) & (rim[:, 2] > 6)]
    return cKDTree(rim).query(rest)[0].clip(0, 3) if len(rim) else np.full(len(rest), 3.0)


# ---------------------------------------------------------------- scalp and ears


def _spherical(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polar angle and azimuth in radians, and distance, as seen from `ANCHOR_CENTRE`."""
    offset = points - ANCHOR_CENTRE
    radius = np.linalg.norm(offset, axis=1)
    return np.arccos(np.clip(offset[:, 1] / radius, -1, 1)), np.arctan2(offset[:, 0], offset[:, 2]), radius


def scalp_anchors(rest: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rays from `ANCHOR_CENTRE` first meet the skin: vertices and weights [96, 192, 3], distances [96, 192]."""
    polar = (np.arange(ANCHOR_ROWS) + 0.5) / ANCHOR_ROWS * np.pi
    azimuth = (np.arange(ANCHOR_COLUMNS) + 0.5) / ANCHOR_COLUMNS * 2 * np.pi - np.pi
    sine, cosine = np.sin(polar)[:, None], np.repeat(np.cos(polar)[:, None], ANCHOR_COLUMNS, 1)
    directions = np.stack([sine * np.sin(azimuth), cosine, sine * np.cos(azimuth)], -1).reshape(-1, 3)
    corners = [np.ascontiguousarray(rest[skin[:, k]] - ANCHOR_CENTRE, np.float64) for k in range(3)]
    n = len(directions)
    hit, weight, distance = np.zeros(n, np.int64), np.zeros((n, 3)), np.full(n, 1e9)
    _first_hits(directions, *corners, hit, weight, distance)
    grid = (ANCHOR_ROWS, ANCHOR_COLUMNS)
    missed = distance.reshape(grid) > 1e8  # down through the open neck: take the nearest ray that met something
    rows, columns = distance_transform_edt(missed, return_distances=False, return_indices=True)
    nearest = rows * ANCHOR_COLUMNS + columns
    return skin[hit][nearest].astype(np.int32), weight[nearest], distance[nearest]


@njit(**JIT)
def _first_hits(directions, a, b, c, hit, weight, distance):
    """The first triangle each ray from the origin meets (Möller & Trumbore 1997)."""
    for t in range(a.shape[0]):
        e, f = b[t] - a[t], c[t] - a[t]
        qx, qy, qz = (
            -a[t, 1] * e[2] + a[t, 2] * e[1],
            -a[t, 2] * e[0] + a[t, 0] * e[2],
            -a[t, 0] * e[1] + a[t, 1] * e[0],
        )
        depth = f[0] * qx + f[1] * qy + f[2] * qz
        for r in range(directions.shape[0]):
            x, y, z = directions[r, 0], directions[r, 1], directions[r, 2]
            px, py, pz = y * f[2] - z * f[1], z * f[0] - x * f[2], x * f[1] - y * f[0]
            determinant = e[0] * px + e[1] * py + e[2] * pz
            if abs(determinant) < 1e-9:
                continue
            u = -(a[t, 0] * px + a[t, 1] * py + a[t, 2] * pz) / determinant
            if u < -1e-4 or u > 1.0001:
                continue
            v = (x * qx + y * qy + z * qz) / determinant
            if v < -1e-4 or u + v > 1.0001:
                continue
            d = depth / determinant
            if 0.5 < d < distance[r]:
                distance[r], hit[r] = d, t
                weight[r, 0], weight[r, 1], weight[r, 2] = 1 - u - v, u, v


def _ears(
    rest: np.ndarray, polar: np.ndarray, azimuth: np.ndarray, radius: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """How far a vertex stands out beyond the first skin in its direction, at the sides of the head [V], 0..1."""
    row, column = polar / np.pi * ANCHOR_ROWS - 0.5, (azimuth + np.pi) / (2 * np.pi) * ANCHOR_COLUMNS - 0.5
    inner = map_coordinates(distance, [row, column], order=1, mode="nearest")
    x, y, z = rest.T
    return (radius - inner).clip(0, 1) * ((np.abs(x) > 5.5) & (z < 4) & (y > -3) & (y < 7))
