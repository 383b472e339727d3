"""Pose without expression and the other way round."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from fake_reenactor import FakeReenactor

from latent_reenact.editing import PartReenactor, of_part, read_settings
from latent_reenact.errors import ConfigError, UsageError

PERSON, DRIVING = tiny.reenactor().identity(tiny.picture()), tiny.picture(1)


def test_smoke() -> None:
    settings = {"yaw_deg": 1.0, "gaze_yaw_deg": 2.0, "smile": 3.0}
    assert of_part(settings, "both") == settings
    assert of_part(settings, "pose") == {"yaw_deg": 1.0}
    assert of_part(settings, "expression") == {"gaze_yaw_deg": 2.0, "smile": 3.0}


def test_exception_part() -> None:
    with pytest.raises(UsageError, match="nose"):
        of_part({}, "nose")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sliders"):
        read_settings(FakeReenactor(), PERSON)


@pytest.mark.parametrize(("part", "taken"), [("pose", "yaw_deg"), ("expression", "smile")])
def test_feature_only_that_part_is_taken(part: str, taken: str) -> None:
    reenactor = tiny.reenactor()
    wanted = read_settings(reenactor, reenactor.identity(DRIVING))[taken]
    direct = reenactor.pose(PERSON, **{taken: wanted}).image
    result = PartReenactor(reenactor, part)(PERSON, DRIVING)  # type: ignore[arg-type]
    assert np.array_equal(result.image, direct)
    assert result.driving_face is not None
    assert result.operation == "reenact"


def test_feature_stream_takes_the_part_of_every_frame() -> None:
    reenactor = PartReenactor(tiny.reenactor(), "pose")
    assert reenactor.name == "tiny"
    results = list(reenactor.stream(PERSON, [DRIVING, tiny.picture(2)], smoothing="none"))
    assert len(results) == 2
    assert np.array_equal(results[0].image, reenactor(PERSON, DRIVING).image)


def test_feature_both_is_the_model_itself() -> None:
    reenactor = tiny.reenactor()
    assert np.array_equal(PartReenactor(reenactor, "both")(PERSON, DRIVING).image, reenactor(PERSON, DRIVING).image)
