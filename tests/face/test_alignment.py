from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from synthetic_face import moved, template

from latent_reenact.errors import NoFaceError
from latent_reenact.face import Alignment, align, alignment_from_landmarks, landmarks_to_aligned

angles = st.floats(-180, 180)
zooms = st.floats(0.2, 20)
places = st.tuples(st.floats(-500, 5000), st.floats(-500, 5000))
sizes = st.integers(16, 1024)
alignments = st.builds(
    lambda c, r, a: Alignment(c, (r * np.cos(a), r * np.sin(a))), places, st.floats(5, 2000), st.floats(-np.pi, np.pi)
)


def waves(height: int, width: int) -> np.ndarray:
    """A smooth colour picture in which every place looks different."""
    y, x = np.mgrid[:height, :width].astype(float)
    channels = [np.sin(x / 23) + np.cos(y / 31), np.cos(x / 37 + y / 29), np.sin(y / 19 - x / 41)]
    return np.rint(127 + 60 * np.stack(channels, -1)).clip(0, 255).astype(np.uint8)


def test_smoke() -> None:
    landmarks = moved(template(), zoom=2, shift=(300, 260))
    aligned = align(waves(500, 600), alignment_from_landmarks(landmarks), 64)
    assert aligned.shape == (64, 64, 3)
    assert aligned.dtype == np.uint8


def test_feature_square_of_an_upright_face_by_hand() -> None:
    # Eyes at (100, 100) and (200, 100), the mouth's corners around (150, 220): the mouth is far, so it sets the size.
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = (100, 100), (200, 100)
    landmarks[48], landmarks[54] = (120, 220), (180, 220)
    alignment = alignment_from_landmarks(landmarks)
    half = 1.8 * 120  # against 2.0 * 100 from the eyes
    assert alignment.centre == pytest.approx((150, 112))
    assert alignment.side == pytest.approx(2 * half)
    corners = [[150 - half, 112 - half], [150 - half, 112 + half], [150 + half, 112 + half], [150 + half, 112 - half]]
    assert alignment.quad == pytest.approx(np.array(corners))


def test_feature_scale_widens_about_the_middle() -> None:
    landmarks = moved(template(), turn_deg=12, shift=(300, 260))
    plain, wide = alignment_from_landmarks(landmarks), alignment_from_landmarks(landmarks, scale=1.12)
    assert wide.centre == plain.centre
    assert wide.side == pytest.approx(1.12 * plain.side)
    assert (wide.scale, plain.scale) == (1.12, 1.0)


def test_feature_roll_is_positive_when_the_head_leans_to_the_viewers_left() -> None:
    leaning_left = moved(template(), turn_deg=-20, shift=(0, 0))
    assert leaning_left[27, 0] < leaning_left[8, 0]  # the brow lies to the left of the chin
    assert alignment_from_landmarks(leaning_left).roll_deg == pytest.approx(20)


@given(alignments, sizes, places)
def test_property_there_and_back(alignment: Alignment, size: int, point: tuple[float, float]) -> None:
    inside = alignment.to_aligned(np.array([point]), size)
    back = alignment.to_picture(inside, size)
    assert np.abs(back - point).max() < 1e-6


@given(alignments, sizes)
def test_property_corners_of_the_square_are_the_quad(alignment: Alignment, size: int) -> None:
    corners = np.array([[0, 0], [0, size], [size, size], [size, 0]]) - 0.5
    assert alignment.to_picture(corners, size) == pytest.approx(alignment.quad, abs=1e-6)


@given(zooms, angles, places, sizes)
def test_property_the_face_lands_at_one_place(zoom: float, turn: float, shift: tuple[float, float], size: int) -> None:
    landmarks = moved(template(), zoom=zoom, turn_deg=turn, shift=shift)
    at = landmarks_to_aligned(landmarks, alignment_from_landmarks(landmarks), size)
    canonical = landmarks_to_aligned(template(), alignment_from_landmarks(template()), size)
    assert np.abs(at - canonical).max() < 1e-6 * size


