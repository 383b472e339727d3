"""Giving a direction a unit: the same steps on many faces, an estimator on every picture, and the average curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from latent_reenact.editing.direction import Calibration, LatentDirection
from latent_reenact.errors import UsageError

Estimator = Callable[[Tensor], Tensor]
"""Pictures [B, 3, H, W] in [-1, 1] -> one number for each, [B]: degrees, or a coefficient."""
Draw = Callable[[Tensor], Tensor]
"""w_plus [B, L, D] -> pictures [B, 3, H, W]: a generator's `synthesis`."""

_SIGMAS = 2.0  # a change smaller than so many standard errors is no change


def measure_latents(draw: Draw, estimator: Estimator, w_plus: np.ndarray, *, batch: int = 8) -> np.ndarray:
    """What the estimator reads in the pictures of latents [N, L, D]: float64 [N]."""
    with torch.inference_mode():
        parts = [estimator(draw(torch.tensor(part))) for part in _batches(w_plus, batch)]
    return torch.cat(parts).double().cpu().numpy()


def calibrate(
    direction: LatentDirection,
    w_plus: np.ndarray,
    draw: Draw,
    estimator: Estimator,
    *,
    measure: str,
    reach: float | None = None,
    points: int = 9,
    batch: int = 8,
) -> LatentDirection:
    """The direction with a slider in the measure's unit, turned so that more is more.

    Every latent is moved by the same steps and its picture measured; the average change, from no step as far as it
    keeps growing, says how many steps a change takes.

    Args:
        w_plus: latents [N, L, D] of the kind that will be edited.
        measure: name of what the estimator measures, as "yaw_deg" or "smile".
        reach: how far to go each way, in steps; by default 3 standard deviations of the latents along the direction.
        points: how many places are measured, both ways together.

    Raises:
        UsageError: latents of another generator, too few of them, or a direction that does not change the measure.
    """
    w_plus = np.asarray(w_plus, np.float32)
    if w_plus.ndim != 3 or points < 3:
        raise UsageError(f"got latents {list(w_plus.shape)} and {points} points, expected [N, L, D] and 3 at least")
    reach = _reach(direction, w_plus) if reach is None else reach
    if not reach > 0:
        raise UsageError(f"reach: got {reach}, expected more than 0 steps")
    half = (points - 1) // 2
    steps = np.linspace(-reach, reach, 2 * half + 1)
    moved = [measure_latents(draw, estimator, direction.move(w_plus, s), batch=batch) for s in steps]
    changes = np.stack(moved, axis=1) - moved[half][:, None]  # [N, K]
    sign = 1.0 if changes[:, -1].mean() >= changes[:, 0].mean() else -1.0
    if sign < 0:
        changes = changes[:, ::-1]
    first, end = _growing(changes.mean(0), half)
    _check_effect(direction, measure, changes[:, first], changes[:, end - 1])
    return replace(
        direction,
        values=sign * direction.values,
        latent_std=float(w_plus.std()),
        calibration=Calibration(
            measure=measure,
            steps=steps[first:end],
            changes=changes.mean(0)[first:end],
            deviation=float(max(changes[:, first].std(), changes[:, end - 1].std())),
        ),
    )


def _reach(direction: LatentDirection, w_plus: np.ndarray) -> float:
    """3 standard deviations of the latents along the direction, in its steps."""
    if len(w_plus) < 8:
        raise UsageError(f"got {len(w_plus)} latents, expected 8 to tell how far to go; give more, or reach=STEPS")
    step = direction.at(*w_plus.shape[1:]).ravel().astype(np.float64)
    along = w_plus.reshape(len(w_plus), -1).astype(np.float64) @ step / (step @ step)
    return 3 * float(along.std())


def _growing(curve: np.ndarray, middle: int) -> tuple[int, int]:
    """(first, past the last) of the stretch round the middle over which the curve grows."""
    first, end = middle, middle + 1
    while first > 0 and curve[first - 1] < curve[first]:
        first -= 1
    while end < len(curve) and curve[end] > curve[end - 1]:
        end += 1
    return first, end


def _check_effect(direction: LatentDirection, measure: str, low: np.ndarray, high: np.ndarray) -> None:
    """Raises UsageError where the change over the whole stretch is within what chance gives."""
    change = high - low  # [N]
    error = change.std() / np.sqrt(len(change))
    if not change.mean() > _SIGMAS * error or change.mean() < 1e-9:
        raise UsageError(
            f"direction {direction.name!r} does not change {measure}: {change.mean():.3g} ± {error:.2g} over all "
            "its steps; go further with reach, measure more faces, or take another direction"
        )


def _batches(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    return [rows[i : i + batch] for i in range(0, len(rows), batch)]
