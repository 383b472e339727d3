"""One training loop for every stage, on Lightning Fabric.

A step of the loop is the stage's phases in order; a phase is forward and backward over `accumulate` micro-batches,
one averaging of the gradients over all processes, and one step of its optimisers.

The gradients are averaged by one collective call on one flat vector, as StyleGAN2's own training does, instead of
through a wrapper's hooks: adversarial phases train parts in turn and differentiate twice, which such hooks do not see.
"""

from __future__ import annotations

import copy
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from latent_reenact.custom_ops import auto_compiles_on_cpu
from latent_reenact.errors import ConfigError, DivergedError, InterruptedRunError
from latent_reenact.training.checkpoints import Checkpoints, read_state, write_state
from latent_reenact.training.logbook import Logbook
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.optim import schedule, update_average
from latent_reenact.training.snapshot import restore, snapshot
from latent_reenact.training.stage import Measures, Phase, Setup, Stage


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long a stage trains, and how it is watched and kept."""

    images: int  # pictures seen, over all processes
    batch: int = 16  # a process and micro-step
    accumulate: int = 1  # micro-steps whose gradients are averaged into one step
    seed: int = 0
    flat: float = 0.45  # share of the run before the learning rate's cosine; 1: no decay
    warmup_steps: int = 100
    ema_decay: float = 0.998
    ema_half_life: int | None = None  # in pictures, in the place of `ema_decay`
    clip_norm: float | None = None  # limit of a phase's gradient norm
    report_images: int = 4_000  # pictures between reports, each with an evaluation
    save_seconds: float = 120.0
    keep: int = 3  # checkpoints
    skip_limit: int = 20  # steps in a row without a finite gradient that end the run

    def __post_init__(self) -> None:
        for name in ("images", "batch", "accumulate", "report_images", "save_seconds", "keep", "skip_limit"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if not (0 <= self.flat <= 1 and 0 <= self.ema_decay < 1):
            raise ConfigError(f"flat {self.flat} and ema_decay {self.ema_decay}: expected shares from 0 to 1")


class Loop:
    """Trains `stage.module`, and keeps the moving average of `stage.averaged` in `average`.

    Its folder holds checkpoints, `log.jsonl`, TensorBoard files, sheets, and `best.safetensors` where the stage
    scores itself.
    """

    def __init__(self, stage: Stage, config: LoopConfig, folder: Path, fabric: Fabric | None = None) -> None:
        self.stage, self.config, self.folder = stage, config, Path(folder)
        self.fabric = fabric or RunConfig(accelerator="cpu", precision="32-true").launch()
        stage.module.to(self.fabric.device)
        self._share_start()
        self.average = copy.deepcopy(stage.averaged).requires_grad_(False)
        self.optimizers = {prefix: o.build(stage.module, prefix) for prefix, o in stage.optimizers.items()}
        self.base_lrs = {
            prefix: [[group["lr"] for group in o.param_groups] for o in optimizers]
            for prefix, optimizers in self.optimizers.items()
        }
        self.checkpoints = Checkpoints(self.folder, keep=config.keep, say=self._say)
        self.step, self.seen, self.skipped, self.best = 0, 0, 0, -float("inf")
        self.skipped_in_a_row = 0
        self.stop_requested = False

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """What scales losses up in 16-mixed."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    @property
    def step_images(self) -> int:
        """Pictures that one step sees."""
        return self.config.batch * self.config.accumulate * self.fabric.world_size

    def run(self) -> nn.Module:
        """Train to the end and return the averaged weights: the best ones where the stage scores itself.

        Raises:
            InterruptedRunError: on SIGTERM or SIGINT, after saving.
            DivergedError: `skip_limit` steps in a row gave no finite gradient; names the samples of the last one.
        """
        self._resume()
        if self.seen < self.config.images:
            handlers = {s: signal.signal(s, self._request_stop) for s in (signal.SIGTERM, signal.SIGINT)}
            try:
                with auto_compiles_on_cpu():
                    self._steps()
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        best = self.folder / "best.safetensors"
        if best.exists():
            self.average.load_state_dict(read_state(best)[0])
        return self.average

    def _share_start(self) -> None:
        """All processes begin with the first one's weights."""
        if self.fabric.world_size > 1:
            for tensor in [*self.stage.module.parameters(), *self.stage.module.buffers()]:
                dist.broadcast(tensor.detach(), src=0)

    def _steps(self) -> None:
        config, first = self.config, self.fabric.is_global_zero
        log = self.logbook = Logbook(self.folder, images=config.images, seen=self.seen, enabled=first)
        try:
            self.stage.start(self._setup())
            sums: dict[str, list[Tensor]] = {}
            started, saved, since = time.monotonic(), time.monotonic(), self.seen
            while self.seen < config.images:
                self._step(sums)
                log.advance(self.step_images)
                stop = self._any(self.stop_requested)
                done = self.seen >= config.images
                if done or self.seen // config.report_images > (self.seen - self.step_images) // config.report_images:
                    rate = (self.seen - since) / (time.monotonic() - started)
                    self._report(sums, rate)
                    sums, started, since = {}, time.monotonic(), self.seen
                if done or stop or (first and time.monotonic() - saved > config.save_seconds):
                    self._save()
                    saved = time.monotonic()
                if stop and not done:
                    raise InterruptedRunError(
                        f"stopped after {self.seen} pictures; run the same command again to go on"
                    )
        finally:
            log.close()

    def _setup(self) -> Setup:
        fabric, config = self.fabric, self.config
        return Setup(
            device=fabric.device,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            step=self.step,
            batch=config.batch,
            accumulate=config.accumulate,
            autocast=fabric.autocast,
        )

    def _step(self, sums: dict[str, list[Tensor]]) -> None:
        """All phases once."""
        failed = False
        for phase in self.stage.phases:
            if self.step % phase.every == 0:
                failed |= not self._phase(phase, sums)
        if not failed:
            self.skipped_in_a_row = 0
            update_average(self.average, self.stage.averaged, self.step, self._ema_decay())
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
            self._check_skips()
        self.stage.finish_step(self.step)
        self.step += 1
        self.seen += self.step_images

    def _phase(self, phase: Phase, sums: dict[str, list[Tensor]]) -> bool:
        """Forward, backward, update; False where the gradient was not finite and nothing was changed."""
        parameters = [p for name, p in self.stage.module.named_parameters() if name.startswith(phase.trains)]
        trained = [p for p in parameters if p.requires_grad]
        held = {id(p) for p in trained}
        others = [p for p in self.stage.module.parameters() if p.requires_grad and id(p) not in held]
        for p in others:  # no gradient is computed that this phase does not use
            p.requires_grad_(False)
        for p in trained:
            p.grad = None
        for micro in range(self.config.accumulate):
            random = self._random(phase.name, micro)
            torch.manual_seed(int(torch.randint(2**62, (), generator=random)))  # for layers that draw by themselves
            loss, scalars = self.stage.loss(random, self.config.batch, phase.name)
            self.fabric.backward(loss / self.config.accumulate)
            prefix = "" if phase.name == "main" else f"{phase.name}/"
            for name, value in {"loss": loss, **scalars}.items():
                sums.setdefault(prefix + name, []).append(torch.as_tensor(value).detach().float().mean())
        for p in others:
            p.requires_grad_(True)
        grads = [p.grad for p in trained if p.grad is not None]
        self._average_gradients(grads)
        finite = bool(torch.stack([n.isfinite() for n in torch._foreach_norm(grads)]).all()) if grads else True
        self._update(phase, trained, finite)
        return finite

    def _random(self, phase: str, micro: int) -> torch.Generator:
        """The random numbers of this place of the run: a function of seed, step, phase and rank alone."""
        place = (self.config.seed, self.step, phase, micro, self.fabric.global_rank)
        return torch.Generator().manual_seed(zlib.crc32(repr(place).encode()) + (self.config.seed << 32))

    def _average_gradients(self, grads: list[Tensor]) -> None:
        if self.fabric.world_size == 1 or not grads:
            return
        flat: Any = torch.cat([grad.reshape(-1) for grad in grads])
        flat = self.fabric.all_reduce(flat, reduce_op="mean")
        offset = 0
        for grad in grads:
            grad.copy_(flat[offset : offset + grad.numel()].view_as(grad))
            offset += grad.numel()

    def _update(self, phase: Phase, trained: list[nn.Parameter], finite: bool) -> None:
        if self.scaler is not None:
            self._unscale(trained, finite)
        if not finite:
            return
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(trained, self.config.clip_norm)
        factor = schedule(
            self.seen / self.config.images, self.step, warmup_steps=self.config.warmup_steps, flat=self.config.flat
        )
        for optimizer, lrs in zip(self.optimizers[phase.trains], self.base_lrs[phase.trains], strict=True):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr * factor
            optimizer.step()

    def _unscale(self, trained: list[nn.Parameter], finite: bool) -> None:
        """Undo the scaling of losses in 16-mixed; halve the scale where it was too much, double it now and then."""
        assert self.scaler is not None
        scale = self.scaler.get_scale()
        for p in trained:
            if p.grad is not None:
                p.grad.div_(scale)
        if not finite:
            self.scaler.update(scale * self.scaler.get_backoff_factor())
        elif self.step % self.scaler.get_growth_interval() == self.scaler.get_growth_interval() - 1:
            self.scaler.update(scale * self.scaler.get_growth_factor())

    def _check_skips(self) -> None:
        if self.skipped_in_a_row >= self.config.skip_limit:
            names = ", ".join(self.stage.sample_names()) or "not named by this stage"
            raise DivergedError(
                f"stopped: {self.skipped_in_a_row} steps in a row gave no finite gradient; samples of the last one: "
                f"{names}; look at them or lower the learning rate, then run the same command again"
            )

    def _ema_decay(self) -> float:
        half_life = self.config.ema_half_life
        return self.config.ema_decay if half_life is None else 0.5 ** (self.step_images / half_life)

    def _any(self, wish: bool) -> bool:
        """Whether any process has it, so that all act together."""
        if self.fabric.world_size == 1:
            return wish
        wishes: Any = self.fabric.all_reduce(torch.tensor(float(wish), device=self.fabric.device), reduce_op="sum")
        return bool(wishes > 0)

    @torch.no_grad()
    def _report(self, sums: Mapping[str, list[Tensor]], images_per_s: float) -> None:
        measures = Measures()
        if self.fabric.is_global_zero:
            measures = self.stage.evaluate(self.average)
            values = {name: float(torch.stack(v).mean()) for name, v in sums.items()}
            values |= {"images_per_s": images_per_s, "skipped": float(self.skipped)}
            values |= {name: float(count) for name, count in self.stage.counters().items()}
            self.logbook.report(self.seen, values | measures.scalars, measures.pictures)
        if measures.score is not None and measures.score > self.best:
            self.best = measures.score
            write_state(
                self.folder / "best.safetensors", self.average.state_dict(), {"seen": self.seen, "score": self.best}
            )
        self.fabric.barrier()

    def _save(self) -> None:
        """Every process holds the same state; the first one writes it."""
        if self.fabric.is_global_zero:
            self.checkpoints.save(self.step, *snapshot(self))

    def _resume(self) -> None:
        found = self.checkpoints.newest()
        if found is not None:
            restore(self, *found)

    def _request_stop(self, *_: object) -> None:
        self.stop_requested = True

    def _say(self, text: str) -> None:
        if self.fabric.is_global_zero:
            print(text, file=sys.stderr)
