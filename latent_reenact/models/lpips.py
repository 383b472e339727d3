"""LPIPS: how different two pictures look (Zhang et al. 2018, arXiv 1801.03924, equation 1).

d(a, b) = sum over layers of mean over pixels of w · (f(a) - f(b))^2,   f unit-normalised over channels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Trunk = Literal["alex", "vgg"]
Conv = tuple[int, int, int, int]
# Layers of `features`: (channels, kernel, stride, padding) of a convolution, or a max-pooling.
_ALEX: list[Conv | str] = [
    (64, 11, 4, 2),
    "pool",
    (192, 5, 1, 2),
    "pool",
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
    "pool",
]
_VGG_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_VGG: list[Conv | str] = []
for _width, _depth in _VGG_STAGES:
    _VGG += [(_width, 3, 1, 1)] * _depth
    _VGG.append("pool")
# Index of the ReLU behind which each of the five layers is read.
TAPS: dict[str, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
WIDTHS: dict[str, tuple[int, ...]] = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


@dataclass(frozen=True, kw_only=True)
class LPIPSConfig:
    """Which trunk. The default is the one that the method trains with."""

    trunk: Trunk = "alex"


class PerceptualFeatures(nn.Module):
    """The convolutions of AlexNet or VGG-16 under torchvision's names (`features.<i>`)."""

    Config = LPIPSConfig

    def __init__(self, config: LPIPSConfig | None = None) -> None:
        super().__init__()
        self.config = config or LPIPSConfig()
        self.features = _features(self.config.trunk)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [B, 3, H, W], ImageNet-normalised -> the five layers' features."""
        taps, found = TAPS[self.config.trunk], []
        for i in range(taps[-1] + 1):
            x = self.features[i](x)
            if i in taps:
                found.append(x)
        return found


def _features(trunk: Trunk) -> nn.Sequential:
    layers: list[nn.Module] = []
    c_in = 3
    for entry in _ALEX if trunk == "alex" else _VGG:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(3, 2) if trunk == "alex" else nn.MaxPool2d(2, 2))
        else:
            c_out, kernel, stride, padding = entry
            layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.ReLU()]
            c_in = c_out
    return nn.Sequential(*layers)


class _Head(nn.Module):
    """Weights of one layer's channels; `model.1` is its published place behind a dropout."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class LPIPS(PerceptualFeatures):
    """Perceptual distance, version 0.1 of the published heads.

    Args:
        config: which trunk.
    """

    def __init__(self, config: LPIPSConfig | None = None) -> None:
        super().__init__(config)
        for i, width in enumerate(WIDTHS[self.config.trunk]):
            self.add_module(f"lin{i}", _Head(width))

    def layers(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b [B, 3, H, W] in [-1, 1] -> the layers' terms [B, 5]."""
        terms = []
        for i, (f, g) in enumerate(zip(self._unit(a), self._unit(b), strict=True)):
            terms.append(self.get_submodule(f"lin{i}")((f - g).square()).mean((1, 2, 3)))
        return torch.stack(terms, dim=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        """a, b [B, 3, H, W] in [-1, 1] -> distances [B]."""
        return self.layers(a, b).sum(1)

    def _unit(self, images: Tensor) -> list[Tensor]:
        shift = images.new_tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
        scale = images.new_tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
        found = super().forward((images - shift) / scale)
        return [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in found]
