"""The operators that networks call. Each has its definition in `reference`; `backend` says who computes it.

`backend` is "auto", "reference", "cpu", "triton", "cuda", or None for what `use_backend` or LATENT_REENACT_OPS say.
The back ends agree up to rounding: all but the reference sum in float32 at least, and keep the type and the memory
format of `x`, under autocast too.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (appendix B).
Legend: B batch, C channels, H height, W width, kh/kw filter taps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reference, registration
from .dispatch import choose
from .reference import ACTIVATIONS, Padding, _four, _pad_or_crop, _pair, _taps


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    *,
    backend: str | None = None,
) -> Tensor:
    """Up-sample by zero insertion, pad or crop, filter, and keep every `down`-th pixel.

    Args:
        x: [B, C, H, W].
        f: [kh, kw], or [k] for a separable filter, or None for the identity.
        up, down: integer factors, one for both axes or (x, y).
        padding: with respect to the up-sampled picture; one number, (x, y), or
            (left, right, top, bottom); negative values crop.
        flip_filter: False convolves (the filter is mirrored), True correlates.
        gain: amplitude of the result.

    Returns:
        [B, C, H', W'] with H' = (H * up + top + bottom - kh) // down + 1.

    Raises:
        BackendError: a forced back end cannot run here, or not for such tensors.
    """
    name = choose(x.device.type, x.dtype, backend, f is not None and f.requires_grad)
    if name == "reference":
        return reference.upfirdn2d(x, f, up, down, padding, flip_filter, gain)
    up_x, up_y = _pair(up)
    down_x, down_y = _pair(down)
    left, right, top, bottom = _four(padding)
    taps = x.new_ones(1, 1) if f is None else f.to(x.device)
    taps = taps.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    resample = registration.upfirdn2d
    if taps.ndim == 2:
        padded = [left, right, top, bottom]
        return resample(x, taps, [up_x, up_y], [down_x, down_y], padded, flip_filter, gain, name)
    half = math.sqrt(gain)  # one pass an axis, half of the gain (in decibels) in each
    x = resample(x, taps[None, :], [up_x, 1], [down_x, 1], [left, right, 0, 0], flip_filter, half, name)
    return resample(x, taps[:, None], [1, up_y], [1, down_y], [0, 0, top, bottom], flip_filter, half, name)


def fused_bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """clamp(act(x + bias) * gain).

    Args:
        x: any shape.
        bias: [x.shape[dim]] or None.
        act: a name in `ACTIVATIONS`; its default gain keeps the variance.
        alpha: slope of `lrelu`.
        clamp: limit of the absolute value (0 or more), or None.

    Raises:
        BackendError: a forced back end cannot run here, or not for such tensors.
    """
    name = choose(x.device.type, x.dtype, backend)
    if name == "reference":
        return reference.fused_bias_act(x, bias, dim, act, alpha, gain, clamp)
    _, default_alpha, default_gain = ACTIVATIONS[act]
    return registration.fused_bias_act(
        x,
        None if bias is None else bias.to(x.dtype),
        dim % x.ndim,
        act,
        default_alpha if alpha is None else alpha,
        default_gain if gain is None else gain,
        -1.0 if clamp is None else clamp,
        name,
    )


def filter2d(
    x: Tensor,
    f: Tensor | None,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    *,
    backend: str | None = None,
) -> Tensor:
    """Filter at constant size; `padding` is added to what keeps [H, W]."""
    kw, kh = _taps(f)
    left, right, top, bottom = _four(padding)
    pad = (left + kw // 2, right + (kw - 1) // 2, top + kh // 2, bottom + (kh - 1) // 2)
    return upfirdn2d(x, f, padding=pad, flip_filter=flip_filter, gain=gain, backend=backend)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: int = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    *,
    backend: str | None = None,
) -> Tensor:
    """[B, C, H, W] -> [B, C, H * up, W * up], brightness kept."""
    kw, kh = _taps(f)
    left, right, top, bottom = _four(padding)
    pad = (
        left + (kw + up - 1) // 2,
        right + (kw - up) // 2,
        top + (kh + up - 1) // 2,
        bottom + (kh - up) // 2,
    )
    return upfirdn2d(x, f, up=up, padding=pad, flip_filter=flip_filter, gain=gain * up * up, backend=backend)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: int = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    *,
    backend: str | None = None,
) -> Tensor:
    """[B, C, H, W] -> [B, C, H // down, W // down]."""
    kw, kh = _taps(f)
    left, right, top, bottom = _four(padding)
    pad = (
        left + (kw - down + 1) // 2,
        right + (kw - down) // 2,
        top + (kh - down + 1) // 2,
        bottom + (kh - down) // 2,
    )
    return upfirdn2d(x, f, down=down, padding=pad, flip_filter=flip_filter, gain=gain, backend=backend)


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    *,
    backend: str | None = None,
) -> Tensor:
    """Convolution with FIR up- or down-sampling around it, as one strided convolution where possible.

    Args:
        x: [B, C_in, H, W].
        weight: [C_out, C_in / groups, kh, kw].
        f: FIR filter of `setup_filter`.
        padding: with respect to the up-sampled picture, as in a plain convolution of that size.
        flip_weight: True correlates (what `torch.nn.functional.conv2d` does), False convolves.
    """
    kh, kw = weight.shape[2:]
    fw, fh = _taps(f)
    left, right, top, bottom = _four(padding)
    if up > 1:
        left, right = left + (fw + up - 1) // 2, right + (fw - up) // 2
        top, bottom = top + (fh + up - 1) // 2, bottom + (fh - up) // 2
    if down > 1:
        left, right = left + (fw - down + 1) // 2, right + (fw - down) // 2
        top, bottom = top + (fh - down + 1) // 2, bottom + (fh - down) // 2
    pad = (left, right, top, bottom)
    correlation = weight if flip_weight else weight.flip((2, 3))

    if up == 1 and down == 1:
        if left == right >= 0 and top == bottom >= 0:  # without a padded copy
            return F.conv2d(x, correlation, padding=(top, left), groups=groups)
        return F.conv2d(_pad_or_crop(x, *pad), correlation, groups=groups)
    if up == 1:  # filter, then a strided convolution: only pixels that stay are computed
        x = upfirdn2d(x, f, padding=pad, backend=backend)
        return F.conv2d(x, correlation, stride=down, groups=groups)
    # Zero insertion followed by a convolution is a transposed convolution with the mirrored kernel;
    # it starts kw - 1 pixels early and ends so much late, which the filter's padding takes back.
    transposed = correlation.flip((2, 3)).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    y = F.conv_transpose2d(x, transposed, stride=up, groups=groups)
    # After zero insertion the signal ends with up - 1 zeros that the transposed convolution leaves out.
    pad = (left - (kw - 1), right - (kw - 1) + (up - 1), top - (kh - 1), bottom - (kh - 1) + (up - 1))
    y = upfirdn2d(y, f, padding=pad, gain=up * up, backend=backend)
    return upfirdn2d(y, f, down=down, backend=backend) if down > 1 else y
