"""Sliders without a picture, and pose from one picture with expression from another, at toy size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.editing import read_settings
from latent_reenact.errors import ConfigError, CorruptFileError, UsageError
from latent_reenact.models import ControlShiftsConfig, FaceReader, FaceReaderConfig, MotionControl
from latent_reenact.models.refinement import RefinementConfig
from latent_reenact.models.second_reading import SecondReadingConfig, read_twice
from latent_reenact.systems import LatentReenactor, load


def reenactor(kind: str) -> LatentReenactor:
    networks = tiny.networks()
    if kind != "codes":
        torch.manual_seed(5)
        tables = (torch.randn(rows, tiny.D) for rows in (tiny.L, 2, 2))
        table = ControlShiftsConfig.of(*tables, 0.1 * torch.randn(2, tiny.D + 1))
        control = MotionControl(replace(networks.control.config, shifts=table))
        control.load_state_dict(networks.control.state_dict())
        networks = replace(networks, control=control.eval())
    if kind == "read twice":
        reader = FaceReader(FaceReaderConfig(input_size=32, body=tiny.BODY, heat_width=4, fold=1)).eval()
        config = SecondReadingConfig(controls=("smile",), gains=(1.0,))
        reader.motion_mean.fill_(0.5)  # a broad smile, whatever it sees
        parts, average = (networks.motion_encoder, networks.mapper, networks.control), networks.generator.mapping.w_avg
        twice = read_twice(*parts, reader, average, config)
        networks = replace(networks, **dict(zip(("motion_encoder", "mapper", "control"), twice, strict=True)))
    return LatentReenactor(networks, name="tiny", framing=1.12, detector=tiny.CentreDetector())


@pytest.fixture(scope="module", params=["codes", "shifts", "read twice"])
def system(request) -> LatentReenactor:
    return reenactor(request.param)


@pytest.fixture(scope="module")
def person(system):
    return system.identity(tiny.picture(1))


def test_smoke(system, person) -> None:
    results = system.poses(person, [{}, {"yaw_deg": 20}, {"smile": 0.5}])
    assert [r.operation for r in results] == ["pose"] * 3
    single = system.pose(person, yaw_deg=20)
    assert np.abs(single.image.astype(int) - results[1].image).max() <= 1
    np.testing.assert_allclose(single.w_plus, results[1].w_plus, atol=1e-5)


def test_feature_nothing_set_is_the_person_as_pictured(system, person) -> None:
    own = system.networks.mapper(torch.tensor(person.w_plus)[None], torch.tensor(person.motion)[None])
    np.testing.assert_allclose(system.pose(person).w_plus, own[0], atol=1e-5)


def test_feature_refinement_may_leave_expressions_to_the_encoder() -> None:
    networks = reenactor("read twice").networks
    drawn = []
    for steps, hold in ((0, False), (10, False), (10, True)):
        refinement = RefinementConfig(steps=steps, hold_expressions=hold)
        system = LatentReenactor(networks, name="tiny", refinement=refinement)
        person = system.identity(tiny.picture(1, 32), aligned=True)
        drawn.append(float(networks.control.drawn(torch.tensor(person.w_plus)[None])[0, 1]))  # the smile
    start, free, held = drawn
    assert held == pytest.approx(start, abs=1e-4)
    assert abs(free - start) > 1e-3


@pytest.mark.parametrize("kind", ["codes", "none"])
def test_exception_expressions_are_held_by_a_table_alone(kind) -> None:
    networks = reenactor("codes").networks
    if kind == "none":
        networks = replace(networks, control=None)
    with pytest.raises(ConfigError, match=r"hold_expressions: got a model without sliders.*recipe shifts"):
        LatentReenactor(networks, name="tiny", refinement=RefinementConfig(hold_expressions=True))


def test_feature_at_rest_does_not_ask_what_the_picture_shows(system, person) -> None:
    laughing = replace(person, motion=person.motion + 1)
    one, other = (system.poses(p, [{"smile": 0.5}], at_rest=True)[0] for p in (person, laughing))
    np.testing.assert_array_equal(one.w_plus, other.w_plus)
    own, changed = (system.pose(p, smile=0.5) for p in (person, laughing))
    assert not np.allclose(own.w_plus, changed.w_plus)


def test_feature_fast_pictures_differ_by_a_grey_level(system, person) -> None:
    settings = [{"yaw_deg": 5.0 * i} for i in range(3)]
    exact, fast = (system.poses(person, settings, at_rest=True, fast=quick) for quick in (False, True))
    assert max(np.abs(a.image.astype(int) - b.image).max() for a, b in zip(exact, fast, strict=True)) <= 2


@pytest.mark.parametrize(
    ("controls", "kind", "match"),
    [
        ({"wink": 1}, ConfigError, "unknown control 'wink'; expected some of yaw_deg, smile"),
        ({"smile": 80}, UsageError, "smile: got 80, expected a number from -1.8 to 1.8"),
        ({"yaw_deg": float("nan")}, UsageError, "yaw_deg: got nan"),
    ],
)
def test_exception_what_no_face_does(system, person, controls, kind, match) -> None:
    with pytest.raises(kind, match=match):
        system.pose(person, **controls)


# ---------------------------------------------------------------- two pictures


def test_feature_one_picture_for_both_is_a_reenactment(system, person) -> None:
    driving = tiny.picture(2)
    both, plain = system.combine(person, pose=driving, expression=driving), system(person, driving)
    np.testing.assert_allclose(both.w_plus, plain.w_plus, atol=1e-4)
    assert both.operation == "combine"
    assert both.driving_face is not None


def test_feature_each_half_comes_from_its_own_picture(system, person) -> None:
    control, pose, expression = system.networks.control, tiny.picture(2), tiny.picture(3)
    read = {
        name: control.decode(torch.tensor(system(person, picture).motion)[None])[0].tolist()
        for name, picture in (("pose", pose), ("expression", expression))
    }
    start = torch.tensor(system(person, expression).motion)[None]
    current = torch.tensor([read["expression"]])
    wanted = torch.tensor([[read["pose"][0], read["expression"][1]]])  # yaw of one, smile of the other
    expected, _ = control.moved(system.networks.mapper, torch.tensor(person.w_plus)[None], start, current, wanted)
    got = system.combine(person, pose=pose, expression=expression)
    np.testing.assert_allclose(got.w_plus, expected[0], atol=1e-4)


def test_feature_a_half_alone_leaves_the_other_as_pictured(system, person) -> None:
    """The other half stays the person's own: the same picture as the sliders draw."""
    values = system.networks.control.decode(torch.tensor(system(person, tiny.picture(2)).motion)[None])[0].tolist()
    turned = system.combine(person, pose=tiny.picture(2))
    np.testing.assert_allclose(turned.w_plus, system.pose(person, yaw_deg=values[0]).w_plus, atol=1e-4)


