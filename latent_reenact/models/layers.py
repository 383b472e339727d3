"""Layers that several networks share."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.custom_ops import fused_bias_act

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M) -> M:
    """Store convolution weights pixel by pixel, which is how CPUs (and tensor cores) convolve fastest."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class EqualLinear(nn.Module):
    """Linear layer with an equalised learning rate (Karras et al. 2018, section 4.1).

    The stored weight is N(0, 1) / lr_multiplier and is scaled by lr_multiplier / sqrt(fan_in) at run time;
    the stored bias is scaled by lr_multiplier.
    """

    def __init__(
        self, n_in: int, n_out: int, *, bias_init: float = 0.0, lr_multiplier: float = 1.0, act: str = "linear"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((n_out,), bias_init / lr_multiplier))
        self.act = act
        self.weight_gain = lr_multiplier / math.sqrt(n_in)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """[..., n_in] -> [..., n_out]."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        bias = self.bias if self.bias_gain == 1 else self.bias * self.bias_gain
        if self.act == "linear":
            return F.linear(x, weight, bias.to(x.dtype))
        return fused_bias_act(F.linear(x, weight), bias, dim=-1, act=self.act)
