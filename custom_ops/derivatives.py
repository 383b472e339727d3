"""Derivatives of the activations of any order, in closed form and plain PyTorch.

With s = sigmoid(x): s' = s - s^2; with t = tanh(x): t' = 1 - t^2; so every derivative of either is a polynomial in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import ACTIVATIONS

# The activations whose second derivative is zero.
PIECEWISE_LINEAR = ("linear", "relu", "lrelu")
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14


def bias_act_derivative(
    grad: Tensor,
    x: Tensor,
    bias: Tensor | None,
    order: int,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
) -> Tensor:
    """grad * (d/dx)^order of clamp(act(x + bias) * gain), order >= 1; clamp < 0 means none."""
    wide = torch.promote_types(x.dtype, torch.float32)
    x = x.to(wide)
    if bias is not None:
        x = x + bias.to(wide).reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    y = grad * (derivative(x, act, alpha, order) * gain)
    if clamp >= 0:
        y = torch.where((ACTIVATIONS[act][0](x, alpha) * gain).abs() > clamp, 0.0, y)
    return y.to(grad.dtype)


def derivative(x: Tensor, act: str, alpha: float, order: int) -> Tensor:
    """The order-th derivative of the activation at x, order >= 1."""
    if act in PIECEWISE_LINEAR:
        if order > 1:
            return torch.zeros_like(x)
        slope = {"linear": 1.0, "relu": 0.0, "lrelu": alpha}[act]
        return torch.where(x > 0, 1.0, slope).to(x.dtype)
    if act in ("elu", "selu"):
        scale, alpha = (1.0, 1.0) if act == "elu" else (_SELU_SCALE, _SELU_ALPHA)
        return scale * torch.where(x > 0, 1.0 if order == 1 else 0.0, alpha * x.exp())
    if act == "tanh":
        return _nested(x.tanh(), [1.0, 0.0, -1.0], order)
    s = x.sigmoid()
    logistic = [0.0, 1.0, -1.0]
    if act == "sigmoid":
        return _nested(s, logistic, order)
    if act == "softplus":
        return _nested(s, logistic, order - 1)
    return x * _nested(s, logistic, order) + order * _nested(s, logistic, order - 1)  # swish, by Leibniz' rule


def _nested(u: Tensor, rate: list[float], order: int) -> Tensor:
    """d^order u / dx^order where du/dx = rate(u); polynomials as coefficients of 1, u, u^2 ..."""
    polynomial = [0.0, 1.0]
    for _ in range(order):
        slope = [k * a for k, a in enumerate(polynomial)][1:]
        polynomial = [0.0] * (len(slope) + len(rate) - 1)
        for i, a in enumerate(slope):
            for j, b in enumerate(rate):
                polynomial[i + j] += a * b
    value = torch.zeros_like(u)
    for a in reversed(polynomial):  # Horner
        value = value * u + a
    return value