def test_feature_a_result_lends_its_motion(system, person) -> None:
    first = next(iter(system.stream(person, [tiny.picture(2)], smoothing="none")))
    one, other = system.combine(person, pose=first), system.combine(person, pose=tiny.picture(2))
    np.testing.assert_allclose(one.w_plus, other.w_plus, atol=1e-4)


def test_exception_results_that_no_picture_drove(system, person) -> None:
    """Their code is the one that sliders began from, not what they show."""
    for lent in (system.pose(person, yaw_deg=20), replace(system(person, tiny.picture(2)), model="another")):
        with pytest.raises(UsageError, match="expected one that a picture or a video drove"):
            system(person, lent)


@pytest.mark.parametrize("part", ["pose", "expression"])
def test_exception_a_part_and_a_pose(system, person, part) -> None:
    with pytest.raises(UsageError, match="expected one of them"):
        system(person, tiny.picture(2), part=part, pose=tiny.picture(3))
    with pytest.raises(UsageError, match="expected one of them"):
        next(system.stream(person, [tiny.picture(2)], part=part, pose=tiny.picture(3)))


def test_exception_no_picture_at_all(system, person) -> None:
    with pytest.raises(UsageError, match="neither a pose nor an expression"):
        system.combine(person)


def test_exception_a_model_without_sliders() -> None:
    bare = LatentReenactor(replace(tiny.networks(), control=None), name="tiny")
    person = bare.identity(tiny.picture(1), aligned=True)
    with pytest.raises(ConfigError, match="no sliders"):
        bare.combine(person, pose=tiny.picture(2), aligned=True)


