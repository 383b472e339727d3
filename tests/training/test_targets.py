"""What the teacher knows: w of factors, and factors of w."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("numba")

from latent_reenact.models import FactorGenerator, FactorMapping, FactorMappingConfig
from latent_reenact.models.stylegan2 import GeneratorConfig, SynthesisNetwork
from latent_reenact.synthface import conditioning_names
from latent_reenact.training.targets import Teacher, least_squares

INPUTS = max(part.stop for part in conditioning_names().values())


@pytest.fixture(scope="module")
def teacher() -> tuple[Teacher, torch.Tensor]:
    """A teacher whose w has room for every direction that its factors move in."""
    torch.manual_seed(0)
    conditioning = torch.randn(256, 12) @ torch.randn(12, INPUTS)
    factors = FactorMapping(FactorMappingConfig(inputs=INPUTS, w_dim=24, layers=1))
    factors.fit(conditioning)
    sizes = GeneratorConfig(resolution=8, w_dim=24, channels={4: 4, 8: 4})
    return Teacher.build(FactorGenerator(factors, SynthesisNetwork(sizes)), conditioning), conditioning


def test_feature_least_squares_finds_a_linear_map() -> None:
    x, a = torch.randn(500, 6), torch.randn(6, 3)
    x = x - x.mean(0)
    torch.testing.assert_close(least_squares(x, x @ a), a, atol=1e-2, rtol=1e-2)


def test_feature_factors_are_read_from_w(teacher) -> None:
    knows, conditioning = teacher
    w = knows.w(conditioning)
    read = (w - knows.average) @ knows.readout
    true = knows.generator.factors.standardized(conditioning)
    unexplained = (read - (true - true.mean(0))).square().mean() / true.var(0).mean()
    assert unexplained < 0.2


def test_feature_factor_error_counts_every_factor_alike(teacher) -> None:
    knows, conditioning = teacher
    w, other = knows.w(conditioning[:4]), knows.w(conditioning[4:8])
    w_plus = w[:, None].repeat(1, 4, 1)
    assert knows.factor_error(w_plus, w) < 1e-10
    by_hand = ((w_plus - other[:, None]) @ knows.readout).square()
    torch.testing.assert_close(knows.factor_error(w_plus, other), by_hand.mean())
    pose = by_hand[..., conditioning_names()["pose"]].mean()
    torch.testing.assert_close(knows.factor_error(w_plus, other, ["pose"]), pose)
