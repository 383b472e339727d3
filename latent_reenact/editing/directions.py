"""Finding directions in W [N, D] and W+ [N, L, D]: by difference, by a boundary between two sorts, by principal axes.

A found direction's step is one standard deviation of the latents along it (for a difference: the difference itself).
Give it a unit with `calibrate`.

Legend: N latents, L n_styles, D w_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize

from latent_reenact.editing.direction import LatentDirection
from latent_reenact.errors import UsageError
from latent_reenact.models import StyleGAN2Generator

_HELD_OUT = 0.3  # share of the latents that a boundary is tested on (InterFaceGAN, section 4.1)


@dataclass(frozen=True)
class Boundary:
    """A hyperplane between two sorts of latents: its normal, and the share of held-out latents on the right side."""

    direction: LatentDirection
    accuracy: float


def latent_difference(name: str, without: np.ndarray, having: np.ndarray) -> LatentDirection:
    """From the mean of one sort of latents to the mean of another: the plainest direction.

    Args:
        without, having: latents [N, D] or [N, L, D]; N may differ, and be 1.

    Raises:
        UsageError: shapes that do not go together.
    """
    without, having = _latents(without), _latents(having)
    if without.shape[1:] != having.shape[1:]:
        raise UsageError(f"got latents {list(without.shape)} and {list(having.shape)}, expected one generator's")
    everything = np.concatenate([without, having])
    return LatentDirection(name=name, values=having.mean(0) - without.mean(0), latent_std=float(everything.std()))


def svm_boundary(
    name: str, latents: np.ndarray, scores: np.ndarray, *, share: float = 0.3, penalty: float = 1.0, seed: int = 0
) -> Boundary:
    """The normal of a linear SVM between the latents of highest and of lowest score.

    InterFaceGAN (Shen et al. 2020, arXiv 2005.09635, sections 3.1 and 4.1), which takes the 2 % at each end of 500 000.

    Args:
        latents: [N, D] or [N, L, D]. scores: [N], what an estimator measured in their pictures.
        share: of the latents that is taken at each end.
        penalty: the SVM's C.
        seed: of the choice of held-out latents.

    Raises:
        UsageError: too few latents, another number of scores, or scores that are all one.
    """
    latents, scores = _latents(latents), np.asarray(scores, np.float64)
    if scores.shape != latents.shape[:1] or not np.isfinite(scores).all():
        raise UsageError(f"got {len(latents)} latents and scores {list(scores.shape)}, expected one finite number each")
    count = round(share * len(latents))
    if not 0 < share <= 0.5 or count < 4:
        raise UsageError(f"got {len(latents)} latents and share {share}, expected at least 4 at each end")
    order = np.argsort(scores, kind="stable")
    low, high = order[:count], order[-count:]
    if scores[low].max() >= scores[high].min():
        raise UsageError(f"{name}: the scores of both ends are equal; give latents that differ in it")
    rows = np.random.default_rng(seed).permutation(np.concatenate([low, high]))
    x, y = latents[rows].reshape(len(rows), -1), np.where(np.isin(rows, high), 1.0, -1.0)
    held_out = max(1, round(_HELD_OUT * len(rows)))
    normal, offset = linear_svm(x[held_out:], y[held_out:], penalty)
    accuracy = float((np.sign(x[:held_out] @ normal + offset) == y[:held_out]).mean())
    step = normal.reshape(latents.shape[1:]) * (latents.reshape(len(latents), -1) @ normal).std()
    return Boundary(LatentDirection(name=name, values=step, latent_std=float(latents.std())), accuracy)


def linear_svm(x: np.ndarray, y: np.ndarray, penalty: float = 1.0) -> tuple[np.ndarray, float]:
    """Unit normal [F] and offset of the hyperplane between x [N, F] with y = 1 and those with y = -1.

    The minimum over (w, b) of |w|² / 2 + C Σ max(0, 1 - y (w·x + b))², by L-BFGS (the L2-loss SVM of Fan et al. 2008,
    LIBLINEAR, equation 2), on data centred and of unit variance on average. w lies in the span of the data, so it is
    looked for among its N coordinates there where these are fewer than F.
    """
    mean = x.mean(0)
    scale = float((x - mean).std()) or 1.0
    z = (x - mean) / scale
    basis = np.linalg.qr(z.T)[0] if len(z) < z.shape[1] else np.eye(z.shape[1])  # [F, min(N, F)]
    z = z @ basis

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = parameters[:-1], parameters[-1]
        slack = np.maximum(0.0, 1 - y * (z @ w + b))
        pull = -2 * penalty * slack * y
        return 0.5 * w @ w + penalty * slack @ slack, np.append(w + pull @ z, pull.sum())

    found = minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    w = basis @ found[:-1] / scale
    length = float(np.linalg.norm(w))
    if length == 0:
        raise UsageError("the two sorts of latents are the same; give some that differ")
    return w / length, float((found[-1] - w @ mean) / length)


def principal_directions(latents: np.ndarray, count: int = 10) -> list[LatentDirection]:
    """The axes along which latents vary most, by name `component-0`, ...; each step is one standard deviation.

    GANSpace (Härkönen et al. 2020, arXiv 2004.02546, section 2.1) in W; on inverted latents the same in W+. The sign,
    which PCA leaves open, is that of the largest entry.

    Args:
        latents: [N, D] of `sample_w`, or [N, L, D].

    Raises:
        UsageError: fewer latents than directions.
    """
    latents = _latents(latents)
    rows = latents.reshape(len(latents), -1).astype(np.float64)
    if not 0 < count < min(len(rows), rows.shape[1] + 1):
        raise UsageError(f"got {len(rows)} latents of {rows.shape[1]} numbers, expected more than {count} directions")
    _, sizes, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1))
    deviations = sizes / np.sqrt(len(rows) - 1)
    std = float(latents.std())
    return [
        LatentDirection(name=f"component-{k}", values=(d * a).reshape(latents.shape[1:]), latent_std=std)
        for k, (d, a) in enumerate(zip(deviations[:count], axes, strict=False))
    ]


def sample_w(generator: StyleGAN2Generator, count: int, seed: int = 0, *, truncation_psi: float = 1.0) -> np.ndarray:
    """Random codes of W, float32 [count, D]; the same for the same seed."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.config.z_dim, generator=random)
    with torch.inference_mode():
        w_plus = generator.map_to_w_plus(z.to(next(generator.parameters()).device), truncation_psi)
    return w_plus[:, 0].float().cpu().numpy()


