"""Fréchet distance and sharpness, against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from latent_reenact.metrics import GaussianFit, frechet_distance, laplacian_energy


def features(seed: int, count: int = 400, size: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + rng.standard_normal(size)


def test_smoke() -> None:
    fit = GaussianFit.of(features(0))
    assert (fit.mean.shape, fit.covariance.shape, fit.count) == ((5,), (5, 5), 400)
    assert frechet_distance(fit, fit) == pytest.approx(0, abs=1e-9)


def test_feature_definition() -> None:
    """With the matrix root written as the paper has it."""
    a, b = GaussianFit.of(features(0)), GaussianFit.of(features(1))
    root = np.real(sqrtm(a.covariance @ b.covariance))
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_feature_one_dimension_by_hand() -> None:
    """(m1 - m2)² + (s1 - s2)²."""
    a, b = (GaussianFit(np.array([m]), np.array([[s * s]]), 9) for m, s in ((1.0, 2.0), (4.0, 0.5)))
    assert frechet_distance(a, b) == pytest.approx(3**2 + 1.5**2)


def test_feature_singular_covariance() -> None:
    """Fewer pictures than features: still a number, and 0 for the same set."""
    few = GaussianFit.of(features(0, count=3, size=8))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, GaussianFit.of(features(1, count=3, size=8))) > 1


def test_feature_shift_only() -> None:
    values = features(2)
    moved = GaussianFit.of(values + 3)
    assert frechet_distance(GaussianFit.of(values), moved) == pytest.approx(5 * 9)


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((1, 4)), np.full((3, 2), np.nan)])
def test_exception_features(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        GaussianFit.of(bad)


def test_exception_two_networks() -> None:
    with pytest.raises(ValueError, match="the same network"):
        frechet_distance(GaussianFit.of(features(0)), GaussianFit.of(features(0, size=4)))


def test_feature_laplacian_by_hand() -> None:
    """One white pixel: -4 there and 1 at each of its four neighbours."""
    image = np.zeros((7, 9), np.uint8)
    image[3, 4] = 255
    assert laplacian_energy(image) == pytest.approx((16 + 4) / (5 * 7))
    assert laplacian_energy(np.repeat(image[..., None], 3, 2)) == pytest.approx((16 + 4) / (5 * 7))
    assert laplacian_energy(image, (4, 3, 5, 4)) == pytest.approx(16)
    assert laplacian_energy(image, (6, 1, 8, 6)) == 0
    assert laplacian_energy(image, (-5, -5, 50, 50)) == laplacian_energy(image)


def test_feature_laplacian_blur_lowers_it() -> None:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    assert laplacian_energy(gaussian_filter(noise, 1)) < 0.2 * laplacian_energy(noise)


@pytest.mark.parametrize(("shape", "box"), [((2, 9), None), ((9, 9), (20, 20, 30, 30)), ((9, 9, 3, 1), None)])
def test_exception_laplacian(shape: tuple[int, ...], box: tuple[float, ...] | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        laplacian_energy(np.zeros(shape, np.uint8), box)  # type: ignore[arg-type]
