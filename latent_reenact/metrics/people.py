"""Is it the same person? Cosines between embeddings, and shares over a threshold."""

from __future__ import annotations

import numpy as np

from latent_reenact.metrics.faces import cosine_similarity


def csim(identity: np.ndarray, generated: np.ndarray) -> float:
    """CSIM: mean cosine between the identity's embedding and those of the generated frames. 1 is best.

    Args:
        identity: [D], or [..., D] pair by pair. generated: [..., D].
    """
    return float(cosine_similarity(*_rows(identity, generated)).mean())


def id_percent(identity: np.ndarray, generated: np.ndarray, *, threshold: float) -> float:
    """Id %: share, times 100, of generated frames whose cosine with the identity is above a threshold (Zhang 2019).

    Args:
        threshold: belongs to the network; `stranger_threshold` finds it on pictures of different people.
    """
    return float(100 * (cosine_similarity(*_rows(identity, generated)) > threshold).mean())


def stranger_threshold(embeddings: np.ndarray, *, false_accepts: float = 0.01) -> float:
    """The cosine above which that share of all pairs of different people lies.

    Args:
        embeddings: [N, D], one of each person, N at least 2.
    """
    points = np.asarray(embeddings, np.float64)
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(f"got embeddings of shape {list(points.shape)}, expected [N, D] of two people or more")
    first, second = np.triu_indices(len(points), k=1)
    return float(np.quantile(cosine_similarity(points[first], points[second]), 1 - false_accepts))


def _rows(identity: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(identity, np.float64), np.asarray(generated, np.float64)
    if other.size == 0 or one.shape[-1:] != other.shape[-1:]:
        raise ValueError(f"got embeddings {list(one.shape)} and {list(other.shape)}, expected one network's [..., D]")
    return np.broadcast_to(one, other.shape), other
