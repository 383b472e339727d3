"""Random calls of the raw operators, for every back end: arguments, and what the definition makes of them."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from latent_reenact.custom_ops import reference

TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 1.5e-2, torch.float16: 2e-3}
FACTORS = [(1, 1, 1, 1), (2, 2, 1, 1), (1, 1, 2, 2)]  # up x, y, down x, y: StyleGAN2's
NAMES = list(reference.ACTIVATIONS)


def upfirdn2d_arguments(choose: random.Random, dtypes: list[torch.dtype], device: str) -> tuple[Any, ...]:
    """Half of them with StyleGAN2's filter size and factors, the others with any."""
    while True:
        b, c, h, w = (
            choose.randint(1, 2),
            choose.choice([1, 2, 3, 4, 8, 12]),
            choose.randint(1, 20),
            choose.randint(1, 40),
        )
        taps = choose.choice([(4, 4), (4, 4), (4, 4), (choose.randint(1, 6), choose.randint(1, 6)), (1, 12), (12, 1)])
        factors = choose.choice([*FACTORS, tuple(choose.randint(1, 4) for _ in range(4))])
        left, right, top, bottom = padding = tuple(choose.randint(-3, 6) for _ in range(4))
        up_x, up_y = factors[:2]
        fits = h * up_y + top + bottom >= taps[0] and w * up_x + left + right >= taps[1]
        if fits and h * up_y + min(top, 0) + min(bottom, 0) > 0 and w * up_x + min(left, 0) + min(right, 0) > 0:
            break
    dtype = choose.choice(dtypes)
    layout = choose.choice([torch.contiguous_format, torch.channels_last])
    x = torch.randn(b, c, h, w).to(device, dtype).contiguous(memory_format=layout)
    f = torch.randn(taps)
    if choose.random() < 0.5:  # an outer product of small integers: found to be one, whatever the rounding
        f = torch.randint(1, 4, (taps[0], 1)) * torch.randint(1, 4, (1, taps[1])) / 8
    f = f.to(device, torch.float64 if dtype == torch.float64 else torch.float32)
    return (x, f, *factors, *padding, choose.random() < 0.5, choose.choice([1.0, 1.5]))


def upfirdn2d_expected(arguments: tuple[Any, ...]) -> Tensor:
    x, f, up_x, up_y, down_x, down_y, left, right, top, bottom, flip_filter, gain = arguments
    padding = (left, right, top, bottom)
    return reference.upfirdn2d(x.double(), f.double(), (up_x, up_y), (down_x, down_y), padding, flip_filter, gain)


def bias_act_arguments(choose: random.Random, dtypes: list[torch.dtype], device: str) -> tuple[Any, ...]:
    """x, bias, dim, act, alpha, gain, clamp."""
    shape = [choose.randint(1, 9) for _ in range(choose.randint(1, 4))]
    dtype, dim, act = choose.choice(dtypes), choose.randrange(len(shape)), choose.randrange(len(NAMES))
    x = (2 * torch.randn(shape)).to(device, dtype)
    if len(shape) == 4 and choose.random() < 0.5:
        x = x.contiguous(memory_format=torch.channels_last)
    bias = None
    if choose.random() < 0.7:
        bias = torch.randn(shape[dim]).to(device, dtype)
        total = x + bias.reshape([-1 if i == dim else 1 for i in range(len(shape))])
        x[total == 0] += 0.5  # where one-sided derivatives differ, conventions do too
    return x, bias, dim, act, choose.choice([0.2, 0.5]), choose.choice([1.0, 1.7]), choose.choice([-1.0, 0.8])


def bias_act_expected(arguments: tuple[Any, ...], grad: Tensor) -> list[Tensor | None]:
    """Of order 0, 1 and 2; None where the second derivative is zero everywhere."""
    x, bias, dim, act, alpha, gain, clamp = arguments
    x = x.double().requires_grad_()
    bias = None if bias is None else bias.double()
    y = reference.fused_bias_act(x, bias, dim, NAMES[act], alpha, gain, None if clamp < 0 else clamp)
    (first,) = torch.autograd.grad(y, x, grad.double(), create_graph=True)
    second = None
    if NAMES[act] not in ("linear", "relu", "lrelu"):
        (second,) = torch.autograd.grad(first.sum(), x)
    return [y.detach(), first.detach(), second]


def check(actual: Tensor, expected: Tensor, like: Tensor, about: Any) -> None:
    """Values, dtype and memory format (that of `like`)."""
    tolerance = TOLERANCES[like.dtype]
    torch.testing.assert_close(
        actual.double(), expected, rtol=tolerance, atol=4 * tolerance, msg=lambda m: f"{about}: {m}"
    )
    assert actual.dtype == like.dtype
    last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    assert actual.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format) or (
        actual.stride() == like.stride()
    )


def about(arguments: tuple[Any, ...]) -> list[Any]:
    return [(tuple(a.shape), a.dtype, a.stride()) if isinstance(a, Tensor) else a for a in arguments]


def check_upfirdn2d(raw: Any, dtypes: list[torch.dtype], device: str = "cpu", count: int = 200) -> None:
    choose = random.Random(1)
    for _ in range(count):
        arguments = upfirdn2d_arguments(choose, dtypes, device)
        check(raw.upfirdn2d(*arguments), upfirdn2d_expected(arguments), arguments[0], about(arguments))


def check_bias_act(raw: Any, dtypes: list[torch.dtype], device: str = "cpu", count: int = 200) -> None:
    choose = random.Random(2)
    for _ in range(count):
        x, bias, *rest = arguments = bias_act_arguments(choose, dtypes, device)
        grad = torch.randn_like(x)
        for order, expected in enumerate(bias_act_expected(arguments, grad)):
            if expected is not None:
                y = raw.bias_act(x, bias, grad if order else None, order, *rest)
                check(y, expected, x, [order, *about(arguments)])
