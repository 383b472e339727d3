"""A stage small enough to be run hundreds of times, and a program that trains it, to be killed by the fault tests.

usage: regression_stage.py FOLDER [STEP_SECONDS]
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.stage import Measures, Stage


class Regression(Stage):
    """Learns a fixed linear map; may stop itself or bring bad batches at given steps."""

    def __init__(
        self, *, stop_at: int | None = None, bad: range = range(0), kind: str = "muon", step_s: float = 0.0
    ) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3))
        self.truth = torch.randn(4, 3)
        self.optimizers = {"": OptimizerConfig(kind=kind, lr=0.02, adam_lr=0.02)}  # type: ignore[arg-type]
        self.stop_at, self.bad, self.steps, self.step_s = stop_at, bad, 0, step_s

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(batch, 4, generator=random)
        loss = (self.module(x) - x @ self.truth).square().mean()
        if self.steps in self.bad:
            loss = loss * float("nan")
        if self.steps == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        self.steps += 1
        time.sleep(self.step_s)
        return loss, {"steps": float(self.steps)}

    def sample_names(self) -> list[str]:
        return [f"sample-{self.steps - 1}"]

    def evaluate(self, average: nn.Module) -> Measures:
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(9))
        average.eval()
        error = float((average(x) - x @ self.truth).square().mean().detach())
        average.train()
        return Measures(scalars={"error": error})


CONFIG = LoopConfig(images=300 * 8, batch=8, report_images=80, save_seconds=1e-9, flat=0.3, warmup_steps=10)

if __name__ == "__main__":
    devices = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    fabric = RunConfig(accelerator="cpu", devices=devices, precision="32-true").launch()
    config = LoopConfig(images=60 * 8 * devices, batch=8, report_images=80, save_seconds=1e-9)
    stage = Regression(step_s=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    Loop(stage, config, Path(sys.argv[1]), fabric).run()
