"""Optimisers, schedules and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised by five Newton-Schulz steps (Jordan et al. 2024).

    Every tensor is taken as a matrix [first axis, the rest], so that convolution kernels qualify too
    (`torch.optim.Muon` takes matrices only). Scaled by sqrt(largest side).
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group["lr"], group["momentum"])

    def _update(self, p: Tensor, grad: Tensor, lr: float, momentum: float) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        average = state["momentum"].lerp_(grad, 1 - momentum)
        update = grad.lerp(average, momentum).reshape(len(p), -1)  # Nesterov
        step = orthogonalize(update).reshape(p.shape).to(p.dtype)
        p.add_(step, alpha=-lr * math.sqrt(max(update.shape)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values near 1, by a quintic iteration in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-12)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def split_parameters(module: nn.Module, plain: tuple[str, ...]) -> tuple[list, list]:
    """(for Muon, for Adam): weights of two or more dimensions, but for names containing one of `plain`."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim >= 2 and not any(word in name for word in plain)]
    ids = {id(p) for p in matrices}
    return matrices, [p for _, p in named if id(p) not in ids]


def schedule(progress: float, step: int, *, warmup_steps: int = 100, flat: float = 0.45) -> float:
    """Factor of the learning rate: linear warm-up, flat, then a cosine down to 1 %."""
    warm = min(1.0, step / warmup_steps + 0.05)
    if progress < flat:
        return warm
    return warm * (0.5 * (1 + math.cos(math.pi * (progress - flat) / (1 - flat))) + 0.01)


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, step: int, decay: float = 0.998) -> None:
    """Exponential moving average of the parameters (faster at the start); buffers are copied."""
    decay = min(decay, (step + 1) / (step + 20))
    torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in module.parameters()], 1 - decay)
    for mine, theirs in zip(average.buffers(), module.buffers(), strict=True):
        mine.copy_(theirs)
