"""Synthetic portraits rendered ahead: the sets that a recipe will ask for, in that order.

Where an accelerator trains, other processes render what the next stage needs meanwhile; where the cores train, all is
rendered first.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.context import SpawnProcess
from pathlib import Path

from latent_reenact.errors import InterruptedRunError
from latent_reenact.synthface import Mesh, load_mesh
from latent_reenact.training.preparation.cluster import core_count, executor
from latent_reenact.training.preparation.plan import Plan, Unit, carry_out
from latent_reenact.training.preparation.synthetic import SyntheticConfig, plan_synthetic
from latent_reenact.training.shards.portraits import PortraitSet, load_portraits

_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The first `count` portraits of a folder, rounded up to whole shards, as `load_portraits` gives them."""

    folder: str
    count: int
    resolution: int
    partners: int = 0


class PortraitsAhead:
    """Renders the sets of `wanted` and hands each out as soon as it is there.

    Args:
        mesh: archive of `latent-reenact synthface build-mesh`.
        root: where the folders are.
        configs: folder -> what is rendered into it.
        wanted: every set that `load` will be asked for, in that order.
        jobs: processes beside this one; all cores but one by default.
        renders: whether this process sees to rendering; of several that train together one does, and the others wait.
    """

    def __init__(
        self,
        mesh: str,
        root: Path,
        configs: Mapping[str, SyntheticConfig],
        wanted: Sequence[Wanted],
        jobs: int | None = None,
        *,
        renders: bool = True,
    ) -> None:
        self.mesh = load_mesh(mesh)
        self.plans = {name: plan_synthetic(mesh, root / name, config) for name, config in configs.items()}
        self.wanted, self._renders = tuple(wanted), renders
        self._jobs = jobs or max(1, core_count() - 1)
        self._processes: list[SpawnProcess] = []

    def render(self) -> None:
        """Everything, on all cores, before anything else."""
        for plan in self.plans.values():
            carry_out(plan)

    def start(self) -> None:
        """Everything while this process goes on: one pool renders, another derives what `load_portraits` maps."""
        context = multiprocessing.get_context("spawn")
        for work in (_render, _derive):
            self._processes.append(context.Process(target=work, args=(self.plans, self.wanted, self.mesh, self._jobs)))
            self._processes[-1].start()

    def stop(self) -> None:
        """End what `start` began; finished shards stay."""
        for process in self._processes:
            process.terminate()
            process.join()
        self._processes.clear()

    def load(self, wanted: Wanted) -> PortraitSet:
        """Wait for a set and map it. Raises InterruptedRunError where the process that renders has died."""
        plan = self.plans[wanted.folder]
        if not _wait(plan, wanted.count, while_=self._may_come):
            raise InterruptedRunError(
                f"rendering portraits into {plan.out} ended before all were there; run the same command again to go on"
            )
        return _load(plan, wanted, self.mesh, self._jobs)

    def _may_come(self) -> bool:
        """Whether what is not there yet is on its way; `start` begins with the process that renders."""
        return not self._renders or any(process.exitcode is None for process in self._processes[:1])


def first_units(plan: Plan[int], count: int) -> list[Unit[int]]:
    """The units of the first `count` samples, the last one whole."""
    before = accumulate((unit.samples for unit in plan.units), initial=0)
    return [unit for unit, start in zip(plan.units, before, strict=False) if start < count]


def _render(plans: Mapping[str, Plan[int]], wanted: Sequence[Wanted], mesh: Mesh, jobs: int) -> None:
    """All units, in the order in which they are wanted; then the manifests."""
    order = {(one.folder, unit.name): unit for one in wanted for unit in first_units(plans[one.folder], one.count)}
    waiting = [(plans[folder], unit) for (folder, _), unit in order.items() if not plans[folder].is_done(unit)]
    if waiting:
        waiting[0][0].warm_up()
    for _ in executor(jobs=jobs)(_work, waiting):
        pass
    for plan in plans.values():
        carry_out(plan, executor(jobs=jobs))


def _work(task: tuple[Plan[int], Unit[int]]) -> None:
    plan, unit = task
    plan.work(unit)


def _derive(plans: Mapping[str, Plan[int]], wanted: Sequence[Wanted], mesh: Mesh, jobs: int) -> None:
    for one in wanted:
        _wait(plans[one.folder], one.count)
        _load(plans[one.folder], one, mesh, jobs)


def _wait(plan: Plan[int], count: int, while_: Callable[[], bool] = lambda: True) -> bool:
    """Until the first units are there, or as long as `while_` holds; whether they are."""
    units = first_units(plan, count)
    while not all(plan.is_done(unit) for unit in units):
        if not while_():
            return all(plan.is_done(unit) for unit in units)
        time.sleep(_POLL_SECONDS)
    return True


def _load(plan: Plan[int], wanted: Wanted, mesh: Mesh, jobs: int) -> PortraitSet:
    shards = [plan.out / unit.name for unit in first_units(plan, wanted.count)]
    return load_portraits(shards, wanted.resolution, mesh, partners=wanted.partners, jobs=jobs)
