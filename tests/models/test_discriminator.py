"""The discriminator: shapes, what it may look at, and derivatives of both orders."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latent_reenact.config import from_dict, to_dict
from latent_reenact.errors import ConfigError
from latent_reenact.models.discriminator import Discriminator, DiscriminatorConfig, append_deviation

TINY = DiscriminatorConfig(resolution=16, channels={16: 4, 8: 6, 4: 8})


def network(**changes) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(replace(TINY, **changes))


def test_smoke() -> None:
    assert torch.isfinite(network()(torch.randn(4, 3, 16, 16))).all()


def test_shapes() -> None:
    images = torch.randn(4, 3, 16, 16)
    assert network()(images).shape == (4, 1)
    assert network(patch=True)(images).shape == (4, 1, 4, 4)
    assert network(patch=True, last_resolution=8)(torch.randn(2, 3, 16, 32)).shape == (2, 1, 8, 16)
    with torch.device("meta"):
        published = Discriminator()
        assert published(torch.empty(8, 3, 1024, 1024)).shape == (8, 1)
    # Config F of the paper: 29.0 million parameters.
    assert sum(p.numel() for p in published.parameters()) == 29_012_513


def test_feature_config_survives_a_round_trip() -> None:
    assert from_dict(DiscriminatorConfig, to_dict(TINY)) == TINY


def test_feature_starts_at_unit_scale() -> None:
    """Equalised layers and the residual gain keep the variance: logits of noise are about 1, not 1e-3 nor 1e3."""
    wide = DiscriminatorConfig(resolution=64, channels={64: 32, 32: 32, 16: 32, 8: 32, 4: 32})
    torch.manual_seed(0)
    logits = torch.cat([Discriminator(wide)(torch.randn(8, 3, 64, 64)).detach() for _ in range(8)])
    assert 0.05 < logits.square().mean().sqrt() < 5


def test_feature_deviation_by_hand() -> None:
    """Two samples that differ by 2 everywhere: deviation 1. Equal samples: 0."""
    x = torch.zeros(2, 3, 2, 2)
    x[1] = 2
    torch.testing.assert_close(append_deviation(x, 4)[:, 3], torch.ones(2, 2, 2))
    assert append_deviation(torch.ones(4, 3, 2, 2), 4)[:, 3].abs().max() < 2e-4


def test_feature_deviation_tells_groups_apart() -> None:
    """Four samples in groups of two: 0 with 2, 1 with 3. Only the second pair differs."""
    x = torch.zeros(4, 1, 2, 2)
    x[3] = 2
    channel = append_deviation(x, 2)[:, 1].mean((1, 2))
    torch.testing.assert_close(channel, torch.tensor([1e-4, 1.0, 1e-4, 1.0]))


def test_feature_batch_that_no_group_divides_still_runs() -> None:
    assert network(group=4)(torch.randn(5, 3, 16, 16)).shape == (5, 1)


def test_feature_patch_logits_see_their_own_region() -> None:
    """Far from a change, the map of logits stays as it is."""
    judge = network(patch=True, last_resolution=8, group=1)
    images = torch.randn(1, 3, 16, 128)
    changed = images.clone()
    changed[..., :16] = 0
    difference = (judge(images) - judge(changed)).abs()[0, 0].amax(0)
    assert difference[:4].max() > 1e-3
    assert difference[32:].max() < 1e-6


def test_feature_clamp_limits_activations() -> None:
    judge = network(conv_clamp=0.5)
    assert judge.from_rgb(1e4 * torch.randn(1, 3, 16, 16)).abs().max() == 0.5


def test_gradcheck_both_orders() -> None:
    """R1 differentiates the gradient of the picture once more."""
    judge = Discriminator(DiscriminatorConfig(resolution=8, channels={8: 2, 4: 3}, group=2)).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(judge, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(judge, (images,), fast_mode=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "resolution: got 48"),
        ({"last_resolution": 16}, "last_resolution: got 16, expected less than 16"),
        ({"channels": {16: 4}}, "expected one entry for each"),
        ({"group": 0}, "group: got 0"),
    ],
)
def test_exception_config(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


def test_exception_picture_size() -> None:
    with pytest.raises(ValueError, match="H, W 16 x 16"):
        network()(torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="multiples of 4"):
        network(patch=True)(torch.randn(1, 3, 18, 16))
