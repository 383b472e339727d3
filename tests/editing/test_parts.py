"""Pose without expression and the other way round."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from fake_reenactor import FakeReenactor

from latent_reenact.editing import of_part, read_settings
from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.media import write_image
from latent_reenact.systems import jobs

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


@pytest.mark.parametrize("part", ["pose", "expression"])
def test_feature_only_that_part_is_taken(part: str) -> None:
    """Expression comes with its code, and the pose is moved onto it by the sliders."""
    reenactor = tiny.reenactor()
    control, person = reenactor.networks.control, torch.tensor(PERSON.w_plus)[None]
    driving = torch.tensor(reenactor(PERSON, DRIVING).motion)[None]
    pose, start = {"pose": (driving, torch.tensor(PERSON.motion)[None]), "expression": (None, driving)}[part]
    pose = torch.tensor(PERSON.motion)[None] if pose is None else pose
    yaw, (_, smile) = control.decode(pose)[0, 0], control.decode(start)[0]
    wanted = torch.stack([yaw, smile])[None]
    expected, _ = control.moved(reenactor.networks.mapper, person, start, control.decode(start), wanted)
    result = reenactor(PERSON, DRIVING, part=part)  # type: ignore[arg-type]
    np.testing.assert_allclose(result.w_plus, expected[0], atol=1e-5)
    assert np.abs(result.w_plus - reenactor(PERSON, DRIVING).w_plus).max() > 1e-3
    assert result.driving_face is not None
    assert result.operation == "reenact"


@pytest.mark.parametrize("part", ["pose", "expression"])
def test_feature_stream_takes_the_part_of_every_frame(part: str) -> None:
    reenactor, frames = tiny.reenactor(), [DRIVING, tiny.picture(2), tiny.picture(3)]
    results = list(reenactor.stream(PERSON, frames, smoothing="none", batch=2, part=part))  # type: ignore[arg-type]
    assert len(results) == 3
    for frame, result in zip(frames, results, strict=True):
        single = reenactor(PERSON, frame, part=part)  # type: ignore[arg-type]
        assert np.abs(result.w_plus - single.w_plus).max() < 1e-4
        assert np.abs(result.image.astype(int) - single.image).max() <= 2


def test_exception_part_of_a_model_without_sliders(tmp_path) -> None:
    reenactor = FakeReenactor()
    reenactor.controls = ()
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", tiny.picture(1, 64))
    options = jobs.ReenactOptions(part="pose", aligned=True)
    with pytest.raises(ConfigError, match="cannot tell pose from expression"):
        jobs.reenact(reenactor, tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png", options)
    with pytest.raises(UsageError, match="expected one of them"):
        jobs.ReenactOptions(part="pose", pose_from=tmp_path / "a.png")
    with pytest.raises(UsageError, match="part: got 'nose'"):
        jobs.ReenactOptions(part="nose")  # type: ignore[arg-type]
