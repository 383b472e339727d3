"""Directions: found where they are known, applied, kept in a file, and given a unit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.editing import (
    LatentDirection,
    calibrate,
    cosines,
    generator_draw,
    latent_difference,
    orthogonal,
    principal_directions,
    sample_w,
    svm_boundary,
)
from latent_reenact.editing.directions import linear_svm
from latent_reenact.errors import CorruptFileError, UsageError
from latent_reenact.weights.direction import Direction

L, D = tiny.L, tiny.D


def latents(count: int = 60, seed: int = 0, std: float = 1.0) -> np.ndarray:
    return (std * np.random.default_rng(seed).standard_normal((count, L, D))).astype(np.float32)


def axis(index: int, shape: tuple[int, ...] = (L, D)) -> np.ndarray:
    values = np.zeros(shape, np.float32)
    values.flat[index] = 1
    return values


def along(direction: LatentDirection, index: int) -> float:
    """Cosine with one axis."""
    return float(direction.values.flat[index] / np.linalg.norm(direction.values))


def picture_of(gain: float = 7.0):
    """A world whose pictures say `gain` times the first number of their latent, and an estimator that reads it."""

    def draw(w_plus: torch.Tensor) -> torch.Tensor:
        return w_plus[:, :1, :1, None].expand(-1, 3, 2, 2)

    return draw, lambda images: gain * images.mean((1, 2, 3))


def test_smoke_a_slider_means_degrees() -> None:
    w_plus = latents(40)
    found = svm_boundary("turn", w_plus, 7 * w_plus[:, 0, 0], share=0.5)
    draw, estimator = picture_of()
    turn = calibrate(found.direction, w_plus, draw, estimator, measure="yaw_deg")
    before, after = (estimator(draw(torch.tensor(x))).numpy() for x in (w_plus, turn.apply(w_plus, 5.0)))
    np.testing.assert_allclose(after - before, 5.0, atol=1e-3)


@pytest.mark.parametrize("shape", [(D,), (L, D)])
def test_shapes(shape) -> None:
    direction = LatentDirection(name="x", values=axis(0, shape))
    assert direction.at(L, D).shape == (L, D)
    assert direction.apply(latents(3), 2.0).shape == (3, L, D)
    assert direction.apply(latents(1)[0], 2.0).shape == (L, D)


def test_feature_difference_of_means() -> None:
    one, other = latents(5, 0), latents(3, 1)
    direction = latent_difference("x", one, other)
    np.testing.assert_allclose(direction.values, other.mean(0) - one.mean(0), atol=1e-6)
    np.testing.assert_allclose(direction.apply(one[0], 1.0), one[0] + direction.values, atol=1e-6)


@pytest.mark.parametrize("count", [40, 400])  # fewer and more latents than numbers in one
def test_feature_boundary_is_found_where_it_is(count) -> None:
    w_plus = latents(count)
    found = svm_boundary("x", w_plus, w_plus.reshape(count, -1)[:, 3], share=0.5)
    assert along(found.direction, 3) > (0.35 if count == 40 else 0.95)
    assert found.accuracy > (0.5 if count == 40 else 0.9)


def test_feature_svm_by_hand() -> None:
    """Two points at -1 and 3 on one axis: the boundary lies at 1, whatever the other axis."""
    normal, offset = linear_svm(np.array([[-1.0, 5.0], [3.0, 5.0]]), np.array([-1.0, 1.0]), penalty=100)
    np.testing.assert_allclose(normal, [1, 0], atol=1e-6)
    assert offset == pytest.approx(-1, abs=1e-3)


def test_feature_svm_is_a_minimum() -> None:
    """Against scipy's own minimiser of the definition, in the full space."""
    from scipy.optimize import minimize

    random = np.random.default_rng(0)
    x = random.standard_normal((30, 3))
    y = np.where(x[:, 0] + 0.5 * random.standard_normal(30) > 0, 1.0, -1.0)
    z = (x - x.mean(0)) / (x - x.mean(0)).std()

    def definition(p: np.ndarray) -> float:
        return p[:3] @ p[:3] / 2 + np.square(np.maximum(0, 1 - y * (z @ p[:3] + p[3]))).sum()

    expected = minimize(definition, np.zeros(4), tol=1e-10).x[:3]
    normal, _ = linear_svm(x, y)
    np.testing.assert_allclose(normal, expected / np.linalg.norm(expected), atol=1e-3)


