"""The raw operators as Triton kernels (what each promises is told in `dispatch`).

One program computes a tile of pixels by channels. In channels_last the channels lie side by side, and a tile spans
many; in NCHW the pixels do, and a tile has one channel. Sums in float32, rounded once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .reference import resampled

_TILE = 1024  # results a program
_SELU_SCALE = tl.constexpr(1.0507009873554805)  # lambda and alpha of Klambauer et al. 2017, equation 14
_SELU_ALPHA = tl.constexpr(1.6732632423543772)


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up_x: int,
    up_y: int,
    down_x: int,
    down_y: int,
    left: int,
    right: int,
    top: int,
    bottom: int,
    flip_filter: bool,
    gain: float,
) -> Tensor:
    b, c, h, w = x.shape
    kh, kw = f.shape
    h_out = (h * up_y + top + bottom - kh) // down_y + 1
    w_out = (w * up_x + left + right - kw) // down_x + 1
    last = not x.is_contiguous()  # channels_last then
    y = resampled(x, h_out, w_out)
    channels = min(triton.next_power_of_2(c), 128) if last else 1
    pixels = _TILE // channels
    tiles = triton.cdiv(h_out * w_out, pixels)
    groups = triton.cdiv(c, channels)
    with torch.cuda.device_of(x):
        _upfirdn2d[(tiles * groups * b,)](
            x, f, y, h, w, h_out, w_out, c, tiles, groups, left, top, gain, *x.stride(), *y.stride(),
            UP_X=up_x, UP_Y=up_y, DOWN_X=down_x, DOWN_Y=down_y, KW=kw, KH=kh, MIRROR=not flip_filter,
            PIXELS=pixels, CHANNELS=channels,
        )  # fmt: skip
    return y


@triton.jit
def _upfirdn2d(
    x_ptr, f_ptr, y_ptr, h, w, h_out, w_out, c, tiles, groups, left, top, gain,
    x_b, x_c, x_h, x_w, y_b, y_c, y_h, y_w,
    UP_X: tl.constexpr, UP_Y: tl.constexpr, DOWN_X: tl.constexpr, DOWN_Y: tl.constexpr,
    KW: tl.constexpr, KH: tl.constexpr, MIRROR: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """y[b, c, p] for one b, PIXELS pixels and CHANNELS channels."""
    program = tl.program_id(0)
    tile, group, b = program % tiles, (program // tiles) % groups, program // tiles // groups
    pixel = tile * PIXELS + tl.arange(0, PIXELS)[:, None]  # [P, 1]
    channel = group * CHANNELS + tl.arange(0, CHANNELS)[None, :]  # [1, C]
    row, column = pixel // w_out, pixel % w_out
    inside = (pixel < h_out * w_out) & (channel < c)
    x_ptr += b.to(tl.int64) * x_b + channel.to(tl.int64) * x_c
    # The first tap that meets a pixel, not an inserted zero; from there every UP-th does.
    start_y, start_x = row * DOWN_Y - top, column * DOWN_X - left  # in the up-sampled picture
    first_y, first_x = ((-start_y) % UP_Y + UP_Y) % UP_Y, ((-start_x) % UP_X + UP_X) % UP_X
    in_y, in_x = (start_y + first_y) // UP_Y, (start_x + first_x) // UP_X  # exact: both are multiples
    total = tl.full([PIXELS, CHANNELS], 0.0, tl.float32)
    for j in range((KH + UP_Y - 1) // UP_Y):
        ky, y = first_y + j * UP_Y, in_y + j
        use_y = inside & (ky < KH) & (y >= 0) & (y < h)
        for i in range((KW + UP_X - 1) // UP_X):
            kx, x = first_x + i * UP_X, in_x + i
            use = use_y & (kx < KW) & (x >= 0) & (x < w)
            tap = KH * KW - 1 - (ky * KW + kx) if MIRROR else ky * KW + kx
            weight = tl.load(f_ptr + tap, mask=(ky < KH) & (kx < KW), other=0.0)  # [P, 1]
            value = tl.load(x_ptr + y.to(tl.int64) * x_h + x.to(tl.int64) * x_w, mask=use, other=0.0)
            total += weight * value.to(tl.float32)
    place = b.to(tl.int64) * y_b + channel.to(tl.int64) * y_c + row.to(tl.int64) * y_h + column.to(tl.int64) * y_w
    tl.store(y_ptr + place, (total * gain).to(y_ptr.dtype.element_ty), mask=inside)


def bias_act(
    x: Tensor,
    bias: Tensor | None,
    grad: Tensor | None,
    order: int,
    dim: int,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
) -> Tensor:
    y = torch.empty_like(x)
    with torch.cuda.device_of(x):
        _bias_act[(triton.cdiv(x.numel(), _TILE),)](
            x, bias, grad, y, x.numel(), x.stride(dim), x.shape[dim], alpha, gain, clamp,
            ORDER=order, ACT=act, CLAMP=clamp >= 0, WIDE=x.numel() > 2**31 - _TILE, TILE=_TILE,
        )  # fmt: skip
    return y


@triton.jit
def _bias_act(
    x_ptr, bias_ptr, grad_ptr, y_ptr, size, stride, channels, alpha, gain, clamp,
    ORDER: tl.constexpr, ACT: tl.constexpr, CLAMP: tl.constexpr,
    WIDE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    i = program * TILE + tl.arange(0, TILE)
    inside = i < size
    x = tl.load(x_ptr + i, mask=inside, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        x += tl.load(bias_ptr + (i // stride) % channels, mask=inside, other=0.0).to(tl.float32)
    y = _activation(x, alpha, ACT) * gain
    if ORDER == 0:
        if CLAMP:
            y = tl.where(y > clamp, clamp, tl.where(y < -clamp, -clamp, y))  # NaN stays
    else:
        slope = _slope(x, alpha, ACT) if ORDER == 1 else _curvature(x, ACT)
        slope *= gain * tl.load(grad_ptr + i, mask=inside, other=0.0).to(tl.float32)
        y = tl.where((y > clamp) | (y < -clamp), 0.0, slope) if CLAMP else slope
    tl.store(y_ptr + i, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _activation(x, alpha, ACT: tl.constexpr):
    """The activation of that position in `ACTIVATIONS`; NaN stays NaN."""
    y = x
    if ACT == 1:  # relu
        y = tl.where(x < 0, 0.0, x)
    elif ACT == 2:  # lrelu
        y = tl.where(x > 0, x, x * alpha)
    elif ACT == 3:  # tanh
        y = _tanh(x)
    elif ACT == 4:  # sigmoid
        y = _sigmoid(x)
    elif ACT == 5:  # elu
        y = tl.where(x > 0, x, tl.exp(x) - 1)
    elif ACT == 6:  # selu
        y = _SELU_SCALE * tl.where(x > 0, x, _SELU_ALPHA * (tl.exp(x) - 1))
    elif ACT == 7:  # softplus
        y = tl.where(x < 0, 0.0, x) + tl.log(1 + tl.exp(-tl.abs(x)))
    elif ACT == 8:  # swish
        y = x * _sigmoid(x)
    return y


@triton.jit
def _slope(x, alpha, ACT: tl.constexpr):
    """The first derivative."""
    y = tl.where(x == x, 1.0, x)  # linear
    if ACT == 1:
        y = tl.where(x > 0, 1.0, 0.0)
    elif ACT == 2:
        y = tl.where(x > 0, 1.0, alpha)
    elif ACT == 3:
        y = 1 - _tanh(x) * _tanh(x)
    elif ACT == 4:
        y = _sigmoid(x) * _sigmoid(-x)
    elif ACT == 5:
        y = tl.where(x > 0, 1.0, tl.exp(x))
    elif ACT == 6:
        y = _SELU_SCALE * tl.where(x > 0, 1.0, _SELU_ALPHA * tl.exp(x))
    elif ACT == 7:
        y = _sigmoid(x)
    elif ACT == 8:
        y = _sigmoid(x) * (1 + x * _sigmoid(-x))
    return y


@triton.jit
def _curvature(x, ACT: tl.constexpr):
    """The second derivative, of those that have one."""
    bell = _sigmoid(x) * _sigmoid(-x)
    y = bell  # softplus
    if ACT == 3:
        y = -2 * _tanh(x) * (1 - _tanh(x) * _tanh(x))
    elif ACT == 4:
        y = bell * (1 - 2 * _sigmoid(x))
    elif ACT == 5:
        y = tl.where(x > 0, 0.0, tl.exp(x))
    elif ACT == 6:
        y = tl.where(x > 0, 0.0, _SELU_SCALE * _SELU_ALPHA * tl.exp(x))
    elif ACT == 8:
        y = bell * (2 + x * (1 - 2 * _sigmoid(x)))
    return y


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2 / (1 + tl.exp(-2 * x)) - 1
