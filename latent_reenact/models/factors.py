"""From the factors of a synthetic portrait to its w: the mapping that the paired generator is trained with.

`synthface.conditioning` lists all that changes a portrait's picture. In the place of StyleGAN2's z it makes the
generator a renderer whose every factor is known, and so the exact w of any person with any motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latent_reenact.models.stylegan2 import GeneratorConfig, MappingNetwork, SynthesisNetwork

_LIMIT = 4.0  # standard deviations: beyond, inputs are clipped


@dataclass(frozen=True, kw_only=True)
class FactorMappingConfig:
    """Sizes of the mapping. `skip` keeps every factor linearly readable in w."""

    inputs: int
    w_dim: int = 256
    layers: int = 4
    skip: bool = True


class FactorMapping(nn.Module):
    """conditioning -> w. Inputs are brought to zero mean and unit variance; those that never vary count as 0."""

    Config = FactorMappingConfig

    def __init__(self, config: FactorMappingConfig) -> None:
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.inverse_std: Tensor
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("inverse_std", torch.ones(config.inputs))
        sizes = GeneratorConfig(
            resolution=8,
            z_dim=config.inputs,
            w_dim=config.w_dim,
            mapping_layers=config.layers,
            mapping_lr_multiplier=1.0,
            mapping_skip=config.skip,
            normalize_z=False,
        )
        self.mapping = MappingNetwork(sizes)

    @torch.no_grad()
    def fit(self, conditioning: Tensor) -> None:
        """Take mean and deviation from conditioning vectors [N, K]."""
        std = conditioning.std(0)
        self.mean.copy_(conditioning.mean(0))
        self.inverse_std.copy_(torch.where(std > 1e-4, 1 / std.clamp(min=1e-4), torch.zeros_like(std)))

    def standardized(self, conditioning: Tensor) -> Tensor:
        """[B, K] -> [B, K], zero mean and unit variance, clipped."""
        return ((conditioning - self.mean) * self.inverse_std).clamp(-_LIMIT, _LIMIT)

    def forward(self, conditioning: Tensor) -> Tensor:
        """[B, K], as `synthface.conditioning` gives it -> w [B, D]."""
        return self.mapping(self.standardized(conditioning))


class FactorGenerator(nn.Module):
    """`FactorMapping` and StyleGAN2's synthesis: factors -> picture. What the paired stages train."""

    def __init__(self, factors: FactorMapping, synthesis: SynthesisNetwork) -> None:
        super().__init__()
        self.factors, self.synthesis = factors, synthesis

    @property
    def config(self) -> GeneratorConfig:
        """Sizes of the synthesis."""
        return self.synthesis.config

    def broadcast(self, w: Tensor) -> Tensor:
        """w [B, D] -> the same style at every layer, w_plus [B, L, D]."""
        return w[:, None].expand(-1, self.config.n_styles, -1)
