"""Put an aligned result back into the picture it came from."""

from __future__ import annotations

import numpy as np

from latent_reenact.face._arrays import check_image
from latent_reenact.face.alignment import Alignment, align

# Middle, half axes and softness of the face in FFHQ's frame, in sides: brow to chin, ear to ear.
_FACE_CENTRE = (0.5, 0.565)
_FACE_RADII = (0.31, 0.39)
_FEATHER = 0.3  # share of the radius over which the mask falls to 0

_GAIN = (0.6, 1.6)  # bounds of the contrast correction
_SHIFT = 40.0  # bound of the colour correction, in Lab units (L in 0..100)


def face_mask(size: int, *, scale: float = 1.0) -> np.ndarray:
    """A soft ellipse over the face, 1 inside and 0 outside, in FFHQ's frame widened `scale` times. [size, size]."""
    middle = [0.5 + (c - 0.5) / scale for c in _FACE_CENTRE]
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = (grid - middle[0]) * scale / _FACE_RADII[0]
    down = (grid - middle[1]) * scale / _FACE_RADII[1]
    radius = np.hypot(across[None, :], down[:, None])
    return _smoothstep((1 - radius) / _FEATHER)


def square_mask(size: int, *, feather: float = 0.1) -> np.ndarray:
    """The whole square, falling softly to 0 at its edge over `feather` of its side. float32 [size, size]."""
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    edge = _smoothstep(np.minimum(grid, 1 - grid) / feather)
    return edge[None, :] * edge[:, None]


def paste_back(
    original: np.ndarray,
    result_aligned: np.ndarray,
    alignment: Alignment,
    *,
    color_match: bool = True,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """The original picture with the aligned result in place of its face.

    Args:
        original: uint8 [H, W, 3]; left as it is.
        result_aligned: uint8 [S, S, 3], any size.
        alignment: where the square lies in `original`.
        color_match: bring the result's mean and contrast inside the mask to the original's, within bounds.
        mask: float [S, S] in 0..1, the result's share; a soft ellipse over the face by default.

    Returns:
        uint8 [H, W, 3]; equal to `original`, bit for bit, wherever the mask is 0.
    """
    size = check_image(result_aligned).shape[0]
    if result_aligned.shape[1] != size:
        raise ValueError(f"got an aligned result of {list(result_aligned.shape[:2])}, expected a square")
    return PasteBack(original, alignment, size, color_match=color_match, mask=mask)(result_aligned)


class PasteBack:
    """`paste_back` of many results of one size, such as a video's, into one picture.

    Takes what `paste_back` takes, but for the result: what does not depend on it is computed once. Threads may share
    it.
    """

    def __init__(
        self,
        original: np.ndarray,
        alignment: Alignment,
        size: int,
        *,
        color_match: bool = True,
        mask: np.ndarray | None = None,
    ) -> None:
        check_image(original)
        mask = face_mask(size, scale=alignment.scale) if mask is None else np.clip(np.asarray(mask, np.float32), 0, 1)
        if mask.shape != (size, size):
            raise ValueError(f"got a mask of {list(mask.shape)}, expected {[size, size]} as the result has")
        self.size, self.original, self._mask = size, original, mask
        self._wanted = _moments(_lab(align(original, alignment, size)), mask) if color_match and mask.any() else None
        self._drawn_size = size // max(1, int(size / alignment.side))
        left, top, right, bottom = _bounds(alignment, original.shape[:2])
        rows, columns = slice(top, max(top, bottom)), slice(left, max(left, right))
        share = self._placed(mask, alignment, rows, columns, inside=True)
        rows, columns = _occupied(share.max(1, initial=0), top), _occupied(share.max(0, initial=0), left)
        self._share = share[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None]
        self._alignment, self._rows, self._columns = alignment, rows, columns

    def __call__(self, result_aligned: np.ndarray) -> np.ndarray:
        """uint8 [size, size, 3] -> the picture with it, uint8 [H, W, 3]."""
        if check_image(result_aligned).shape[:2] != (self.size, self.size):
            raise ValueError(f"got a result of {list(result_aligned.shape[:2])}, expected {[self.size, self.size]}")
        if self._wanted is not None:
            result_aligned = _with_moments(result_aligned, self._mask, self._wanted)
        pasted = self.original.copy()
        if self._share.size:
            colour = self._placed(result_aligned.astype(np.float32), self._alignment, self._rows, self._columns)
            region = pasted[self._rows, self._columns]
            region[:] = np.rint(region + (colour - region) * self._share)
        return pasted

    def _placed(
        self, layer: np.ndarray, alignment: Alignment, rows: slice, columns: slice, *, inside: bool = False
    ) -> np.ndarray:
        """float32 [size, size, ...] as it lies on those rows and columns; beyond its edge 0, or its colours go on."""
        import cv2

        width, height, n = columns.stop - columns.start, rows.stop - rows.start, self._drawn_size
        if not width or not height:
            return np.zeros((height, width), np.float32)
        if n < self.size:
            layer = cv2.resize(layer, (n, n), interpolation=cv2.INTER_AREA)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_CONSTANT if inside else cv2.BORDER_REPLICATE
        matrix = alignment.within((columns.start, rows.start)).inverse_matrix(n)
        return cv2.warpAffine(layer, matrix, (width, height), flags=flags, borderMode=border)


def match_color(image: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` with the mean and standard deviation of `reference` in each Lab channel, both under `mask`.

    (Reinhard and others 2001, "Color transfer between images".) Contrast changes by 0.6 to 1.6 times at most,
    the mean by 40 Lab units, so that an odd pair stays a picture.

    Args:
        image, reference: uint8 [S, S, 3].
        mask: float [S, S], weights of the pixels that count.
    """
    if not mask.any():
        return image
    return _with_moments(image, mask, _moments(_lab(reference), mask))


def _with_moments(image: np.ndarray, mask: np.ndarray, wanted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """`image` with that mean and standard deviation in each Lab channel, as far as the bounds allow."""
    import cv2

    lab = _lab(image)
    mean, spread = _moments(lab, mask)
    gain = np.clip(wanted[1] / np.maximum(spread, 1e-3), *_GAIN)
    shift = np.clip(wanted[0] - mean, -_SHIFT, _SHIFT)
    matched = (lab - mean) * gain + mean + shift
    rgb = cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.rint(rgb.clip(0, 1) * 255).astype(np.uint8)


def _lab(image: np.ndarray) -> np.ndarray:
    """uint8 RGB [S, S, 3] -> float32 Lab."""
    import cv2

    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _moments(lab: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [3] under the mask."""
    weights = mask[..., None] / float(mask.sum())
    mean = (lab * weights).sum((0, 1))
    return mean, np.sqrt(((lab - mean) ** 2 * weights).sum((0, 1)))


def _occupied(used: np.ndarray, start: int) -> slice:
    """From the first to the last that is not 0, counted from `start`; empty where there is none."""
    at = np.flatnonzero(used)
    return slice(start + int(at[0]), start + int(at[-1]) + 1) if len(at) else slice(start, start)


def _bounds(alignment: Alignment, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the picture [H, W] that the square touches: left, top, right, bottom."""
    height, width = shape
    low = np.floor(alignment.quad.min(0)).astype(int)
    high = np.ceil(alignment.quad.max(0)).astype(int) + 1
    left, right = np.clip([low[0], high[0]], 0, width)
    top, bottom = np.clip([low[1], high[1]], 0, height)
    return int(left), int(top), int(right), int(bottom)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
