"""StyleGAN2's residual discriminator (Karras et al. 2020, arXiv 1912.04958, figure 7 and config F).

    image --from RGB--> blocks, each half the size of the one before --> minibatch deviation --> logits

Legend: B batch, C channels, R resolution of the picture, r that of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latent_reenact.custom_ops import conv2d_resample, fused_bias_act, setup_filter
from latent_reenact.errors import ConfigError
from latent_reenact.models.layers import EqualLinear


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Sizes of a discriminator. The defaults are the published 1024² network."""

    resolution: int = 1024
    channel_base: int = 32768  # channels at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512
    channels: dict[int, int] | None = None  # resolution -> channels, overrides the two above
    last_resolution: int = 4  # where the blocks end; with `patch`, the side of the map of logits
    patch: bool = False  # a map of logits, one for each region (PatchGAN, arXiv 1611.07004), not one for the picture
    group: int = 4  # samples over which the minibatch deviation is taken; 1: no such channel
    conv_clamp: float | None = None  # limit of activations; 256 in networks trained in fp16

    def __post_init__(self) -> None:
        for name in ("resolution", "last_resolution"):
            size = getattr(self, name)
            if size < 4 or size & (size - 1):
                raise ConfigError(f"{name}: got {size}, expected a power of two from 4")
        if self.last_resolution >= self.resolution:
            raise ConfigError(f"last_resolution: got {self.last_resolution}, expected less than {self.resolution}")
        if self.group < 1:
            raise ConfigError(f"group: got {self.group}, expected at least 1")
        if self.channels is not None and set(self.resolutions) - set(self.channels):
            raise ConfigError(f"channels: got {self.channels}, expected one entry for each of {self.resolutions}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """resolution, resolution / 2, ... last_resolution."""
        octaves = int(math.log2(self.resolution // self.last_resolution))
        return tuple(self.resolution >> i for i in range(octaves + 1))

    def width(self, resolution: int) -> int:
        """Channels of the block at `resolution`."""
        if self.channels is not None:
            return self.channels[resolution]
        return min(self.channel_base // resolution, self.channel_max)


class EqualConv2d(nn.Module):
    """Convolution with an equalised learning rate (Karras et al. 2018, section 4.1), optionally blurred and halved."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        down: int = 1,
        bias: bool = True,
        act: str = "lrelu",
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.down, self.act, self.clamp, self.padding = down, act, clamp, kernel // 2
        self.weight_gain = 1 / math.sqrt(c_in * kernel * kernel)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.fir: Tensor
        self.register_buffer("fir", setup_filter([1, 3, 3, 1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] -> [B, C_out, H / down, W / down]."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        x = conv2d_resample(x, weight, self.fir if self.down > 1 else None, down=self.down, padding=self.padding)
        return fused_bias_act(x, self.bias, act=self.act, clamp=self.clamp)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, the second halving, beside a halving 1×1 skip; their sum divided by sqrt 2."""

    def __init__(self, c_in: int, c_out: int, clamp: float | None) -> None:
        super().__init__()
        self.conv = EqualConv2d(c_in, c_in, 3, clamp=clamp)
        self.down_conv = EqualConv2d(c_in, c_out, 3, down=2, clamp=clamp)
        self.skip = EqualConv2d(c_in, c_out, 1, down=2, bias=False, act="linear")

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, r, r] -> [B, C_out, r / 2, r / 2]."""
        return (self.down_conv(self.conv(x)) + self.skip(x)) * math.sqrt(0.5)


def append_deviation(x: Tensor, group: int) -> Tensor:
    """Append the minibatch standard deviation as one more channel (arXiv 1710.10196, section 3).

    x [B, C, r, r] -> [B, C + 1, r, r]: the deviation over groups of samples, averaged over channels and pixels. A
    group holds `group` samples, or the largest divisor of B below that.
    """
    b, _, h, w = x.shape
    size = next(n for n in range(min(group, b), 0, -1) if b % n == 0)
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(size, b // size, -1)  # sample i: group i % n
    deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean(1)  # [B / size]
    channel = deviation.repeat(size)[:, None, None, None].expand(-1, 1, h, w)
    return torch.cat([x, channel.to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """Tells drawn pictures from real ones; twice differentiable, as R1 needs.

    Args:
        config: sizes; the default is the published 1024² network.
    """

    Config = DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        widths, clamp = [config.width(r) for r in config.resolutions], config.conv_clamp
        self.from_rgb = EqualConv2d(3, widths[0], 1, clamp=clamp)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, clamp) for a, b in zip(widths[:-1], widths[1:], strict=True)))
        last = widths[-1]
        self.conv = EqualConv2d(last + (config.group > 1), last, 3, clamp=clamp)
        if config.patch:
            self.to_logits = nn.Sequential(
                EqualConv2d(last, last, 1, clamp=clamp), EqualConv2d(last, 1, 1, act="linear")
            )
        else:
            flat = last * config.last_resolution**2
            self.to_logits = nn.Sequential(nn.Flatten(), EqualLinear(flat, last, act="lrelu"), EqualLinear(last, 1))

    def forward(self, image: Tensor) -> Tensor:
        """image [B, 3, R, R] in [-1, 1] -> logits [B, 1], large for real; with `patch` [B, 1, r, r].

        Raises:
            ValueError: a picture of another size; with `patch` any multiple of R / last_resolution goes.
        """
        self._check(image)
        x = self.blocks(self.from_rgb(image))  # [B, C, r, r]
        if self.config.group > 1:
            x = append_deviation(x, self.config.group)
        return self.to_logits(self.conv(x))

    def _check(self, image: Tensor) -> None:
        size, stride = self.config.resolution, self.config.resolution // self.config.last_resolution
        c, h, w = image.shape[1:]
        fits = h % stride == w % stride == 0 if self.config.patch else h == w == size
        if c != 3 or not fits:
            wanted = f"multiples of {stride}" if self.config.patch else f"{size} x {size}"
            raise ValueError(f"image: got shape {tuple(image.shape)}, expected [B, 3, H, W] with H, W {wanted}")
