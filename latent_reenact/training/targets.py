"""What the paired generator knows: the exact w of any combination of factors, and the factors of any w."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latent_reenact.models import FactorGenerator
from latent_reenact.synthface import conditioning_names


@dataclass(frozen=True)
class Teacher:
    """The trained factor generator, frozen.

    average: mean w of the training portraits, [D]; spread: root mean square deviation from it.
    readout: [D, K], least-squares map from w - average to the standardised conditioning: the mapping's skip keeps all
        factors linearly readable.
    """

    generator: FactorGenerator
    average: Tensor
    spread: float
    readout: Tensor
    autocast: Callable[[], AbstractContextManager] = nullcontext

    @classmethod
    @torch.no_grad()
    def build(cls, generator: FactorGenerator, conditioning: Tensor) -> Teacher:
        """conditioning [N, K] of the training portraits."""
        generator = generator.eval().requires_grad_(False)
        device = next(generator.parameters()).device
        parts = [part.to(device) for part in conditioning.split(4096)]
        w = torch.cat([generator.factors(part) for part in parts])
        factors = torch.cat([generator.factors.standardized(part) for part in parts])
        average = w.mean(0)
        spread = float((w - average).square().mean().sqrt())
        return cls(generator, average, spread, least_squares(w - average, factors - factors.mean(0)))

    def to(self, device: torch.device, autocast: Callable[[], AbstractContextManager]) -> Teacher:
        """The same on a device, drawing in its mixed precision."""
        average, readout = self.average.to(device), self.readout.to(device)
        return replace(self, generator=self.generator.to(device), average=average, readout=readout, autocast=autocast)

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

    def factor_error(self, w_plus: Tensor, w: Tensor, factors: Sequence[str] | None = None) -> Tensor:
        """Mean squared distance of w_plus [B, L, D] from w [B, D] in the factors that are read from them.

        Every factor counts in its own standard deviations, so that a frown, which is rare and moves w little, weighs as
        much as a turn of the head. factors: blocks of the conditioning (`conditioning_names`); all by default.
        """
        readout = self.readout
        if factors is not None:
            slices = conditioning_names()
            readout = torch.cat([readout[:, slices[name]] for name in factors], dim=1)
        return ((w_plus - w[:, None]) @ readout).square().mean()


def least_squares(x: Tensor, y: Tensor, ridge: float = 1e-4) -> Tensor:
    """The map A [D, K] for which x A is nearest to y; x [N, D] and y [N, K] have mean zero."""
    x, y = x.double(), y.double()
    gram = x.T @ x / len(x)
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    return torch.linalg.solve(gram, x.T @ y / len(x)).float()
