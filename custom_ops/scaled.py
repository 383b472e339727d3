"""What follows a convolution of StyleGAN2's synthesis in training, as one operator with a gradient.

    y = lrelu(scale · x + noise + bias) · √2;  or, for a modulation alone, y = scale · x

The scale is the demodulation of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section
2.2, or the next convolution's modulation. On CPUs these products, sums and their gradients took as long as the
convolutions; in C++ they are one pass over memory forward and one backward. Gradients of gradients (path length) are
plain PyTorch.

Legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import c_char_p, c_float, c_int, c_int64, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError
from . import build
from .dispatch import choose
from .native import DTYPES
from .operators import fused_bias_act

SLOPE, GAIN = 0.2, math.sqrt(2)  # of the leaky ReLU


def scaled_bias_act(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    act: str = "linear",
    backend: str | None = None,
) -> Tensor:
    """act(scale · x + noise + bias), in the type of x.

    Args:
        x: [B, C, H, W].
        scale: [B, C].
        bias: [C] or None.
        noise: [H, W] or [B, 1, H, W], its strength included, or None.
        act: "linear", or "lrelu" with slope 0.2 and gain √2.
        backend: of `dispatch`. "cpu" is one pass for float32 and bfloat16, channels_last; everything else is a product,
            a sum and `fused_bias_act`.

    Raises:
        BackendError: a forced back end cannot run here, or not for such tensors.
    """
    if act not in ("linear", "lrelu"):
        raise ValueError(f"act: got {act!r}, expected linear or lrelu")
    name = choose(x.device.type, x.dtype, backend)
    fused = name == "cpu" and x.dtype != torch.float64 and _is_channels_last(x) and not torch.compiler.is_compiling()
    if not fused:
        y = x * scale.to(x.dtype)[:, :, None, None]
        y = y if noise is None else y + noise.to(x.dtype)
        return y if bias is None and act == "linear" else fused_bias_act(y, bias, act=act, backend=backend)
    return _ScaledBiasAct.apply(x, scale, bias, noise, act)  # type: ignore[no-any-return]


class _ScaledBiasAct(torch.autograd.Function):
    """Forward and backward in C++."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor | None, noise: Tensor | None, act: str
    ) -> Tensor:
        y = torch.empty_like(x)
        used = [_row(t) for t in (scale, bias, noise)]
        step = 0 if noise is None or noise.numel() == x.shape[2] * x.shape[3] else x.shape[2] * x.shape[3]
        _call("scaled", [x, y], x, [*used, step, *_numbers(act)])
        ctx.save_for_backward(x, scale, bias, noise, y if act == "lrelu" else None)
        ctx.act = act
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, scale, bias, noise, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a gradient of this gradient
            return *_plain_gradient(grad, x, scale, bias, noise, y), None
        grad = grad.to(x.dtype).contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        d_scale, d_bias = x.new_empty((2, *scale.shape), dtype=torch.float32).unbind()  # [B, C]
        wants_noise = ctx.needs_input_grad[3]
        d_noise = x.new_empty((len(x), 1, *x.shape[2:]), dtype=torch.float32) if wants_noise else None
        _call("scaled_grad", [grad, x, y, dx], x, [_row(scale), *_numbers(ctx.act), d_scale, d_bias, d_noise])
        return (
            dx,
            d_scale.to(scale.dtype),
            None if bias is None else d_bias.sum(0).to(bias.dtype),
            None if d_noise is None else d_noise.sum_to_size(_four(noise).shape).reshape(noise.shape).to(noise.dtype),
            None,
        )


def _plain_gradient(
    grad: Tensor, x: Tensor, scale: Tensor, bias: Tensor | None, noise: Tensor | None, y: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The same in PyTorch, which differentiates it again. The leaky ReLU's slope counts as a constant: its own
    derivative is zero."""
    if y is not None:
        grad = grad * torch.where(y.detach() > 0, GAIN, GAIN * SLOPE).to(grad.dtype)
    return (
        grad * scale.to(x.dtype)[:, :, None, None],
        (grad * x).sum((2, 3)).to(scale.dtype),
        None if bias is None else grad.sum((0, 2, 3)).to(bias.dtype),
        None if noise is None else grad.sum_to_size(_four(noise).shape).reshape(noise.shape).to(noise.dtype),
    )


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.numel() > 0 and x.is_contiguous(memory_format=torch.channels_last)


def _four(noise: Tensor) -> Tensor:
    return noise if noise.ndim == 4 else noise[None, None]


def _row(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.float().contiguous()


def _numbers(act: str) -> tuple[float, float]:
    return (SLOPE, GAIN) if act == "lrelu" else (1.0, 1.0)


# x, y, dtype, b, pixels, c, scale, bias, noise, noise_step, slope, gain, threads
_FORWARD: list = [c_void_p] * 2 + [c_int, c_int, c_int64, c_int] + [c_void_p] * 3 + [c_int64] + [c_float] * 2 + [c_int]
# grad, x, y, dx, dtype, b, pixels, c, scale, slope, gain, d_scale, d_bias, d_noise, threads
_BACKWARD: list = [c_void_p] * 4 + [c_int, c_int, c_int64, c_int, c_void_p] + [c_float] * 2 + [c_void_p] * 3 + [c_int]


def _call(name: str, pictures: list[Tensor | None], x: Tensor, rest: list) -> None:
    """Pictures, the size of x, the rest; tensors by their addresses."""
    b, c, h, w = x.shape
    arguments = [*pictures, DTYPES[x.dtype], b, h * w, c, *rest, torch.get_num_threads()]
    message = _load()[name](*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])
    assert message is None, message


@cache
def _load() -> dict[str, Any]:
    """The C++, compiled (in a second or two) or taken from the cache, once a process.

    Raises:
        BackendError: no compiler, or it failed; one line.
    """
    reason = build.missing("cpu")
    if reason:
        raise BackendError(reason)
    library = ctypes.CDLL(str(build.library(build.SOURCES, "cpu", "scaled")))
    functions = {"scaled": (library.scaled, _FORWARD), "scaled_grad": (library.scaled_grad, _BACKWARD)}
    for function, arguments in functions.values():
        function.argtypes, function.restype = arguments, c_char_p
    return {name: function for name, (function, _) in functions.items()}
