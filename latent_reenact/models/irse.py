"""IR-SE: improved residual units with squeeze-and-excitation (ArcFace, arXiv 1801.07698; SE, arXiv 1709.01507).

Module names follow the published checkpoints (`input_layer`, `body.<i>.res_layer`, `shortcut_layer`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BodyConfig:
    """Sizes of an IR-SE body. The defaults are IR-SE-50."""

    widths: tuple[int, ...] = (64, 128, 256, 512)  # channels of each stage; every stage halves the picture
    depths: tuple[int, ...] = (3, 4, 14, 3)  # units of each stage
    se_reduction: int = 16

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths) or min(self.depths, default=0) < 1:
            raise ConfigError(f"widths {self.widths} and depths {self.depths}: expected one positive depth a width")

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """Index of each stage's last unit: (2, 6, 20, 23) for IR-SE-50."""
        return tuple(sum(self.depths[: i + 1]) - 1 for i in range(len(self.depths)))


class SqueezeExcitation(nn.Module):
    """Weighs channels by what the whole picture says."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))  # [B, C / reduction, 1, 1]
        return x * torch.sigmoid(self.fc2(squeezed))


class NarrowPointwise(nn.Conv2d):
    """A strided 1 × 1 convolution of fewer than 8 channels.

    PyTorch's own writes past its memory when it is trained channels_last on processors with AVX2 alone, and ends the
    process (uxlfoundation/oneDNN#6035).
    """

    def forward(self, x: Tensor) -> Tensor:
        down, across = self.stride
        return F.conv2d(x[:, :, ::down, ::across], self.weight, self.bias)


class ResidualUnit(nn.Module):
    """BN, conv, PReLU, strided conv, BN, SE, beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int, se_reduction: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if c_in == c_out:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            pointwise = nn.Conv2d if c_in >= 8 else NarrowPointwise
            self.shortcut_layer = nn.Sequential(
                pointwise(c_in, c_out, 1, stride, bias=False),
                nn.BatchNorm2d(c_out),
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c_out, 3, 1, 1, bias=False),
            nn.PReLU(c_out),
            nn.Conv2d(c_out, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
            SqueezeExcitation(c_out, se_reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


def input_layer(channels: int, width: int) -> nn.Sequential:
    """The stem: conv, BN, PReLU."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))


def body(config: BodyConfig) -> nn.Sequential:
    """All units; the first of each stage has stride 2."""
    units, c_in = [], config.widths[0]
    for width, depth in zip(config.widths, config.depths, strict=True):
        for k in range(depth):
            units.append(ResidualUnit(c_in, width, 2 if k == 0 else 1, config.se_reduction))
            c_in = width
    return nn.Sequential(*units)
