"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, arXiv 1706.08500, equation 6).

With the features of an Inception network this is FID; with any other network it must be named after that network,
since the numbers of two networks do not compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """The Gaussian of a set of features.

    mean: float64 [D]. covariance: float64 [D, D], unbiased. count: how many features it was fitted to.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @classmethod
    def of(cls, features: np.ndarray) -> GaussianFit:
        """Fit features [N, D], N at least 2; below N = D the covariance is singular and distances come out large."""
        values = np.asarray(features, np.float64)
        if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(f"got features of shape {list(values.shape)}, expected finite numbers [N, D], N > 1")
        return cls(values.mean(0), np.atleast_2d(np.cov(values, rowvar=False)), len(values))


def frechet_distance(a: GaussianFit, b: GaussianFit) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), at least 0.

    The trace of the root is taken of the symmetric C_a^½ C_b C_a^½, which has the same eigenvalues as C_a C_b.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"got features of {a.mean.size} and {b.mean.size} dimensions, expected the same network's")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T  # C_a^½, [D, D]
    shared = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)).sum()
    shift = float(((a.mean - b.mean) ** 2).sum())
    return max(0.0, shift + float(np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared))


def frechet_of_pictures(a: np.ndarray, b: np.ndarray, features: Callable[[np.ndarray], np.ndarray]) -> float:
    """Fréchet distance of two sets of pictures; FID only where `features` is the Inception network that FID names.

    Args:
        a, b: uint8 [N, H, W, 3] and [M, H, W, 3], or whatever `features` takes.
        features: pictures -> [N, D].
    """
    return frechet_distance(GaussianFit.of(features(a)), GaussianFit.of(features(b)))
