"""What the paired generator knows: the exact w of any combination of factors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latent_reenact.models import FactorGenerator


@dataclass(frozen=True)
class Teacher:
    """The trained factor generator, frozen.

    average: mean w of the training portraits, [D]; spread: root mean square deviation from it.
    """

    generator: FactorGenerator
    average: Tensor
    spread: float
    autocast: Callable[[], AbstractContextManager] = nullcontext

    @classmethod
    @torch.no_grad()
    def build(cls, generator: FactorGenerator, conditioning: Tensor) -> Teacher:
        """conditioning [N, K] of the training portraits."""
        generator = generator.eval().requires_grad_(False)
        w = torch.cat([generator.factors(part) for part in conditioning.split(4096)])
        average = w.mean(0)
        return cls(generator, average, float((w - average).square().mean().sqrt()))

    def to(self, device: torch.device, autocast: Callable[[], AbstractContextManager]) -> Teacher:
        """The same on a device, drawing in its mixed precision."""
        return replace(self, generator=self.generator.to(device), average=self.average.to(device), autocast=autocast)

    def w(self, conditioning: Tensor) -> Tensor:
        """conditioning [B, K] -> w [B, D]."""
        with torch.no_grad():
            return self.generator.factors(conditioning.to(self.average.device))

    def draw(self, w_plus: Tensor) -> Tensor:
        """w_plus [B, L, D] -> picture [B, 3, R, R] float32, drawn in mixed precision; gradients flow to w_plus."""
        with self.autocast():
            return self.generator.synthesis(w_plus, noise_mode="const").float()

    def error(self, w_plus: Tensor, w: Tensor) -> Tensor:
        """Mean squared distance of w_plus [B, L, D] from w [B, D], in units of the spread."""
        return ((w_plus - w[:, None]) / self.spread).square().mean()
