"""Shoulders with a collar, and glasses."""

from __future__ import annotations

import numpy as np

from latent_reenact.synthface.factors import COLLARS
from latent_reenact.synthface.geometry import Part, grid_part
from latent_reenact.synthface.mesh import CLOTH, FRAME

_COLLAR_TOP = dict(zip(COLLARS, (-10.2, -11.2, -8.8, -9.6), strict=True))
_COLLAR_DIP = dict(zip(COLLARS, (2.2, 5.2, 0.6, 2.2), strict=True))  # how far it sinks in front
_COLLAR_RADIUS = dict(zip(COLLARS, (0.45, 0.40, 0.9, 1.5), strict=True))
_COLLAR_HEIGHT = dict(zip(COLLARS, (0.5, 0.45, 1.6, 1.3), strict=True))

_LENSES = {  # half width, half height, exponent of the super-ellipse, radius of the frame
    "round": (2.75, 2.25, 2.0, 0.13),
    "rectangular": (2.9, 2.0, 3.2, 0.2),
    "wide": (3.05, 2.35, 2.6, 0.2),
}


def build_torso(collar: str, feminine: bool) -> list[Part]:
    """A loft from the neck to the shoulders, and a rolled rim of the collar."""
    turn, q = np.linspace(0, 2 * np.pi, 72)[:, None], np.linspace(0, 1, 26)
    half_width, half_depth, height = _loft(q, collar, feminine)
    if collar == "turtle_neck":
        half_width[0] *= 0.93
    c, s = np.cos(turn), np.sin(turn)
    x = np.sign(c) * np.abs(c) ** 0.9 * half_width
    z = np.sign(s) * np.abs(s) ** 0.9 * half_depth - 2.2 - 0.6 * q
    dip = np.clip(s, 0, 1) * (1 - q) ** 2 * _COLLAR_DIP[collar] * np.abs(s) ** (4 if collar == "v_neck" else 1)
    points = np.stack([x, height - dip, z], -1)
    return [_cloth(points, hem=0.0), _cloth(_rim(points[:, 0], collar), hem=1.0)]


def torso_front(points: np.ndarray, collar: str, feminine: bool) -> np.ndarray:
    """z [N] of the shirt's front at the x and y of points [N, 3] at rest, collar and neck left out."""
    q = np.linspace(0, 1, 101)
    height = _loft(q, collar, feminine)[2]
    q = np.interp(-points[:, 1], -height, q)
    half_width, half_depth, _ = _loft(q, collar, feminine)
    c = np.clip(np.abs(points[:, 0]) / half_width, 0, 1) ** (1 / 0.9)
    return np.sqrt(1 - c**2) ** 0.9 * half_depth - 2.2 - 0.6 * q


def _loft(q: np.ndarray, collar: str, feminine: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, half depth and height of the shirt's rings, q from 0 at the neck to 1 at the bottom."""
    levels = [0, 0.12, 0.3, 0.5, 0.7, 1]
    half_width = np.interp(q, levels, [6.6, 7.6, 11.5, 16.5, 19.5, 20.5]) * (0.92 if feminine else 1.06)
    half_depth = np.interp(q, levels, [6.2, 6.9, 7.8, 8.4, 9.0, 9.5])
    return half_width, half_depth, _COLLAR_TOP[collar] + np.interp(q, levels, [0, -0.9, -2.2, -4.2, -8, -18])


def _rim(ring: np.ndarray, collar: str) -> np.ndarray:
    """A tube [72, 10, 3] round the neck line `ring` [72, 3]."""
    turn = np.linspace(0, 2 * np.pi, 10)[None, :, None]
    outward = (ring - ring.mean(0)) * np.array([1, 0, 1])
    outward = (outward / np.linalg.norm(outward, axis=1, keepdims=True))[:, None]
    tube = ring[:, None] + outward * np.cos(turn) * _COLLAR_RADIUS[collar] * 0.6
    tube = tube + np.array([0, 1.0, 0]) * np.sin(turn) * _COLLAR_HEIGHT[collar]
    return (tube + outward * (0.9 if collar == "hoodie" else 0.25))[:, ::-1]


def _cloth(points: np.ndarray, hem: float) -> Part:
    n, m = points.shape[:2]
    attributes = np.zeros((n, m, 8), np.float32)
    attributes[..., 0] = np.linspace(0, 1, n)[:, None] * 6
    attributes[..., 1] = np.linspace(0, 1, m) * 6
    attributes[..., 2], attributes[..., 3] = hem, 0.85
    return grid_part(points, CLOTH, attributes)


def build_glasses(style: str, landmarks: np.ndarray) -> list[Part]:
    """Frames, temples and bridge, fitted to the neutral landmarks [68, 3]; the lenses are air."""
    if style == "none":
        return []
    half_width, half_height, power, radius = _LENSES[style]
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    z = max(landmarks[27][2] - 0.1, eyes[0][2] + 2.3)
    temple_x = max(abs(landmarks[0][0]), abs(landmarks[16][0])) - 0.15
    parts = []
    for eye, side in zip(eyes, (-1, 1), strict=True):
        x, y = side * 3.25, eye[1] - 0.25
        parts.append(_tube(_lens(x, y, z, half_width, half_height, power), radius, closed=True))
        edge, q = x + side * half_width, np.linspace(0, 1, 14)
        temple = edge + side * (0.1 + (temple_x - abs(edge)) * np.minimum(q * 1.3, 1))
        path = np.stack([temple, y + 0.7 + 0 * q, z - 0.045 * edge * edge * 0.55 - q * 9.5], -1)
        parts.append(_tube(path, radius * 0.9, closed=False))
    t = np.linspace(-1, 1, 13)
    bridge = np.stack([t * (3.3 - half_width), eyes[0][1] + 0.3 + 0.35 * (1 - t * t), z + 0.05 + 0 * t], -1)
    return [*parts, _tube(bridge, radius, closed=False)]


def _lens(x: float, y: float, z: float, half_width: float, half_height: float, power: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 49)
    c, s = np.cos(turn), np.sin(turn)
    across = x + half_width * np.sign(c) * np.abs(c) ** (2 / power)
    up = y + half_height * np.sign(s) * np.abs(s) ** (2 / power)
    return np.stack([across, up, z - 0.045 * across**2 * 0.55 + 0.1], -1)


def _tube(path: np.ndarray, radius: float, closed: bool) -> Part:
    """A tube of eight sides along `path` [N, 3]."""
    along = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(along, [0, 0, 1.0])
    first = first / (np.linalg.norm(first, axis=1, keepdims=True) + 1e-9)
    second = np.cross(first, along)
    turn = np.linspace(0, 2 * np.pi, 8)[None, :, None]
    points = path[:, None] + radius * (np.cos(turn) * first[:, None] + np.sin(turn) * second[:, None])
    attributes = np.zeros((*points.shape[:2], 8), np.float32)
    attributes[..., 3] = 1
    return grid_part(points, FRAME, attributes)
