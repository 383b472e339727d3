"""Where losses should look: soft boxes round the eyes and the mouth."""

from __future__ import annotations

import numpy as np

_BOXES = ((36, 42, 0.35, 0.9), (42, 48, 0.35, 0.9), (48, 68, 0.15, 0.35))  # first, last + 1, margins across and down


def eye_mouth_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """float32 [size, size] in 0 .. 1 from 68 landmarks [68, 2] in pixels (pixel centres at +0.5)."""
    centres = np.arange(size, dtype=np.float32) + 0.5
    mask = np.zeros((size, size), np.float32)
    for first, last, across, down in _BOXES:
        low, high = landmarks[first:last].min(0), landmarks[first:last].max(0)
        (x, y), (half_width, half_height) = (low + high) / 2, (high - low) / 2
        width = half_width * (1 + across) + 0.5
        height = max(half_height * (1 + down), half_width * 0.45) + 0.5
        distance = np.maximum(np.abs(centres - x) / width, (np.abs(centres - y) / height)[:, None])
        mask = np.maximum(mask, np.clip((1.5 - distance) * 2, 0, 1))
    return mask
