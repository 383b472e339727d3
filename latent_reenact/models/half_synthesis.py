"""StyleGAN2's synthesis for inference on GPUs: the same picture as `SynthesisNetwork`, in half precision.

    x --convolution--> filter, demodulate, noise, bias, leaky ReLU, modulate for the next one, RGB --> x

Convolutions run in cuDNN, channels_last, on tensor cores, with weights cast once; all that lies between two of them is
one pass over memory (`custom_ops/styled.py`), and so the modulation of activations is free at any batch size, where a
kernel for each sample would be written and read for each picture. What depends on w_plus alone (modulations,
demodulations, colours) is made for all layers together, in a few batched products.

Memory: at 1024² the passes move 0.49 GB a picture, counted in numbers of two bytes read or written once, and the
convolutions 0.46 GB. One kernel each for modulation, filter, demodulation, noise, activation and RGB, as the plain
network has them, would move 2.7 GB where the passes move 0.49.

Nothing overflows in float16 (mixed precision of Karras et al. 2020, arXiv 2006.06676, appendix):

    s' = s / max |s|        w' = w / (max |w| sqrt(9 C_in)), for each output channel        both cancelled by
    d' = 1 / sqrt(sum (s' w')^2 + eps / (the two scales)^2)

so that a convolution of activations up to a sums up to sqrt(9 C_in) a at most, and `clamp` (the network's own, or
float16's largest number) limits the rest.

Legend: B batch, L styles, D = w_dim, K convolutions, R resolutions, C channels of the widest layer, r side.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.custom_ops import dispatch
from latent_reenact.custom_ops.styled import ToColours, styled_activation
from latent_reenact.errors import ConfigError
from latent_reenact.models.stylegan2 import ModulatedConv2d, NoiseMode, StyledConv, SynthesisBlock, SynthesisNetwork

_SMALL = 1e-15  # in the place of 0, to divide by
_EPSILON = 1e-8  # beside the energy of a kernel, as in `ModulatedConv2d`


class HalfSynthesis:
    """w_plus -> image as `SynthesisNetwork.forward` has it, without gradients.

    Args:
        synthesis: whose weights are taken as they are now, on their device; later changes are not seen.
        dtype: of convolutions and activations: float16, bfloat16 (eight times coarser) or float32.
        backend: of the pass between convolutions: "triton" or "reference" (plain PyTorch); by default Triton's on
            a GPU.

    Holds no state between calls: threads may share it. Everything that it launches can be captured in a CUDA graph,
    once it has run.

    Raises:
        ConfigError: another dtype.
        BackendError: Triton cannot be used here.
    """

    @torch.no_grad()
    def __init__(
        self, synthesis: SynthesisNetwork, dtype: torch.dtype = torch.float16, backend: str | None = None
    ) -> None:
        if dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise ConfigError(f"dtype: got {dtype}, expected torch.float16, bfloat16 or float32")
        device = synthesis.const.device
        self.config, self.dtype = synthesis.config, dtype
        self.backend = backend or ("triton" if device.type == "cuda" else "reference")
        if self.backend != "reference":
            dispatch.load(self.backend, device.type)
        blocks = [block for block in synthesis.blocks if isinstance(block, SynthesisBlock)]
        layers = [layer for block in blocks for layer in (block.up_conv, block.conv) if layer is not None]
        scale = synthesis.const.abs().amax().float().clamp_min(_SMALL)
        self._const = synthesis.const.float() / scale  # [C, 4, 4]; the first demodulation takes the scale back
        self._styles = _Styles(layers, blocks, scale)
        self._convs = [_Conv(layer, dtype) for layer in layers]
        self._colours = [_Colours(block) for block in blocks]

    @torch.inference_mode()
    def __call__(self, w_plus: Tensor, noise_mode: NoiseMode = "const") -> Tensor:
        """w_plus [B, L, D] -> image float32 [B, 3, resolution, resolution], roughly in [-1, 1]."""
        expected = (self.config.n_styles, self.config.w_dim)
        if tuple(w_plus.shape[1:]) != expected:
            raise ValueError(f"w_plus: got shape {tuple(w_plus.shape)}, expected [B, {expected[0]}, {expected[1]}]")
        modulation, demodulation, rgb_weight = self._styles(w_plus.float())
        y: Tensor | None = self._const * modulation[0, :, : len(self._const), None, None]  # [B, C, 4, 4]
        image: Tensor | None = None
        for k, conv in enumerate(self._convs):
            assert y is not None
            x = y.to(self.dtype).contiguous(memory_format=torch.channels_last)
            c = conv.channels
            after = modulation[k + 1, :, :c] if k + 1 < len(self._convs) else None
            colours = None
            if k % 2 == 0:  # ends a resolution: there is one convolution at 4², and two at each that follows
                colours = self._colours[k // 2](rgb_weight[k // 2, :, :, :c], image)
            y, picture = styled_activation(
                conv.convolve(x),
                demodulation[k, :, :c],
                conv.bias,
                after,
                noise=conv.noise_for(noise_mode, len(x)),
                clamp=conv.clamp,
                taps=conv.taps,
                colours=colours,
                backend=self.backend,
            )
            image = image if picture is None else picture
        assert image is not None
        return image


class _Styles:
    """What all layers make of w_plus. Narrower layers are filled up to C with zeros."""

    def __init__(self, layers: list[StyledConv], blocks: list[SynthesisBlock], const_scale: Tensor) -> None:
        convs, rgbs = [layer.conv for layer in layers], [block.to_rgb.conv for block in blocks]
        width = max(conv.weight.shape[0] for conv in convs)
        affines = [conv.affine for conv in (*convs, *rgbs)]
        # Convolution k takes style k; the skip of a resolution shares that of the next convolution.
        rows = [*range(len(convs)), *(2 * i + 1 for i in range(len(rgbs)))]
        self.rows = torch.tensor(rows, device=const_scale.device)
        self.weight = torch.stack([_filled(a.weight.float().T * a.weight_gain, width) for a in affines])  # [K+R, D, C]
        self.bias = torch.stack([_filled(a.bias.float()[None] * a.bias_gain, width) for a in affines])  # [K+R, 1, C]
        energies, epsilons = [], []
        for k, conv in enumerate(convs):
            kernel, scale = _normalised(conv)  # [C_out, C_in, 3, 3], [C_out]
            gain = const_scale if k == 0 else torch.ones_like(const_scale)
            energy = kernel.square().sum((2, 3)).T / gain.square()  # [C_in, C_out]
            energies.append(F.pad(_filled(energy, width), (0, 0, 0, width - len(energy))))
            epsilons.append(_filled((_EPSILON / (scale * gain).square())[None], width, 1.0))
        self.energy, self.epsilon = torch.stack(energies), torch.stack(epsilons)  # [K, C, C], [K, 1, C]
        kernels = [conv.weight.float()[:, :, 0, 0] * conv.fan_in_gain for conv in rgbs]  # [3, C_in]
        self.rgb_weight = torch.stack([_filled(kernel, width) for kernel in kernels])[:, None]  # [R, 1, 3, C]

    def __call__(self, w_plus: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """w_plus [B, L, D] -> modulation [K, B, C], its largest value 1; demodulation [K, B, C]; RGB [R, B, 3, C]."""
        ws = w_plus.transpose(0, 1).index_select(0, self.rows)  # [K + R, B, D]
        styles = torch.baddbmm(self.bias, ws, self.weight)
        style, rgb_style = styles.split([len(self.energy), len(self.rgb_weight)])
        scale = style.abs().amax(2, keepdim=True).clamp_min(_SMALL)  # [K, B, 1]
        style = style / scale
        demodulation = torch.rsqrt(torch.bmm(style.square(), self.energy) + self.epsilon / scale.square())
        return style, demodulation, self.rgb_weight * rgb_style[:, :, None]


class _Conv:
    """A 3×3 convolution of activations that are modulated already, and the constants of the pass after it."""

    def __init__(self, layer: StyledConv, dtype: torch.dtype) -> None:
        kernel, _ = _normalised(layer.conv)
        self.channels, self.up = len(kernel), layer.conv.up
        weight = (kernel.transpose(0, 1) if self.up > 1 else kernel).to(dtype)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = layer.bias.float().clone()
        self.clamp = min(layer.clamp or math.inf, torch.finfo(dtype).max)
        self.strength = layer.noise_strength.float().clone()
        self.noise = (layer.noise_const.float() * self.strength)[None]  # [1, r, r]
        self.taps = layer.conv.fir.float().sum(0) * self.up if self.up > 1 else None  # of the separable filter

    def convolve(self, x: Tensor) -> Tensor:
        """x [B, C_in, r, r] -> [B, C_out, r, r]; up-convolutions, before their filter: [B, C_out, 2r + 1, 2r + 1]."""
        if self.up > 1:
            return F.conv_transpose2d(x, self.weight, stride=2)
        return F.conv2d(x, self.weight, padding=1)

    def noise_for(self, mode: NoiseMode, batch: int) -> Tensor | None:
        """[1 or B, r, r]."""
        if mode == "random":
            return self.strength * torch.randn(batch, *self.noise.shape[1:], device=self.noise.device)
        return self.noise if mode == "const" else None


class _Colours:
    """The constants of a skip to RGB."""

    def __init__(self, block: SynthesisBlock) -> None:
        self.bias, self.taps = block.to_rgb.bias.float().clone(), 2 * block.fir.float().sum(0)

    def __call__(self, weight: Tensor, before: Tensor | None) -> ToColours:
        return ToColours(weight=weight, bias=self.bias, before=before, taps=self.taps)


def _normalised(conv: ModulatedConv2d) -> tuple[Tensor, Tensor]:
    """(kernel [C_out, C_in, k, k], none larger than 1 / sqrt(fan in); what it was divided by [C_out])."""
    weight = conv.weight.float() * (conv.fan_in_gain if conv.scaled_demodulation else 1.0)
    scale = weight.abs().amax((1, 2, 3)).clamp_min(_SMALL) / conv.fan_in_gain
    return weight / scale[:, None, None, None], scale


def _filled(rows: Tensor, width: int, value: float = 0.0) -> Tensor:
    """[N, c] -> [N, width]."""
    return F.pad(rows, (0, width - rows.shape[1]), value=value)
