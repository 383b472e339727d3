"""Faces without photographs: a 68-point template, and a detector that sees white squares as faces."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def template() -> np.ndarray:
    """68 iBUG points [68, 2] of a plain, exactly symmetric face, about 100 px wide, around (0, 0)."""
    t = np.radians(np.linspace(175, 5, 17))
    jaw = np.stack([50 * np.cos(t), -10 + 65 * np.sin(t)], 1)
    brow = np.stack([np.linspace(-38, -12, 5), -32 - 5 * np.sin(np.linspace(0.3, 2.8, 5))], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-20, 8, 4)], 1)
    nostrils = np.stack([np.linspace(-9, 9, 5), [14, 15.5, 17, 15.5, 14]], 1)
    eye = np.array([[-33, -18], [-28, -22], [-22, -22], [-16, -18], [-22, -15.5], [-28, -15.5]], float)
    a, b = np.radians(np.linspace(180, 360, 7)), np.radians(np.linspace(0, 180, 7)[1:-1])
    outer = np.concatenate([np.stack([20 * np.cos(x), 35 + 7 * np.sin(x)], 1) for x in (a, b)])
    c, d = np.radians(np.linspace(180, 360, 5)), np.radians(np.linspace(0, 180, 5)[1:-1])
    inner = np.concatenate([np.stack([15 * np.cos(x), 35 + 3 * np.sin(x)], 1) for x in (c, d)])
    return np.concatenate([jaw, brow, mirrored(brow)[::-1], bridge, nostrils, eye, _right_eye(eye), outer, inner])


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * [-1, 1]


def mirrored_face(landmarks: np.ndarray, width: float) -> np.ndarray:
    """The landmarks [68, 2] of the picture flipped left to right."""
    order = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    order += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    return (landmarks * [-1, 1] + [width - 1, 0])[order]


def moved(points: np.ndarray, *, zoom: float = 1.0, turn_deg: float = 0.0, shift: tuple[float, float]) -> np.ndarray:
    """The points enlarged, turned clockwise in the picture, and shifted."""
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return zoom * points @ np.array([[c, s], [-s, c]]) + shift


def face_in_box(box: tuple[float, float, float, float]) -> np.ndarray:
    """The template as dlib would place it in a box: [68, 2]."""
    left, top, right, bottom = box
    return moved(template(), zoom=(right - left) / 100, shift=((left + right) / 2, (top + bottom) / 2))


def frame(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """A black frame [H, W, 3] with white squares: the faces that `SquareDetector` sees."""
    image = np.zeros((*size, 3), np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = 255
    return image


class SquareDetector:
    """Obeys `FaceDetector`: every white square at least 8 px wide is a face. Counts what it is asked."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def detect(self, image: np.ndarray, *, thorough: bool = True) -> list:
        from latent_reenact.face import Face

        self.shapes.append(image.shape[:2])
        labels, _ = ndimage.label(image[..., 0] > 127)
        boxes = [
            (float(x.start), float(y.start), float(x.stop), float(y.stop)) for y, x in ndimage.find_objects(labels)
        ]
        faces = [Face(box, 1.0, face_in_box(box)) for box in boxes if box[2] - box[0] >= 8]
        return sorted(faces, key=lambda face: -face.area)

    def landmarks(self, image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        return face_in_box(box)


def _right_eye(left: np.ndarray) -> np.ndarray:
    return mirrored(left)[[3, 2, 1, 0, 5, 4]]
