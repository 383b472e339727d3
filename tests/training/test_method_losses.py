"""The method's losses: values worked out by hand, crops, weights, and what is left out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from latent_reenact.errors import ConfigError
from latent_reenact.training.losses.reenactment import (
    Motions,
    ReenactmentLoss,
    ReenactmentLossConfig,
    cosface,
    face_crop,
    pooled,
)

OFF = dict.fromkeys(("l2", "lpips", "identity", "cosface", "l2_crop", "lpips_crop"), 0.0)


class Spy:
    """A perceptual distance and an embedder that remember the sides of what they were shown."""

    def __init__(self) -> None:
        self.compared: list[int] = []
        self.embedded: list[int] = []

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        self.compared.append(a.shape[-1])
        return (a - b).abs().mean((1, 2, 3))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        self.embedded.append(images.shape[-1])
        return F.normalize(images.mean((2, 3)), dim=1)

    def loss(self, **changes) -> ReenactmentLoss:
        return ReenactmentLoss(ReenactmentLossConfig(**changes), self.distance, self.embed)


def pictures(size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def motions(**changes) -> Motions:
    codes = {name: torch.randn(2, 3, 4) for name in ("self_output", "cross_output", "driving", "other")}
    return Motions(**{**codes, **changes})


def test_smoke_defaults_are_the_best_model_of_the_thesis() -> None:
    config = ReenactmentLossConfig()
    weights = (config.l2, config.lpips, config.identity, config.cosface, config.l2_crop, config.lpips_crop)
    assert weights == (0, 0.05, 0.3, 0, 2, 0.3)
    assert (config.crop_rows, config.crop_columns) == ((55, 243), (32, 220))
    assert (config.cosface_scale, config.cosface_margin) == (5, 0.2)


@pytest.mark.parametrize(("size", "side"), [(256, 188), (128, 94), (64, 47)])
def test_shapes_crop(size, side) -> None:
    assert face_crop(torch.zeros(1, 3, size, size), ReenactmentLossConfig()).shape == (1, 3, side, side)


def test_feature_crop_takes_rows_55_to_243_and_columns_32_to_220() -> None:
    rows = torch.arange(256.0).view(1, 1, 256, 1).expand(1, 3, 256, 256)
    cut = face_crop(rows, ReenactmentLossConfig())
    assert (int(cut.min()), int(cut.max())) == (55, 242)
    cut = face_crop(rows.transpose(2, 3), ReenactmentLossConfig())
    assert (int(cut.min()), int(cut.max())) == (32, 219)


def test_feature_each_term_is_what_it_says() -> None:
    a, b, cross, identity = (pictures(32, seed) for seed in range(4))
    spy = Spy()
    _, terms = spy.loss(l2=1.0)(a, b, cross, identity)
    crop = (slice(None), slice(None), slice(7, 30), slice(4, 28))  # 55 / 8 and 243 / 8, 32 / 8 and 220 / 8, rounded
    torch.testing.assert_close(terms["l2"], (a - b).square().mean())
    torch.testing.assert_close(terms["l2_crop"], (a - b)[crop].square().mean())
    torch.testing.assert_close(terms["lpips"], (a - b).abs().mean())
    torch.testing.assert_close(terms["lpips_crop"], (a - b)[crop].abs().mean())
    cosines = F.cosine_similarity(cross.mean((2, 3)), identity.mean((2, 3)))
    torch.testing.assert_close(terms["identity"], 1 - cosines.mean())


def test_feature_total_is_the_weighted_sum() -> None:
    a, b, cross, identity = (pictures(32, seed) for seed in range(4))
    total, terms = Spy().loss()(a, b, cross, identity)
    expected = 0.05 * terms["lpips"] + 0.3 * terms["identity"] + 2 * terms["l2_crop"] + 0.3 * terms["lpips_crop"]
    torch.testing.assert_close(total, expected)
    assert set(terms) == {"lpips", "identity", "l2_crop", "lpips_crop"}


def test_feature_a_term_of_weight_0_is_not_computed() -> None:
    spy = Spy()
    spy.loss(**{**OFF, "l2": 1.0})(pictures(16), pictures(16, 1), None, pictures(16, 2))
    assert spy.compared == spy.embedded == []


def test_feature_pictures_are_pooled_once_to_256() -> None:
    spy = Spy()
    spy.loss()(pictures(512), pictures(256, 1), pictures(512, 2), pictures(256, 3))
    assert spy.compared == [256, 188]
    assert spy.embedded == [256, 256]
    small = pictures(32)
    assert pooled(small, 256) is small


def test_feature_the_identity_picture_gets_no_gradient() -> None:
    cross, identity = pictures(16).requires_grad_(), pictures(16, 1).requires_grad_()
    Spy().loss(**{**OFF, "identity": 1.0})(None, pictures(16, 2), cross, identity)[0].backward()
    assert cross.grad is not None
    assert cross.grad.abs().sum() > 0
    assert identity.grad is None


def test_feature_cosface_by_hand() -> None:
    """Outputs that move as the driver does and at right angles to the other: -log(e^4 / (e^4 + 2)) for each of two."""
    one, other = torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)
    one[..., 0], other[..., 1] = 1.0, 3.0
    found = cosface(Motions(2 * one, one, one, other))
    assert float(found) == pytest.approx(2 * -math.log(math.exp(4) / (math.exp(4) + 2)), rel=1e-5)


def test_feature_cosface_falls_towards_the_driver_and_rises_towards_the_other() -> None:
    torch.manual_seed(0)
    driving, other = torch.randn(2, 2, 3, 4)
    assert cosface(motions(self_output=driving, cross_output=driving, driving=driving, other=other)) < cosface(
        motions(self_output=other, cross_output=other, driving=driving, other=other)
    )


def test_feature_cosface_margin_matters() -> None:
    """On positives and negatives alike it would cancel."""
    torch.manual_seed(0)
    codes = motions()
    assert cosface(codes, margin=0.2) > cosface(codes, margin=0.0) + 0.1


def test_gradcheck_cosface() -> None:
    torch.manual_seed(0)
    codes = [torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(lambda *z: cosface(Motions(*z)), codes)


@pytest.mark.parametrize("changes", [OFF, {"l2": -1.0}, {"crop_rows": (9, 9)}, {"cosface_scale": 0.0}])
def test_exception_config(changes) -> None:
    with pytest.raises(ConfigError):
        ReenactmentLossConfig(**changes)


def test_exception_driving_pictures_too_small() -> None:
    with pytest.raises(ConfigError, match="expected at least 64"):
        Spy().loss()(pictures(64), pictures(32), pictures(64), pictures(32))
