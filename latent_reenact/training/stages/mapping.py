"""StyleGAN2's own mapping for the paired generator: a Gaussian z -> w, taught by the world's sampler.

The synthetic world draws every portrait from a Gaussian vector; the factor-fed mapping knows the portrait's w.
A plain mapping network learns z -> w from such pairs, so that the exported generator samples people from z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from latent_reenact.models.stylegan2 import GeneratorConfig, MappingNetwork, StyleGAN2Generator
from latent_reenact.synthface import LATENT_DIM, Mesh, conditioning, factors_from_latent, sample_latent
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.preparation.cluster import core_count, map_locally
from latent_reenact.training.shards.portraits import landmarks_only
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage
from latent_reenact.training.targets import Teacher

_SHARED_WORK = 4096  # samples from which on starting processes pays


@dataclass(frozen=True, kw_only=True)
class MappingConfig:
    """The mapping stage."""

    loop: LoopConfig
    optimizer: OptimizerConfig
    layers: int = 4
    samples: int = 120_000
    seed: int = 77


class MappingStage(Stage):
    """Regression of w on z; the last tenth of the samples is held out."""

    def __init__(self, module: MappingNetwork, z: Tensor, w: Tensor, optimizer: OptimizerConfig) -> None:
        self.module, self.z, self.w = module, z, w
        self.optimizers = {"": optimizer}
        self.n_train = len(z) * 9 // 10
        self.spread = float((w - w.mean(0)).square().mean().sqrt())

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.z, self.w = self.z.to(setup.device), self.w.to(setup.device)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        index = torch.randint(self.n_train, (batch,), generator=random)
        return self._error(self.module, self.z[index], self.w[index]), {}

    def evaluate(self, average: nn.Module) -> Measures:
        error = self._error(average, self.z[self.n_train :], self.w[self.n_train :])
        return Measures(scalars={"unexplained": float(error)})

    def _error(self, module: nn.Module, z: Tensor, w: Tensor) -> Tensor:
        return ((module(z) - w) / self.spread).square().mean()


@torch.no_grad()
def sample_pairs(teacher: Teacher, mesh: Mesh, config: MappingConfig, fabric: Fabric) -> tuple[Tensor, Tensor]:
    """(z [N, LATENT_DIM], w [N, D]) of random portraits; nothing is rendered, and the processes share the work."""
    z = np.stack([sample_latent(config.seed, i) for i in range(config.samples)]).astype(np.float32)
    w = torch.zeros(config.samples, len(teacher.average), device=fabric.device)
    mine = np.array_split(np.arange(len(z)), fabric.world_size)[fabric.global_rank]
    parts = [rows for rows in np.array_split(mine, 64) if len(rows)]
    jobs = core_count() // fabric.world_size if len(z) >= _SHARED_WORK else 1
    inputs = map_locally(partial(_conditioning, mesh=landmarks_only(mesh)), [z[rows] for rows in parts], jobs=jobs)
    for rows, part in zip(parts, inputs, strict=True):
        w[torch.from_numpy(rows)] = teacher.w(torch.from_numpy(part))
    shared: Tensor = fabric.all_reduce(w, reduce_op="sum")  # type: ignore[assignment]
    return torch.from_numpy(z), shared.cpu()


def _conditioning(z: np.ndarray, mesh: Mesh) -> np.ndarray:
    """z [N, LATENT_DIM] -> conditioning [N, K]."""
    return np.stack([conditioning(factors_from_latent(one), mesh) for one in z])


def train_mapping(
    teacher: Teacher, mesh: Mesh, config: MappingConfig, sizes: GeneratorConfig, folder: Path, fabric: Fabric
) -> StyleGAN2Generator:
    """The teacher's synthesis with a mapping from z in the place of the factors."""
    z, w = sample_pairs(teacher, mesh, config, fabric)
    sizes = replace(sizes, z_dim=LATENT_DIM, mapping_layers=config.layers)
    torch.manual_seed(0)
    stage = MappingStage(MappingNetwork(sizes), z, w, config.optimizer)
    trained = Loop(stage, config.loop, folder, fabric).run()
    generator = StyleGAN2Generator(sizes).to(fabric.device)
    generator.synthesis.load_state_dict(teacher.generator.synthesis.state_dict())
    generator.mapping.load_state_dict(trained.state_dict())
    generator.mapping.w_avg.copy_(teacher.average)
    return generator.eval().requires_grad_(False)
