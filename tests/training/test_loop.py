"""The training loop: optimiser, averages, stop and resume, and steps that must not count."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latent_reenact.errors import InterruptedRunError
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses import psnr, pyramid_loss
from latent_reenact.training.optim import Muon, orthogonalize, schedule, split_parameters, update_average


class Regression:
    """Learns a fixed linear map; may stop itself or bring a bad batch at a given step."""

    def __init__(self, *, stop_at: int | None = None, bad_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        self.truth = torch.randn(4, 3)
        self.stop_at, self.bad_at, self.steps = stop_at, bad_at, 0

    def loss(self, generator: torch.Generator, batch: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(batch, 4, generator=generator)
        loss = (self.module(x) - x @ self.truth).square().mean()
        if self.steps == self.bad_at:
            loss = loss * float("nan")
        if self.steps == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        self.steps += 1
        return loss, {"steps": float(self.steps)}

    def evaluate(self, average: nn.Module, folder: Path) -> dict[str, float]:
        return {}


CONFIG = LoopConfig(images=300 * 8, batch=8, muon_lr=0.02, adam_lr=0.02)


def run(stage: Regression, folder: Path) -> nn.Module:
    return Loop(stage, CONFIG, folder, log=lambda line: None).run()


def test_feature_learns(tmp_path) -> None:
    stage = Regression()
    before = stage.loss(torch.Generator().manual_seed(5), 256)[0].item()
    run(stage, tmp_path)
    assert stage.loss(torch.Generator().manual_seed(5), 256)[0].item() < 0.3 * before


def test_feature_stopped_and_resumed_run_ends_with_the_same_weights(tmp_path) -> None:
    unbroken = run(Regression(), tmp_path / "unbroken").state_dict()
    with pytest.raises(InterruptedRunError, match="run the same command again"):
        run(Regression(stop_at=17), tmp_path / "broken")
    resumed = run(Regression(), tmp_path / "broken").state_dict()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)


def test_feature_finished_run_is_not_repeated(tmp_path) -> None:
    run(Regression(), tmp_path)
    written = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    again = Regression()
    run(again, tmp_path)
    assert again.steps == 0
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == written


def test_feature_non_finite_step_is_skipped_and_counted(tmp_path) -> None:
    stage = Regression(bad_at=3)
    loop = Loop(stage, CONFIG, tmp_path, log=lambda line: None)
    average = loop.run()
    assert loop.skipped == 1
    assert all(torch.isfinite(p).all() for p in average.parameters())


def test_feature_signal_handlers_are_put_back(tmp_path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(Regression(), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_feature_orthogonalized_matrix_has_singular_values_near_one() -> None:
    for shape in ((6, 20), (20, 6)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)).float())
        assert values.min() > 0.4
        assert values.max() < 1.4


def test_feature_muon_takes_convolution_kernels() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 3, 3))
    before = weight.detach().clone()
    weight.square().sum().backward()
    Muon([weight], lr=0.1).step()
    assert not torch.equal(weight, before)
    assert weight.shape == before.shape


def test_feature_split_keeps_rgb_and_vectors_for_adam() -> None:
    module = nn.ModuleDict({"to_rgb": nn.Linear(2, 3), "conv": nn.Conv2d(2, 3, 3)})
    matrices, rest = split_parameters(module, ("to_rgb",))
    assert [tuple(p.shape) for p in matrices] == [(3, 2, 3, 3)]
    assert len(rest) == 3


def test_feature_schedule_warms_up_holds_and_decays() -> None:
    assert schedule(0.0, 0) < 0.1
    assert schedule(0.3, 1000) == 1.0
    assert schedule(1.0, 1000) == pytest.approx(0.01)
    values = [schedule(p / 100, 1000) for p in range(45, 101)]
    assert values == sorted(values, reverse=True)


def test_feature_average_follows_the_weights() -> None:
    module, average = nn.Linear(2, 2), nn.Linear(2, 2)
    for step in range(200):
        update_average(average, module, step, decay=0.9)
    torch.testing.assert_close(average.weight, module.weight, atol=1e-4, rtol=1e-4)


def test_feature_pyramid_loss_is_zero_only_for_the_truth() -> None:
    truth, weight = torch.rand(2, 3, 32, 32) * 2 - 1, torch.ones(2, 1, 32, 32)
    assert float(pyramid_loss(truth, truth, weight)) == 0
    shifted = truth.roll(1, dims=3)
    assert float(pyramid_loss(shifted, truth, weight)) > float(pyramid_loss(truth + 0.01, truth, weight)) > 0


def test_feature_psnr_by_hand() -> None:
    """An error of 0.2 everywhere on a range of 2: 20 log10(2 / 0.2) = 20 dB."""
    truth = torch.zeros(1, 3, 8, 8)
    assert psnr(truth + 0.2, truth) == pytest.approx(20.0, abs=1e-4)
