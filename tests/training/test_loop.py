"""The training loop: optimisers, averages, accumulation, stop and resume, and steps that must not count."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError, DivergedError, InterruptedRunError
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.training import machine, optim
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses.pictures import psnr
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.optim import Muon, OptimizerConfig, Ranger, orthogonalize, schedule, update_average
from latent_reenact.training.stage import Measures, Phase, Stage
from regression_stage import CONFIG, Regression

RARE = replace(CONFIG, save_seconds=1e9)


def run(stage: Stage, folder: Path, config: LoopConfig = RARE) -> nn.Module:
    return Loop(stage, config, folder).run()


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["adam", "muon", "ranger"])
def test_feature_learns(tmp_path, kind) -> None:
    stage = Regression(kind=kind)
    before = stage.evaluate(stage.module).scalars["error"]
    average = run(stage, tmp_path)
    assert stage.evaluate(average).scalars["error"] < 0.5 * before


@pytest.mark.parametrize("kind", ["adam", "muon", "ranger"])
def test_feature_stopped_and_resumed_run_ends_with_the_same_weights(tmp_path, kind) -> None:
    unbroken = run(Regression(kind=kind), tmp_path / "unbroken").state_dict()
    with pytest.raises(InterruptedRunError, match="run the same command again"):
        run(Regression(kind=kind, stop_at=17), tmp_path / "broken")
    resumed = run(Regression(kind=kind), tmp_path / "broken").state_dict()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)
    keep = ("seen", "loss", "error", "skipped")
    logs = [[{k: line[k] for k in keep} for line in log_of(tmp_path / name)] for name in ("unbroken", "broken")]
    assert logs[0][2:] == logs[1][2:]  # the report after the stop has seen fewer losses
    assert [line["seen"] for line in logs[0]] == [line["seen"] for line in logs[1]]


def test_feature_finished_run_is_not_repeated(tmp_path) -> None:
    first = run(Regression(), tmp_path).state_dict()
    again = Regression()
    second = run(again, tmp_path).state_dict()
    assert again.steps == 0
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_feature_finished_run_goes_on_where_more_is_asked_for(tmp_path) -> None:
    run(Regression(), tmp_path)
    longer = Regression()
    run(longer, tmp_path, replace(RARE, images=RARE.images + 80))
    assert longer.steps == 10


def test_feature_non_finite_step_is_skipped_and_counted(tmp_path) -> None:
    loop = Loop(Regression(bad=range(3, 5)), RARE, tmp_path)
    average = loop.run()
    assert loop.skipped == 2
    assert all(torch.isfinite(p).all() for p in average.parameters())
    assert log_of(tmp_path)[-1]["skipped"] == 2


def test_exception_many_bad_steps_in_a_row_name_the_samples(tmp_path) -> None:
    with pytest.raises(DivergedError, match=r"4 steps in a row.*sample-13.*lower the learning rate"):
        run(Regression(bad=range(10, 99)), tmp_path, replace(RARE, skip_limit=4))


def test_feature_tensorboard_holds_what_the_log_holds(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(Regression(), tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    errors = [(event.step, event.value) for event in board.Scalars("error")]
    assert errors == [(line["seen"], pytest.approx(line["error"], abs=1e-4)) for line in log_of(tmp_path)]


def test_feature_signal_handlers_are_put_back(tmp_path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(Regression(), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


class Linear(Stage):
    """A loss that is linear in the samples, so that averages of parts are the average of the whole."""

    def __init__(self) -> None:
        self.module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.module.weight)
        self.optimizers = {"": OptimizerConfig(lr=0.1)}
        self.calls = 0

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, dict[str, float]]:
        self.calls += 1
        return self.module(torch.full((batch, 1), float(self.calls))).mean(), {}


def test_feature_accumulated_gradients_are_averaged(tmp_path) -> None:
    stage = Linear()
    loop = Loop(stage, LoopConfig(images=8, batch=4, accumulate=2, report_images=8), tmp_path)
    loop.run()
    assert stage.calls == 2
    assert stage.module.weight.grad is not None
    assert stage.module.weight.grad.item() == 1.5


class Scored(Linear):
    """Scores itself best in the middle of the run."""

    def evaluate(self, average: nn.Module) -> Measures:
        return Measures(score=-abs(self.calls - 5))


def test_feature_the_best_scored_weights_are_the_result(tmp_path) -> None:
    config = LoopConfig(images=10, batch=1, report_images=1, flat=1.0, warmup_steps=0, ema_decay=0.0)
    loop = Loop(Scored(), config, tmp_path)
    best = loop.run().weight.item()
    assert best == pytest.approx(5 * loop.stage.module.weight.item() / 10, rel=0.05)
    assert run(Scored(), tmp_path, config).weight.item() == best  # a run that is done gives the same


class TwoPlayers(Stage):
    """Two phases that train two parts."""

    phases = (Phase(name="first", trains="0."), Phase(name="second", trains="1.", every=2))

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        self.optimizers = {"0.": OptimizerConfig(), "1.": OptimizerConfig()}
        self.needed: list[tuple[str, bool, bool]] = []

    @property
    def averaged(self) -> nn.Module:
        return self.module[0]  # type: ignore[index]

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, dict[str, float]]:
        first, second = self.module[0], self.module[1]  # type: ignore[index]
        self.needed.append((phase, first.weight.requires_grad, second.weight.requires_grad))
        return self.module(torch.randn(batch, 2, generator=random)).mean(), {}


def test_feature_a_phase_trains_its_part_alone(tmp_path) -> None:
    stage = TwoPlayers()
    average = run(stage, tmp_path, LoopConfig(images=4, batch=1))
    a, b = ("first", True, False), ("second", False, True)
    assert stage.needed == [a, b, a, a, b, a]
    assert isinstance(average, nn.Linear)
    assert all(p.requires_grad for p in stage.module.parameters())


def test_feature_muon_update_is_nearly_orthogonal(monkeypatch) -> None:
    for processor_has_it, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(optim, "has_bf16", lambda has=processor_has_it: has)
        update = orthogonalize(torch.randn(16, 40))
        singular = torch.linalg.svdvals(update.float())
        assert update.dtype == dtype
        assert singular.min() > 0.5
        assert singular.max() < 1.4


def test_feature_muon_takes_convolutions() -> None:
    weight = nn.Parameter(torch.randn(6, 3, 3, 3))
    weight.grad = torch.randn_like(weight)
    before = weight.detach().clone()
    Muon([weight], lr=0.01).step()
    assert not torch.equal(weight, before)


def test_feature_ranger_looks_ahead_every_sixth_step() -> None:
    """Against RAdam stepped beside it: after k steps the weights lie half way from the start to RAdam's."""
    ours, plain = (nn.Parameter(torch.ones(3)) for _ in range(2))
    ranger = Ranger([ours], 0.1)
    radam = torch.optim.RAdam([plain], 0.1, betas=(0.95, 0.999), eps=1e-5)
    for step in range(6):
        for p, optimizer in ((ours, ranger), (plain, radam)):
            p.grad = torch.full((3,), 1.0 + step)
            optimizer.step()
        if step < 5:
            assert torch.equal(ours, plain)
    torch.testing.assert_close(ours, 0.5 * (1 + plain))


