"""What the motion code says too little about, read a second time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models import ControlShiftsConfig, FaceReader, FaceReaderConfig, MotionControl, MotionControlConfig
from latent_reenact.models.face_reader import FaceReading
from latent_reenact.models.second_reading import (
    CorrectedControl,
    CorrectedMapper,
    SecondReader,
    SecondReadingConfig,
    read_twice,
)
from latent_reenact.synthface.controls import control_columns

CONTROLS = ("yaw_deg", "smile", "frown")
GAINS = SecondReadingConfig(controls=("smile", "frown"), gains=(1.0, 2.0))
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}


class Seen(nn.Module):
    """In the place of a reader: sees the same in every picture."""

    config = FaceReaderConfig()

    def __init__(self, **seen: float) -> None:
        super().__init__()
        self.motion = torch.zeros(58)
        for name, value in seen.items():
            self.motion[control_columns(name)] = value

    def forward(self, images: Tensor) -> FaceReading:
        pose, gaze, expression = self.motion.expand(len(images), -1).split([3, 2, 53], 1)
        return FaceReading(pose, torch.zeros(len(images), 68, 2), expression, gaze)


def control() -> MotionControl:
    torch.manual_seed(3)
    tables = (torch.randn(rows, tiny.D) for rows in (tiny.L, 3, 3))
    shifts = ControlShiftsConfig.of(*tables, 0.1 * torch.randn(3, tiny.D + 1))
    config = MotionControlConfig(
        controls=CONTROLS, scales=(15.0, 0.3, 0.3), n_styles=tiny.L, motion_dim=tiny.N, shifts=shifts
    )
    return MotionControl(config).eval().requires_grad_(False)


def twice(config: SecondReadingConfig = GAINS, **seen: float) -> tuple[SecondReader, CorrectedMapper, CorrectedControl]:
    parts = tiny.networks()
    return read_twice(parts.motion_encoder, parts.mapper, control(), Seen(**seen), AVERAGE, config)  # type: ignore


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
AVERAGE = torch.randn(tiny.D, generator=torch.Generator().manual_seed(4))
PERSON = torch.randn(1, tiny.L, tiny.D, generator=torch.Generator().manual_seed(2))


def said_of(code: Tensor) -> Tensor:
    """By definition: of controls that are read twice what the mapper draws on the average face, elsewhere the code."""
    drawn = control().drawn(tiny.networks().mapper(AVERAGE.expand(len(code), tiny.L, -1), code))
    return torch.where(torch.tensor([False, True, True]), drawn, control().decode(code))


def test_smoke_with_a_real_reader() -> None:
    parts, reader = tiny.networks(), FaceReader(FaceReaderConfig(input_size=32, body=tiny.BODY, heat_width=4, fold=1))
    networks = read_twice(parts.motion_encoder, parts.mapper, control(), reader.eval(), AVERAGE, GAINS)  # type: ignore
    motion = networks[0](IMAGES)
    assert motion.shape == (2, tiny.L + 1, tiny.N)
    assert networks[1](PERSON, motion).shape == (2, tiny.L, tiny.D)
    assert networks[0].input_size == 32


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_feature_a_code_says_what_was_seen(noise: float) -> None:
    """Whatever the motion encoder said of it, more or less."""
    encoder, _, sliders = twice(replace(GAINS, noise=noise), smile=0.9, frown=0.4)
    motion = encoder(IMAGES)
    expected = said_of(motion[:, : tiny.L])
    expected[:, 1:] = torch.tensor([0.9 - noise, 2 * (0.4 - noise)])
    torch.testing.assert_close(sliders.decode(motion), expected, **TOLERANCE)


def test_feature_noise_is_a_face_at_rest() -> None:
    encoder, _, sliders = twice(replace(GAINS, noise=0.1), frown=0.08)
    torch.testing.assert_close(sliders.decode(encoder(IMAGES))[:, 1:], torch.zeros(2, 2), **TOLERANCE)
    unbelievable, _, _ = twice(frown=50.0)
    believed, _, _ = twice(frown=1.0)
    torch.testing.assert_close(unbelievable(IMAGES), believed(IMAGES))


def test_feature_sliders_can_stand_where_it_reads() -> None:
    """However far the reader is followed, never further than a slider may be set."""
    encoder, _, sliders = twice(SecondReadingConfig(controls=("frown",), gains=(40.0,)), frown=1.0)
    limit = sliders.config.limits("frown")[1]
    torch.testing.assert_close(sliders.decode(encoder(IMAGES))[:, 2], torch.full((2,), limit))


def test_feature_differences_take_no_expression_below_rest() -> None:
    """A driver who frowned in the first frame and rests in the second, relative to the first."""
    encoder, _, sliders = twice(frown=0.8)
    code = encoder(IMAGES)[:, : tiny.L]
    said, row = said_of(code), torch.zeros(2, 1, tiny.N)
    row[:, 0, 2] = -20.0
    read = sliders.decode(torch.cat([code, row], dim=1))
    torch.testing.assert_close(read[:, 2], said[:, 2].clamp(max=0), **TOLERANCE)
    torch.testing.assert_close(read[:, :2], said[:, :2], **TOLERANCE)


def test_feature_the_mapper_draws_it_by_the_shifts() -> None:
    encoder, mapper, sliders = twice(smile=0.9, frown=0.8)
    motion = encoder(IMAGES)
    code = motion[:, : tiny.L]
    shift = control().shift(sliders.decode(motion)) - control().shift(said_of(code))
    torch.testing.assert_close(mapper(PERSON, motion), tiny.networks().mapper(PERSON, code) + shift, **TOLERANCE)
    assert shift.abs().max() > 0.1


def test_feature_codes_without_the_row_have_no_correction() -> None:
    _, mapper, sliders = twice(frown=0.8)
    code = tiny.networks().motion_encoder(IMAGES)
    torch.testing.assert_close(mapper(PERSON, code), tiny.networks().mapper(PERSON, code), **TOLERANCE)
    torch.testing.assert_close(sliders.decode(code), said_of(code), **TOLERANCE)
    still = sliders.encode(torch.zeros(1, 3))
    assert still.shape == (1, sliders.rows, tiny.N)
    assert not still[:, tiny.L].any()


@pytest.mark.parametrize(
    ("names", "match"),
    [(("wink",), "controls wink, expected some of smile, frown"), (("yaw_deg",), "controls yaw_deg")],
)
def test_exception_what_is_not_read_twice(names: tuple[str, ...], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        twice(SecondReadingConfig(controls=names, gains=(1.0,) * len(names)))


def test_exception_configs() -> None:
    with pytest.raises(ConfigError, match="got 2 controls and 1 gains"):
        SecondReadingConfig(controls=("smile", "frown"), gains=(1.0,))
    with pytest.raises(ConfigError, match=r"gains 0\.0 and noise 0\.0, expected gains above 0"):
        SecondReadingConfig(controls=("smile",), gains=(0.0,))
    with pytest.raises(ConfigError, match=r"noise 1\.5"):
        SecondReadingConfig(controls=("smile",), gains=(1.0,), noise=1.5)
    parts, config = tiny.networks(), control().config
    assert config.shifts is not None
    for shifts in (None, replace(config.shifts, drawn=())):
        plain = MotionControl(replace(config, shifts=shifts))
        with pytest.raises(ConfigError, match="sliders without shifts, or without their table drawn"):
            read_twice(parts.motion_encoder, parts.mapper, plain, Seen(), AVERAGE, GAINS)  # type: ignore[arg-type]
