"""StyleGAN2's generator, config F (Karras et al. 2020, arXiv 1912.04958; appendix B of arXiv 2006.06676).

    z --mapping--> w --(repeat, truncate)--> w_plus --synthesis--> image

Legend: B batch, L = n_styles = 2 log2(resolution) - 2, D = w_dim, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latent_reenact.custom_ops import conv2d_resample, fused_bias_act, scaled_bias_act, setup_filter, upsample2d
from latent_reenact.errors import ConfigError
from latent_reenact.models.layers import EqualLinear

NoiseMode = Literal["const", "random", "none"]
Modulation = Literal["activations", "weights"]


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Sizes of a StyleGAN2 generator. The defaults are the published 1024² network."""

    resolution: int = 1024
    z_dim: int = 512
    w_dim: int = 512
    label_dim: int = 0  # > 0: a conditional generator, whose label [label_dim] joins z
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01  # weights and biases are stored 1 / lr_multiplier too large
    mapping_skip: bool = False  # w = (MLP(z) + Linear(z)) / sqrt 2: keeps every known factor linearly readable
    normalize_z: bool = True  # divide z by its root mean square
    channel_base: int = 32768  # channels at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512
    channels: dict[int, int] | None = None  # resolution -> channels, overrides the two above
    conv_clamp: float | None = None  # limit of activations; 256 in networks trained in fp16
    scaled_demodulation: bool = True  # epsilon beside the scaled weight (rosinality) or the stored one (NVIDIA)

    def __post_init__(self) -> None:
        log2 = math.log2(self.resolution) if self.resolution > 0 else 0.0
        if log2 != int(log2) or not 8 <= self.resolution <= 2048:
            raise ConfigError(f"resolution: got {self.resolution}, expected a power of two from 8 to 2048")
        if self.channels is not None and set(self.resolutions) - set(self.channels):
            raise ConfigError(f"channels: got {self.channels}, expected one entry for each of {self.resolutions}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... resolution."""
        return tuple(2**i for i in range(2, int(math.log2(self.resolution)) + 1))

    @property
    def n_styles(self) -> int:
        """Style vectors of W+: 18 at 1024², 10 at 64²."""
        return 2 * int(math.log2(self.resolution)) - 2

    def width(self, resolution: int) -> int:
        """Channels of the block at `resolution`."""
        if self.channels is not None:
            return self.channels[resolution]
        return min(self.channel_base // resolution, self.channel_max)


class MappingNetwork(nn.Module):
    """z -> w: eight equalised layers with leaky ReLU (StyleGAN, section 2)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        n_in = config.z_dim + (config.w_dim if config.label_dim else 0)
        self.embed = EqualLinear(config.label_dim, config.w_dim) if config.label_dim else None
        widths = [n_in] + [config.w_dim] * config.mapping_layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_multiplier=config.mapping_lr_multiplier, act="lrelu")
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.skip = EqualLinear(n_in, config.w_dim) if config.mapping_skip else None
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(self, z: Tensor, truncation_psi: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """z [B, z_dim], labels [B, label_dim] of a conditional generator -> w [B, D].

        psi < 1 pulls w towards the average face.
        """
        if self.config.normalize_z:
            z = _unit_variance(z)
        got = None if labels is None else tuple(labels.shape)
        expected = None if self.embed is None else (len(z), self.config.label_dim)
        if got != expected:
            raise ConfigError(f"labels: got {got}, expected {expected}; only a conditional generator takes them")
        if self.embed is not None and labels is not None:
            z = torch.cat([z, _unit_variance(self.embed(labels))], dim=1)
        w = z
        for layer in self.layers:
            w = layer(w)
        if self.skip is not None:
            w = (w + self.skip(z)) * math.sqrt(0.5)
        return w if truncation_psi == 1 else self.w_avg.lerp(w, truncation_psi)


def _unit_variance(x: Tensor) -> Tensor:
    """x [B, N], each row divided by its root mean square."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class ModulatedConv2d(nn.Module):
    """Convolution whose kernel is scaled per input channel by the style and brought back to unit variance.

    w' = s_i w_ijk, w'' = w' / sqrt(sum w'^2 + eps) (StyleGAN2, equations 1 and 3). `modulation` says where the
    scales go: on the activations before and after one convolution that all samples share (the default), or
    into a kernel per sample, as the equations have it. The results agree to rounding.
    """

    modulation: Modulation = "activations"

    def __init__(self, c_in: int, c_out: int, kernel: int, config: GeneratorConfig, *, up: int = 1, demodulate=True):
        super().__init__()
        self.up, self.demodulate = up, demodulate
        self.padding = kernel // 2
        self.fan_in_gain = 1 / math.sqrt(c_in * kernel * kernel)
        self.scaled_demodulation = config.scaled_demodulation
        self.affine = EqualLinear(config.w_dim, c_in, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.fir: Tensor
        self.register_buffer("fir", setup_filter([1, 3, 3, 1]), persistent=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, C_in, H, W], w [B, D] -> [B, C_out, H * up, W * up]."""
        return scaled_bias_act(*self.modulate_and_convolve(x, w))

    def modulate_and_convolve(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `forward` gives before the demodulation [B, C_out], and that; None where there is none left to do."""
        style = self.affine(w)  # [B, C_in]
        scaled = self.scaled_demodulation or not self.demodulate
        weight = self.weight * self.fan_in_gain if scaled else self.weight
        if self.modulation == "weights":
            return self._modulate_weights(x, style, weight), None
        demodulation = self._demodulation(style, weight) if self.demodulate else None  # [B, C_out]
        return self._convolve(scaled_bias_act(x, style), weight.to(x.dtype)), demodulation

    def _convolve(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        f = self.fir if self.up > 1 else None
        return conv2d_resample(x, weight, f, up=self.up, padding=self.padding, groups=groups, flip_weight=self.up == 1)

    def _modulate_weights(self, x: Tensor, style: Tensor, weight: Tensor) -> Tensor:
        kernels = weight[None] * style[:, None, :, None, None]  # [B, C_out, C_in, k, k]
        if self.demodulate:
            kernels = kernels * torch.rsqrt(kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        y = self._convolve(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1).to(x.dtype), groups=len(x))
        return y.reshape(len(x), -1, *y.shape[2:])

    @staticmethod
    def _demodulation(style: Tensor, weight: Tensor) -> Tensor:
        """1 / sqrt(sum over C_in, k, k of (s w)^2 + eps), [B, C_out]."""
        style2, weight2 = _at_least_float32(style).square(), _at_least_float32(weight).square()
        return torch.rsqrt(style2 @ weight2.sum((2, 3)).T + 1e-8)


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU (StyleGAN2, figure 2c)."""

    def __init__(self, c_in: int, c_out: int, resolution: int, config: GeneratorConfig, *, up: int = 1) -> None:
        super().__init__()
        self.resolution, self.clamp = resolution, config.conv_clamp
        self.conv = ModulatedConv2d(c_in, c_out, 3, config, up=up)
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.noise_const: Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise_mode: NoiseMode) -> Tensor:
        x, demodulation = self.conv.modulate_and_convolve(x, w)  # [B, C_out, r, r]
        noise = self._noise(x, noise_mode)
        return scaled_bias_act(x, demodulation, self.bias, noise, act="lrelu", clamp=self.clamp)

    def _noise(self, x: Tensor, noise_mode: NoiseMode) -> Tensor | None:
        """[r, r] or [B, 1, r, r]; None for none."""
        if noise_mode == "const":
            return self.noise_const * self.noise_strength
        if noise_mode == "random":
            return torch.randn(x.shape[0], 1, *x.shape[2:], device=x.device) * self.noise_strength
        return None


class ToRGB(nn.Module):
    """1×1 modulated convolution to RGB, not demodulated; sums up over resolutions (output skips)."""

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.conv = ModulatedConv2d(channels, 3, 1, config, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return fused_bias_act(_at_least_float32(self.conv(x, w)), self.bias, clamp=self.clamp)  # [B, 3, r, r]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class SynthesisBlock(nn.Module):
    """One resolution: an up-sampling and a plain styled convolution, and the skip to RGB."""

    def __init__(self, c_in: int, c_out: int, resolution: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.up_conv = StyledConv(c_in, c_out, resolution, config, up=2) if resolution > 4 else None
        self.conv = StyledConv(c_out, c_out, resolution, config)
        self.to_rgb = ToRGB(c_out, config)
        self.fir: Tensor
        self.register_buffer("fir", setup_filter([1, 3, 3, 1]), persistent=False)

    def forward(
        self, x: Tensor, image: Tensor | None, styles: list[Tensor], noise_mode: NoiseMode
    ) -> tuple[Tensor, Tensor]:
        """`styles`: one w [B, D] per convolution, and the last for the skip."""
        *conv_styles, rgb_style = styles
        if self.up_conv is not None:
            x = self.up_conv(x, conv_styles[0], noise_mode)
        x = self.conv(x, conv_styles[-1], noise_mode)
        rgb = self.to_rgb(x, rgb_style)
        return x, rgb if image is None else upsample2d(image, self.fir) + rgb


class SynthesisNetwork(nn.Module):
    """w_plus -> image: a learned 4×4 constant grown by blocks."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width(r) for r in config.resolutions]
        self.const = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.blocks = nn.ModuleList(
            SynthesisBlock(a, b, r, config)
            for a, b, r in zip([widths[0], *widths[:-1]], widths, config.resolutions, strict=True)
        )

    def forward(self, w_plus: Tensor, noise_mode: NoiseMode = "const") -> Tensor:
        """w_plus [B, L, D] -> image [B, 3, resolution, resolution], roughly in [-1, 1].

        Block r takes its convolutions' styles in order; its RGB skip shares the next block's first style.
        """
        expected = (self.config.n_styles, self.config.w_dim)
        if tuple(w_plus.shape[1:]) != expected:
            raise ValueError(f"w_plus: got shape {tuple(w_plus.shape)}, expected [B, {expected[0]}, {expected[1]}]")
        ws = w_plus.unbind(1)
        x = self.const.expand(len(w_plus), -1, -1, -1)  # [B, C, 4, 4]
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        x = x.contiguous(memory_format=self._memory_format())
        image: Tensor | None = None
        index = 0
        for block in self.blocks:
            assert isinstance(block, SynthesisBlock)
            n_convs = 1 if block.up_conv is None else 2
            x, image = block(x, image, list(ws[index : index + n_convs + 1]), noise_mode)
            index += n_convs
        assert image is not None
        return image

    def _memory_format(self) -> torch.memory_format:
        weight = self.get_parameter("blocks.0.conv.conv.weight")
        is_channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        return torch.channels_last if is_channels_last else torch.contiguous_format


class StyleGAN2Generator(nn.Module):
    """The whole generator.

    Args:
        config: sizes; the default is the published 1024² network.
    """

    Config = GeneratorConfig

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config or GeneratorConfig()
        self.mapping = MappingNetwork(self.config)
        self.synthesis = SynthesisNetwork(self.config)

    def set_modulation(self, modulation: Modulation) -> None:
        """Scale activations or weights in every convolution (see `ModulatedConv2d`)."""
        for module in self.modules():
            if isinstance(module, ModulatedConv2d):
                module.modulation = modulation

    def broadcast(self, w: Tensor) -> Tensor:
        """w [B, D] -> the same style at every layer, w_plus [B, L, D]."""
        return w[:, None].expand(-1, self.config.n_styles, -1)

    def map_to_w_plus(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """z [B, z_dim] -> w_plus [B, L, D], truncated in the first `truncation_cutoff` layers (all by default)."""
        w_plus = self.broadcast(self.mapping(z, labels=labels))
        if truncation_psi == 1:
            return w_plus
        cutoff = self.config.n_styles if truncation_cutoff is None else truncation_cutoff
        truncated = self.mapping.w_avg.lerp(w_plus[:, :cutoff], truncation_psi)
        return torch.cat([truncated, w_plus[:, cutoff:]], dim=1)

    def forward(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: NoiseMode = "const",
        labels: Tensor | None = None,
    ) -> Tensor:
        """z [B, z_dim] -> image [B, 3, resolution, resolution], roughly in [-1, 1]."""
        w_plus = self.map_to_w_plus(z, truncation_psi, truncation_cutoff, labels)
        return self.synthesis(w_plus, noise_mode=noise_mode)
