"""StyleGAN2's synthesis for inference on CPUs: the same picture as `SynthesisNetwork`, several times sooner.

    x --convolution--> demodulate, noise, bias, leaky ReLU, modulate for the next one, RGB --> x

Convolutions run in oneDNN, channels_last, in bfloat16 where the processor multiplies it; modulations are folded into
the activations (StyleGAN2, section 2.2), so that weights are cast and packed once; all that lies between two
convolutions is one pass over memory (`custom_ops/styled.py`).

Legend: B batch, L styles, D = w_dim, C channels, r resolution.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.custom_ops import styled
from latent_reenact.custom_ops.styled import ToColours, styled_activation
from latent_reenact.errors import ConfigError
from latent_reenact.models.memory import keep_freed_memory
from latent_reenact.models.stylegan2 import ModulatedConv2d, NoiseMode, StyledConv, SynthesisBlock, SynthesisNetwork

Precision = Literal["auto", "bf16", "fp32"]
LAID_OUT_SIDE = 32  # pixels: convolutions of larger pictures do not notice how their weights lie
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def has_bf16() -> bool:
    """The processor multiplies bfloat16 (AVX-512 BF16 or AMX), and PyTorch's convolutions know."""
    looks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return torch.backends.mkldnn.is_available() and any(getattr(torch.cpu, look, bool)() for look in looks)


class FastSynthesis:
    """w_plus -> image as `SynthesisNetwork.forward` has it, without gradients, on the CPU.

    Args:
        synthesis: whose weights are taken as they are now; later changes are not seen.
        precision: of the convolutions: "fp32", "bf16", or "auto": bf16 where the processor has it.

    Holds no state between calls: threads may share it. At 256² and above the process keeps memory that it frees
    (`keep_freed_memory`).

    Raises:
        ConfigError: an unknown precision, or a network that is not on the CPU.
        BackendError: no C++ compiler.
    """

    @torch.no_grad()
    def __init__(self, synthesis: SynthesisNetwork, precision: Precision = "auto") -> None:
        if precision not in ("auto", *_DTYPES):
            raise ConfigError(f"precision: got {precision!r}, expected auto, bf16 or fp32")
        if synthesis.const.device.type != "cpu":
            raise ConfigError(f"the fast synthesis runs on the CPU, the network is on {synthesis.const.device}")
        self.config = synthesis.config
        self.dtype = _DTYPES["bf16" if has_bf16() else "fp32"] if precision == "auto" else _DTYPES[precision]
        styled.load()
        if self.config.resolution >= 256:
            keep_freed_memory()
        self._const = synthesis.const.float().clone()
        self._blocks = []
        for block in synthesis.blocks:
            assert isinstance(block, SynthesisBlock)
            self._blocks.append(_Block(block, self.dtype))

    @torch.inference_mode()
    def __call__(self, w_plus: Tensor, noise_mode: NoiseMode = "const") -> Tensor:
        """w_plus [B, L, D] -> image float32 [B, 3, resolution, resolution], roughly in [-1, 1]."""
        expected = (self.config.n_styles, self.config.w_dim)
        if tuple(w_plus.shape[1:]) != expected:
            raise ValueError(f"w_plus: got shape {tuple(w_plus.shape)}, expected [B, {expected[0]}, {expected[1]}]")
        styles = self._styles(w_plus.float())
        x = self._const * styles[0][0][:, :, None, None]  # [B, C, 4, 4]
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for i, block in enumerate(self._blocks):
            following = styles[i + 1][0] if i + 1 < len(styles) else None
            x, image = block(x, image, styles[i], following, noise_mode)
        assert image is not None
        return image

    def _styles(self, w_plus: Tensor) -> list[list[Tensor]]:
        """For each block the modulation [B, C_in] of each convolution, that of its RGB last."""
        ws, index, styles = w_plus.unbind(1), 0, []
        for block in self._blocks:
            layers = [*(conv.affine for conv in block.convs), block.rgb_affine]
            styles.append([affine(w) for affine, w in zip(layers, ws[index:], strict=False)])
            index += len(block.convs)
        return styles


@dataclass(frozen=True)
class _Affine:
    """An `EqualLinear` without activation, its gain in the weight."""

    weight: Tensor  # [C, D]
    bias: Tensor  # [C]

    @classmethod
    def of(cls, conv: ModulatedConv2d) -> _Affine:
        layer = conv.affine
        return cls(layer.weight.float() * layer.weight_gain, layer.bias.float() * layer.bias_gain)

    def __call__(self, w: Tensor) -> Tensor:
        """[B, D] -> [B, C]."""
        return F.linear(w, self.weight, self.bias)


