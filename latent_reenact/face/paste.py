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
    import cv2

    check_image(original)
    size = check_image(result_aligned).shape[0]
    if result_aligned.shape[1] != size:
        raise ValueError(f"got an aligned result of {list(result_aligned.shape[:2])}, expected a square")
    mask = face_mask(size, scale=alignment.scale) if mask is None else np.clip(np.asarray(mask, np.float32), 0, 1)
    if mask.shape != (size, size):
        raise ValueError(f"got a mask of {list(mask.shape)}, expected {[size, size]} as the result has")
    if color_match:
        result_aligned = match_color(result_aligned, align(original, alignment, size), mask)
    pasted = original.copy()
    left, top, right, bottom = _bounds(alignment, original.shape[:2])
    if left >= right or top >= bottom:
        return pasted
    layer = np.dstack([result_aligned.astype(np.float32), mask])
    shrink = max(1, int(size / alignment.side))
    if shrink > 1:
        size //= shrink
        layer = cv2.resize(layer, (size, size), interpolation=cv2.INTER_AREA)
    to_patch = alignment.within((left, top)).inverse_matrix(size)
    patch = _warp(layer, to_patch, (right - left, bottom - top))
    region = pasted[top:bottom, left:right]
    share = patch[..., 3:]
    blended = region + (patch[..., :3] - region) * share
    region[:] = np.where(share > 0, np.rint(blended).clip(0, 255).astype(np.uint8), region)
    return pasted


def match_color(image: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` with the mean and standard deviation of `reference` in each Lab channel, both under `mask`.

    (Reinhard and others 2001, "Color transfer between images".) Contrast changes by 0.6 to 1.6 times at most,
    the mean by 40 Lab units, so that an odd pair stays a picture.

    Args:
        image, reference: uint8 [S, S, 3].
        mask: float [S, S], weights of the pixels that count.
    """
    import cv2

    total = float(mask.sum())
    if total <= 0:
        return image
    lab, wanted = (cv2.cvtColor(i.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for i in (image, reference))
    mean, spread = _moments(lab, mask, total)
    wanted_mean, wanted_spread = _moments(wanted, mask, total)
    gain = np.clip(wanted_spread / np.maximum(spread, 1e-3), *_GAIN)
    shift = np.clip(wanted_mean - mean, -_SHIFT, _SHIFT)
    matched = (lab - mean) * gain + mean + shift
    rgb = cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.rint(rgb.clip(0, 1) * 255).astype(np.uint8)


def _moments(lab: np.ndarray, mask: np.ndarray, total: float) -> tuple[np.ndarray, np.ndarray]:
    weights = mask[..., None] / total
    mean = (lab * weights).sum((0, 1))
    return mean, np.sqrt(((lab - mean) ** 2 * weights).sum((0, 1)))


def _bounds(alignment: Alignment, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the picture [H, W] that the square touches: left, top, right, bottom."""
    height, width = shape
    low = np.floor(alignment.quad.min(0)).astype(int)
    high = np.ceil(alignment.quad.max(0)).astype(int) + 1
    left, right = np.clip([low[0], high[0]], 0, width)
    top, bottom = np.clip([low[1], high[1]], 0, height)
    return int(left), int(top), int(right), int(bottom)


def _warp(layer: np.ndarray, aligned_from_patch: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The layer (RGB + mask, [S, S, 4]) drawn on a patch of `size` (width, height); colours reach past the edge."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colour = cv2.warpAffine(layer[..., :3], aligned_from_patch, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.warpAffine(layer[..., 3], aligned_from_patch, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.dstack([colour, share])


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
