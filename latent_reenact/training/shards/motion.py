"""The motion of a synthetic portrait as the numbers that networks are trained to read."""

from __future__ import annotations

import numpy as np

from latent_reenact.synthface import Factors
from latent_reenact.synthface.controls import MOTION_ANGLES
from latent_reenact.synthface.factors import EXPRESSION_NAMES

POSE_NAMES = MOTION_ANGLES
MOTION_SIZE = len(POSE_NAMES) + len(EXPRESSION_NAMES)  # 58


def motion_vector(factors: Factors) -> np.ndarray:
    """float32 [58]: `POSE_NAMES`, then the expression coefficients."""
    pose = [getattr(factors.motion, name) for name in POSE_NAMES]
    return np.concatenate([pose, factors.motion.expression_vector()]).astype(np.float32)
