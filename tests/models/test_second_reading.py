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
    shifts = ControlShiftsConfig.of(*(torch.randn(rows, tiny.D) for rows in (tiny.L, 3, 3)))
    config = MotionControlConfig(
        controls=CONTROLS, scales=(15.0, 0.3, 0.3), n_styles=tiny.L, motion_dim=tiny.N, shifts=shifts
    )
    return MotionControl(config).eval().requires_grad_(False)


def twice(config: SecondReadingConfig = GAINS, **seen: float) -> tuple[SecondReader, CorrectedMapper, CorrectedControl]:
    parts = tiny.networks()
    return read_twice(parts.motion_encoder, parts.mapper, control(), Seen(**seen), config)  # type: ignore[arg-type]


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
PERSON = torch.randn(1, tiny.L, tiny.D, generator=torch.Generator().manual_seed(2))


def test_smoke_with_a_real_reader() -> None:
    parts, reader = tiny.networks(), FaceReader(FaceReaderConfig(input_size=32, body=tiny.BODY, heat_width=4, fold=1))
    encoder, mapper, _ = read_twice(parts.motion_encoder, parts.mapper, control(), reader.eval(), GAINS)  # type: ignore
    motion = encoder(IMAGES)
    assert motion.shape == (2, tiny.L + 1, tiny.N)
    assert mapper(PERSON, motion).shape == (2, tiny.L, tiny.D)
    assert encoder.input_size == 32


def test_feature_the_correction_is_what_was_missed() -> None:
    encoder, _, corrected = twice(smile=0.9, frown=0.8)
    motion = encoder(IMAGES)
    said, read = control().decode(motion[:, : tiny.L]), corrected.decode(motion)
    missed = (torch.tensor([0.0, 0.9, 0.8]) - said.clamp(min=0)).clamp(min=0) * torch.tensor([0.0, 1.0, 2.0])
    torch.testing.assert_close(read, said + missed, **TOLERANCE)
    assert (missed[:, 2] > 0).all()


def test_feature_it_adds_and_never_takes_away() -> None:
    encoder, _, corrected = twice()  # sees a face at rest, where random codes say anything
    motion = encoder(IMAGES)
    said = control().decode(motion[:, : tiny.L])
    assert (said[:, 1:] > 0).any()
    assert (said[:, 1:] < 0).any()
    torch.testing.assert_close(corrected.decode(motion), said, msg="noise on either side of rest is left alone")
    unbelievable, _, _ = twice(frown=50.0)
    believed, _, _ = twice(frown=1.0)
    torch.testing.assert_close(unbelievable(IMAGES), believed(IMAGES))


def test_feature_sliders_can_stand_where_it_reads() -> None:
    """However far the reader is followed, never further than a slider may be set."""
    encoder, _, corrected = twice(SecondReadingConfig(controls=("frown",), gains=(40.0,)), frown=1.0)
    limit = corrected.config.limits("frown")[1]
    torch.testing.assert_close(corrected.decode(encoder(IMAGES))[:, 2], torch.full((2,), limit))


def test_feature_differences_take_no_expression_below_rest() -> None:
    """A driver who frowned in the first frame and rests in the second, relative to the first."""
    encoder, _, corrected = twice(frown=0.8)
    code, said = encoder(IMAGES)[:, : tiny.L], control().decode(encoder(IMAGES)[:, : tiny.L])
    row = torch.zeros(2, 1, tiny.N)
    row[:, 0, 2] = -20.0
    read = corrected.decode(torch.cat([code, row], dim=1))
    torch.testing.assert_close(read[:, 2], said[:, 2].clamp(max=0))
    torch.testing.assert_close(read[:, :2], said[:, :2])


def test_feature_the_mapper_draws_it_by_the_shifts() -> None:
    encoder, mapper, corrected = twice(smile=0.9, frown=0.8)
    motion = encoder(IMAGES)
    code = motion[:, : tiny.L]
    shift = control().shift(corrected.decode(motion)) - control().shift(control().decode(code))
    torch.testing.assert_close(mapper(PERSON, motion), tiny.networks().mapper(PERSON, code) + shift, **TOLERANCE)
    assert shift.abs().max() > 0.1


def test_feature_codes_without_the_row_have_no_correction() -> None:
    _, mapper, corrected = twice(frown=0.8)
    code = tiny.networks().motion_encoder(IMAGES)
    torch.testing.assert_close(mapper(PERSON, code), tiny.networks().mapper(PERSON, code), **TOLERANCE)
    torch.testing.assert_close(corrected.decode(code), control().decode(code), **TOLERANCE)
    still = corrected.encode(torch.zeros(1, 3))
    assert still.shape == (1, corrected.rows, tiny.N)
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
    parts, plain = tiny.networks(), MotionControl(replace(control().config, shifts=None))
    with pytest.raises(ConfigError, match="sliders without shifts"):
        read_twice(parts.motion_encoder, parts.mapper, plain, Seen(), GAINS)  # type: ignore[arg-type]
