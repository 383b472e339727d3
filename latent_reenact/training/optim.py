"""Optimisers, schedules and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.fast_synthesis import has_bf16


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How a group of parameters is updated.

    `muon` takes the weights of two or more dimensions whose names hold none of `adam_names`; the rest goes to Adam
    at `adam_lr`. The other kinds take all.
    """

    kind: Literal["adam", "ranger", "muon"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    adam_lr: float = 1e-2
    adam_names: tuple[str, ...] = ("to_rgb", "const")

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "adam_lr"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas: got {self.betas}, expected two numbers from 0 to 1")

    def build(self, module: nn.Module, prefix: str = "") -> list[torch.optim.Optimizer]:
        """Optimisers of the parameters of `module` that need gradients and whose names begin with `prefix`."""
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad and n.startswith(prefix)]
        if self.kind == "ranger":
            return [Ranger([p for _, p in named], self.lr, betas=self.betas, eps=self.eps)]
        if self.kind == "adam":
            return [torch.optim.Adam([p for _, p in named], self.lr, betas=self.betas, eps=self.eps)]
        matrices = [p for n, p in named if p.ndim >= 2 and not any(word in n for word in self.adam_names)]
        rest = [p for _, p in named if not any(p is matrix for matrix in matrices)]
        muon: list[torch.optim.Optimizer] = [Muon(matrices, self.lr)] if matrices else []
        return muon + ([torch.optim.Adam(rest, self.adam_lr, betas=self.betas, eps=self.eps)] if rest else [])


class Ranger(torch.optim.RAdam):
    """RAdam (Liu et al. 2020) with LookAhead (Zhang et al. 2019): every k steps the weights go back by 1 - alpha
    towards a slow copy of theirs, which then moves there too. The optimiser of the method and of pSp."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        *,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        alpha: float = 0.5,
        k: int = 6,
    ) -> None:
        super().__init__(params, lr, betas=betas, eps=eps)
        self.alpha, self.k = alpha, k

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        for p in self._trained():
            if "slow" not in self.state[p] and self.state[p]:
                self.state[p]["slow"] = p.detach().clone()
        fresh = [(p, p.detach().clone()) for p in self._trained() if not self.state[p]]
        loss = super().step(closure)
        for p, start in fresh:
            self.state[p]["slow"] = start
        for p in self._trained():
            state = self.state[p]
            if int(state["step"]) % self.k == 0:
                state["slow"].lerp_(p, self.alpha)
                p.copy_(state["slow"])
        return loss

    def _trained(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised by five Newton-Schulz steps (Jordan et al. 2024).

    Every tensor is taken as a matrix [first axis, the rest], so that convolution kernels qualify too
    (`torch.optim.Muon` takes matrices only). Scaled by sqrt(largest side). Those of one shape are updated together.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for parameters in alike.values():
                self._update(parameters, group["lr"], group["momentum"])

    def _update(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        """All of one shape."""
        grads = [p.grad for p in parameters if p.grad is not None]
        for p, grad in zip(parameters, grads, strict=True):
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(grad)
        averages = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(averages, grads, 1 - momentum)
        nesterov = torch._foreach_lerp(grads, averages, momentum)
        updates = torch.stack([update.reshape(len(update), -1) for update in nesterov])  # [M, rows, columns]
        orthogonal = orthogonalize(updates).to(updates.dtype).unbind()
        steps = [step.reshape(p.shape) for step, p in zip(orthogonal, parameters, strict=True)]
        torch._foreach_add_(parameters, steps, alpha=-lr * math.sqrt(max(updates.shape[1:])))


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest matrices with singular values near 1, by a quintic iteration. [..., rows, columns].

    In bfloat16, which is precise enough for it; in float32 on processors that would have to emulate bfloat16.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.float() if matrices.device.type == "cpu" and not has_bf16() else matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def schedule(progress: float, step: int, *, warmup_steps: int = 100, flat: float = 0.45) -> float:
    """Factor of the learning rate: linear warm-up, flat, then a cosine down to 1 %; flat = 1 never falls."""
    warm = min(1.0, step / warmup_steps + 0.05) if warmup_steps else 1.0
    if progress < flat:
        return warm
    if flat >= 1:
        return warm
    return warm * (0.5 * (1 + math.cos(math.pi * (progress - flat) / (1 - flat))) + 0.01)


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, step: int, decay: float = 0.998) -> None:
    """Exponential moving average of the parameters (faster at the start); buffers are copied."""
    decay = min(decay, (step + 1) / (step + 20))
    torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in module.parameters()], 1 - decay)
    for mine, theirs in zip(average.buffers(), module.buffers(), strict=True):
        mine.copy_(theirs)
