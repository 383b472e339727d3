"""Inversions refined by optimisation."""

from __future__ import annotations

import pytest
import torch

from latent_reenact.errors import ConfigError
from latent_reenact.models import refinement
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.models.refinement import RefinementConfig, face_map, refine
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator


@pytest.fixture(scope="module")
def generator() -> StyleGAN2Generator:
    torch.manual_seed(0)
    sizes = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8})
    return StyleGAN2Generator(sizes).eval().requires_grad_(False)


def pictures(generator: StyleGAN2Generator, seed: int) -> torch.Tensor:
    """[2, 3, 16, 16] of random w, the same at every layer."""
    w = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))
    return generator.synthesis(generator.broadcast(w))


def test_feature_refinement_comes_nearer_to_the_picture(generator) -> None:
    images, start = pictures(generator, 1), torch.zeros(2, 6, 8)
    refined = refine(generator, images, start, RefinementConfig(steps=40))
    weight = torch.ones(2, 1, 16, 16)
    before, after = (pyramid_loss(generator.synthesis(w), images, weight) for w in (start, refined))
    assert after < 0.7 * before
    assert not refined.requires_grad
    assert not start.any()


def test_feature_no_steps_give_the_start_back(generator) -> None:
    start = torch.randn(1, 6, 8)
    assert torch.equal(refine(generator, pictures(generator, 1)[:1], start, RefinementConfig(steps=0)), start)


def test_feature_heavy_weights_hold_the_latent(generator) -> None:
    images, start = pictures(generator, 2), torch.zeros(2, 6, 8)
    free, held, even = (
        refine(generator, images, start, RefinementConfig(steps=20, start_weight=a, layers_weight=b))
        for a, b in ((0.0, 0.0), (1e3, 0.0), (0.0, 1e3))
    )
    assert held.square().mean() < 0.05 * free.square().mean()
    spread = [(w - w.mean(1, keepdim=True)).square().mean() for w in (free, even)]
    assert spread[1] < 0.1 * spread[0]


def test_feature_face_map_is_heaviest_on_the_face() -> None:
    weight = face_map(64, 4.0)[0, 0]
    assert weight.mean() == pytest.approx(1, abs=1e-5)
    assert weight[36, 32] == pytest.approx(5 * float(weight[0, 0]), rel=0.02)  # the nose, and a corner
    assert face_map(64, 0.0).unique().tolist() == [1.0]


def test_feature_face_weight_brings_the_face_nearer(generator) -> None:
    images, start = pictures(generator, 5), torch.zeros(2, 6, 8)
    face = face_map(16, 1e4)  # all but nothing round it
    errors = []
    for heavy in (0.0, 30.0):
        refined = refine(generator, images, start, RefinementConfig(steps=30, face_weight=heavy))
        errors.append(((generator.synthesis(refined) - images).abs() * face).mean())
    assert errors[1] < 0.95 * errors[0]


def test_feature_each_picture_is_refined_as_if_alone(generator) -> None:
    images, start = pictures(generator, 3), torch.zeros(2, 6, 8)
    config = RefinementConfig(steps=5)
    together = refine(generator, images, start, config)
    alone = torch.cat([refine(generator, images[i : i + 1], start[:1], config) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


def test_feature_held_directions_stay_where_the_encoder_left_them(generator) -> None:
    images, start = pictures(generator, 3), torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(9))
    directions = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0], [3.0, 2, 0, 0, 0, 0, 0, 0]])  # oblique, of any length
    config = RefinementConfig(steps=20)
    free, held = (refine(generator, images, start, config, held=rows) for rows in (None, directions))
    moved = (held - start).mean(1)  # [2, 8]
    assert moved[:, :2].abs().max() < 1e-5
    assert (free - start).mean(1)[:, :2].abs().max() > 1e-2
    assert moved[:, 2:].abs().max() > 1e-2
    assert (held - start)[..., :2].abs().max() > 1e-3  # a layer may, where the others make up for it


def test_feature_an_embedder_takes_part(generator) -> None:
    class Embedder(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(images.mean((2, 3)), dim=1)

    images, start = pictures(generator, 4), torch.zeros(2, 6, 8)
    config = RefinementConfig(steps=10, identity_weight=20.0)
    without, with_it = (refine(generator, images, start, config, identity) for identity in (None, Embedder()))
    true = Embedder()(images)
    cosines = [(Embedder()(generator.synthesis(w)) * true).sum(1).mean() for w in (without, with_it)]
    assert cosines[1] > cosines[0]


@pytest.mark.parametrize("values", [{"steps": -1}, {"learning_rate": 0.0}, {"face_weight": -1.0}])
def test_exception_config_out_of_range(values) -> None:
    with pytest.raises(ConfigError, match="refinement: got"):
        RefinementConfig(**values)


def test_feature_adam_is_pytorchs() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=random)
    mine, theirs = x.clone(), x.clone().requires_grad_(True)
    adam, reference = refinement._Adam(mine), torch.optim.Adam([theirs], lr=0.1)
    for _ in range(5):
        gradient = torch.randn(3, 4, generator=random)
        adam.step(gradient, 0.1)
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(mine, theirs.detach())
