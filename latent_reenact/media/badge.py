"""A badge in the corner of a picture: the mark of origin that people see."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latent_reenact.media.images import as_pixels

TEXT = "AI generated"
_LEAST_HEIGHT_PX = 9
_SHARE = 0.045  # of the picture's shorter side


def with_badge(image: np.ndarray, text: str = TEXT) -> np.ndarray:
    """A copy of the picture (uint8 [H, W, 3]) with a small label at the bottom right."""
    picture = as_pixels(image).copy()
    height, width = picture.shape[:2]
    badge = _badge(text, max(_LEAST_HEIGHT_PX, round(min(height, width) * _SHARE)))
    rows, columns = (min(n, m) for n, m in zip(badge.shape[:2], picture.shape[:2], strict=True))
    gap = min(rows // 3, height - rows, width - columns)
    corner = picture[height - rows - gap : height - gap, width - columns - gap : width - gap]
    label = badge[:rows, :columns]
    share = label[..., 3:].astype(np.float32) / 255
    corner[:] = np.rint(corner * (1 - share) + label[..., :3] * share)
    return picture


@lru_cache(maxsize=8)
def _badge(text: str, size_px: int) -> np.ndarray:
    """uint8 [h, w, 4]: white letters on a dark, rounded, half-transparent plate."""
    font = ImageFont.load_default(size_px)
    left, top, right, bottom = font.getbbox(text)
    pad = max(2, round(size_px * 0.4))
    size = (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad)
    plate = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(plate)
    draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=size[1] / 3, fill=(16, 18, 22, 165))
    draw.text((pad - left, pad - top), text, font=font, fill=(255, 255, 255, 240))
    return np.array(plate)
