"""What follows a convolution of StyleGAN2's synthesis in training, as one operator with a gradient.

    y = lrelu(scale · x + noise + bias) · √2;  or, for a modulation alone, y = scale · x

The scale is the demodulation of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section
2.2, or the next convolution's modulation. On CPUs these products, sums and their gradients took as long as the
convolutions; in C++ they are one pass over memory forward and one backward. Gradients of gradients (path length) are
plain PyTorch.

Legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .dispatch import choose, load
from .operators import fused_bias_act

SLOPE, GAIN = 0.2, math.sqrt(2)  # of the leaky ReLU


def scaled_bias_act(
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    act: str = "linear",
    clamp: float | None = None,
    backend: str | None = None,
) -> Tensor:
    """clamp(act(scale · x + noise + bias)), in the type of x.

    Args:
        x: [B, C, H, W].
        scale: [B, C] or None.
        bias: [C] or None.
        noise: [H, W] or [B, 1, H, W], its strength included, or None.
        act: "linear", or "lrelu" with slope 0.2 and gain √2.
        clamp: limit of the absolute value, or None.
        backend: of `dispatch`. "cpu" is one pass for float32 and bfloat16, channels_last, with a scale and without a
            clamp; everything else is a product, a sum and `fused_bias_act`.

    Raises:
        BackendError: a forced back end cannot run here, or not for such tensors.
    """
    if act not in ("linear", "lrelu"):
        raise ValueError(f"act: got {act!r}, expected linear or lrelu")
    name = choose(x.device.type, x.dtype, backend)
    if name == "cpu" and scale is not None and clamp is None and _is_dense(x):
        return _ScaledBiasAct.apply(x, scale, bias, noise, act)  # type: ignore[no-any-return]
    y = x if scale is None else x * scale.to(x.dtype)[:, :, None, None]
    y = y if noise is None else y + noise.to(x.dtype)
    if bias is None and act == "linear" and clamp is None:
        return y
    return fused_bias_act(y, bias, act=act, clamp=clamp, backend=backend)


def _is_dense(x: Tensor) -> bool:
    """Whether the C++ takes it; a compiler that traces sees plain PyTorch."""
    last = x.ndim == 4 and x.numel() > 0 and x.is_contiguous(memory_format=torch.channels_last)
    return last and x.dtype != torch.float64 and not torch.compiler.is_compiling()


class _ScaledBiasAct(torch.autograd.Function):
    """Forward and backward in C++."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor | None, noise: Tensor | None, act: str
    ) -> Tensor:
        y = load("cpu").scaled(x, _row(scale), _row(bias), _row(noise), *_numbers(act))
        ctx.save_for_backward(x, scale, bias, noise, y if act == "lrelu" else None)
        ctx.act = act
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, scale, bias, noise, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a gradient of this gradient
            return *_plain_gradient(grad, x, scale, bias, noise, y), None
        grad = grad.to(x.dtype).contiguous(memory_format=torch.channels_last)
        dx, d_scale, d_bias, d_noise = load("cpu").scaled_grad(
            grad, x, y, _row(scale), *_numbers(ctx.act), ctx.needs_input_grad[3]
        )
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


def _four(noise: Tensor) -> Tensor:
    return noise if noise.ndim == 4 else noise[None, None]


def _row(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.float().contiguous()


def _numbers(act: str) -> tuple[float, float]:
    return (SLOPE, GAIN) if act == "lrelu" else (1.0, 1.0)
