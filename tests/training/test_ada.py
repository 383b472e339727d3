"""Adaptive augmentation: exact where it can be, linear everywhere, and p that follows the discriminator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from latent_reenact.custom_ops import setup_filter
from latent_reenact.errors import ConfigError
from latent_reenact.training.ada import KINDS, SYM6, AdaptiveAugmentation, AugmentationConfig, reflect, warp


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def augment(images: Tensor, *kinds: str, p: float = 1.0, seed: int = 0) -> Tensor:
    module = AdaptiveAugmentation(AugmentationConfig(kinds=kinds, p=p, target=None))  # type: ignore[arg-type]
    return module(images, seeded(seed))


def pictures(batch: int = 16, size: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=seeded(7), dtype=dtype) * 2 - 1


def smooth(batch: int = 4, size: int = 64) -> Tensor:
    """A blob with a colour of its own, a third of the way along, far from the edge."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    blob = torch.exp(-((x - 0.55 * size) ** 2 + (y - 0.4 * size) ** 2) / (2 * (size / 16) ** 2))
    return torch.tensor([1.0, 0.6, 0.2])[None, :, None, None] * blob.expand(batch, 1, -1, -1)


def matrix(*, angle_deg: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """[1, 3, 3]: rotation, scaling, then a shift in half pictures."""
    angle = np.radians(angle_deg)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return torch.tensor([[[cos, -sin, shift[0]], [sin, cos, shift[1]], [0, 0, 1]]], dtype=torch.float32)


def warped(images: Tensor, forward: Tensor) -> Tensor:
    return warp(images, torch.linalg.inv(forward), setup_filter(SYM6))


def centre(images: Tensor) -> Tensor:
    """[B, 2]: centre of brightness in half pictures."""
    place = (2 * torch.arange(images.shape[-1]) + 1) / images.shape[-1] - 1
    light = images.mean(1)
    total = light.sum((1, 2))
    return torch.stack([(light.sum(1) * place).sum(1) / total, (light.sum(2) * place).sum(1) / total], 1)


def test_smoke() -> None:
    changed = augment(pictures(), *KINDS, p=0.8)
    assert torch.isfinite(changed).all()
    assert (changed - pictures()).abs().amax((1, 2, 3)).min() > 1e-3


def test_shapes() -> None:
    for size in (8, 33, 64):
        assert augment(pictures(2, size), *KINDS).shape == (2, 3, size, size)


def test_feature_p_of_zero_changes_nothing() -> None:
    images = pictures()
    assert torch.equal(augment(images, *KINDS, p=0.0), images)


def test_feature_same_random_numbers_give_the_same_pictures() -> None:
    first, again, other = (augment(pictures(), *KINDS, p=0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_feature_flips_are_exact() -> None:
    images = pictures()
    changed = augment(images, "flip")
    flipped = [torch.equal(c, i.flip(2)) for c, i in zip(changed, images, strict=True)]
    kept = [torch.equal(c, i) for c, i in zip(changed, images, strict=True)]
    assert all(f or k for f, k in zip(flipped, kept, strict=True))
    assert any(flipped)
    assert any(kept)


def test_feature_quarter_turns_are_exact() -> None:
    images = pictures(32)
    turns = [
        next(k for k in range(4) if torch.equal(c, torch.rot90(i, k, (1, 2))))
        for c, i in zip(augment(images, "rotate90"), images, strict=True)
    ]
    assert set(turns) == {0, 1, 2, 3}


def test_feature_shift_is_a_whole_number_of_pixels_with_mirrored_edges() -> None:
    images = pictures(8)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")  # an eighth of 16 pixels
    for changed, one in zip(augment(images, "shift"), padded, strict=True):
        windows = [one[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
        assert any(torch.equal(changed, window) for window in windows)


def test_feature_share_of_changed_pictures_is_p() -> None:
    images = pictures(1).expand(4000, -1, -1, -1)
    changed = (augment(images, "brightness", p=0.3) != images).any(1).any(1).any(1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.03)


def test_feature_either_rotation_comes_with_p() -> None:
    """Two rotations with 1 - sqrt(1 - p) each."""
    images = pictures(1, 8).expand(2000, -1, -1, -1)
    changed = ((augment(images, "rotate", p=0.5) - images).abs() > 1e-3).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.5, abs=0.04)


def test_feature_low_pass_is_the_orthogonal_wavelet() -> None:
    """Orthogonal to its shifts by two, and blind to polynomials of degree 5 (Daubechies 1992): that is sym6."""
    taps = np.array(SYM6)
    correlations = [float((taps[2 * k :] * taps[: 12 - 2 * k]).sum()) for k in range(6)]
    np.testing.assert_allclose(correlations, [1, 0, 0, 0, 0, 0], atol=1e-11)
    moments = [float(((-1.0) ** np.arange(12) * np.linspace(-1, 1, 12) ** m * taps).sum()) for m in range(6)]
    np.testing.assert_allclose(moments, 0, atol=1e-11)


def test_feature_warp_by_nothing_gives_back_the_picture() -> None:
    torch.testing.assert_close(warped(pictures(2), matrix().expand(2, 3, 3)), pictures(2), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "motion",
    [
        matrix(angle_deg=30),
        matrix(angle_deg=-100),
        matrix(scale=1.3),
        matrix(shift=(0.11, -0.07)),
        matrix(angle_deg=20, scale=0.9, shift=(0.05, 0.1)),
    ],
)
def test_feature_warp_moves_what_is_in_the_picture(motion) -> None:
    images = smooth(1)
    place = torch.cat([centre(images), torch.ones(1, 1)], 1)
    moved = centre(warped(images, motion))
    torch.testing.assert_close(moved, (motion[0] @ place[0])[None, :2], atol=2e-3, rtol=0)  # 0.06 pixels


def test_feature_warp_agrees_with_bilinear_sampling_of_a_smooth_picture() -> None:
    images, motion = smooth(1), matrix(angle_deg=25, scale=1.1)
    grid = torch.nn.functional.affine_grid(torch.linalg.inv(motion)[:, :2], [1, 3, 64, 64], align_corners=False)
    plain = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(warped(images, motion), plain, atol=0.02, rtol=0)


def test_feature_geometry_keeps_a_plain_picture_plain() -> None:
    plain = torch.full((8, 3, 16, 16), 0.3)
    torch.testing.assert_close(augment(plain, *KINDS[:7]), plain, atol=1e-5, rtol=0)


def test_feature_reflection_by_hand() -> None:
    got = reflect(torch.arange(-4, 9), 4).tolist()
    assert got == [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("kind", ["hue", "saturation"])
def test_feature_hue_and_saturation_keep_the_mean_of_the_channels(kind) -> None:
    images = pictures()
    changed = augment(images, kind)
    torch.testing.assert_close(changed.mean(1), images.mean(1), atol=1e-5, rtol=0)
    assert (changed - images).abs().max() > 0.1


def test_feature_hue_keeps_the_distance_from_grey() -> None:
    images = pictures()
    before, after = (x - x.mean(1, keepdim=True) for x in (images, augment(images, "hue")))
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), atol=1e-5, rtol=0)


def test_feature_saturation_scales_the_distance_from_grey() -> None:
    images = pictures(4)
    before, after = (x - x.mean(1, keepdim=True) for x in (images, augment(images, "saturation")))
    ratio = (after / before).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-2, rtol=1e-2)


def test_feature_luma_flip_changes_the_sign_of_grey_and_keeps_colour() -> None:
    images = pictures()
    changed = augment(images, "luma_flip")
    signs = changed.mean(1).flatten(1)[:, 0] / images.mean(1).flatten(1)[:, 0]
    torch.testing.assert_close(signs.abs(), torch.ones(16), atol=1e-3, rtol=0)
    assert set(signs.sign().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(changed - changed.mean(1, keepdim=True), images - images.mean(1, keepdim=True))


def test_feature_brightness_adds_and_contrast_multiplies() -> None:
    images = pictures()
    added = augment(images, "brightness") - images
    torch.testing.assert_close(added, added[:, :1, :1, :1].expand_as(added), atol=1e-5, rtol=0)
    factor = augment(images, "contrast") / images
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor), atol=1e-3, rtol=1e-3)
    assert factor.min() > 0


def test_gradcheck_both_orders() -> None:
    """R1 goes through the augmentation and back again."""
    module = AdaptiveAugmentation(AugmentationConfig(p=0.9)).double()
    images = pictures(2, 8, torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: module(x, seeded(3)), (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: module(x, seeded(3)) ** 2, (images,), fast_mode=True)


CONTROL = AugmentationConfig(ramp_images=800, every=2)


def play(module: AdaptiveAugmentation, logit: float, steps: int, first: int = 0) -> float:
    for step in range(first, first + steps):
        module.observe(torch.full((8, 1), logit))
        module.finish_step(step)
    return float(module.p)


def test_feature_sure_discriminator_raises_p_and_an_unsure_one_lowers_it() -> None:
    module = AdaptiveAugmentation(CONTROL)
    assert play(module, 3.0, 10) == pytest.approx(80 / 800)
    assert play(module, -3.0, 4) == pytest.approx(48 / 800)
    assert play(module, -3.0, 100) == 0
    assert play(module, 3.0, 200) == 1


def test_feature_p_rests_at_the_target() -> None:
    """Eight in ten positive: a mean sign of exactly 0.6."""
    module = AdaptiveAugmentation(replace(CONTROL, p=0.4))
    for step in range(20):
        module.observe(torch.tensor([1.0] * 8 + [-1.0] * 2)[:, None])
        module.finish_step(step)
    assert float(module.p) == pytest.approx(0.4)


def test_feature_no_target_keeps_p() -> None:
    assert play(AdaptiveAugmentation(replace(CONTROL, p=0.25, target=None)), 3.0, 50) == 0.25


def test_feature_maps_of_logits_and_what_is_not_finite() -> None:
    module = AdaptiveAugmentation(CONTROL)
    module.observe(torch.full((8, 1, 4, 4), 2.0))
    module.observe(torch.full((8, 1), float("nan")))
    module.finish_step(0)
    assert module.signs.tolist() == [8, 16]


def test_feature_state_between_changes_of_p_is_saved() -> None:
    """Stopped after an odd number of steps, and resumed: p moves as it would have."""
    unbroken, stopped, resumed = (AdaptiveAugmentation(CONTROL) for _ in range(3))
    play(unbroken, 3.0, 8)
    play(stopped, 3.0, 5)
    resumed.load_state_dict(stopped.state_dict())
    assert play(resumed, 3.0, 3, first=5) == float(unbroken.p)
    assert set(resumed.state_dict()) == {"p", "signs"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"p": 1.5}, "p: got 1.5"), ({"target": 1.0}, "target: got 1.0"), ({"every": 0}, "every: got 0")],
)
def test_exception_config(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONTROL, **changes)


def test_exception_picture_that_is_not_square() -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, R, R\]"):
        augment(torch.zeros(1, 3, 16, 8), "flip")
