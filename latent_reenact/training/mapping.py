"""StyleGAN2's own mapping for the paired generator: a Gaussian z -> w, taught by the world's sampler.

The synthetic world draws every portrait from a Gaussian vector; the factor-fed mapping knows the portrait's w.
A plain mapping network learns z -> w from such pairs, so that the exported generator samples people from z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latent_reenact.models.stylegan2 import MappingNetwork, StyleGAN2Generator
from latent_reenact.synthface import LATENT_DIM, Mesh, conditioning, factors_from_latent, sample_latent
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.targets import Teacher


@dataclass(frozen=True, kw_only=True)
class MappingConfig:
    """The mapping stage."""

    loop: LoopConfig
    samples: int = 40_000
    seed: int = 77


class MappingStage:
    """Regression of w on z; the last tenth of the samples is held out."""

    def __init__(self, module: MappingNetwork, z: Tensor, w: Tensor) -> None:
        self.module, self.z, self.w = module, z, w
        self.n_train = len(z) * 9 // 10
        self.spread = float((w - w.mean(0)).square().mean().sqrt())

    def loss(self, generator: torch.Generator, batch: int) -> tuple[Tensor, dict[str, float]]:
        index = torch.randint(self.n_train, (batch,), generator=generator)
        return self._error(self.module, self.z[index], self.w[index]), {}

    @torch.no_grad()
    def evaluate(self, average: nn.Module, folder: Path) -> dict[str, float]:
        error = self._error(average, self.z[self.n_train :], self.w[self.n_train :])
        return {"unexplained": float(error)}

    def _error(self, module: nn.Module, z: Tensor, w: Tensor) -> Tensor:
        return ((module(z) - w) / self.spread).square().mean()


def sample_pairs(teacher: Teacher, mesh: Mesh, config: MappingConfig) -> tuple[Tensor, Tensor]:
    """(z [N, LATENT_DIM], w [N, D]) of random portraits; nothing is rendered."""
    z = np.stack([sample_latent(config.seed, i) for i in range(config.samples)]).astype(np.float32)
    inputs = np.stack([conditioning(factors_from_latent(row), mesh) for row in z])
    return torch.from_numpy(z), teacher.w(torch.from_numpy(inputs))


def train_mapping(teacher: Teacher, mesh: Mesh, config: MappingConfig, folder: Path) -> StyleGAN2Generator:
    """The teacher's generator with a mapping from z in the place of the factors."""
    z, w = sample_pairs(teacher, mesh, config)
    sizes = replace(teacher.generator.config, z_dim=LATENT_DIM)
    torch.manual_seed(0)
    trained = Loop(MappingStage(MappingNetwork(sizes), z, w), config.loop, folder).run()
    generator = StyleGAN2Generator(sizes)
    generator.synthesis.load_state_dict(teacher.generator.synthesis.state_dict())
    generator.mapping.load_state_dict(trained.state_dict())
    generator.mapping.w_avg.copy_(teacher.average)
    return generator.eval().requires_grad_(False)
