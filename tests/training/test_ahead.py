"""Portraits rendered ahead of the stages that ask for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from latent_reenact.errors import InterruptedRunError
from latent_reenact.synthface.tiny import tiny_arrays
from latent_reenact.training.preparation import synthetic
from latent_reenact.training.preparation.ahead import PortraitsAhead, Wanted, first_units
from latent_reenact.training.preparation.synthetic import SyntheticConfig

SETS = [
    Wanted(folder="held-out", count=4, resolution=16, partners=2),
    Wanted(folder="portraits", count=5, resolution=16),
    Wanted(folder="portraits", count=12, resolution=32, partners=2),
]


@pytest.fixture
def ahead(tmp_path: Path, monkeypatch) -> PortraitsAhead:
    monkeypatch.setattr(synthetic, "_SHARD_SAMPLES", 4)
    np.savez(tmp_path / "mesh.npz", **tiny_arrays())
    configs = {
        "portraits": SyntheticConfig(seed=1, people=12, size=32),
        "held-out": SyntheticConfig(seed=2, people=4, size=32),
    }
    return PortraitsAhead(str(tmp_path / "mesh.npz"), tmp_path, configs, SETS, jobs=1)


def test_feature_whole_shards_with_the_first_samples(ahead) -> None:
    plan = ahead.plans["portraits"]
    assert [unit.samples for unit in plan.units] == [4, 4, 4]
    assert [len(first_units(plan, count)) for count in (1, 4, 5, 12, 99)] == [1, 1, 2, 3, 3]


def test_feature_sets_are_the_same_first_or_beside(ahead, tmp_path) -> None:
    ahead.start()
    beside = [ahead.load(one) for one in SETS]
    ahead.stop()
    assert [len(portraits) for portraits in beside] == [4, 8, 12]
    assert [portraits.partners.shape[1] for portraits in beside] == [2, 0, 2]
    assert beside[1].swapped.shape[1] == 0
    kept = [portraits.images.clone() for portraits in beside]
    for path in sorted(tmp_path.rglob("*.tar")) + sorted(tmp_path.rglob("*.npy")):
        path.unlink()
    for path in tmp_path.rglob("*.json"):
        path.unlink()
    ahead.render()
    assert all(torch.equal(ahead.load(one).images, images) for one, images in zip(SETS, kept, strict=True))


def test_feature_another_process_waits_for_the_one_that_renders(ahead, tmp_path) -> None:
    configs = {name: plan.config for name, plan in ahead.plans.items()}
    beside = PortraitsAhead(str(tmp_path / "mesh.npz"), tmp_path, configs, SETS, jobs=1, renders=False)
    ahead.start()
    assert len(beside.load(SETS[1])) == 8
    ahead.stop()


def test_exception_nobody_renders(ahead) -> None:
    with pytest.raises(InterruptedRunError, match="ended before all were there"):
        ahead.load(SETS[0])
