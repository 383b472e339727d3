"""Shards of synthetic portraits for training: pictures and everything that is known about them.

A shard is one `.npz`:
    images        uint8 [N, S, S, 3]
    landmarks     float32 [N, 68, 2]    pixels
    conditioning  float32 [N, K]        the factors, as the generator takes them
    motion        float32 [N, 58]       pose and gaze in degrees, 53 expression coefficients
    partners      int32 [N, P]          other portraits of the shard
    swapped       float32 [N, P, K]     conditioning of the partner with this portrait's motion
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latent_reenact.media import atomic_path
from latent_reenact.synthface import Factors, Mesh, Portrait, Renderer, conditioning, sample
from latent_reenact.synthface.factors import EXPRESSION_NAMES

POSE_NAMES = ("yaw_deg", "pitch_deg", "roll_deg", "gaze_yaw_deg", "gaze_pitch_deg")
MOTION_SIZE = len(POSE_NAMES) + len(EXPRESSION_NAMES)  # 58


def prepare_shards(
    mesh: Mesh,
    folder: Path,
    *,
    seed: int,
    count: int,
    size: int = 128,
    shard_size: int = 512,
    partners: int = 6,
    first: int = 0,
) -> Iterator[Path]:
    """Render samples `first` .. `first + count` of `seed` and yield each shard's path as it is ready.

    Shards that are already there are kept, so a stopped preparation goes on where it was. Several
    processes may share the work by taking disjoint ranges.
    """
    folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(mesh)
    for start in range(first, first + count, shard_size):
        path = folder / f"{seed}_{start:07d}.npz"
        if not path.exists():
            indices = range(start, min(start + shard_size, first + count))
            portraits = [renderer.render(sample(seed, i), size) for i in indices]
            write_shard(path, portraits, mesh, partners=partners, seed=start)
        yield path


def write_shard(path: Path, portraits: Sequence[Portrait], mesh: Mesh, *, partners: int, seed: int) -> None:
    """Write portraits as one shard, with `partners` random swaps of motion for each."""
    factors = [portrait.factors for portrait in portraits]
    pairs = np.random.default_rng(seed).integers(len(factors), size=(len(factors), partners))
    arrays = {
        "images": np.stack([portrait.image for portrait in portraits]),
        "landmarks": np.stack([portrait.landmarks for portrait in portraits]),
        "conditioning": np.stack([conditioning(f, mesh) for f in factors]),
        "motion": np.stack([motion_vector(f) for f in factors]),
        "partners": pairs.astype(np.int32),
        "swapped": swapped_conditioning(factors, pairs, mesh),
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def swapped_conditioning(factors: Sequence[Factors], pairs: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Conditioning of each partner with the driving portrait's motion, float32 [N, P, K]."""
    return np.stack(
        [
            [conditioning(replace(factors[j], motion=driving.motion), mesh) for j in row]
            for driving, row in zip(factors, pairs, strict=True)
        ]
    )


def motion_vector(factors: Factors) -> np.ndarray:
    """float32 [58]: `POSE_NAMES`, then the expression coefficients."""
    pose = [getattr(factors.motion, name) for name in POSE_NAMES]
    return np.concatenate([pose, factors.motion.expression_vector()]).astype(np.float32)
