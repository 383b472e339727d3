"""e4e's latent discriminator: is this w one that the mapping network makes? (Tov et al. 2021, arXiv 2102.02766).

It looks at one style vector at a time, so that an encoder's w_plus is judged row by row. Used in training alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LatentDiscriminatorConfig:
    """Sizes of the discriminator. The defaults are the published ones."""

    w_dim: int = 512
    layers: int = 4  # the last one gives the logit
    pool: int = 50  # codes of earlier steps that it goes on being shown; 0: none

    def __post_init__(self) -> None:
        if self.w_dim < 1 or self.layers < 1 or self.pool < 0:
            raise ConfigError(
                f"w_dim {self.w_dim}, layers {self.layers}, pool {self.pool}: expected at least 1, 1 and 0"
            )


class LatentDiscriminator(nn.Module):
    """w -> logit, larger for codes that look as if the mapping network had made them.

    Args:
        config: sizes.
    """

    Config = LatentDiscriminatorConfig

    def __init__(self, config: LatentDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LatentDiscriminatorConfig()
        layers: list[nn.Module] = []
        for _ in range(config.layers - 1):
            layers += [nn.Linear(config.w_dim, config.w_dim), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(config.w_dim, 1))

    def forward(self, w: Tensor) -> Tensor:
        """w [..., D] -> logits [...]."""
        return self.layers(w).squeeze(-1)


class LatentPool(nn.Module):
    """Codes of earlier steps, so that the discriminator does not forget them (Shrivastava et al. 2017, section 2.3).

    They are buffers: saved and resumed with the weights.

    Args:
        size: codes kept, P.
        n_styles, w_dim: of one code [L, D].
    """

    def __init__(self, size: int, n_styles: int, w_dim: int) -> None:
        super().__init__()
        self.codes: Tensor
        self.filled: Tensor
        self.register_buffer("codes", torch.zeros(size, n_styles, w_dim))
        self.register_buffer("filled", torch.zeros([], dtype=torch.int64))

    def mix(self, fresh: Tensor, random: torch.Generator) -> Tensor:
        """fresh [B, L, D] -> [B, L, D], where once the pool is full each code is an old one with probability 1/2."""
        if not self._is_full():
            return fresh
        slots = torch.randint(len(self.codes), (len(fresh),), generator=random).to(fresh.device)
        old = torch.rand(len(fresh), generator=random).to(fresh.device) < 0.5
        return torch.where(old[:, None, None], self.codes[slots], fresh)

    @torch.no_grad()
    def push(self, fresh: Tensor, random: torch.Generator) -> None:
        """Keep fresh [B, L, D]: in free places, and once there are none, each with probability 1/2 in a random one.

        Codes that are not finite are left out.
        """
        for code in fresh[fresh.isfinite().all(2).all(1)] if len(self.codes) else fresh[:0]:
            if not self._is_full():
                self.codes[int(self.filled)] = code
                self.filled += 1
            elif torch.rand([], generator=random) < 0.5:
                self.codes[int(torch.randint(len(self.codes), [], generator=random))] = code

    def _is_full(self) -> bool:
        return 0 < len(self.codes) == int(self.filled)
