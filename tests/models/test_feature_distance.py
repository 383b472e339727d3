"""The distance on features of our own networks: a distance, frozen, called as LPIPS is."""

from __future__ import annotations

import pytest
import torch

from latent_reenact.models import (
    BodyConfig,
    FaceReader,
    FaceReaderConfig,
    FeatureDistance,
    IdentityEmbedder,
    IdentityEmbedderConfig,
)

BODY = BodyConfig(widths=(4, 8), depths=(1, 2), se_reduction=2)


def tiny_distance() -> FeatureDistance:
    torch.manual_seed(0)
    reader = FaceReader(FaceReaderConfig(input_size=32, body=BODY, heat_stage=0, heat_width=4, bottleneck=4))
    embedder = IdentityEmbedder(IdentityEmbedderConfig(input_size=16, embedding=4, body=BODY))
    return FeatureDistance([reader, embedder])


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_shapes() -> None:
    distance = tiny_distance()
    assert distance(pictures(0), pictures(1)).shape == (3,)
    layers = distance.layers(pictures(0), pictures(1))
    assert layers.shape == (3, 6)  # stem and two stages of each network
    torch.testing.assert_close(layers.sum(1), distance(pictures(0), pictures(1)))


def test_feature_it_is_a_distance() -> None:
    distance, a, b = tiny_distance(), pictures(0), pictures(1)
    assert torch.equal(distance(a, a), torch.zeros(3))
    torch.testing.assert_close(distance(a, b), distance(b, a))
    near = distance(a, a + 0.05 * b)
    assert (near > 0).all()
    assert (near < distance(a, b)).all()


def test_feature_each_map_is_the_equation() -> None:
    """2 (1 - cosine) of the channels, averaged over the pixels, as unit vectors have it."""
    distance, a, b = tiny_distance(), pictures(0), pictures(1)
    f, g = (distance.networks[0].features(x)[1] for x in (a, b))
    expected = 2 * (1 - torch.nn.functional.cosine_similarity(f, g, dim=1)).mean((1, 2))
    torch.testing.assert_close(distance.layers(a, b)[:, 1], expected, atol=1e-5, rtol=1e-5)


def test_feature_frozen_also_as_part_of_what_trains() -> None:
    stage = torch.nn.Sequential(tiny_distance())
    stage.train()
    distance = stage[0]
    before = distance.networks[0].body[0].res_layer[0].running_mean.clone()
    a = pictures(0).requires_grad_()
    distance(a, pictures(1)).sum().backward()
    assert torch.equal(distance.networks[0].body[0].res_layer[0].running_mean, before)
    assert a.grad.abs().sum() > 0
    assert all(p.grad is None for p in distance.parameters())


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_gradcheck_flat_pictures_give_finite_gradients(value) -> None:
    a = torch.full((1, 3, 32, 32), value, requires_grad=True)
    tiny_distance()(a, pictures(1)[:1]).sum().backward()
    assert a.grad.isfinite().all()
