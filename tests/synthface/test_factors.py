"""Factors: checked, comparable, and swappable in groups."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from latent_reenact.errors import ConfigError
from latent_reenact.synthface import Factors, sample
from latent_reenact.synthface.factors import (
    EXPRESSION_NAMES,
    Clothes,
    Eyes,
    FacialHair,
    Glasses,
    Hair,
    Identity,
    Motion,
    Mouth,
)


def test_smoke() -> None:
    factors = Factors()
    assert factors == Factors()
    assert pickle.loads(pickle.dumps(sample(1, 0))) == sample(1, 0)
    assert len(set(EXPRESSION_NAMES)) == 53


@pytest.mark.parametrize(
    "make",
    [
        lambda: Hair(style="mohican"),
        lambda: Hair(colour="green"),
        lambda: Hair(hat_colour=99),
        lambda: FacialHair(beard_style="stubble"),
        lambda: Eyes(iris="red"),
        lambda: Eyes(shadow_colour=-1),
        lambda: Mouth(lip_colour=5),
        lambda: Glasses(style="monocle"),
        lambda: Glasses(colour=5),
        lambda: Clothes(pattern="tartan"),
        lambda: Clothes(collar="ruff"),
        lambda: Clothes(colour=13),
        lambda: Clothes(second_colour=-1),
        lambda: Identity(shape=(0.0,) * 39),
        lambda: Motion(expression={"smile": 1.0}),
    ],
)
def test_exception_unknown_values(make) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_feature_swapping_motion_keeps_the_person() -> None:
    a, b = sample(1, 0), sample(1, 1)
    swapped = replace(a, motion=b.motion)
    assert swapped.identity == a.identity
    assert swapped.identity.id == a.identity.id != b.identity.id
    assert swapped.scene == a.scene
    assert swapped.motion == b.motion


def test_feature_expression_vector() -> None:
    vector = Motion(expression={"jawOpen": 0.5, "browDown_L": 0.25}).expression_vector()
    assert vector.shape == (53,)
    assert vector[EXPRESSION_NAMES.index("jawOpen")] == 0.5
    assert np.count_nonzero(vector) == 2
