"""One training loop for every stage: steps in one or several processes, averages, checkpoints, stop and resume."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save
from torch import Tensor, nn

from latent_reenact.errors import ConfigError, InterruptedRunError
from latent_reenact.media import atomic_write_bytes
from latent_reenact.training.optim import Muon, schedule, split_parameters, update_average


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast a stage trains."""

    images: int  # pictures seen, over all processes
    batch: int = 16  # a process and step
    muon_lr: float = 8e-3  # weights of two or more dimensions
    adam_lr: float = 1e-2  # the rest, and every parameter whose name holds one of `adam_names`
    adam_names: tuple[str, ...] = ("to_rgb", "const")
    adam_betas: tuple[float, float] = (0.9, 0.99)
    flat: float = 0.45  # share of the run before the cosine
    ema_decay: float = 0.998
    save_seconds: float = 120.0
    log_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("images", "batch", "muon_lr", "adam_lr", "save_seconds", "log_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if not (0 <= self.flat < 1 and 0 <= self.ema_decay < 1):
            raise ConfigError(f"flat {self.flat} and ema_decay {self.ema_decay}: expected at least 0 and less than 1")


class Stage(Protocol):
    """What a stage brings: a module to train, its loss, and a measure on held-out data."""

    @property
    def module(self) -> nn.Module: ...

    def loss(self, generator: torch.Generator, batch: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of one random batch, and scalars to log."""

    def evaluate(self, average: Any, folder: Path) -> dict[str, float]:
        """Measures of the averaged weights; may leave a picture in `folder`."""


class Processes:
    """This process among those that train together (torch.distributed with gloo), or alone."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")

    def average_gradients(self, parameters: list[nn.Parameter], *wishes: bool) -> tuple[bool, ...]:
        """Average the gradients in place; a wish is granted to all if any process has it."""
        if self.size == 1:
            return wishes
        held = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in held] + [torch.tensor([float(wish) for wish in wishes])])
        dist.all_reduce(flat)
        flat /= self.size
        offset = 0
        for grad in held:
            grad.copy_(flat[offset : offset + grad.numel()].view_as(grad))
            offset += grad.numel()
        return tuple(bool(wish > 0) for wish in flat[offset:])


class Loop:
    """Trains `stage.module`; keeps its averaged weights in `average`.

    The state (weights, averages, optimisers, random numbers, counters) is saved atomically to
    `folder/state.RANK.safetensors`, and a run continues from there.
    """

    def __init__(self, stage: Stage, config: LoopConfig, folder: Path, *, log: Callable[[str], None] = print) -> None:
        self.stage, self.config, self.folder, self.log = stage, config, folder, log
        self.processes = Processes()
        self.average = copy.deepcopy(stage.module).requires_grad_(False)
        matrices, rest = split_parameters(stage.module, config.adam_names)
        self.optimizers: list[torch.optim.Optimizer] = [Muon(matrices, config.muon_lr)] if matrices else []
        if rest:
            self.optimizers.append(torch.optim.Adam(rest, config.adam_lr, betas=config.adam_betas))
        self.base_lrs = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.random = torch.Generator().manual_seed(1000 + self.processes.rank)
        self.step, self.seen, self.skipped = 0, 0, 0
        self.stop_requested = False

    def run(self) -> nn.Module:
        """Train to the end and return the averaged module.

        Raises:
            InterruptedRunError: on SIGTERM or SIGINT, after saving.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        if self.seen >= self.config.images:
            return self.average
        handlers = {s: signal.signal(s, self._request_stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._steps()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.average

    def _steps(self) -> None:
        parameters = [p for p in self.stage.module.parameters() if p.requires_grad]
        saved = logged = time.monotonic()
        seen_logged = self.seen
        sums: dict[str, list[float]] = {}
        while self.seen < self.config.images:
            loss, scalars = self.stage.loss(self.random, self.config.batch)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            save = time.monotonic() - saved > self.config.save_seconds
            stop, save = self.processes.average_gradients(parameters, self.stop_requested, save)
            self._update(parameters)
            for key, value in {"loss": float(loss.detach()), **scalars}.items():
                sums.setdefault(key, []).append(value)
            now = time.monotonic()
            if self.processes.rank == 0 and (now - logged > self.config.log_seconds):
                self._report(sums, (self.seen - seen_logged) / (now - logged))
                logged, seen_logged, sums = time.monotonic(), self.seen, {}
            if stop or save:
                self._save()
                saved = time.monotonic()
            if stop:
                raise InterruptedRunError(f"stopped after {self.seen} pictures; run the same command again to go on")
        self._report(sums, 0.0)
        self._save()

    def _update(self, parameters: list[nn.Parameter]) -> None:
        grads = [p.grad for p in parameters if p.grad is not None]
        if not all(torch.isfinite(n) for n in torch._foreach_norm(grads)):
            self.skipped += 1
        else:
            factor = schedule(self.seen / self.config.images, self.step, flat=self.config.flat)
            for optimizer, lrs in zip(self.optimizers, self.base_lrs, strict=True):
                for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                    group["lr"] = lr * factor
                optimizer.step()
            update_average(self.average, self.stage.module, self.step, self.config.ema_decay)
        self.step += 1
        self.seen += self.config.batch * self.processes.size

    def _report(self, sums: dict[str, list[float]], rate: float) -> None:
        if self.processes.rank != 0:
            return
        line: dict[str, Any] = {"seen": self.seen, "images_per_s": round(rate, 1), "skipped": self.skipped}
        line |= {key: round(sum(values) / len(values), 4) for key, values in sums.items()}
        line |= {key: round(value, 4) for key, value in self.stage.evaluate(self.average, self.folder).items()}
        text = json.dumps(line)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(text + "\n")
        self.log(text)

    def _request_stop(self, *_: object) -> None:
        self.stop_requested = True

    def _state_path(self) -> Path:
        return self.folder / f"state.{self.processes.rank}.safetensors"

    def _save(self) -> None:
        counters = torch.tensor([self.step, self.seen, self.skipped])
        tensors = {"random": self.random.get_state(), "counters": counters}
        for part, module in (("module", self.stage.module), ("average", self.average)):
            tensors |= {f"{part}/{name}": tensor for name, tensor in module.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for parameter, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{i}/{parameter}/{name}": tensor for name, tensor in values.items()}
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        atomic_write_bytes(self._state_path(), data)

    def _resume(self) -> None:
        if not self._state_path().exists():
            return
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in load_file(self._state_path()).items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = tensor
        self.stage.module.load_state_dict(parts["module"])
        self.average.load_state_dict(parts["average"])
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in parts.get("optimizer", {}).items():
                index, parameter, value = name.split("/")
                if int(index) == i:
                    state.setdefault(int(parameter), {})[value] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        self.random.set_state(parts["random"][""])
        self.step, self.seen, self.skipped = parts["counters"][""].tolist()
