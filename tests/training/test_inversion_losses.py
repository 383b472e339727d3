"""Each loss of the inverting encoders against its formula, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latent_reenact.errors import ConfigError
from latent_reenact.training.losses.inversion import (
    InversionLoss,
    InversionWeights,
    delta_norm,
    identity_loss,
    l2_loss,
    latent_r1_penalty,
    progressive_stage,
    sum_of_separate,
    w_norm,
)


def mean_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean((1, 2, 3))


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(images.mean((2, 3)), dim=1)


def test_smoke_defaults_are_the_published_numbers() -> None:
    assert vars(InversionWeights()) == {"l2": 1.0, "perceptual": 0.8, "identity": 0.1, "w_norm": 0.0, "delta": 0.0}


def test_feature_l2_is_the_mean_squared_error() -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[0, 0, 0, 0] = 6
    assert l2_loss(images, torch.zeros_like(images)).item() == pytest.approx(36 / 96)


def test_feature_identity_loss() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert identity_loss(vectors, reference).item() == pytest.approx(1 - (1.0 + 0.8) / 2)


def test_feature_w_norm_is_one_norm_a_picture() -> None:
    offset = torch.zeros(2, 2, 2)
    offset[0] = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert w_norm(offset).item() == pytest.approx(5 / 2)


def test_feature_delta_norm_sums_one_norm_a_style() -> None:
    w_plus = torch.tensor([[[1.0, 1.0], [4.0, 5.0], [1.0, 1.0], [1.0, 2.0]]])
    assert delta_norm(w_plus).item() == pytest.approx(5 + 0 + 1)


def test_gradcheck_norms_of_nothing_have_no_gradient() -> None:
    """Deltas begin at exactly zero, where a square root has no slope."""
    w_plus = torch.ones(2, 4, 3, requires_grad=True)
    (delta_norm(w_plus) + w_norm(w_plus - w_plus.detach())).backward()
    assert torch.equal(w_plus.grad, torch.zeros(2, 4, 3))


@pytest.mark.parametrize(
    ("step", "stage"),
    [(0, 0), (19_999, 0), (20_000, 1), (21_999, 1), (22_000, 2), (51_999, 16), (52_000, 17), (10**6, 17)],
)
def test_feature_progressive_stage(step: int, stage: int) -> None:
    assert progressive_stage(step, 18) == stage


def test_gradcheck_r1_penalty() -> None:
    """D(w) = a · w^2 has the gradient 2 a w, and the penalty trains a."""
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    w = torch.tensor([[1.0, 1.0], [3.0, 0.0]], requires_grad=True)
    penalty = latent_r1_penalty((w.square() * a).sum(1), w)
    assert penalty.item() == pytest.approx(((4 + 16) + 36) / 2)
    penalty.backward()
    torch.testing.assert_close(a.grad, torch.tensor([(8 * 1 * 1 + 8 * 1 * 9) / 2, 8 * 2 * 1 / 2]))


def test_feature_whole_loss_is_the_weighted_sum() -> None:
    weights = InversionWeights(w_norm=0.005, delta=2e-4)
    loss = InversionLoss(weights, mean_distance, mean_colour)
    images, truth = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    value, terms = loss.pictures(images, truth, loss.reference(truth))
    identity = 1 - (mean_colour(images) * mean_colour(truth)).sum(1).mean()
    expected = l2_loss(images, truth) + 0.8 * mean_distance(images, truth).mean() + 0.1 * identity
    torch.testing.assert_close(value, expected)
    assert set(terms) == {"l2", "perceptual", "identity"}
    w_plus, average = torch.randn(2, 4, 3), torch.randn(4, 3)
    value, terms = loss.latents(w_plus, average)
    torch.testing.assert_close(value, 0.005 * w_norm(w_plus - average) + 2e-4 * delta_norm(w_plus))
    assert set(terms) == {"w_norm", "delta"}


def test_feature_a_term_of_no_weight_is_not_computed() -> None:
    def never(*_: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    loss = InversionLoss(InversionWeights(perceptual=0, identity=0), never, never)
    images = torch.rand(1, 3, 4, 4)
    value, terms = loss.pictures(images, images + 1, loss.reference(images))
    assert value.item() == pytest.approx(1.0)
    assert set(terms) == {"l2"}
    assert loss.latents(torch.rand(1, 2, 3), torch.rand(2, 3))[1] == {}


def test_exception_a_weight_without_a_network() -> None:
    with pytest.raises(ConfigError, match=r"identity: got a weight of 0.1 and no network"):
        InversionLoss(InversionWeights(perceptual=0))


def test_exception_a_weight_below_zero() -> None:
    with pytest.raises(ConfigError, match="delta"):
        InversionWeights(delta=-1.0)


def test_gradcheck_sum_of_separate_equals_the_sum_and_frees_each_graph() -> None:
    torch.manual_seed(0)
    network, unused = nn.Linear(3, 1), nn.Parameter(torch.zeros(2))
    x = torch.randn(4, 5, 3)
    alive = []

    def losses():
        for part in x:
            loss = network(part).square().mean()
            yield loss
            with pytest.raises(RuntimeError, match="backward through the graph a second time"):
                loss.backward()
            alive.append(loss)

    together = sum(network(part).square().mean() for part in x)
    expected = torch.autograd.grad(2 * together, list(network.parameters()))
    total = sum_of_separate(losses(), [*network.parameters(), unused])
    (2 * total).backward()
    assert len(alive) == 4
    torch.testing.assert_close(total, together)
    torch.testing.assert_close([p.grad for p in network.parameters()], list(expected))
    assert unused.grad is None


def test_feature_sum_of_separate_without_parameters_is_a_number() -> None:
    total = sum_of_separate(iter([torch.tensor(1.0), torch.tensor(2.0)]), [])
    assert total.item() == 3
    assert not total.requires_grad