@pytest.mark.parametrize("shape", [(500, D), (500, L, D)])  # W and W+
def test_feature_principal_axes_and_their_deviations(shape) -> None:
    rows = np.random.default_rng(0).standard_normal(shape).astype(np.float32) + 3
    rows.reshape(500, -1)[:, 5] *= 4
    rows.reshape(500, -1)[:, 2] *= 2.5
    first, second, *_ = principal_directions(rows, 4)
    assert along(first, 5) > 0.95
    assert along(second, 2) > 0.9
    assert np.linalg.norm(first.values) == pytest.approx(4, rel=0.15)
    assert first.values.shape == shape[1:]


def test_feature_orthogonal_and_cosines() -> None:
    a = LatentDirection(name="a", values=axis(0) + axis(1))
    b = LatentDirection(name="b", values=axis(1))
    np.testing.assert_allclose(cosines([a, b]), [[1, 0.5**0.5], [0.5**0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(orthogonal(a, [b]).values, axis(0), atol=1e-6)
    with pytest.raises(UsageError, match="mixture of a, b"):
        orthogonal(LatentDirection(name="c", values=axis(0) - axis(1)), [a, b])


def test_feature_random_w_is_seeded() -> None:
    generator = tiny.networks().generator
    assert np.array_equal(sample_w(generator, 4, 1), sample_w(generator, 4, 1))
    assert sample_w(generator, 4, 1).shape == (4, D)
    assert not np.array_equal(sample_w(generator, 4, 1), sample_w(generator, 4, 2))


def test_feature_styles_out_of_range_stay() -> None:
    direction = LatentDirection(name="x", values=axis(0, (D,)), styles=(2, 4))
    moved = direction.apply(np.zeros((L, D), np.float32), 3.0)
    np.testing.assert_allclose(moved[:, 0], [0, 0, 3, 3, 0, 0, 0, 0])


def test_feature_calibration_turns_a_direction_round() -> None:
    """Two published yaw axes disagree in sign: what is measured decides."""
    draw, estimator = picture_of()
    turned = calibrate(
        LatentDirection(name="x", values=-2 * axis(0)), latents(20), draw, estimator, measure="yaw_deg", reach=2
    )
    assert along(turned, 0) == 1
    assert turned.calibration.range == pytest.approx((-28, 28))
    assert turned.calibration.steps_for(14) == pytest.approx(1)


def test_feature_calibration_ends_where_the_change_does() -> None:
    """Past a point more steps give less: a slider does not go there."""
    draw, _ = picture_of()
    direction = LatentDirection(name="x", values=axis(0))
    bent = calibrate(
        direction,
        np.zeros((8, L, D), np.float32),
        draw,
        lambda images: torch.sin(images.mean((1, 2, 3))),
        measure="smile",
        reach=3.0,
        points=13,
    )
    assert bent.calibration.range == pytest.approx((-np.sin(1.5), np.sin(1.5)), abs=1e-6)
    with pytest.raises(UsageError, match="got a change of 2, expected"):
        bent.apply(np.zeros((L, D), np.float32), 2.0)


def test_feature_calibration_on_a_generator() -> None:
    """Through real pictures: what is asked for is what is measured, on average."""
    generator = tiny.networks().generator
    draw = generator_draw(generator)
    w_plus = np.repeat(sample_w(generator, 16)[:, None], L, axis=1)

    def estimator(images: torch.Tensor) -> torch.Tensor:
        return 100 * images.mean((1, 2, 3))

    bright = calibrate(principal_directions(w_plus, 1)[0], w_plus, draw, estimator, measure="smile", reach=0.5)
    wanted = 0.5 * bright.calibration.range[1]
    before, after = (estimator(draw(torch.tensor(x))) for x in (w_plus, bright.apply(w_plus, wanted)))
    assert float((after - before).mean()) == pytest.approx(wanted, rel=0.2)


@pytest.mark.parametrize("std", [0.05, 9.5])
def test_feature_warning_where_the_scale_is_another(std) -> None:
    direction = LatentDirection(name="x", values=axis(0), latent_std=0.5)
    with pytest.warns(UserWarning, match=f"too {'small' if std > 1 else 'large'} by about 1[09] times"):
        direction.apply(latents(4, std=std), 1.0)
    draw, estimator = picture_of()
    calibrated = calibrate(direction, latents(20, std=std), draw, estimator, measure="yaw_deg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        direction.apply(latents(4, std=0.6), 1.0)
        calibrated.apply(latents(4, std=std), 0.01)


def test_feature_survives_a_file(tmp_path) -> None:
    draw, estimator = picture_of()
    direction = LatentDirection(name="turn", values=axis(0), styles=(0, 4), latent_std=0.5)
    direction = calibrate(direction, latents(20), draw, estimator, measure="yaw_deg")
    direction.save(tmp_path / "turn.safetensors")
    loaded = LatentDirection.load(tmp_path / "turn.safetensors")
    assert (loaded.name, loaded.styles, loaded.latent_std) == ("turn", (0, 4), direction.latent_std)
    assert loaded.calibration.measure == "yaw_deg"
    assert np.array_equal(loaded.apply(latents(1), 3.0), direction.apply(latents(1), 3.0))


def test_feature_a_converted_direction_is_one(tmp_path) -> None:
    Direction(axis(2)).save(tmp_path / "smile.safetensors")
    loaded = LatentDirection.load(tmp_path / "smile.safetensors")
    assert loaded.name == "smile"
    assert loaded.calibration is None
    assert np.array_equal(loaded.values, axis(2))


def test_exception_wrong_shape() -> None:
    for shape in ((D + 1,), (L + 2, D), (L, D, 1)):
        with pytest.raises((UsageError, CorruptFileError), match="expected"):
            LatentDirection(name="x", values=axis(0, shape)).apply(latents(1), 1.0)


@pytest.mark.parametrize("values", [np.zeros(D), np.full(D, np.nan), np.zeros(0)])
def test_exception_no_direction(values) -> None:
    with pytest.raises(CorruptFileError, match="not 0"):
        LatentDirection(name="x", values=values)


def test_exception_a_direction_that_changes_nothing() -> None:
    draw, estimator = picture_of()
    with pytest.raises(UsageError, match="does not change yaw_deg"):
        calibrate(LatentDirection(name="x", values=axis(9)), latents(20), draw, estimator, measure="yaw_deg")


def test_exception_too_few() -> None:
    draw, estimator = picture_of()
    with pytest.raises(UsageError, match="expected 8"):
        calibrate(LatentDirection(name="x", values=axis(0)), latents(3), draw, estimator, measure="yaw_deg")
    with pytest.raises(UsageError, match="at least 4 at each end"):
        svm_boundary("x", latents(5), np.arange(5))
    with pytest.raises(UsageError, match="both ends are equal"):
        svm_boundary("x", latents(50), np.zeros(50))
    with pytest.raises(UsageError, match="one finite number each"):
        svm_boundary("x", latents(50), np.zeros(49))
    with pytest.raises(UsageError, match="more than 5 directions"):
        principal_directions(latents(4), 5)
    with pytest.raises(UsageError, match="one generator's"):
        latent_difference("x", latents(2), latents(2)[:, :4])


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64])
def test_exception_broken_file(content, tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="not a direction"):
        LatentDirection.load(path)
    with pytest.raises(CorruptFileError, match="No such file"):
        LatentDirection.load(tmp_path / "nothing.safetensors")
