"""Action units and identities on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from latent_reenact.metrics import (
    au_correlation,
    aucon,
    csim,
    frechet_of_pictures,
    id_percent,
    perceptual_distance,
    stranger_threshold,
)

DRIVING = np.array([[0.0, 1, 5], [1, 2, 5], [2, 3, 5]])  # [T, U]: two units that move, one that does not


def test_smoke() -> None:
    assert au_correlation(DRIVING[:, :2], DRIVING[:, :2]) == pytest.approx(1)


def test_feature_au_correlation_by_hand() -> None:
    generated = np.array([[0.0, 3, 1], [2, 1, 2], [1, 2, 3]])
    # First unit: (1, 2, 3) against (0, 2, 1) correlates 0.5; second: against (3, 1, 2) -0.5; third never moves: 0.
    assert au_correlation(DRIVING[:, :1], generated[:, :1]) == pytest.approx(0.5)
    assert au_correlation(DRIVING, generated) == pytest.approx((0.5 - 0.5 + 0) / 3)
    assert au_correlation(DRIVING[:, ::2], generated[:, ::2]) == pytest.approx(0.5 / 2)
    assert au_correlation(DRIVING[:, ::2], generated[:, ::2], least_deviation=0.1) == pytest.approx(0.5)
    assert np.isnan(au_correlation(DRIVING[:, 2:], generated[:, 2:], least_deviation=0.1))


def test_feature_aucon_by_hand() -> None:
    driving = np.array([[0.9, 0.2], [0.4, 0.6]])
    generated = np.array([[0.6, 0.7], [0.1, 0.4]])  # agree: yes, no, yes, no
    assert aucon(driving, generated) == pytest.approx(0.5)
    assert aucon(driving, generated, threshold=0.05) == 1


def test_feature_csim_and_id_percent_by_hand() -> None:
    identity = np.array([1.0, 0])
    generated = np.array([[2.0, 0], [0, 1], [1, 1], [-1, 0]])  # cosines 1, 0, 0.707, -1
    assert csim(identity, generated) == pytest.approx(np.sqrt(0.5) / 4)
    assert id_percent(identity, generated, threshold=0.5) == pytest.approx(50)
    assert id_percent(identity, generated, threshold=0.8) == pytest.approx(25)


def test_feature_stranger_threshold_by_hand() -> None:
    people = np.array([[1.0, 0], [0, 1], [-1, 0]])  # cosines of the pairs: 0, -1, 0
    assert stranger_threshold(people, false_accepts=0.5) == 0
    assert stranger_threshold(people, false_accepts=1.0) == -1


def test_feature_perceptual_distance_of_black_and_white() -> None:
    """Black is -1, white +1: a network that takes the mean square sees 4."""
    black = np.zeros((2, 8, 8, 3), np.uint8)
    seen = perceptual_distance(black, black + np.uint8(255), lambda a, b: (a - b).square().mean((1, 2, 3)))
    assert seen == pytest.approx([4, 4])


def test_feature_frechet_of_pictures_by_hand() -> None:
    """Features of one dimension, means 1 apart, equal variance: the squared difference of means."""
    a = np.array([0.0, 2, 4])[:, None]
    assert frechet_of_pictures(a, a + 1, lambda x: x) == pytest.approx(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: au_correlation(DRIVING, DRIVING[:2]),
        lambda: au_correlation(DRIVING[:1], DRIVING[:1]),
        lambda: aucon(DRIVING, DRIVING[0]),
        lambda: csim(np.ones(3), np.ones((2, 4))),
        lambda: stranger_threshold(np.ones((1, 4))),
        lambda: perceptual_distance(np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 9, 3)), None),
    ],
)
def test_exception_shapes(call: object) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected"):
        call()  # type: ignore[operator]
