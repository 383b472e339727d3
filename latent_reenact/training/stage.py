"""What a training stage brings to the loop: networks, losses, measures. The loop brings everything else.

Every number drawn at random comes from `random`, which the loop seeds with the step and the rank, so that a resumed
run draws what the unbroken run would have drawn and no generator's state needs to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latent_reenact.training.optim import OptimizerConfig

Scalars = Mapping[str, "float | Tensor"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One backward pass and optimiser step; most stages have one, adversarial ones several.

    trains: prefix of the names of the parameters it updates, "" for all of `Stage.module`;
    every: do it on each step that this number divides (lazy regularisation, StyleGAN2 section 3.1).
    """

    name: str = "main"
    trains: str = ""
    every: int = 1


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where a stage runs: given to `Stage.start` before the first step and after a resume."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    step: int = 0  # steps that are already done
    batch: int = 1  # samples per rank and micro-step
    accumulate: int = 1  # micro-steps per phase
    autocast: Callable[[], AbstractContextManager] = nullcontext


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What `Stage.evaluate` found.

    score: larger is better; where it is not None the weights of the best score are the stage's result.
    pictures: name -> uint8 [H, W, 3], written as PNG and to TensorBoard.
    """

    scalars: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    score: float | None = None


class Stage:
    """Base of all stages.

    module: everything that is trained; saved and resumed whole, buffers too.
    phases: what one step does, in order.
    optimizers: prefix of parameter names -> how they are updated; each phase's `trains` is one of the keys.
    """

    module: nn.Module
    phases: Sequence[Phase] = (Phase(),)
    optimizers: Mapping[str, OptimizerConfig]
    setup: Setup = Setup()

    @property
    def averaged(self) -> nn.Module:
        """The part of `module` whose moving average is kept and returned."""
        return self.module

    def start(self, setup: Setup) -> None:
        """Move what is frozen to the device, open streams at `setup.step`."""
        self.setup = setup

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        """Loss of one random batch, and scalars to log. `random` lives on the CPU."""
        raise NotImplementedError

    def sample_names(self) -> Sequence[str]:
        """The samples of the last batch, to be named where it gave no finite gradient."""
        return ()

    def counters(self) -> Mapping[str, int]:
        """Things to report beside the skipped steps, such as unreadable samples."""
        return {}

    def finish_step(self, step: int) -> None:
        """Called on every rank after all phases of a step; may change buffers of `module`."""

    def evaluate(self, average: Any) -> Measures:
        """Measures of the averaged weights on held-out data (first rank only, no gradients)."""
        return Measures()