def orthogonal(direction: LatentDirection, others: Sequence[LatentDirection]) -> LatentDirection:
    """The direction without what it shares with others, so that these stay as they are (InterFaceGAN, section 3.3).

    Raises:
        UsageError: it has another shape than they, or lies among them.
    """
    _same_shapes([direction, *others])
    values = direction.values.ravel().astype(np.float64)
    basis = np.linalg.qr(np.stack([other.values.ravel() for other in others], axis=1).astype(np.float64))[0]
    left = values - basis @ (basis.T @ values)
    if np.linalg.norm(left) < 1e-6 * np.linalg.norm(values):
        raise UsageError(f"direction {direction.name!r} is a mixture of {', '.join(o.name for o in others)}")
    return replace(direction, values=left.reshape(direction.values.shape), calibration=None)


def cosines(directions: Sequence[LatentDirection]) -> np.ndarray:
    """How much directions share: the cosine of each with each, [K, K]. Raises UsageError for different shapes."""
    _same_shapes(directions)
    rows = np.stack([d.values.ravel() / np.linalg.norm(d.values) for d in directions]).astype(np.float64)
    return np.clip(rows @ rows.T, -1, 1)


def _same_shapes(directions: Sequence[LatentDirection]) -> None:
    shapes = sorted({d.values.shape for d in directions})
    if len(shapes) != 1:
        raise UsageError(f"got directions of shapes {', '.join(map(str, map(list, shapes)))}, expected all of one")


def _latents(latents: np.ndarray) -> np.ndarray:
    latents = np.asarray(latents, np.float32)
    if latents.ndim not in (2, 3) or not latents.size or not np.isfinite(latents).all():
        raise UsageError(f"got latents of shape {list(latents.shape)}, expected finite numbers [N, D] or [N, L, D]")
    return latents
