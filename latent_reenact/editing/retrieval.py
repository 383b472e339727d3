"""Frames that show the same expression: the nearest by aspect ratios, by action units, or by motion code.

The distance is the mean squared error of what describes a frame (the method's thesis, on its evaluation).

Legend: Q queries, T frames to search, K numbers that describe one, S side of the aligned pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_reenact.editing.measures import ratios
from latent_reenact.errors import UsageError
from latent_reenact.media import side_by_side
from latent_reenact.models.pixels import from_pixels

Describe = Callable[[Tensor], Tensor]
"""Aligned pictures [B, 3, S, S] in [-1, 1] -> what describes each, [B, K]."""


def by_ratios(reader: Callable[[Tensor], Any]) -> Describe:
    """By the five aspect ratios; `reader` gives `landmarks` [B, 68, 2], as a `FaceReader` does."""
    return lambda images: ratios(reader(images).landmarks)


def by_expression(reader: Callable[[Tensor], Any]) -> Describe:
    """By a `FaceReader`'s expression coefficients: our own substitute for action units."""
    return lambda images: reader(images).expression


def by_units(units: Callable[[Tensor], Tensor], count: int = 27) -> Describe:
    """By action-unit scores, the 27 main ones of an `ActionUnitDetector`."""
    return lambda images: units(images)[:, :count]


def by_motion(motion_encoder: Callable[[Tensor], Tensor]) -> Describe:
    """By the method's own motion code, [B, L, N]."""
    return lambda images: motion_encoder(images).flatten(1)


@dataclass(frozen=True)
class Found:
    """The nearest frames of each query, nearest first: rows int [Q, n] and distances float64 [Q, n]."""

    rows: np.ndarray
    distances: np.ndarray


def describe(
    pictures: Iterable[np.ndarray], by: Describe, *, device: torch.device | str = "cpu", batch: int = 16
) -> np.ndarray:
    """What describes each aligned picture (uint8 [S, S, 3], all of one size): float64 [T, K].

    Raises:
        UsageError: no pictures.
    """
    parts, rest = [], iter(pictures)
    with torch.inference_mode():
        while chunk := list(islice(rest, batch)):
            images = from_pixels(torch.from_numpy(np.stack(chunk)).to(device).permute(0, 3, 1, 2))
            parts.append(by(images).double().cpu().numpy())
    if not parts:
        raise UsageError("got no pictures, expected at least one to search or to look for")
    return np.concatenate(parts)


def nearest(queries: np.ndarray, frames: np.ndarray, count: int = 5, *, skip: np.ndarray | None = None) -> Found:
    """The frames nearest to each query.

    Args:
        queries: [Q, K]. frames: [T, K], described the same way; those with a number that is not finite (a ratio of a
            face whose points fall together) are never found.
        count: how many for each query.
        skip: bool [Q, T], the frames that a query may not find, as those of its own clip.

    Raises:
        UsageError: descriptions that differ in length, or fewer frames than asked for.
    """
    queries, frames = np.asarray(queries, np.float64), np.asarray(frames, np.float64)
    if queries.ndim != 2 or frames.ndim != 2 or queries.shape[1] != frames.shape[1]:
        raise UsageError(
            f"got queries {list(queries.shape)} and frames {list(frames.shape)}, expected both described the same way"
        )
    distances = np.stack([np.square(frames - query).mean(1) for query in queries])  # [Q, T]
    distances[~np.isfinite(distances)] = np.inf
    if skip is not None:
        distances[skip] = np.inf
    left = int(np.isfinite(distances).sum(1).min())
    if not 0 < count <= left:
        raise UsageError(f"count: got {count}, expected 1 to {left}, the frames that every query may find")
    rows = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return Found(rows, np.take_along_axis(distances, rows, axis=1))


def retrieval_sheet(
    queries: Sequence[np.ndarray], frames: Sequence[np.ndarray], found: Found, *, height: int = 128
) -> np.ndarray:
    """A row for each query: itself, then its nearest frames. uint8 [Q · height, W, 3].

    Raises:
        UsageError: another number of queries than was searched for.
    """
    if len(queries) != len(found.rows):
        raise UsageError(f"got {len(queries)} pictures of queries, expected {len(found.rows)}, those searched for")
    pairs = zip(queries, found.rows, strict=True)
    return np.concatenate([side_by_side([query, *(frames[i] for i in rows)], height) for query, rows in pairs])
