"""The pass of `styled.py` as two Triton kernels, for GPUs: one after a plain convolution, one after an up-convolution.

Both are bound by memory, so what counts is how often a picture of activations goes through it. Here it is read once
and written once a convolution (the last one is not written at all); colours, of three channels, add 15 bytes a pixel.

plain     A program holds all channels of some pixels: colours are sums over them.
filtered  A program walks down some rows of a few columns and channels. Each row is filtered along x when it is read,
          and the last three such rows stay in registers to be filtered along y.

Arithmetic in float32, rounded once. Channels lie side by side in memory (channels_last).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 4096  # activations a program (plain)
_COLUMNS, _CHANNELS = 16, 64  # a program (filtered); it walks down 8 rows, or 4 of small pictures


def plain(
    x: Tensor,  # [B, C, H, W]
    scale: Tensor,  # [B, C]
    bias: Tensor,  # [C]
    after: Tensor | None,  # [B, C]
    noise: Tensor | None,  # [1 or B, H, W]
    numbers: tuple[float, float, float],  # slope, gain, clamp
    rgb_weight: Tensor | None,  # [B, 3, C]; None: no colours
    rgb_bias: Tensor | None,  # [3]
    before: Tensor | None,  # [B, 3, H / 2, W / 2]
    rgb_taps: Tensor | None,  # [4]
) -> Tensor | None:
    """Writes y into x (not where `after` is None). Returns the picture, float32 [B, 3, H, W], or None."""
    b, c, h, w = x.shape
    channels = triton.next_power_of_2(c)
    pixels = max(1, min(_TILE // channels, triton.next_power_of_2(h * w)))
    tiles = triton.cdiv(h * w, pixels)
    rgb = None if rgb_weight is None else torch.empty(b, 3, h, w, device=x.device)
    with torch.cuda.device_of(x):
        _plain[(tiles * b,)](
            x, scale, bias, after, noise, rgb, rgb_weight, rgb_bias, before, rgb_taps,
            h, w, c, tiles, scale.stride(0), _step(after), _step(noise), _step(rgb_weight), _step(rgb_weight, 1),
            *numbers, PIXELS=pixels, CHANNELS=channels, WHOLE=c == channels,
        )  # fmt: skip
    return rgb


def filtered(
    x: Tensor,  # [B, C, H + 1, W + 1]
    scale: Tensor,  # [B, C]
    bias: Tensor,  # [C]
    after: Tensor,  # [B, C]
    noise: Tensor | None,  # [1 or B, H, W]
    numbers: tuple[float, float, float],  # slope, gain, clamp
    taps: Tensor,  # [4]
) -> Tensor:
    """Returns y [B, C, H, W]."""
    b, c, h, w = x.shape[0], x.shape[1], x.shape[2] - 1, x.shape[3] - 1
    y = torch.empty((b, c, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    channels = min(triton.next_power_of_2(c), _CHANNELS)
    columns = min(_COLUMNS * _CHANNELS // channels, triton.next_power_of_2(w))
    rows = 8 if h > 32 else 4
    groups, across, down = triton.cdiv(c, channels), triton.cdiv(w, columns), triton.cdiv(h, rows)
    with torch.cuda.device_of(x):
        _filtered[(groups * across * down * b,)](
            x, y, scale, bias, after, noise, taps,
            h, w, c, groups, across, down, scale.stride(0), after.stride(0), _step(noise),
            *numbers, ROWS=rows, COLUMNS=columns, CHANNELS=channels, WHOLE=c % channels == 0,
        )  # fmt: skip
    return y


def _step(tensor: Tensor | None, dim: int = 0) -> int:
    """From one sample to the next; 0 where all share one."""
    return 0 if tensor is None or tensor.shape[dim] == 1 else tensor.stride(dim)


@triton.jit(do_not_specialize=["h", "w", "tiles", "noise_b"])  # or every size would be compiled for itself
def _plain(
    x_ptr, scale_ptr, bias_ptr, after_ptr, noise_ptr, rgb_ptr, weight_ptr, rgb_bias_ptr, before_ptr, taps_ptr,
    h, w, c, tiles, scale_b, after_b, noise_b, weight_b, weight_k, slope, gain, clamp,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """PIXELS pixels of one sample, with all channels; WHOLE: CHANNELS is their number, not the next power of two."""
    b = tl.program_id(0) // tiles
    pixel = tl.program_id(0) % tiles * PIXELS + tl.arange(0, PIXELS)  # [P]
    channel = tl.arange(0, CHANNELS)  # [C]
    there, used = pixel < h * w, channel < c
    inside = there[:, None] if WHOLE else there[:, None] & used[None, :]  # [P, C]
    x_ptr += b.to(tl.int64) * h * w * c + pixel[:, None] * c + channel[None, :]
    v = tl.load(x_ptr, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(scale_ptr + b * scale_b + channel, mask=used, other=0.0)
    v = v * scale[None, :] + tl.load(bias_ptr + channel, mask=used, other=0.0)[None, :]
    if noise_ptr is not None:
        v += tl.load(noise_ptr + b.to(tl.int64) * noise_b + pixel, mask=there, other=0.0)[:, None]
    v = _limited(tl.where(v > 0, v, v * slope) * gain, clamp)
    if after_ptr is not None:
        after = tl.load(after_ptr + b * after_b + channel, mask=used, other=0.0)
        tl.store(x_ptr, (v * after[None, :]).to(x_ptr.dtype.element_ty), mask=inside)
    if rgb_ptr is not None:
        for k in tl.static_range(3):
            weight = tl.load(weight_ptr + b * weight_b + k * weight_k + channel, mask=used, other=0.0)
            colour = _limited(tl.reduce(v * weight[None, :], 1, _add) + tl.load(rgb_bias_ptr + k), clamp)  # [P]
            plane = b.to(tl.int64) * 3 + k
            if before_ptr is not None:
                colour += _doubled(before_ptr + plane * (h // 2) * (w // 2), taps_ptr, pixel, there, h, w)
            tl.store(rgb_ptr + plane * h * w + pixel, colour, mask=there)


@triton.jit(do_not_specialize=["h", "w", "groups", "across", "down", "noise_b"])
def _filtered(
    x_ptr, y_ptr, scale_ptr, bias_ptr, after_ptr, noise_ptr, taps_ptr,
    h, w, c, groups, across, down, scale_b, after_b, noise_b, slope, gain, clamp,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """ROWS x COLUMNS pixels of one sample, with CHANNELS channels; WHOLE: no group of channels is smaller."""
    program = tl.program_id(0)
    group, program = program % groups, program // groups
    column = program % across * COLUMNS + tl.arange(0, COLUMNS)  # [X]
    program = program // across
    first, b = program % down * ROWS, program // down
    channel = group * CHANNELS + tl.arange(0, CHANNELS)  # [C]
    used = channel < c
    scale = tl.load(scale_ptr + b * scale_b + channel, mask=used, other=0.0)[None, :]
    bias = tl.load(bias_ptr + channel, mask=used, other=0.0)[None, :]
    after = tl.load(after_ptr + b * after_b + channel, mask=used, other=0.0)[None, :]
    tap0, tap1, tap2, tap3 = tl.load(taps_ptr), tl.load(taps_ptr + 1), tl.load(taps_ptr + 2), tl.load(taps_ptr + 3)
    x_ptr += b.to(tl.int64) * (h + 1) * (w + 1) * c + channel[None, :]
    y_ptr += b.to(tl.int64) * h * w * c + column[:, None] * c + channel[None, :]
    row0 = tl.full([COLUMNS, CHANNELS], 0.0, tl.float32)  # the last three rows, filtered along x
    row1, row2 = row0, row0
    for i in tl.static_range(ROWS + 3):
        in_row = first + i - 1
        row3 = tap0 * _entry(x_ptr, in_row, column - 1, used, h, w, c, WHOLE)
        row3 += tap1 * _entry(x_ptr, in_row, column, used, h, w, c, WHOLE)
        row3 += tap2 * _entry(x_ptr, in_row, column + 1, used, h, w, c, WHOLE)
        row3 += tap3 * _entry(x_ptr, in_row, column + 2, used, h, w, c, WHOLE)
        if i >= 3:
            row = first + i - 3
            there = (column < w) & (row < h)
            v = (tap0 * row0 + tap1 * row1 + tap2 * row2 + tap3 * row3) * scale + bias
            if noise_ptr is not None:
                v += tl.load(noise_ptr + b.to(tl.int64) * noise_b + row * w + column, mask=there, other=0.0)[:, None]
            v = _limited(tl.where(v > 0, v, v * slope) * gain, clamp) * after
            inside = there[:, None] if WHOLE else there[:, None] & used[None, :]
            tl.store(y_ptr + row * w * c, v.to(y_ptr.dtype.element_ty), mask=inside)
        row0, row1, row2 = row1, row2, row3


@triton.jit
def _entry(x_ptr, row, column, used, h, w, c, WHOLE: tl.constexpr):
    """The inputs at a row and some columns, float32 [X, C]; zero outside of the picture, [H + 1, W + 1]."""
    there = (row >= 0) & (row <= h) & (column >= 0) & (column <= w)
    inside = there[:, None] if WHOLE else there[:, None] & used[None, :]
    place = (row * (w + 1) + column)[:, None] * c
    return tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _doubled(before_ptr, taps_ptr, pixel, there, h, w):
    """The smaller picture at twice its size. An even row or column meets taps 0 and 2, an odd one taps 1 and 3."""
    row, column = pixel // w, pixel % w
    odd_y, odd_x = row % 2, column % 2
    above, left = row // 2 + odd_y - 1, column // 2 + odd_x - 1
    total = tl.full(pixel.shape, 0.0, tl.float32)
    for j in tl.static_range(2):
        tap_y = tl.where(odd_y == 1, tl.load(taps_ptr + 2 * j + 1), tl.load(taps_ptr + 2 * j))
        for i in tl.static_range(2):
            tap_x = tl.where(odd_x == 1, tl.load(taps_ptr + 2 * i + 1), tl.load(taps_ptr + 2 * i))
            y, x = above + j, left + i
            use = there & (y >= 0) & (y < h // 2) & (x >= 0) & (x < w // 2)
            total += tap_y * tap_x * tl.load(before_ptr + y * (w // 2) + x, mask=use, other=0.0)
    return total


@triton.jit
def _limited(v, clamp):
    """NaN stays."""
    return tl.where(v > clamp, clamp, tl.where(v < -clamp, -clamp, v))


@triton.jit
def _add(a, b):
    return a + b