class _Conv:
    """A 3×3 convolution of activations that are modulated already, and everything up to the next one."""

    def __init__(self, layer: StyledConv, dtype: torch.dtype) -> None:
        conv = layer.conv
        self.up, self.clamp = conv.up, layer.clamp
        weight = conv.weight.float() * (conv.fan_in_gain if conv.scaled_demodulation else 1.0)
        self.affine = _Affine.of(conv)
        self.energy = weight.square().sum((2, 3)).T.contiguous()  # [C_in, C_out]
        self.bias, self.strength = layer.bias.float().clone(), layer.noise_strength.item()
        self.noise = layer.noise_const.float()[None] * self.strength  # [1, r, r]
        self.taps = conv.fir.float().sum(0) * conv.up if conv.up > 1 else None  # of the separable filter
        weight = (weight.transpose(0, 1) if conv.up > 1 else weight).to(dtype)
        self.convolve = _convolution(weight, conv.up, layer.resolution // conv.up)

    def __call__(
        self, x: Tensor, style: Tensor, after: Tensor | None, noise_mode: NoiseMode, colours: ToColours | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """x [B, C_in, r, r] -> ([B, C_out, r * up, r * up], scaled by `after` [B, C_out]; picture)."""
        demodulation = torch.rsqrt(style.square() @ self.energy + 1e-8)  # StyleGAN2, equation 3
        x = self.convolve(x)  # up-convolutions: [B, C_out, 2r + 1, 2r + 1], before the filter
        return styled_activation(
            x,
            demodulation,
            self.bias,
            after,
            noise=self._noise(noise_mode, len(x)),
            clamp=self.clamp,
            taps=self.taps,
            colours=colours,
        )

    def _noise(self, mode: NoiseMode, batch: int) -> Tensor | None:
        """[1 or B, r, r]."""
        if mode == "none" or self.strength == 0:
            return None
        return self.noise if mode == "const" else self.strength * torch.randn(batch, *self.noise.shape[1:])


def _convolution(weight: Tensor, up: int, side: int) -> Callable[[Tensor], Tensor]:
    """x [B, C_in, side, side] -> conv2d(x, weight, padding=1), or for up = 2 conv_transpose2d(x, weight, stride=2).

    oneDNN lays weights out in its own way at every call, which costs small pictures a tenth of their time, unless they
    come so. PyTorch's compiler has operators for that, under names that may change: without them nothing is lost but
    that tenth.
    """
    weight = weight.contiguous(memory_format=torch.channels_last)
    ops, size = torch.ops.mkldnn, [1, weight.shape[0 if up > 1 else 1], side, side]
    none: tuple[str, list, str] = ("none", [], "")  # no activation
    if side <= LAID_OUT_SIDE and up > 1:
        how = ([0, 0], [0, 0], [2, 2], [1, 1], 1)  # padding, output padding, stride, dilation, groups
        with contextlib.suppress(AttributeError, RuntimeError, TypeError):
            packed = ops._reorder_convolution_transpose_weight(weight, *how, size)
            return lambda x: ops._convolution_transpose_pointwise(x, packed, None, *how, *none)
    if side <= LAID_OUT_SIDE and up == 1:
        same = ([1, 1], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
        with contextlib.suppress(AttributeError, RuntimeError, TypeError):
            packed = ops._reorder_convolution_weight(weight, *same, size)
            return lambda x: ops._convolution_pointwise(x, packed, None, *same, *none)
    return lambda x: F.conv_transpose2d(x, weight, stride=2) if up > 1 else F.conv2d(x, weight, padding=1)


class _Block:
    """One resolution."""

    def __init__(self, block: SynthesisBlock, dtype: torch.dtype) -> None:
        layers = [block.conv] if block.up_conv is None else [block.up_conv, block.conv]
        self.convs = [_Conv(layer, dtype) for layer in layers]
        rgb = block.to_rgb
        self.taps = 2 * block.fir.float().sum(0)
        self.rgb_affine = _Affine.of(rgb.conv)
        self.rgb_weight = rgb.conv.weight.float()[:, :, 0, 0] * rgb.conv.fan_in_gain  # [3, C]
        self.rgb_bias = rgb.bias.float().clone()

    def __call__(
        self, x: Tensor, image: Tensor | None, styles: list[Tensor], following: Tensor | None, noise_mode: NoiseMode
    ) -> tuple[Tensor, Tensor]:
        """`following`: modulation of the next block's first convolution; None: the picture is ready, x worthless."""
        *before, style, rgb_style = styles
        for conv, own in zip(self.convs[:-1], before, strict=True):
            y, _ = conv(x, own, style, noise_mode, None)
            assert y is not None
            x = y
        weight = self.rgb_weight * rgb_style[:, None]  # [B, 3, C]
        colours = ToColours(weight=weight, bias=self.rgb_bias, before=image, taps=self.taps)
        y, image = self.convs[-1](x, style, following, noise_mode, colours)
        assert image is not None
        return x if y is None else y, image