def test_feature_muon_config_leaves_the_rest_to_adam() -> None:
    module = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "to_rgb": nn.Conv2d(4, 3, 1)})
    muon, adam = OptimizerConfig(kind="muon").build(module)
    assert [tuple(p.shape) for p in muon.param_groups[0]["params"]] == [(4, 3, 3, 3)]
    assert len(adam.param_groups[0]["params"]) == 3


def test_feature_schedule() -> None:
    assert schedule(0.0, 0) == pytest.approx(0.05)
    assert schedule(0.3, 500) == 1
    assert schedule(1.0, 500) == pytest.approx(0.01)
    assert schedule(1.0, 500, flat=1.0) == 1
    assert schedule(0.5, 0, warmup_steps=0, flat=0.9) == 1


def test_feature_average_follows_the_weights() -> None:
    module, average = nn.Linear(2, 2), nn.Linear(2, 2)
    for step in range(2000):
        update_average(average, module, step)
    torch.testing.assert_close(average.weight, module.weight, atol=1e-3, rtol=0)


def test_feature_pyramid_loss_is_zero_for_the_truth_alone() -> None:
    truth, weight = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    assert pyramid_loss(truth, truth, weight) == 0
    assert pyramid_loss(truth + 0.1, truth, weight) > 0.1
    assert psnr(truth + 0.2, truth) == pytest.approx(20, abs=1)


def test_exception_numbers_out_of_range() -> None:
    with pytest.raises(ConfigError, match="batch: got 0"):
        LoopConfig(images=1, batch=0)
    with pytest.raises(ConfigError, match="flat"):
        LoopConfig(images=1, flat=1.5)
    with pytest.raises(ConfigError, match="lr: got -1"):
        OptimizerConfig(lr=-1)


def test_exception_half_precision_on_the_cpu() -> None:
    with pytest.raises(ConfigError, match="bf16-mixed or 32-true"):
        RunConfig(accelerator="cpu", precision="16-mixed").launch()


@pytest.mark.parametrize(("processor_has_it", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_feature_auto_precision_is_the_faster_one(monkeypatch, processor_has_it: bool, expected: str) -> None:
    monkeypatch.setattr(machine, "has_bf16", lambda: processor_has_it)
    said = nullcontext() if processor_has_it else pytest.warns(UserWarning, match="training runs in float32")
    with said:
        fabric = RunConfig(accelerator="cpu").launch()
    assert fabric.strategy.precision.precision == expected


def test_exception_checkpoint_of_another_optimiser(tmp_path) -> None:
    run(Regression(kind="adam"), tmp_path)
    with pytest.raises(ConfigError, match=r"made with the optimisers \{'': \['Adam'\]\}, the config has.*'Muon'"):
        run(Regression(kind="muon"), tmp_path)


def test_exception_checkpoint_of_other_sizes(tmp_path) -> None:
    run(Linear(), tmp_path, LoopConfig(images=4, batch=4))
    with pytest.raises(ConfigError, match="does not fit the config"):
        run(Regression(kind="adam"), tmp_path)
