"""Residual networks (He et al. 2015, arXiv 1512.03385) under torchvision's names, so that its files fill them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError

WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of a residual network. The defaults are ResNet-50."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage; every stage but the first halves the picture
    input_channels: int = 3
    num_classes: int | None = 1000  # None: no last layer

    def __post_init__(self) -> None:
        if len(self.depths) != len(WIDTHS) or min(self.depths) < 1:
            raise ConfigError(f"depths: got {self.depths}, expected {len(WIDTHS)} positive numbers")

    @property
    def features(self) -> int:
        """Channels of the last stage: 512 or 2048."""
        return WIDTHS[-1] * (4 if self.block == "bottleneck" else 1)


RESNET18 = ResNetConfig(block="basic", depths=(2, 2, 2, 2))
RESNET34 = ResNetConfig(block="basic")
RESNET50 = ResNetConfig()


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(c_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride), 1×1 beside a shortcut; four times as wide outside as inside."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = width * self.expansion
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    """None where the input can be added as it is."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def stages(
    block: type[BasicBlock] | type[Bottleneck], widths: Sequence[int], depths: Sequence[int]
) -> list[nn.Sequential]:
    """The blocks, stage by stage; the first block of every stage but the first has stride 2."""
    result = []
    c_in = widths[0]
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        blocks: list[nn.Module] = []
        for k in range(depth):
            blocks.append(block(c_in, width, 2 if i > 0 and k == 0 else 1))
            c_in = width * block.expansion
        result.append(nn.Sequential(*blocks))
    return result


class ResNet(nn.Module):
    """A residual network.

    Args:
        config: sizes; the default is ResNet-50 with its 1000 classes.
    """

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResNetConfig()
        self.conv1 = nn.Conv2d(config.input_channels, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        block = BasicBlock if config.block == "basic" else Bottleneck
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(block, WIDTHS, config.depths)
        self.fc = None if config.num_classes is None else nn.Linear(config.features, config.num_classes)

    def features(self, x: Tensor) -> Tensor:
        """x [B, input_channels, H, W], ImageNet-normalised -> [B, C, H / 32, W / 32]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, input_channels, H, W], ImageNet-normalised -> class logits, or pooled features where no class is."""
        pooled = self.features(x).mean((2, 3))
        return pooled if self.fc is None else self.fc(pooled)


def imagenet_normalized(images: Tensor) -> Tensor:
    """RGB in [-1, 1] -> zero mean and unit variance over ImageNet, as torchvision's networks take it."""
    mean = images.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = images.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (images * 0.5 + 0.5 - mean) / std


def resized(images: Tensor, size: int) -> Tensor:
    """Bilinear with antialiasing to size × size; unchanged where it is that already."""
    if tuple(images.shape[2:]) == (size, size):
        return images
    return nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
