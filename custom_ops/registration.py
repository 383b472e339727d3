"""The operators as PyTorch knows them: `latent_reenact::upfirdn2d`, `::fused_bias_act`, `::fused_bias_act_grad`.

Registered with their shapes (for `torch.compile`) and their gradients. Both kinds of gradient are operators of the
same family, so that gradients of any order exist:

* that of `upfirdn2d` is `upfirdn2d` with `up` and `down` exchanged and the filter mirrored;
* that of `fused_bias_act` is `fused_bias_act_grad` of order 1, whose own is of order 2, and so on.

They compute in the type of `x`, under autocast too. Called by `operators`, with a back end that is loaded by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import dispatch, reference
from .derivatives import PIECEWISE_LINEAR, bias_act_derivative
from .reference import resampled

_ACTS = {name: index for index, name in enumerate(reference.ACTIVATIONS)}

torch.library.define(
    "latent_reenact::upfirdn2d",
    "(Tensor x, Tensor f, SymInt[] up, SymInt[] down, SymInt[] padding, bool flip_filter, float gain, str backend)"
    " -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
_BIAS_ACT = "int dim, str act, float alpha, float gain, float clamp, str backend) -> Tensor"
torch.library.define(
    "latent_reenact::fused_bias_act", f"(Tensor x, Tensor? bias, {_BIAS_ACT}", tags=torch.Tag.pt2_compliant_tag
)
torch.library.define(
    "latent_reenact::fused_bias_act_grad",
    f"(Tensor grad, Tensor x, Tensor? bias, int order, {_BIAS_ACT}",
    tags=torch.Tag.pt2_compliant_tag,
)


def _dense(x: Tensor) -> Tensor:
    """x itself if it lies in memory as NCHW or channels_last, else a copy that does."""
    if x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    return x.contiguous()


def _size(x: Tensor, f: Tensor, up: Sequence[int], down: Sequence[int], padding: Sequence[int]) -> tuple[int, int]:
    """H', W' of the result of `upfirdn2d`."""
    left, right, top, bottom = padding
    h, w = x.shape[2] * up[1] + top + bottom - f.shape[0], x.shape[3] * up[0] + left + right - f.shape[1]
    torch._check(
        h >= 0 and w >= 0,
        lambda: (
            f"upfirdn2d: {tuple(x.shape[2:])} pixels, up {tuple(up)}, padding {tuple(padding)} leave no room for "
            f"a filter of {tuple(f.shape)}; pad more"
        ),
    )
    return h // down[1] + 1, w // down[0] + 1


@torch.library.impl("latent_reenact::upfirdn2d", "default")
def _upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
    flip_filter: bool,
    gain: float,
    backend: str,
) -> Tensor:
    size = _size(x, f, up, down, padding)
    if x.numel() == 0:
        return resampled(x, *size)
    if backend == "reference":
        return resampled(x, *size).copy_(reference.upfirdn2d(x, f, up, down, padding, flip_filter, gain))
    return dispatch.load(backend).upfirdn2d(_dense(x), f.contiguous(), *up, *down, *padding, flip_filter, gain)


@torch.library.register_fake("latent_reenact::upfirdn2d")
def _(x: Tensor, f: Tensor, up: Any, down: Any, padding: Any, flip_filter: bool, gain: float, backend: str) -> Tensor:
    return resampled(x, *_size(x, f, up, down, padding))


def _keep_for_upfirdn2d(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, f, ctx.up, ctx.down, ctx.padding, ctx.flip_filter, ctx.gain, ctx.backend = inputs
    ctx.save_for_backward(f)
    ctx.size, ctx.size_out = x.shape[2:], output.shape[2:]


def _upfirdn2d_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (f,) = ctx.saved_tensors
    (kh, kw), (h, w), (h_out, w_out) = f.shape, ctx.size, ctx.size_out
    (up_x, up_y), (down_x, down_y), (left, _, top, _) = ctx.up, ctx.down, ctx.padding
    padding = [
        kw - 1 - left,
        w * up_x - w_out * down_x + left - up_x + 1,
        kh - 1 - top,
        h * up_y - h_out * down_y + top - up_y + 1,
    ]
    dx = upfirdn2d(grad, f, ctx.down, ctx.up, padding, not ctx.flip_filter, ctx.gain, ctx.backend)
    return dx, None, None, None, None, None, None, None


@torch.library.impl("latent_reenact::fused_bias_act", "default")
def _fused_bias_act(
    x: Tensor, bias: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float, backend: str
) -> Tensor:
    x = _dense(x)
    if backend == "reference" or x.numel() == 0:
        limit = clamp if clamp >= 0 else None
        return torch.empty_like(x).copy_(reference.fused_bias_act(x, bias, dim, act, alpha, gain, limit))
    return dispatch.load(backend).bias_act(x, _row(bias), None, 0, dim, _ACTS[act], alpha, gain, clamp)


@torch.library.register_fake("latent_reenact::fused_bias_act")
def _(x: Tensor, bias: Tensor | None, dim: int, act: str, alpha: Any, gain: Any, clamp: Any, backend: str) -> Tensor:
    return torch.empty_like(_dense(x))


@torch.library.impl("latent_reenact::fused_bias_act_grad", "default")
def _fused_bias_act_grad(
    grad: Tensor,
    x: Tensor,
    bias: Tensor | None,
    order: int,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    backend: str,
) -> Tensor:
    x = _dense(x)
    if grad.stride() != x.stride():
        grad = torch.empty_like(x).copy_(grad)
    if backend == "reference" or order > 2 or x.numel() == 0:
        y = bias_act_derivative(grad, x, bias, order, dim, act, alpha, gain, clamp)
        return torch.empty_like(x).copy_(y)
    return dispatch.load(backend).bias_act(x, _row(bias), grad, order, dim, _ACTS[act], alpha, gain, clamp)


@torch.library.register_fake("latent_reenact::fused_bias_act_grad")
def _(grad: Tensor, x: Tensor, bias: Tensor | None, order: int, dim: int, *_: Any) -> Tensor:
    return torch.empty_like(_dense(x))


def _row(bias: Tensor | None) -> Tensor | None:
    return bias if bias is None else bias.contiguous()


def _keep_for_bias_act(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, bias, *ctx.how = inputs
    ctx.save_for_backward(x, bias)


def _bias_act_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, bias = ctx.saved_tensors
    dx = fused_bias_act_grad(grad, x, bias, 1, *ctx.how)
    return dx, _summed(ctx, 1, dx, ctx.how[0]), *[None] * 6


def _keep_for_bias_act_grad(ctx: Any, inputs: tuple, output: Tensor) -> None:
    grad, x, bias, ctx.order, *ctx.how = inputs
    ctx.save_for_backward(grad, x, bias)


def _bias_act_grad_backward(ctx: Any, grad_grad: Tensor) -> tuple[Tensor | None, ...]:
    grad, x, bias = ctx.saved_tensors
    d_grad = d_x = d_bias = None
    if ctx.needs_input_grad[0]:
        d_grad = fused_bias_act_grad(grad_grad, x, bias, ctx.order, *ctx.how)
    if any(ctx.needs_input_grad[1:3]) and ctx.how[1] not in PIECEWISE_LINEAR:
        d_x = fused_bias_act_grad(grad_grad * grad, x, bias, ctx.order + 1, *ctx.how)
        d_bias = _summed(ctx, 2, d_x, ctx.how[0])
    return d_grad, d_x, d_bias, *[None] * 7


def _summed(ctx: Any, position: int, dx: Tensor, dim: int) -> Tensor | None:
    """The gradient of the bias: that of x, summed over all but `dim`."""
    if not ctx.needs_input_grad[position]:
        return None
    others = [i for i in range(dx.ndim) if i != dim]
    return dx.sum(others) if others else dx


upfirdn2d = torch.ops.latent_reenact.upfirdn2d.default
fused_bias_act = torch.ops.latent_reenact.fused_bias_act.default
fused_bias_act_grad = torch.ops.latent_reenact.fused_bias_act_grad.default

torch.library.register_autograd("latent_reenact::upfirdn2d", _upfirdn2d_backward, setup_context=_keep_for_upfirdn2d)
torch.library.register_autograd("latent_reenact::fused_bias_act", _bias_act_backward, setup_context=_keep_for_bias_act)
torch.library.register_autograd(
    "latent_reenact::fused_bias_act_grad", _bias_act_grad_backward, setup_context=_keep_for_bias_act_grad
)