@settings(max_examples=25, deadline=None)
@given(st.floats(0.6, 1.6), angles)
def test_property_the_picture_lands_where_its_landmarks_do(zoom: float, turn: float) -> None:
    """A bright spot on a landmark shows up in the aligned picture where `landmarks_to_aligned` says."""
    landmarks = moved(template(), zoom=zoom, turn_deg=turn, shift=(300, 300))
    alignment = alignment_from_landmarks(landmarks)
    y, x = np.mgrid[:600, :600]
    for index in (36, 45, 8):
        px, py = landmarks[index]
        spot = 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 5**2))
        aligned = align(np.repeat(spot[..., None], 3, -1).astype(np.uint8), alignment, 128)[..., 0].astype(float)
        row, column = ndimage.center_of_mass(aligned)
        assert (column, row) == pytest.approx(landmarks_to_aligned(landmarks, alignment, 128)[index], abs=0.1)


@pytest.mark.parametrize(("size", "zoom"), [(256, 0.5), (200, 0.9), (128, 1.3)])
def test_feature_equals_plain_interpolation_away_from_the_edge(size: int, zoom: float) -> None:
    image = waves(700, 700)
    alignment = alignment_from_landmarks(moved(template(), zoom=zoom, turn_deg=17, shift=(350, 350)))
    v, u = np.mgrid[:size, :size]
    x, y = np.moveaxis(alignment.to_picture(np.stack([u, v], -1), size), -1, 0)
    expected = np.stack([ndimage.map_coordinates(image[..., c].astype(float), [y, x], order=1) for c in range(3)], -1)
    assert np.abs(align(image, alignment, size) - expected).max() < 4


def test_feature_shrinking_averages() -> None:
    checkers = np.repeat((np.indices((1200, 1200)).sum(0) % 2 * 255)[..., None], 3, -1).astype(np.uint8)
    alignment = Alignment((600, 600), (400, 130))
    aligned = align(checkers, alignment, 64)
    assert np.abs(aligned.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_feature_picture_size_does_not_matter(factor: int) -> None:
    image = waves(300, 340)
    alignment = Alignment((170, 150), (70, 15))
    enlarged = np.kron(image, np.ones((factor, factor, 1), np.uint8))
    larger = align(enlarged, alignment.within((0, 0), factor), 96)
    assert np.abs(larger.astype(int) - align(image, alignment, 96)).mean() < 1.5


def test_feature_padding_mirrors_then_fades() -> None:
    image = waves(200, 200)
    image[:, :25] = (250, 20, 20)
    alignment = Alignment((0, 100), (90, 0))  # the left half lies outside the picture
    aligned = align(image, alignment, 180).astype(int)
    assert np.abs(aligned[40:140, 78:90] - (250, 20, 20)).mean() < 25  # just outside: the red border, mirrored
    median = np.median(image[:, :108], axis=(0, 1))  # of the part around the square
    far, near = (np.abs(aligned[:, c] - median).mean() for c in (2, 85))
    assert far < near / 2  # far outside: nearly the picture's median colour


@pytest.mark.parametrize("centre", [(-900, 50), (5000, 5000), (0, 0)])
def test_feature_square_outside_the_picture_still_gives_a_picture(centre: tuple[float, float]) -> None:
    image = np.full((100, 120, 3), 90, np.uint8)
    assert (np.abs(align(image, Alignment(centre, (60, 20)), 64).astype(int) - 90) <= 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (3, 5)])
def test_feature_odd_pictures(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    assert (align(image, Alignment((1, 1), (300, 40)), 32) == 77).all()


def test_feature_input_untouched() -> None:
    image = waves(200, 200)
    before = image.copy()
    align(image, Alignment((20, 180), (90, 10)), 64)
    assert (image == before).all()


def test_exception_face_of_a_few_pixels() -> None:
    with pytest.raises(NoFaceError, match="px wide"):
        alignment_from_landmarks(moved(template(), zoom=0.01, shift=(5, 5)))
    with pytest.raises(NoFaceError):
        alignment_from_landmarks(np.ones((68, 2)))


@pytest.mark.parametrize(
    "landmarks", [np.zeros((5, 2)), np.zeros((68, 3)), np.full((68, 2), np.nan), np.full((68, 2), np.inf)]
)
def test_exception_not_landmarks(landmarks: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        alignment_from_landmarks(landmarks)


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8), "x"])
def test_exception_not_a_picture(image: object) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected"):
        align(image, Alignment((4, 4), (4, 0)), 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0, -1, np.inf, np.nan])
def test_exception_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        alignment_from_landmarks(template(), scale=scale)


def test_exception_size() -> None:
    with pytest.raises(ValueError, match="size"):
        align(np.zeros((9, 9, 3), np.uint8), Alignment((4, 4), (4, 0)), 0)
