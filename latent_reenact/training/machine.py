"""The machine that a run is on: devices, processes, precision."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from latent_reenact.errors import ConfigError
from latent_reenact.models.fast_synthesis import has_bf16
from latent_reenact.models.memory import keep_freed_memory

_PATIENCE = timedelta(hours=12)  # of processes that wait for one that prepares data


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The machine: which devices, how many, and in what precision.

    Under `torchrun` the number of processes is what it started.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int | Literal["auto"] = "auto"  # a node; on the CPU: processes
    nodes: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"

    def launch(self) -> Fabric:
        """Start (or join) the processes, in bf16-mixed for "auto" where that is not slower than 32-true.

        Raises ConfigError where the precision is not to be had.
        """
        on_cpu = self.accelerator == "cpu" or (self.accelerator == "auto" and not torch.cuda.is_available())
        if on_cpu and self.precision == "16-mixed":
            raise ConfigError(
                "precision: got '16-mixed' on a CPU, which cannot train in it; give auto, bf16-mixed or 32-true"
            )
        devices: int | str = self.devices
        if "LOCAL_WORLD_SIZE" in os.environ:
            devices = int(os.environ["LOCAL_WORLD_SIZE"])
        elif devices == "auto" and on_cpu:
            devices = 1
        several = devices not in (1, "auto") or self.nodes > 1
        strategy = DDPStrategy(timeout=_PATIENCE) if several else "auto"
        if on_cpu:
            keep_freed_memory()  # half of a step's time went into asking the system for it
        else:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True  # batches are all of one size
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=devices,
            num_nodes=self.nodes,
            strategy=strategy,
            precision=_fast_precision(on_cpu) if self.precision == "auto" else self.precision,
        )
        fabric.launch()
        return fabric


def _fast_precision(on_cpu: bool) -> Literal["32-true", "bf16-mixed"]:
    """A processor without bfloat16 emulates it: ten times slower than float32 in convolutions."""
    if has_bf16() if on_cpu else torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    if os.environ.get("LOCAL_RANK", "0") == "0":
        warnings.warn("no bfloat16 in this processor: training runs in float32 (run.precision=32-true)", stacklevel=3)
    return "32-true"
