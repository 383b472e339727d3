"""Sliders: what they do to motion codes and to w."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latent_reenact.config import from_dict, to_dict
from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    ControlShiftsConfig,
    MotionControl,
    MotionControlConfig,
    MotionMapper,
    MotionMapperConfig,
    load_networks,
    save_networks,
)

L, D, N = 3, 4, 2
CONFIG = MotionControlConfig(controls=("yaw_deg", "smile"), scales=(15.0, 0.3), n_styles=L, motion_dim=N, hidden=4)
REST, LINEAR, SQUARE, DRAWN = torch.randn(L, D), torch.randn(2, D), torch.randn(2, D), torch.randn(2, D + 1)
SHIFTED = replace(CONFIG, shifts=ControlShiftsConfig.of(REST, LINEAR, SQUARE, DRAWN))


def mapper() -> MotionMapper:
    return MotionMapper(MotionMapperConfig(form="separate", n_styles=L, w_dim=D, motion_dim=N))


def test_smoke() -> None:
    control = MotionControl(SHIFTED)
    assert control.has_shifts
    assert not MotionControl(CONFIG).has_shifts
    assert control.shift(torch.zeros(2, 2)).abs().max() == 0
    torch.testing.assert_close(control.rest, REST, atol=6e-4, rtol=0)


def test_feature_every_slider_moves_w_along_its_own_curve() -> None:
    control = MotionControl(SHIFTED)
    asked = torch.tensor([[30.0, 0.0], [0.0, 0.6], [30.0, 0.6]])  # two scales of each
    yaw, smile, both = control.shift(asked)[:, 0]
    torch.testing.assert_close(yaw, 2 * LINEAR[0] + 4 * SQUARE[0], atol=6e-3, rtol=0)
    torch.testing.assert_close(both, yaw + smile)


def test_feature_w_shows_what_its_face_does() -> None:
    control, w_plus = MotionControl(SHIFTED), torch.randn(2, L, D)
    expected = (w_plus.mean(1) @ DRAWN[:, :D].T + DRAWN[:, D]) * torch.tensor([15.0, 0.3])
    torch.testing.assert_close(control.drawn(w_plus), expected, atol=5e-2, rtol=0)
    assert SHIFTED.shifts is not None
    assert control.reads_w
    assert not MotionControl(replace(SHIFTED, shifts=replace(SHIFTED.shifts, drawn=()))).reads_w


def test_feature_what_is_asked_less_what_is_there() -> None:
    control, draw, identity, motion = MotionControl(SHIFTED), mapper(), torch.randn(1, L, D), torch.randn(1, L, N)
    there, asked = torch.tensor([[10.0, 0.2]]), torch.tensor([[10.0, 0.2], [-5.0, 0.2]])
    w_plus, code = control.moved(draw, identity, motion, there, asked)
    assert code is motion
    torch.testing.assert_close(w_plus[0], draw(identity, motion)[0])
    change = (control.shift(asked[1:]) - control.shift(there)).expand(1, L, D)
    torch.testing.assert_close(w_plus[1:] - w_plus[:1], change)


def test_feature_without_shifts_the_motion_code_moves() -> None:
    control, draw, identity, motion = MotionControl(CONFIG), mapper(), torch.randn(1, L, D), torch.randn(1, L, N)
    there, asked = torch.zeros(1, 2), torch.tensor([[20.0, 0.0]])
    w_plus, code = control.moved(draw, identity, motion, there, asked)
    torch.testing.assert_close(code, motion + control.encode(asked) - control.encode(there))
    torch.testing.assert_close(w_plus, draw(identity, code))


@pytest.mark.parametrize("config", [CONFIG, SHIFTED], ids=["codes", "shifts"])
def test_feature_from_rest_starts_at_the_neutral_code(config: MotionControlConfig) -> None:
    control, draw, identity = MotionControl(config), mapper(), torch.randn(1, L, D)
    still = torch.zeros(1, 2)
    w_plus, _ = control.from_rest(draw, identity, still)
    drawn = draw(identity, control.encode(still))
    torch.testing.assert_close(w_plus, drawn + control.rest if control.has_shifts else drawn)


def test_feature_shifts_survive_a_model_folder(tmp_path) -> None:
    control = MotionControl(SHIFTED)
    save_networks(tmp_path, {"control": control}, {"name": "tiny"})
    loaded = load_networks(tmp_path)["control"]
    assert isinstance(loaded, MotionControl)
    assert loaded.config == SHIFTED
    asked = torch.tensor([[7.0, 0.5]])
    torch.testing.assert_close(loaded.shift(asked), control.shift(asked))
    assert from_dict(MotionControlConfig, to_dict(SHIFTED)) == SHIFTED


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"rest": ("1 2", "3", "1 2")}, "shifts.rest"),
        ({"linear": ("1 2 3 4", "1 2 3 x")}, "shifts.linear"),
        ({"square": ("1 2 3 4", "1 2 3 9999999")}, "shifts.square"),
        ({"square": ("1 2", "3 4")}, "several widths"),
        ({"drawn": ("1 2 3 4", "1 2 3 4")}, "drawn: expected one column more"),
    ],
)
def test_exception_a_table_that_is_none(table: dict[str, tuple[str, ...]], match: str) -> None:
    assert SHIFTED.shifts is not None
    with pytest.raises(ConfigError, match=match):
        MotionControl(replace(SHIFTED, shifts=replace(SHIFTED.shifts, **table)))


def test_exception_rows_that_are_too_few() -> None:
    assert SHIFTED.shifts is not None
    with pytest.raises(ConfigError, match="expected \\(3, 2, 2\\)"):
        replace(SHIFTED, shifts=replace(SHIFTED.shifts, rest=SHIFTED.shifts.rest[:2]))
    with pytest.raises(ConfigError, match=r"drawn: got 1 rows, expected 2 or none"):
        replace(SHIFTED, shifts=replace(SHIFTED.shifts, drawn=SHIFTED.shifts.drawn[:1]))
