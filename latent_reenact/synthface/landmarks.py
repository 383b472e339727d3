"""Where losses should look: soft boxes round the eyes and the mouth."""

from __future__ import annotations

import numpy as np

EYE_MOUTH_BOXES = ((36, 42, 0.35, 0.9), (42, 48, 0.35, 0.9), (48, 68, 0.15, 0.35))
"""First landmark, last + 1, margins across and down."""


def eye_mouth_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """float32 [..., size, size] in 0 .. 1 from landmarks [..., 68, 2] in pixels (pixel centres at +0.5)."""
    centres = np.arange(size, dtype=np.float32) + 0.5
    mask = np.zeros((*landmarks.shape[:-2], size, size), np.float32)
    for first, last, across, down in EYE_MOUTH_BOXES:
        points = landmarks[..., first:last, :]
        low, high = points.min(-2), points.max(-2)  # [..., 2]
        centre, half = (low + high) / 2, (high - low) / 2
        width = half[..., 0] * (1 + across) + 0.5
        height = np.maximum(half[..., 1] * (1 + down), half[..., 0] * 0.45) + 0.5
        dx = np.abs(centres - centre[..., :1]) / width[..., None]  # [..., size]
        dy = np.abs(centres - centre[..., 1:]) / height[..., None]
        distance = np.maximum(dx[..., None, :], dy[..., :, None])
        mask = np.maximum(mask, np.clip((1.5 - distance) * 2, 0, 1))
    return mask.astype(np.float32)
