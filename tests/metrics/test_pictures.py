from __future__ import annotations

import numpy as np
import pytest

from latent_reenact.metrics import psnr, ssim


def noise(seed: int, shape: tuple[int, ...] = (40, 48, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_smoke() -> None:
    assert psnr(noise(0), noise(1)) < 10
    assert abs(ssim(noise(0), noise(1))) < 0.1


def test_feature_psnr_by_hand() -> None:
    black = np.zeros((4, 4), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, np.full_like(black, 255)) == pytest.approx(0)
    assert psnr(black, np.full_like(black, 51)) == pytest.approx(20 * np.log10(5))
    assert psnr(np.zeros(4), np.full(4, 0.2), peak=2) == pytest.approx(20)


def test_feature_ssim_by_hand() -> None:
    """Two flat pictures have no structure: only the luminance term is left."""
    a, b = np.full((16, 16), 100.0), np.full((16, 16), 150.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))
    assert ssim(noise(0), noise(0)) == pytest.approx(1)


def test_feature_ssim_one_window_by_hand() -> None:
    """At 11 x 11 there is one window, whose weighted moments can be written out."""
    a, b = (noise(s, (11, 11)).astype(float) for s in (3, 4))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    w = np.outer(taps, taps) / taps.sum() ** 2
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, cov = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert ssim(a, b) == pytest.approx(expected)


def test_feature_range_does_not_matter() -> None:
    a, b = noise(0), (noise(0) // 2 + noise(1) // 2).astype(np.uint8)
    scaled = [x.astype(float) / 127.5 for x in (a, b)]
    assert ssim(*scaled, peak=2) == pytest.approx(ssim(a, b))
    assert psnr(*scaled, peak=2) == pytest.approx(psnr(a, b))


def test_feature_ssim_channels_are_averaged() -> None:
    a, b = noise(0), noise(1)
    assert ssim(a, b) == pytest.approx(np.mean([ssim(a[..., c], b[..., c]) for c in range(3)]))


@pytest.mark.parametrize("shape", [(10, 40), (40, 10, 3), (121,)])
def test_exception_ssim_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_exception_shapes(measure: object) -> None:
    with pytest.raises(ValueError, match="expected two of the same"):
        measure(np.zeros((20, 20)), np.zeros((20, 21)))  # type: ignore[operator]
