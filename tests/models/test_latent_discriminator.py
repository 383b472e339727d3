"""e4e's latent discriminator and its pool of earlier codes."""

from __future__ import annotations

import pytest
import torch

from latent_reenact.errors import ConfigError
from latent_reenact.models.latent_discriminator import LatentDiscriminator, LatentDiscriminatorConfig, LatentPool


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(first: int, count: int) -> torch.Tensor:
    """Codes [count, 2, 3] that hold their own number."""
    return torch.arange(first, first + count).float()[:, None, None].expand(-1, 2, 3)


def test_smoke() -> None:
    published = LatentDiscriminator()
    assert sum(p.numel() for p in published.parameters()) == 3 * (512 * 512 + 512) + 512 + 1


def test_shapes() -> None:
    discriminator = LatentDiscriminator(LatentDiscriminatorConfig(w_dim=8))
    assert discriminator(torch.randn(5, 8)).shape == (5,)
    assert discriminator(torch.randn(5, 4, 8)).shape == (5, 4)


def test_feature_a_row_is_judged_by_itself() -> None:
    discriminator = LatentDiscriminator(LatentDiscriminatorConfig(w_dim=8))
    w_plus = torch.randn(3, 4, 8)
    torch.testing.assert_close(discriminator(w_plus)[:, 2], discriminator(w_plus[:, 2]))


def test_gradcheck_by_hand() -> None:
    """Two layers of known weights: D(w) = v · lrelu(A w + b) + c."""
    discriminator = LatentDiscriminator(LatentDiscriminatorConfig(w_dim=2, layers=2))
    hidden, last = discriminator.layers[0], discriminator.layers[2]
    hidden.load_state_dict({"weight": torch.eye(2), "bias": torch.tensor([0.0, 1.0])})
    last.load_state_dict({"weight": torch.tensor([[2.0, 3.0]]), "bias": torch.tensor([0.5])})
    w = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    logit = discriminator(w)
    assert logit.item() == pytest.approx(2 * -0.2 + 3 * 2 + 0.5)
    logit.sum().backward()
    torch.testing.assert_close(w.grad, torch.tensor([[0.4, 3.0]]))


def test_feature_the_pool_shows_new_codes_until_it_is_full_and_then_old_ones_half_of_the_time() -> None:
    pool = LatentPool(4, 2, 3)
    pool.push(numbered(0, 3), seeded())
    assert torch.equal(pool.mix(numbered(100, 8), seeded()), numbered(100, 8))
    pool.push(numbered(3, 1), seeded())
    shown = pool.mix(numbered(100, 400), seeded())[:, 0, 0]
    assert 150 < int((shown < 4).sum()) < 250
    assert set(shown[shown < 4].tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_feature_the_pool_takes_half_of_what_comes_and_stays_repeatable() -> None:
    pools = [LatentPool(50, 2, 3), LatentPool(50, 2, 3)]
    for pool in pools:
        pool.push(numbered(0, 50), seeded(1))
        pool.push(numbered(100, 20), seeded(2))
    assert torch.equal(pools[0].codes, pools[1].codes)
    assert 3 <= int((pools[0].codes[:, 0, 0] >= 100).sum()) <= 17
    assert int(pools[0].filled) == 50


def test_feature_codes_that_are_not_finite_never_enter() -> None:
    pool = LatentPool(4, 2, 3)
    codes = numbered(0, 3).clone()
    codes[1, 1, 2] = torch.nan
    pool.push(codes, seeded())
    assert int(pool.filled) == 2
    assert pool.codes[:2, 0, 0].tolist() == [0.0, 2.0]


def test_feature_a_pool_of_no_size_shows_what_is_new() -> None:
    pool = LatentPool(0, 2, 3)
    pool.push(numbered(0, 3), seeded())
    assert torch.equal(pool.mix(numbered(5, 3), seeded()), numbered(5, 3))


def test_exception_no_layers() -> None:
    with pytest.raises(ConfigError, match="layers 0"):
        LatentDiscriminatorConfig(layers=0)
