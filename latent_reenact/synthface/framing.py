"""The camera and the crop: FFHQ alignment computed on the true landmarks, without rendering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CAMERA = np.array([0, 1, 95.0], np.float32)  # position, looking along -z
ZOOM = 1.12  # a little wider than FFHQ, to keep hair in the picture


@dataclass(frozen=True)
class Framing:
    """The square window of the picture on the camera's plane, in centimetres."""

    centre_x: float
    centre_y: float
    half: float


def project(points: np.ndarray) -> np.ndarray:
    """Perspective projection: points [N, 3] -> [N, 3], x to the right and y down at the origin's scale, and depth."""
    depth = CAMERA[2] - points[:, 2]
    scale = float(CAMERA[2])
    return np.stack([points[:, 0] / depth * scale, -(points[:, 1] - CAMERA[1]) / depth * scale, depth], 1)


def frame_face(neutral_landmarks: np.ndarray) -> Framing:
    """FFHQ's crop (Karras et al. 2019, recropping step) from the posed landmarks [68, 3] of the neutral face.

    The size comes from lengths in space, so that it does not change when the head turns, nor with the expression.
    """
    flat = project(neutral_landmarks)[:, :2]
    eyes = (flat[36:42].mean(0) + flat[42:48].mean(0)) / 2
    mouth = (flat[48] + flat[54]) / 2
    centre = eyes + (mouth - eyes) * 0.1 + np.array([0, -0.25])
    left, right = neutral_landmarks[36:42].mean(0), neutral_landmarks[42:48].mean(0)
    eye_distance = np.linalg.norm(right - left)
    mouth_distance = np.linalg.norm((neutral_landmarks[48] + neutral_landmarks[54]) / 2 - (left + right) / 2)
    half = max(eye_distance * 2.0, mouth_distance * 1.8) * ZOOM
    return Framing(float(centre[0]), float(centre[1]), float(half))


def to_pixels(points: np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """Points [N, 3] in space -> float32 [N, 3]: x, y in pixels (pixel centres at +0.5) and depth."""
    flat = project(points)
    scale = size / (2 * framing.half)
    flat[:, 0] = (flat[:, 0] - framing.centre_x) * scale + size / 2
    flat[:, 1] = (flat[:, 1] - framing.centre_y) * scale + size / 2
    return np.ascontiguousarray(flat, np.float32)
