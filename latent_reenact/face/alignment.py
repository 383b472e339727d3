"""FFHQ alignment: from 68 landmarks to an upright square around the face, and back.

Written from the definition in Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative
Adversarial Networks" (2019), appendix A, as the FFHQ data set was made: the square is placed by the eyes and
the mouth's corners; where it reaches over the picture, the picture is mirrored, blurred and faded to its median.

Pixels: centres at whole numbers, (0, 0) the top left one. A square of `size` pixels covers -0.5 .. size - 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from latent_reenact.errors import NoFaceError
from latent_reenact.face._arrays import check_image, check_landmarks

_SMALLEST_SIDE_PX = 8.0  # a face of some 3 px between the eyes; nothing below it can be recognised


@dataclass(frozen=True)
class Alignment:
    """A square in a picture, upright with the face in it.

    centre: (x, y) of its middle, in the picture's pixels.
    x_axis: from the middle to the middle of its right edge, in pixels; so `side` is twice its length.
    scale: how much wider than FFHQ's own frame it is (1 = exactly FFHQ).
    """

    centre: tuple[float, float]
    x_axis: tuple[float, float]
    scale: float = 1.0

    @property
    def side(self) -> float:
        """Length of the square's side in the picture's pixels."""
        return 2 * math.hypot(*self.x_axis)

    @property
    def roll_deg(self) -> float:
        """How far the square is tilted in the picture; > 0 tilts the top of the head to the viewer's left."""
        return math.degrees(math.atan2(-self.x_axis[1], self.x_axis[0]))

    @property
    def quad(self) -> np.ndarray:
        """The corners [4, 2] in the picture: top left, bottom left, bottom right, top right."""
        c, x = np.array(self.centre), np.array(self.x_axis)
        y = np.array([-x[1], x[0]])
        return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])

    def matrix(self, size: int) -> np.ndarray:
        """Affine map [2, 3] from pixels of the aligned square of `size` pixels to pixels of the picture."""
        x = np.array(self.x_axis) * 2 / size
        y = np.array([-x[1], x[0]])
        return np.column_stack([x, y, np.array(self.centre) - (x + y) * (size - 1) / 2])

    def inverse_matrix(self, size: int) -> np.ndarray:
        """Affine map [2, 3] from the picture's pixels to those of the aligned square; inverts `matrix`."""
        forward = self.matrix(size)
        linear = np.linalg.inv(forward[:, :2])
        return np.column_stack([linear, -linear @ forward[:, 2]])

    def to_picture(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points [..., 2] of the aligned square of `size` pixels, in the picture."""
        return _apply(self.matrix(size), points)

    def to_aligned(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points [..., 2] of the picture, in the aligned square of `size` pixels."""
        return _apply(self.inverse_matrix(size), points)

    def within(self, offset: tuple[float, float], factor: float = 1.0) -> Alignment:
        """The same square in a crop of the picture that starts at `offset` and is then enlarged by `factor`."""
        x, y = ((c - o + 0.5) * factor - 0.5 for c, o in zip(self.centre, offset, strict=True))
        return Alignment((x, y), (self.x_axis[0] * factor, self.x_axis[1] * factor), self.scale)


def alignment_from_landmarks(landmarks: np.ndarray, *, scale: float = 1.0) -> Alignment:
    """The FFHQ square of a face.

    Args:
        landmarks: the 68 iBUG points [68, 2], in pixels.
        scale: widens the square about its middle; 1 is FFHQ's own framing.

    Raises:
        NoFaceError: the points lie together within a few pixels.
        ValueError: wrong shape, values not finite, or `scale` not above 0.
    """
    points = check_landmarks(landmarks)
    if not (0 < scale < math.inf):
        raise ValueError(f"got scale {scale}, expected a number above 0")
    eye_left, eye_right = points[36:42].mean(0), points[42:48].mean(0)  # the viewer's left and right
    eye_middle = (eye_left + eye_right) / 2
    eye_to_eye = eye_right - eye_left
    eye_to_mouth = (points[48] + points[54]) / 2 - eye_middle
    x = eye_to_eye + np.array([eye_to_mouth[1], -eye_to_mouth[0]])
    length = math.hypot(*x)
    half = max(math.hypot(*eye_to_eye) * 2.0, math.hypot(*eye_to_mouth) * 1.8) * scale
    if length == 0 or 2 * half < _SMALLEST_SIDE_PX:
        raise NoFaceError(
            f"the face is only {2 * half:.0f} px wide, expected {_SMALLEST_SIDE_PX:.0f} or more: use a larger picture"
        )
    x *= half / length
    centre = eye_middle + eye_to_mouth * 0.1
    return Alignment((float(centre[0]), float(centre[1])), (float(x[0]), float(x[1])), scale)


def landmarks_to_aligned(landmarks: np.ndarray, alignment: Alignment, size: int) -> np.ndarray:
    """The 68 points [68, 2] of the picture as they lie in its aligned square of `size` pixels."""
    return alignment.to_aligned(check_landmarks(landmarks), size)


def align(image: np.ndarray, alignment: Alignment, size: int) -> np.ndarray:
    """Cut the aligned square out of a picture.

    Args:
        image: uint8 [H, W, 3].
        alignment: the square, in pixels of `image`.
        size: side of the result in pixels.

    Returns:
        uint8 [size, size, 3]; averaged over the covered area when it shrinks, bilinear when it grows.
    """
    import cv2

    check_image(image)
    if size < 1:
        raise ValueError(f"got size {size}, expected 1 or more pixels")
    alignment = _within_reach(alignment, image.shape)
    image, alignment = _crop(image, alignment, shrink=max(1, int(alignment.side / size / 1.5)))
    image, alignment = _pad(image, alignment)
    finer = max(1, math.ceil(alignment.side / size - 1e-6))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(
        image, alignment.matrix(size * finer), (size * finer,) * 2, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return fine if finer == 1 else cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]


def _within_reach(alignment: Alignment, shape: tuple[int, ...]) -> Alignment:
    """A square far outside the picture [H, W] would need endless padding that is all one colour: bring it nearer."""
    (x, y), side = alignment.centre, alignment.side
    centre = (min(max(x, -side), shape[1] + side), min(max(y, -side), shape[0] + side))
    return replace(alignment, centre=centre)


def _crop(image: np.ndarray, alignment: Alignment, shrink: int) -> tuple[np.ndarray, Alignment]:
    """The part of the picture around the square, reduced `shrink` times by averaging."""
    import cv2

    height, width = image.shape[:2]
    border = max(round(alignment.side * 0.1), 3)
    low = np.floor(alignment.quad.min(0)).astype(int) - border
    high = np.ceil(alignment.quad.max(0)).astype(int) + border + 1
    # At least one block of the picture stays, even when the square lies wholly outside it.
    shrink = min(shrink, height, width)
    left, top = (int(np.clip(low[i], 0, n - shrink)) for i, n in enumerate((width, height)))
    right, bottom = (int(np.clip(high[i], o + shrink, n)) for i, (o, n) in enumerate(((left, width), (top, height))))
    columns, rows = (right - left) // shrink, (bottom - top) // shrink
    crop = image[top : top + rows * shrink, left : left + columns * shrink]
    if shrink > 1:
        crop = cv2.resize(crop, (columns, rows), interpolation=cv2.INTER_AREA)
    return crop, alignment.within((left, top), 1 / shrink)


def _pad(image: np.ndarray, alignment: Alignment) -> tuple[np.ndarray, Alignment]:
    """FFHQ's padding: mirrored, ever more blurred outwards, and fading to the picture's median colour."""
    import cv2

    height, width = image.shape[:2]
    side = alignment.side
    border = max(round(side * 0.1), 3)
    low = np.floor(alignment.quad.min(0)).astype(int)
    high = np.ceil(alignment.quad.max(0)).astype(int)
    reach = np.array([-low[0], -low[1], high[0] - width + 1, high[1] - height + 1]) + border
    if reach.max() <= max(border - 4, 1):
        return image, alignment
    left, top, right, bottom = (int(n) for n in np.maximum(reach, round(side * 0.3)))
    mirrored = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    across = 1 - _edge_distance(mirrored.shape[1], left, right)
    down = 1 - _edge_distance(mirrored.shape[0], top, bottom)
    outside = np.maximum(across[None, :], down[:, None])[..., None]  # 0 at the picture's edge, 1 at the padding's
    blurred = cv2.GaussianBlur(mirrored, (0, 0), sigmaX=max(side * 0.02, 0.1), borderType=cv2.BORDER_REFLECT_101)
    padded = mirrored.astype(np.float32)
    padded += (blurred - padded) * np.clip(outside * 3 + 1, 0, 1)
    median = np.median(image[:: 1 + height // 256, :: 1 + width // 256], axis=(0, 1)).astype(np.float32)
    padded += (median - padded) * np.clip(outside, 0, 1)
    return np.rint(padded.clip(0, 255)).astype(np.uint8), alignment.within((-left, -top))


def _edge_distance(length: int, before: int, after: int) -> np.ndarray:
    """Distance [length] of each pixel from the nearer end, in units of that end's padding."""
    index = np.arange(length, dtype=np.float32)
    return np.minimum(index / max(before, 1), index[::-1] / max(after, 1))