def test_feature_pose_of_a_picture_with_the_expression_of_a_video(system, person, tmp_path) -> None:
    frames = [tiny.picture(seed) for seed in (3, 4)]
    results = list(system.stream(person, frames, smoothing="none", pose=tiny.picture(2)))
    for frame, result in zip(frames, results, strict=True):
        expected = system.combine(person, pose=tiny.picture(2), expression=frame)
        np.testing.assert_allclose(result.w_plus, expected.w_plus, atol=1e-4)
        assert result.operation == "reenact"
    result = system(person, frames[0], pose=tiny.picture(2))
    np.testing.assert_allclose(result.w_plus, results[0].w_plus, atol=1e-4)


def test_exception_pose_from_what_is_no_picture(system, person, tmp_path) -> None:
    with pytest.raises(CorruptFileError):
        system(person, tiny.picture(3), pose=tmp_path / "nothing.png")
    with pytest.raises(UsageError, match="part: got 'nose'"):
        next(system.stream(person, [tiny.picture(3)], part="nose"))


def test_feature_sliders_of_the_embedded_model_move_their_own_factor() -> None:
    """As its own reader sees it, of those sliders that it reads well in true portraits."""
    from latent_reenact.editing import draw_portrait
    from latent_reenact.models import load_network
    from latent_reenact.models.pixels import from_pixels
    from latent_reenact.synthface.controls import CONTROL_RANGES, control_columns

    names = ("yaw_deg", "pitch_deg", "roll_deg", "gaze_yaw_deg", "smile", "jaw_open", "blink_left", "blink_right")
    builtin, reader = load("builtin", device="cpu"), load_network("builtin", "face_reader")
    somebody = builtin.identity(draw_portrait(builtin, 7), aligned=True, refine_steps=0)
    settings = [{name: end} for name in names for end in CONTROL_RANGES[name]]
    pictures = np.stack([r.image for r in builtin.poses(somebody, settings, at_rest=True)])
    with torch.inference_mode():
        motion = reader(from_pixels(torch.from_numpy(pictures).permute(0, 3, 1, 2))).motion.numpy()
    read = np.stack([motion[:, control_columns(name)].mean(1) for name in names], axis=1)
    spans = np.array([high - low for low, high in map(CONTROL_RANGES.__getitem__, names)])
    moved = (read[1::2] - read[::2]) / spans  # [slider, as read]: shares of the range
    own = np.diagonal(moved)
    assert own[:4].min() > 0.8
    assert own.min() > 0.5
    np.fill_diagonal(moved, 0)
    assert np.abs(moved).max() < 0.25


# ---------------------------------------------------------------- identities of before the second reading


def test_feature_identities_without_a_second_reading_go_on() -> None:
    twice, once = reenactor("read twice"), reenactor("shifts")
    person, frames = once.identity(tiny.picture(1)), [tiny.picture(2), tiny.picture(3)]
    assert person.motion.shape == (tiny.L, tiny.N)
    uncorrected = replace(person, motion=np.pad(person.motion, ((0, 1), (0, 0))))
    assert twice.identity(tiny.picture(1)).motion.shape == uncorrected.motion.shape
    np.testing.assert_allclose(twice.pose(person, yaw_deg=9).w_plus, once.pose(person, yaw_deg=9).w_plus, atol=1e-5)
    assert read_settings(twice, person) == read_settings(twice, uncorrected)
    for relative in (False, True):
        old, new = (
            list(twice.stream(one, frames, relative=relative, smoothing="none")) for one in (person, uncorrected)
        )
        for a, b in zip(old, new, strict=True):
            np.testing.assert_allclose(a.w_plus, b.w_plus, atol=1e-5)
            np.testing.assert_allclose(a.motion, b.motion, atol=1e-5)


@pytest.mark.parametrize("rows", [tiny.L - 1, tiny.L + 2])
def test_exception_a_motion_of_another_shape(rows) -> None:
    system = reenactor("read twice")
    person = system.identity(tiny.picture(1))
    other = replace(person, motion=np.zeros((rows, tiny.N), np.float32))
    for act in (system.pose, lambda who: read_settings(system, who), lambda who: system(who, tiny.picture(2))):
        with pytest.raises(UsageError, match="invert the picture again"):
            act(other)
    with pytest.raises(UsageError, match="invert the picture again"):
        reenactor("shifts").pose(person)
