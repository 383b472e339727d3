"""The two operators of StyleGAN2 in plain PyTorch: their definition, with gradients of any order.

Sources: `upfirdn2d` is `scipy.signal.upfirdn` along both axes; the resampled convolution and the
fused bias + activation are those of Karras et al. 2020, "Analyzing and Improving the Image Quality
of StyleGAN" (appendix B) and "Training Generative Adversarial Networks with Limited Data".

Legend: B batch, C channels, H height, W width, kh/kw filter taps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = int | Sequence[int]


def setup_filter(
    taps: Tensor | Sequence | None,
    *,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> Tensor | None:
    """Prepare an FIR filter for `upfirdn2d`.

    Args:
        taps: one row of taps (separable) or a 2-d filter; None means the identity.
        normalize: scale the taps to sum to 1 (so that a constant picture keeps its value).
        flip_filter: mirror the taps.
        gain: amplitude; a separable filter takes its square root per axis.
        separable: keep one row (True) or take the outer product (False); by default rows of
            eight taps or more stay separable.

    Returns:
        float32 [kh, kw] or [k], or None.
    """
    if taps is None:
        return None
    f = torch.as_tensor(taps, dtype=torch.float32, device=device)
    if f.ndim == 0:
        f = f[None]
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise ValueError(f"a filter needs one or two dimensions and at least one tap, got shape {tuple(f.shape)}")
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= 8
    if f.ndim == 1 and not separable:
        f = f.outer(f)
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f.flip(list(range(f.ndim)))
    return f * gain ** (f.ndim / 2)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
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
    """
    up_x, up_y = _pair(up)
    down_x, down_y = _pair(down)
    x = _insert_zeros(x, up_x, up_y)
    x = _pad_or_crop(x, *_four(padding))
    if f is None:
        x = x * gain
    elif f.ndim == 1:  # one pass an axis, half of the gain (in decibels) in each
        x = _correlate(x, (f if flip_filter else f.flip(0))[None, :] * math.sqrt(gain))
        x = _correlate(x, (f if flip_filter else f.flip(0))[:, None] * math.sqrt(gain))
    else:
        x = _correlate(x, (f if flip_filter else f.flip((0, 1))) * gain)
    return x[:, :, ::down_y, ::down_x]


# name -> (function of (x, alpha), default alpha, default gain)
ACTIVATIONS: dict[str, tuple[Callable[[Tensor, float], Tensor], float, float]] = {
    "linear": (lambda x, alpha: x, 0.0, 1.0),
    "relu": (lambda x, alpha: F.relu(x), 0.0, math.sqrt(2)),
    "lrelu": (lambda x, alpha: F.leaky_relu(x, alpha), 0.2, math.sqrt(2)),
    "tanh": (lambda x, alpha: torch.tanh(x), 0.0, 1.0),
    "sigmoid": (lambda x, alpha: torch.sigmoid(x), 0.0, 1.0),
    "elu": (lambda x, alpha: F.elu(x), 0.0, 1.0),
    "selu": (lambda x, alpha: F.selu(x), 0.0, 1.0),
    "softplus": (lambda x, alpha: F.softplus(x), 0.0, 1.0),
    "swish": (lambda x, alpha: x * torch.sigmoid(x), 0.0, math.sqrt(2)),
}


def fused_bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """clamp(act(x + bias) * gain).

    Args:
        x: any shape.
        bias: [x.shape[dim]] or None.
        act: a name in `ACTIVATIONS`; its default gain keeps the variance.
        alpha: slope of `lrelu`.
        clamp: limit of the absolute value, or None.
    """
    function, default_alpha, default_gain = ACTIVATIONS[act]
    if bias is not None:
        x = x + bias.to(x.dtype).reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])
    x = function(x, default_alpha if alpha is None else alpha)
    gain = default_gain if gain is None else gain
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _four(padding: Padding) -> tuple[int, int, int, int]:
    """(left, right, top, bottom)."""
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 2:
        return (padding[0], padding[0], padding[1], padding[1])
    left, right, top, bottom = padding
    return (left, right, top, bottom)


def _taps(f: Tensor | None) -> tuple[int, int]:
    """(kw, kh)."""
    return (1, 1) if f is None else (f.shape[-1], f.shape[0])


def resampled(x: Tensor, *size: int) -> Tensor:
    """Room for [B, C, H', W'] in the memory format of x."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    memory_format = torch.channels_last if last else torch.contiguous_format
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=memory_format)


def _insert_zeros(x: Tensor, up_x: int, up_y: int) -> Tensor:
    """up - 1 zeros after every pixel."""
    if up_x == 1 and up_y == 1:
        return x
    b, c, h, w = x.shape
    x = x.reshape(b, c, h, 1, w, 1)
    return F.pad(x, (0, up_x - 1, 0, 0, 0, up_y - 1)).reshape(b, c, h * up_y, w * up_x)


def _pad_or_crop(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    return F.pad(x, (left, right, top, bottom)) if any((left, right, top, bottom)) else x


def _correlate(x: Tensor, f: Tensor) -> Tensor:
    """The same filter [kh, kw] over every channel."""
    channels = x.shape[1]
    return F.conv2d(x, f.to(x.dtype)[None, None].expand(channels, 1, -1, -1), groups=channels)
