"""What follows a 3×3 convolution of StyleGAN2's synthesis, as one operator for inference.

    v = clamp(lrelu(scale · fir(x) + noise + bias) · √2);  y = after · v
    rgb = upsample(before) + clamp(rgb_weight v + rgb_bias)

The demodulation (`scale`) and the next convolution's modulation (`after`) are those of Karras et al. 2020, "Analyzing
and Improving the Image Quality of StyleGAN", section 2.2; the FIR filter follows an up-convolution (appendix B).

Legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import c_char_p, c_float, c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BackendError
from . import build, reference
from .native import DTYPES

SLOPE, GAIN = 0.2, math.sqrt(2)
# x, y, dtype, b, h, w, c, taps, scale, bias, noise, noise_step, slope, gain, clamp, after, rgb, before, rgb_taps,
# rgb_weight, rgb_bias, rgb_clamp, threads
_ARGUMENTS: list = [
    *([c_void_p] * 2 + [c_int] * 5 + [c_void_p] * 4 + [c_int64] + [c_float] * 3),
    *([c_void_p] * 6 + [c_float, c_int]),
]


@dataclass(frozen=True, kw_only=True)
class ToColours:
    """A 1×1 convolution to RGB, added to the picture of half the size."""

    weight: Tensor  # float32 [B, 3, C], modulated
    bias: Tensor  # float32 [3]
    before: Tensor | None  # float32 [B, 3, H / 2, W / 2], or None: the first one
    taps: Tensor  # float32 [4] of the separable filter that doubles it, gain included


@torch.no_grad()
def styled_activation(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    after: Tensor | None,
    *,
    noise: Tensor | None = None,
    clamp: float | None = None,
    taps: Tensor | None = None,
    colours: ToColours | None = None,
    backend: str = "cpu",
) -> tuple[Tensor | None, Tensor | None]:
    """Everything between two convolutions, in one pass. Without a gradient.

    Args:
        x: float32, bfloat16 or (on GPUs) float16 [B, C, H, W], channels_last; with `taps` [B, C, H + 1, W + 1], what
            a transposed convolution leaves. Without `taps` the result takes its place.
        scale: float32 [B, C], the demodulation.
        bias: float32 [C].
        after: float32 [B, C], the modulation of what comes next; None: only the colours are wanted.
        noise: float32 [1 or B, H, W], its strength included, or None.
        clamp: limit of v and of the colours, or None.
        taps: float32 [4] of a separable filter along each axis, gain included, or None.
        colours: how the picture grows, or None; not together with `taps`.
        backend: "cpu" (C++), "triton" (GPUs) or "reference".

    Returns:
        (y [B, C, H, W] of x's type, channels_last, or None; the picture float32 [B, 3, H, W], or None).

    Raises:
        BackendError: no C++ compiler ("reference" needs none), or it failed.
    """
    if backend == "reference":
        return _reference(x, scale, bias, after, noise, clamp, taps, colours)
    assert taps is None or colours is None
    if backend == "triton":
        return _on_gpu(x, scale, bias, after, noise, clamp, taps, colours)
    function = load()
    b, c, h, w = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    y: Tensor | None = x if after is not None else None
    if taps is not None:
        h, w = h - 1, w - 1
        y = torch.empty((b, c, h, w), dtype=x.dtype, memory_format=torch.channels_last)
    limit = math.inf if clamp is None else clamp
    step = h * w if noise is not None and len(noise) > 1 else 0
    rgb: list[Tensor | None] = [None] * 5
    if colours is not None:
        rgb = [torch.empty(b, 3, h, w), colours.before, colours.taps, colours.weight, colours.bias]
    used = [taps, scale, bias, noise, scale if after is None else after, *rgb]
    used = [None if t is None else t.contiguous() for t in used]
    assert all(t is None or t.dtype == torch.float32 for t in used)
    pointers = [None if t is None else t.data_ptr() for t in used]
    size, numbers = (DTYPES[x.dtype], b, h, w, c), (step, SLOPE, GAIN, limit)
    ends = (limit, torch.get_num_threads())
    to = None if y is None else y.data_ptr()
    message = function(x.data_ptr(), to, *size, *pointers[:4], *numbers, *pointers[4:], *ends)
    assert message is None, message
    return y, used[5]


def _on_gpu(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    after: Tensor | None,
    noise: Tensor | None,
    clamp: float | None,
    taps: Tensor | None,
    colours: ToColours | None,
) -> tuple[Tensor | None, Tensor | None]:
    from . import styled_triton

    x = x.contiguous(memory_format=torch.channels_last)
    numbers = (SLOPE, GAIN, math.inf if clamp is None else clamp)
    if taps is not None:
        assert after is not None
        return styled_triton.filtered(x, scale, bias, after, noise, numbers, taps), None
    rgb = (None,) * 4 if colours is None else (colours.weight, colours.bias, colours.before, colours.taps)
    picture = styled_triton.plain(x, scale, bias, after, noise, numbers, *rgb)
    return None if after is None else x, picture


def _reference(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    after: Tensor | None,
    noise: Tensor | None,
    clamp: float | None,
    taps: Tensor | None,
    colours: ToColours | None,
) -> tuple[Tensor | None, Tensor | None]:
    """The definition, in float32."""
    v = x.float()
    if taps is not None:
        v = reference.upfirdn2d(v, taps.outer(taps), padding=1, flip_filter=True)
    v = v * scale[:, :, None, None]
    if noise is not None:
        v = v + noise[:, None]
    limit = math.inf if clamp is None else clamp
    v = (F.leaky_relu(v + bias[:, None, None], SLOPE) * GAIN).clamp(-limit, limit)
    y = None if after is None else (v * after[:, :, None, None]).to(x.dtype)
    picture = None if colours is None else _coloured(v, colours, limit)
    return None if y is None else y.contiguous(memory_format=torch.channels_last), picture


def _coloured(v: Tensor, colours: ToColours, limit: float) -> Tensor:
    rgb = torch.einsum("bchw,bkc->bkhw", v, colours.weight) + colours.bias[:, None, None]
    rgb = rgb.clamp(-limit, limit)
    if colours.before is None:
        return rgb
    f = colours.taps.outer(colours.taps)
    return rgb + reference.upfirdn2d(colours.before, f, up=2, padding=(2, 1, 2, 1), flip_filter=True)


@cache
def load() -> Any:
    """The C++, compiled (in a second or two) or taken from the cache, once a process.

    Raises:
        BackendError: no compiler, or it failed; one line.
    """
    reason = build.missing("cpu")
    if reason:
        raise BackendError(reason)
    function = ctypes.CDLL(str(build.library(build.SOURCES, "cpu", "styled"))).styled
    function.argtypes, function.restype = _ARGUMENTS, c_char_p
    return function
