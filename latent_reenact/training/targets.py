"""What the paired generator knows: the exact w of any combination of factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_reenact.models.stylegan2 import StyleGAN2Generator
from latent_reenact.training.data import Standardizer


@dataclass(frozen=True)
class Teacher:
    """The trained generator with its factor-fed mapping, frozen.

    average: mean w of the training portraits, [D]; spread: root mean square deviation from it.
    """

    generator: StyleGAN2Generator
    inputs: Standardizer
    average: Tensor
    spread: float

    @classmethod
    @torch.no_grad()
    def build(cls, generator: StyleGAN2Generator, inputs: Standardizer, conditioning: Tensor) -> Teacher:
        """conditioning [N, K] of the training portraits."""
        generator = generator.eval().requires_grad_(False)
        w = generator.mapping(inputs(conditioning))
        average = w.mean(0)
        return cls(generator, inputs, average, float((w - average).square().mean().sqrt()))

    def w(self, conditioning: Tensor) -> Tensor:
        """conditioning [B, K] -> w [B, D]."""
        with torch.no_grad():
            return self.generator.mapping(self.inputs(conditioning))

    def draw(self, w_plus: Tensor) -> Tensor:
        """w_plus [B, L, D] -> picture [B, 3, R, R] float32, convolutions in bf16; gradients flow to w_plus."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.generator.synthesis(w_plus, noise_mode="none").float()

    def error(self, w_plus: Tensor, w: Tensor) -> Tensor:
        """Mean squared distance of w_plus [B, L, D] from w [B, D], in units of the spread."""
        return ((w_plus - w[:, None]) / self.spread).square().mean()
