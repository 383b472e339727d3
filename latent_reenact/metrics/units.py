"""How well expressions follow, from scores of action units (or of blendshapes, under their own name).

Definitions are those of Jahoda 2023 (FAU: a correlation) and of Ha and others 2020, MarioNETte (AUCON: agreement).
"""

from __future__ import annotations

import numpy as np

from latent_reenact.metrics.faces import pearson


def au_correlation(driving: np.ndarray, generated: np.ndarray, *, least_deviation: float = 0.0) -> float:
    """FAU: Pearson correlation over a clip's frames of each action unit's score, averaged over the units. 1 is best.

    A unit that never changes in one of the clips has no correlation and counts as 0, as in `fl_correlation`.

    Args:
        driving, generated: scores [T, U], frame by frame; T at least 2.
        least_deviation: units whose driving scores have a smaller standard deviation are left out: a reader's noise
            on what does not move says nothing. 0 keeps all, as the thesis does.

    Returns:
        NaN where no unit is left.
    """
    one, other = _scores(driving, generated)
    if len(one) < 2:
        raise ValueError(f"got {len(one)} frame, expected two or more to correlate over")
    moving = [i for i in range(one.shape[1]) if one[:, i].std() >= least_deviation]
    values = np.nan_to_num([pearson(one[:, i], other[:, i]) for i in moving], nan=0.0)
    return float(values.mean()) if moving else float("nan")


def aucon(driving: np.ndarray, generated: np.ndarray, *, threshold: float = 0.5) -> float:
    """AUCON: share of action units, over all frames, whose presence agrees. 1 is best.

    Args:
        driving, generated: scores [..., U].
        threshold: a unit is present where its score is above this; 0.5 is OpenGraphAU's.
    """
    one, other = _scores(driving, generated)
    return float(((one > threshold) == (other > threshold)).mean())


def _scores(driving: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(driving, np.float64), np.asarray(generated, np.float64)
    if one.shape != other.shape or one.ndim < 2 or one.size == 0:
        raise ValueError(f"got scores {list(one.shape)} and {list(other.shape)}, expected two of one shape [T, U]")
    return one, other
