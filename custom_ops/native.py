"""The operators of a compiled library, called through its C interface (the protocol is that of `dispatch.py`)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from ctypes import c_double, c_float, c_int, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BackendError
from .reference import resampled

# dtype -> code in cuda/common.cuh and cpu/common.h
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}

# x, f, y, dtype, b, c, h, w, out_h, out_w, kh, kw, up_x, up_y, down_x, down_y, left, top, flip, gain, channels_last;
# then for both operators: the number of the GPU (CPU: of threads), the stream (CPU: nothing)
UPFIRDN2D = [c_void_p] * 3 + [c_int] * 16 + [c_double, c_int] + [c_int, c_void_p]
# x, bias, grad, y, dtype, n, step, size, order, act, alpha, gain, clamp
BIAS_ACT = [c_void_p] * 4 + [c_int] + [c_int64] * 3 + [c_int] * 2 + [c_double] * 3 + [c_int, c_void_p]
# On CPUs alone. x, y, dtype, b, pixels, c, scale, bias, noise, noise_step, slope, gain, threads; and
# grad, x, y, dx, dtype, b, pixels, c, scale, slope, gain, d_scale, d_bias, d_noise, threads
SCALED = [c_void_p] * 2 + [c_int, c_int, c_int64, c_int] + [c_void_p] * 3 + [c_int64, c_float, c_float, c_int]
SCALED_GRAD = [c_void_p] * 4 + [c_int, c_int, c_int64, c_int, c_void_p, c_float, c_float] + [c_void_p] * 3 + [c_int]


class Native:
    """`upfirdn2d` and `bias_act` of one back end, "cpu" or "cuda"; and for "cpu" `scaled` with its gradient."""

    def __init__(self, name: str, upfirdn2d: Path, bias_act: Path, scaled: Path | None = None) -> None:
        self.name = name
        self._upfirdn2d = _function(upfirdn2d, "upfirdn2d", UPFIRDN2D)
        self._bias_act = _function(bias_act, "bias_act", BIAS_ACT)
        if scaled is not None:
            self._scaled = _function(scaled, "scaled", SCALED)
            self._scaled_grad = _function(scaled, "scaled_grad", SCALED_GRAD)

    def upfirdn2d(
        self,
        x: Tensor,  # [B, C, H, W]
        f: Tensor,  # [kh, kw]
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
        """[B, C, H', W']; see `dispatch.py`."""
        b, c, h, w = x.shape
        kh, kw = f.shape
        out_h = (h * up_y + top + bottom - kh) // down_y + 1
        out_w = (w * up_x + left + right - kw) // down_x + 1
        last = not x.is_contiguous()  # channels_last then
        y = resampled(x, out_h, out_w)
        pointers = (x.data_ptr(), f.data_ptr(), y.data_ptr(), DTYPES[x.dtype])
        sizes = (b, c, h, w, out_h, out_w, kh, kw, up_x, up_y, down_x, down_y, left, top, flip_filter)
        with _current(x):
            _check(self._upfirdn2d(*pointers, *sizes, gain, last, *_where(x)), f"upfirdn2d ({self.name})")
        return y

    def bias_act(
        self,
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
        """Shape, dtype and strides of x; see `dispatch.py`."""
        y = torch.empty_like(x)
        pointers = (x.data_ptr(), _pointer(bias), _pointer(grad), y.data_ptr(), DTYPES[x.dtype])
        step, size = (1, 1) if bias is None else (max(x.stride(dim), 1), x.shape[dim])
        numbers = (x.numel(), step, size, order, act, alpha, gain, clamp)
        with _current(x):
            _check(self._bias_act(*pointers, *numbers, *_where(x)), f"bias_act ({self.name})")
        return y

    def scaled(
        self, x: Tensor, scale: Tensor, bias: Tensor | None, noise: Tensor | None, slope: float, gain: float
    ) -> Tensor:
        """lrelu(scale x + noise + bias) gain, as x: [B, C, H, W], float32 or bfloat16, channels_last.

        scale [B, C], bias [C], noise [H, W] or [B, 1, H, W]: float32, contiguous. slope 1: linear.
        """
        (b, c, h, w), y = x.shape, torch.empty_like(x)
        step = h * w if noise is not None and noise.numel() > h * w else 0
        sizes = (DTYPES[x.dtype], b, h * w, c)
        used = (scale.data_ptr(), _pointer(bias), _pointer(noise), step, slope, gain, torch.get_num_threads())
        _check(self._scaled(x.data_ptr(), y.data_ptr(), *sizes, *used), "scaled (cpu)")
        return y

    def scaled_grad(
        self, grad: Tensor, x: Tensor, y: Tensor | None, scale: Tensor, slope: float, gain: float, with_noise: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Gradients of x, of scale and bias [B, C], and of the noise [B, 1, H, W], float32.

        grad, y (what `scaled` gave; None: it was linear): as x.
        """
        (b, c, h, w), dx = x.shape, torch.empty_like(x)
        d_scale, d_bias = x.new_empty((2, b, c), dtype=torch.float32).unbind()
        d_noise = x.new_empty((b, 1, h, w), dtype=torch.float32) if with_noise else None
        pictures = (grad.data_ptr(), x.data_ptr(), _pointer(y), dx.data_ptr(), DTYPES[x.dtype], b, h * w, c)
        results = (d_scale.data_ptr(), d_bias.data_ptr(), _pointer(d_noise), torch.get_num_threads())
        _check(self._scaled_grad(*pictures, scale.data_ptr(), slope, gain, *results), "scaled_grad (cpu)")
        return dx, d_scale, d_bias, d_noise


def _function(path: Path, name: str, arguments: list) -> Callable[..., bytes | None]:
    try:
        function = getattr(ctypes.CDLL(str(path)), name)
    except (OSError, AttributeError) as error:
        raise BackendError(f"cannot load {path}: {error}; delete the file, it is built anew") from error
    function.argtypes, function.restype = arguments, ctypes.c_char_p
    return function


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _current(x: Tensor) -> AbstractContextManager:
    """The GPU of x as the current one."""
    if not x.is_cuda or x.get_device() == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(x.device)


def _where(x: Tensor) -> tuple[int, int | None]:
    """What the C functions end with: GPU and stream, or the number of threads."""
    if x.is_cuda:
        return x.get_device(), torch.cuda.current_stream(x.device).cuda_stream
    return torch.get_num_threads(), None


def _check(message: bytes | None, what: str) -> None:
    if message is not None:
        raise RuntimeError(f"{what}: {message.decode()}")
