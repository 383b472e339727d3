"""The people that a model is measured on: a seed that no training may use, and what a model draws of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latent_reenact.models.factors import FactorMapping
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.stylegan2 import NoiseMode, StyleGAN2Generator
from latent_reenact.synthface import Factors, Portrait, Renderer, conditioning, sample

TEST_SEED = 999
"""Reserved: no training renders it. A recipe may watch its first portraits while it trains; those here, none may."""

FIRST = {"looks": 100_000, "inversion": 200_000, "transfer": 300_000, "frechet": 400_000}
"""Each measure has portraits of its own."""

Progress = Callable[[float, float | None, str], None]


@dataclass(frozen=True)
class World:
    """Held-out portraits at one size. Not for several threads at once."""

    renderer: Renderer
    size: int
    seed: int = TEST_SEED

    def factors(self, measure: str, count: int, skip: int = 0) -> list[Factors]:
        """`count` random portraits of a measure's own range."""
        first = FIRST[measure] + skip
        return [sample(self.seed, i) for i in range(first, first + count)]

    def render(self, factors: Factors) -> Portrait:
        return self.renderer.render(factors, self.size)

    def pictures(self, factors: Iterable[Factors]) -> np.ndarray:
        """uint8 [N, R, R, 3]."""
        return np.stack([self.render(one).image for one in factors])

    def latents(self, measure: str, count: int, z_dim: int, skip: int = 0) -> np.ndarray:
        """float64 [N, z_dim], Gaussian; where z_dim is the world's LATENT_DIM they are the latents of `factors`."""
        first = FIRST[measure] + skip
        return np.stack(
            [np.random.default_rng((self.seed, i)).standard_normal(z_dim) for i in range(first, first + count)]
        )


@dataclass(frozen=True)
class Artist:
    """What a model draws without any picture to start from.

    factors: the world's conditioning [B, K] -> w [B, D]; None in a model without one.
    """

    generator: StyleGAN2Generator
    factors: FactorMapping | None
    world: World
    batch: int = 32

    def from_factors(self, factors: Sequence[Factors], noise_mode: NoiseMode = "const") -> np.ndarray:
        """The portraits that these factors describe, uint8 [N, R, R, 3]."""
        if self.factors is None:
            raise ValueError("got a model without a network for factors, expected one; ask `factors` first")
        mesh = self.world.renderer.mesh
        vectors = np.stack([conditioning(one, mesh) for one in factors])
        return np.concatenate([self._draw(self.factors(part), noise_mode) for part in self._parts(vectors)])

    def from_latents(self, z: np.ndarray, noise_mode: NoiseMode = "const") -> np.ndarray:
        """z [N, z_dim] -> uint8 [N, R, R, 3]."""
        parts = self._parts(z)
        return np.concatenate([self._draw(self.generator.mapping(part), noise_mode) for part in parts])

    def _parts(self, vectors: np.ndarray) -> tuple[Tensor, ...]:
        device = next(self.generator.parameters()).device
        return torch.from_numpy(vectors).float().to(device).split(self.batch)

    @torch.inference_mode()
    def _draw(self, w: Tensor, noise_mode: NoiseMode) -> np.ndarray:
        return to_pixels(self.generator.synthesis(self.generator.broadcast(w), noise_mode=noise_mode))


def calm(factors: Factors) -> Factors:
    """The same person at rest, the head turned less: a passport picture, where recognition is at its best."""
    motion = factors.motion
    turned = {name: 0.4 * getattr(motion, name) for name in ("yaw_deg", "pitch_deg", "roll_deg")}
    return replace(factors, motion=replace(motion, expression={}, **turned))
