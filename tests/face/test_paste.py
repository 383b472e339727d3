from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_reenact.face import Alignment, PasteBack, align, face_mask, match_color, paste_back, square_mask

ALIGNMENT = Alignment((150, 130), (80, 21))


def scene(height: int = 260, width: int = 320) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    channels = [120 + 50 * np.sin(x / 40), 110 + 40 * np.cos(y / 33), 100 + 30 * np.sin((x + y) / 51)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def far_from(original: np.ndarray, pasted: np.ndarray) -> np.ndarray:
    return np.abs(original.astype(int) - pasted).max(-1)


def test_smoke() -> None:
    original = scene()
    pasted = paste_back(original, np.full((96, 96, 3), 200, np.uint8), ALIGNMENT, color_match=False)
    assert pasted.shape == original.shape
    assert pasted.dtype == np.uint8
    assert np.abs(pasted[130, 150].astype(int) - 200).max() <= 1


@pytest.mark.parametrize("size", [64, 161, 512])
def test_feature_a_crop_pasted_back_changes_nothing_to_speak_of(size: int) -> None:
    original = scene()
    pasted = paste_back(original, align(original, ALIGNMENT, size), ALIGNMENT)
    assert far_from(original, pasted).max() <= 4


@settings(max_examples=30, deadline=None)
@given(st.floats(-50, 350), st.floats(-50, 300), st.floats(10, 150), st.floats(-3.1, 3.1), st.integers(16, 300))
def test_property_outside_the_square_nothing_changes(x: float, y: float, half: float, turn: float, size: int) -> None:
    original = scene()
    alignment = Alignment((x, y), (half * np.cos(turn), half * np.sin(turn)))
    result = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    pasted = paste_back(original, result, alignment, mask=np.ones((size, size)))
    rows, columns = np.indices(original.shape[:2])
    places = alignment.to_aligned(np.stack([columns, rows], -1), 1)
    outside = (np.abs(places) > 0.5 + 1.5 / min(size, 2 * half)).any(-1)
    assert (pasted[outside] == original[outside]).all()


def test_feature_outside_the_soft_ellipse_nothing_changes() -> None:
    original = scene()
    pasted = paste_back(original, np.zeros((256, 256, 3), np.uint8), ALIGNMENT, color_match=False)
    rows, columns = np.indices(original.shape[:2])
    x, y = np.moveaxis(ALIGNMENT.to_aligned(np.stack([columns, rows], -1), 1) + 0.5, -1, 0)
    outside = np.hypot((x - 0.5) / 0.31, (y - 0.565) / 0.39) > 1.03
    assert (pasted[outside] == original[outside]).all()
    assert far_from(original, pasted)[~outside].mean() > 60


def test_feature_input_untouched() -> None:
    original, result = scene(), np.full((64, 64, 3), 9, np.uint8)
    before = original.copy()
    assert paste_back(original, result, ALIGNMENT) is not original
    assert (original == before).all()
    assert (result == 9).all()


def test_feature_many_results_into_one_picture() -> None:
    original, rng = scene(), np.random.default_rng(0)
    before = original.copy()
    paste = PasteBack(original, ALIGNMENT, 48)
    for _ in range(3):
        result = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        assert np.array_equal(paste(result), paste_back(original, result, ALIGNMENT))
    assert np.array_equal(original, before)
    with pytest.raises(ValueError, match="expected \\[48, 48\\]"):
        paste(np.zeros((32, 32, 3), np.uint8))


def test_feature_empty_mask_or_square_outside() -> None:
    original, result = scene(), np.full((64, 64, 3), 9, np.uint8)
    assert (paste_back(original, result, ALIGNMENT, mask=np.zeros((64, 64))) == original).all()
    assert (paste_back(original, result, Alignment((-900, 40), (50, 0))) == original).all()


def test_feature_color_match() -> None:
    """A result in another light comes back in the light of the picture."""
    original = scene()
    crop = align(original, ALIGNMENT, 128).astype(float)
    blueish = (crop * (0.7, 0.8, 0.95) + (0, 0, 12)).astype(np.uint8)
    plain, matched = (paste_back(original, blueish, ALIGNMENT, color_match=c) for c in (False, True))
    assert far_from(original, matched).mean() < 0.25 * far_from(original, plain).mean()


def test_feature_color_match_is_bounded() -> None:
    mask = face_mask(64)
    grey = np.random.default_rng(0).normal(128, 6, (64, 64, 1)).clip(0, 255).astype(np.uint8).repeat(3, -1)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    out = match_color(grey, stripes, mask).astype(float)
    assert out.std() < 2.2 * grey.std()
    black = np.zeros((64, 64, 3), np.uint8)
    assert match_color(np.full_like(black, 255), black, mask).mean() > 100  # L falls by 40 of 100 at most


def test_feature_masks() -> None:
    for mask in (face_mask(100), square_mask(100)):
        assert mask.shape == (100, 100)
        assert mask.min() < 1e-3
        assert mask.max() == 1
        assert mask == pytest.approx(mask[:, ::-1], abs=1e-5)
        assert max(mask[0].max(), mask[-1].max()) < 0.01
    wide = face_mask(100, scale=2)
    assert wide.sum() == pytest.approx(face_mask(100).sum() / 4, rel=0.02)


@pytest.mark.parametrize("result", [np.zeros((64, 60, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((4, 4, 3))])
def test_exception_result(result: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected"):
        paste_back(scene(), result, ALIGNMENT)


def test_exception_mask() -> None:
    with pytest.raises(ValueError, match=r"mask of \[32, 32\], expected \[64, 64\]"):
        paste_back(scene(), np.zeros((64, 64, 3), np.uint8), ALIGNMENT, mask=np.ones((32, 32)))
