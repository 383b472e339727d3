"""A second reading of the driving face, of what the motion code says too little about.

A motion encoder learns first what moves many pixels: turns, jaws, smiles. Of a frown or a pucker its code keeps little,
where a `FaceReader` sees more. A code with a second reading has one row more, [m, c], in the sliders' scales,

    c_k = g_k max(seen_k - max(said_k, 0), 0)       said = decode(m); g_k: how far the reader is followed, 0 for most

and the mapper draws it by the sliders' shifts (`models/control.py`):

    M'(identity, [m, c]) = M(identity, m) + shift(said + c) - shift(said)

A second reading adds and never takes away: of real faces, which neither network ever saw, the motion encoder reads more
than the reader. Codes stay single tensors, so that they are subtracted, held over a frame and saved as before; where a
difference leaves a negative c, it takes no expression below rest. A code without that row has no correction.

Legend: B batch, K controls, L n_styles, N motion_dim, D w_dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.control import MotionControl
from latent_reenact.models.face_reader import FaceReader
from latent_reenact.models.motion import MotionEncoder, MotionMapper, MotionMapperConfig
from latent_reenact.synthface.controls import control_columns


@dataclass(frozen=True, kw_only=True)
class SecondReadingConfig:
    """Which expressions are read twice; how far the second reading is followed: 1 all the way, above 1 beyond it."""

    controls: tuple[str, ...]
    gains: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.controls) != len(self.gains):
            raise ConfigError(f"second_reading: got {len(self.controls)} controls and {len(self.gains)} gains")


class SecondReader(nn.Module):
    """Aligned driving face -> motion [B, L + 1, N]: in the place of `MotionEncoder`.

    Raises:
        ConfigError: a control that the model or the reader does not know; a model whose sliders have no shifts.
    """

    def __init__(
        self, encoder: MotionEncoder, control: MotionControl, reader: FaceReader, config: SecondReadingConfig
    ) -> None:
        super().__init__()
        names = control.config.controls
        expressions = [name for name in names if not name.endswith("_deg")]
        unknown = [name for name in config.controls if name not in expressions]
        if unknown or not control.has_shifts:
            wrong = f"controls {', '.join(unknown)}" if unknown else "sliders without shifts"
            raise ConfigError(f"second_reading: got {wrong}, expected some of {', '.join(expressions)}, with shifts")
        if len(names) > control.config.motion_dim:
            raise ConfigError(f"second_reading: {len(names)} controls do not fit codes of {control.config.motion_dim}")
        self.encoder, self.control, self.reader = encoder, control, reader
        gains, means = torch.zeros(len(names)), torch.zeros(reader.config.motion_size, len(names))
        for name, gain in zip(config.controls, config.gains, strict=True):
            columns, place = control_columns(name), names.index(name)
            gains[place], means[columns, place] = gain, 1 / len(columns)
        self.gains: Tensor
        self.means: Tensor
        self.register_buffer("gains", gains.to(control.scale.device), persistent=False)
        self.register_buffer("means", means.to(control.scale.device), persistent=False)
        self.most: Tensor  # what sliders may be set to
        most = torch.tensor([control.config.limits(name)[1] for name in names])
        self.register_buffer("most", most.to(control.scale.device), persistent=False)

    @property
    def input_size(self) -> int:
        """Side of the pictures that both readers look at."""
        return max(self.encoder.input_size, self.reader.config.input_size)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned -> motion [B, L + 1, N]."""
        code = self.encoder(images)  # [B, L, N]
        seen = (self.reader(images).motion @ self.means).clamp(0, 1)  # [B, K]
        said = self.control.decode(code)
        missed = (seen - said.clamp(min=0)).clamp(min=0)
        correction = (self.gains * missed).minimum((self.most - said).clamp(min=0)) / self.control.scale  # [B, K]
        row = F.pad(correction.to(code.dtype), (0, code.shape[2] - correction.shape[1]))
        return torch.cat([code, row[:, None]], dim=1)


class CorrectedControl(MotionControl):
    """The sliders of codes with a second reading: `control`, which reads and writes the row too."""

    def __init__(self, control: MotionControl) -> None:
        super().__init__(control.config)
        self.load_state_dict(control.state_dict())
        self.to(control.scale.device).train(control.training).requires_grad_(False)

    def encode(self, controls: Tensor) -> Tensor:
        """controls [B, K] -> motion [B, L + 1, N], with no correction."""
        return F.pad(super().encode(controls), (0, 0, 0, 1))

    def decode(self, motion: Tensor) -> Tensor:
        """motion [B, L or L + 1, N] -> controls [B, K], corrected."""
        code, correction = self.parted(motion)
        said = super().decode(code)
        return (said + correction).maximum(said.clamp(max=0))

    @property
    def rows(self) -> int:
        return self.config.n_styles + 1

    def parted(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """The code itself [B, L, N], and the correction [B, K] in the controls' own units."""
        length, count = self.config.n_styles, len(self.config.controls)
        if motion.shape[1] == length:
            return motion, motion.new_zeros(len(motion), count)
        return motion[:, :length], motion[:, length, :count] * self.scale


class CorrectedMapper(nn.Module):
    """identity w_plus [B, L, D], motion [B, L or L + 1, N] -> w_plus [B, L, D]: M', in the place of `MotionMapper`."""

    def __init__(self, mapper: MotionMapper, control: CorrectedControl) -> None:
        super().__init__()
        self.mapper, self.control = mapper, control

    @property
    def config(self) -> MotionMapperConfig:
        return self.mapper.config

    def forward(self, identity: Tensor, motion: Tensor) -> Tensor:
        control, (code, _) = self.control, self.control.parted(motion)
        return self.mapper(identity, code) + control.shift(control.decode(motion)) - control.shift(control.decode(code))


def read_twice(
    encoder: MotionEncoder,
    mapper: MotionMapper,
    control: MotionControl,
    reader: FaceReader,
    config: SecondReadingConfig,
) -> tuple[SecondReader, CorrectedMapper, CorrectedControl]:
    """The three networks that go together. Raises ConfigError as `SecondReader` does."""
    corrected = CorrectedControl(control)
    return SecondReader(encoder, control, reader, config).eval(), CorrectedMapper(mapper, corrected).eval(), corrected
