"""Encoders from pictures to W+: pSp's and e4e's pyramids, ReStyle's backbones.

Sources: pSp (arXiv 2008.00951), e4e (arXiv 2102.02766), ReStyle (arXiv 2104.02699).
Module names follow the published checkpoints (`input_layer`, `body`, `styles`, `latlayer1`, `latlayer2`).

Legend: B batch, L = n_styles, D = w_dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.irse import BodyConfig, body, input_layer
from latent_reenact.models.layers import EqualLinear
from latent_reenact.models.resnet import BasicBlock, stages

Trunk = Literal["irse", "resnet"]
EncoderKind = Literal["backbone", "progressive_backbone", "gradual", "progressive_gradual"]
COARSE_END, MIDDLE_END = 3, 7  # styles 0-2 read the coarsest features, 3-6 the middle, the rest the finest


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes of an encoder. The defaults are ReStyle's pSp encoder for faces at 1024²."""

    kind: EncoderKind = "backbone"
    input_channels: int = 6  # 3 for one picture, 6 where ReStyle stacks picture and estimate
    input_size: int = 256
    n_styles: int = 18
    w_dim: int = 512
    head_width: int | None = None  # channels inside the style heads; w_dim in the published networks
    trunk: Trunk = "irse"  # or ResNet-34's blocks behind a strided stem, where the faces are not human
    body: BodyConfig = field(default_factory=BodyConfig)

    def __post_init__(self) -> None:
        if self.input_size % self.stride or not math.log2(self.input_size // self.stride).is_integer():
            raise ConfigError(f"input_size: got {self.input_size}, expected {self.stride} times a power of two")

    @property
    def stride(self) -> int:
        """Input pixels per feature pixel of the last stage."""
        return 2 ** len(self.body.widths)

    @property
    def feature_size(self) -> int:
        """Side of the last stage's features."""
        return self.input_size // self.stride

    @property
    def is_progressive(self) -> bool:
        """e4e's way: one w for all layers, plus an offset for each but the first."""
        return self.kind.startswith("progressive")

    @property
    def is_pyramid(self) -> bool:
        """pSp's way: three levels of features."""
        return self.kind.endswith("gradual")


class StyleHead(nn.Module):
    """Strided convolutions down to 1×1, then one equalised layer: features -> a style (pSp's map2style)."""

    def __init__(self, c_in: int, c_out: int, size: int, width: int | None = None) -> None:
        super().__init__()
        width = c_out if width is None else width
        layers: list[nn.Module] = []
        for i in range(int(math.log2(size))):
            layers += [nn.Conv2d(c_in if i == 0 else width, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, size, size] -> [B, C_out]."""
        return self.linear(self.convs(x).flatten(1))


class StyleEncoder(nn.Module):
    """Picture -> W+ offsets [B, L, D], of the four published kinds.

    Args:
        config: kind and sizes.

    `progressive_stage` (progressive kinds) is how many styles beyond the first get an offset of their own;
    e4e trains by raising it from 0.
    """

    Config = EncoderConfig

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        widths, size = config.body.widths, config.feature_size
        if config.trunk == "irse":
            self.input_layer = input_layer(config.input_channels, widths[0])
            self.body = body(config.body)
        else:
            self.conv1 = nn.Conv2d(config.input_channels, widths[0], 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(widths[0])
            self.relu = nn.PReLU(widths[0])
            self.body = nn.Sequential(*chain(*stages(BasicBlock, widths, config.body.depths)))
        self.progressive_stage = config.n_styles - 1
        if config.is_pyramid:
            self.latlayer1 = nn.Conv2d(widths[-2], config.w_dim, 1)
            self.latlayer2 = nn.Conv2d(widths[-3], config.w_dim, 1)
            sizes = [size * (1 if i < COARSE_END else 2 if i < MIDDLE_END else 4) for i in range(config.n_styles)]
        else:
            sizes = [size] * config.n_styles
        # The lateral layers bring the finer levels to w_dim; the coarsest comes as the body leaves it.
        c_ins = [config.w_dim if config.is_pyramid and i >= COARSE_END else widths[-1] for i in range(config.n_styles)]
        self.styles = nn.ModuleList(
            StyleHead(c, config.w_dim, s, config.head_width) for c, s in zip(c_ins, sizes, strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        """image [B, input_channels, input_size, input_size] in [-1, 1] -> [B, L, D]."""
        features = self._pyramid(image) if self.config.is_pyramid else self._last(image)
        if not self.config.is_progressive:
            return torch.stack([head(features[i]) for i, head in enumerate(self.styles)], dim=1)
        first = self.styles[0](features[0])  # [B, D]
        w_plus = [first]
        for i in range(1, self.config.n_styles):
            w_plus.append(first + self.styles[i](features[i]) if i <= self.progressive_stage else first)
        return torch.stack(w_plus, dim=1)

    def _stem(self, image: Tensor) -> Tensor:
        if self.config.trunk == "irse":
            return self.input_layer(image)
        return self.relu(self.bn1(self.conv1(image)))

    def _last(self, image: Tensor) -> list[Tensor]:
        """The last features, once for each style."""
        x = self.body(self._stem(image))
        return [x] * self.config.n_styles

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        """The level of the feature pyramid that each style reads."""
        x, levels = self._stem(image), []
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in self.config.body.stage_ends:
                levels.append(x)
        fine, middle, coarse = levels[-3:]  # strides 4, 8, 16
        p2 = _upsample_add(coarse, self.latlayer1(middle))
        p1 = _upsample_add(p2, self.latlayer2(fine))
        return [coarse if i < COARSE_END else p2 if i < MIDDLE_END else p1 for i in range(self.config.n_styles)]


def _upsample_add(x: Tensor, lateral: Tensor) -> Tensor:
    return F.interpolate(x, size=lateral.shape[2:], mode="bilinear", align_corners=True) + lateral
