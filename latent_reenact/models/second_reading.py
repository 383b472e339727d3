"""A second reading of the driving face, of what the motion code says too little about.

A motion encoder learns first what moves many pixels: turns, jaws, smiles. Of a frown or a pucker its code keeps little,
where a `FaceReader` sees more. A code with a second reading has one row more, [m, c], in the sliders' scales,

    c_k = g_k max(seen_k - noise, 0) - said_k          for the controls that are read twice, 0 for the others
    said = drawn(M(w_avg, m))                          g_k: how far the reader is followed

and the mapper draws it by the sliders' shifts (`models/control.py`):

    M'(identity, [m, c]) = M(identity, m) + shift(said + c) - shift(said)

What a code says is thus what the mapper draws of it, on an average face: of a real person's latent it could not be
read, since the inversion of a photograph lies beside the faces that the table was fitted to. Codes stay single tensors,
so that they are subtracted, held over a frame and saved as before; where a difference leaves a negative sum, it takes
no expression below rest. A code without that row, or with an empty one, has no correction.

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
    """Which expressions are read twice, and how what is seen of them is taken.

    A reader that errs least on average says too little of what is rare: where truth rises by 1, what it sees rises by
    1 / g.
    """

    controls: tuple[str, ...]
    gains: tuple[float, ...]
    noise: float = 0.0  # of what is seen, this much is taken for a face at rest

    def __post_init__(self) -> None:
        if len(self.controls) != len(self.gains):
            raise ConfigError(f"second_reading: got {len(self.controls)} controls and {len(self.gains)} gains")
        if not 0 <= self.noise < 1 or any(gain <= 0 for gain in self.gains):
            raise ConfigError(
                f"second_reading: got gains {', '.join(map(str, self.gains))} and noise {self.noise}, expected gains "
                "above 0 and noise from 0 to 1"
            )


class SecondReader(nn.Module):
    """Aligned driving face -> motion [B, L + 1, N]: in the place of `MotionEncoder`."""

    def __init__(
        self, encoder: MotionEncoder, control: CorrectedControl, reader: FaceReader, gains: Tensor, noise: float
    ) -> None:
        super().__init__()
        self.encoder, self.control, self.reader, self.noise = encoder, control, reader, noise
        names = control.config.controls
        means = torch.zeros(reader.config.motion_size, len(names))
        for place, name in enumerate(names):
            means[control_columns(name), place] = 1 / len(control_columns(name))
        most = torch.tensor([control.config.limits(name)[1] for name in names])  # what sliders may be set to
        self.gains: Tensor
        self.means: Tensor
        self.most: Tensor
        for name, value in (("gains", gains), ("means", means), ("most", most)):
            self.register_buffer(name, value.to(control.scale.device), persistent=False)

    @property
    def input_size(self) -> int:
        """Side of the pictures that both readers look at."""
        return max(self.encoder.input_size, self.reader.config.input_size)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned -> motion [B, L + 1, N]."""
        code = self.encoder(images)  # [B, L, N]
        seen = (self.reader(images).motion @ self.means - self.noise).clamp(0, 1)  # [B, K]
        wanted = (self.gains * seen).minimum(self.most)
        correction = torch.where(self.control.read_twice, wanted - self.control.said(code), 0) / self.control.scale
        row = F.pad(correction.to(code.dtype), (0, code.shape[2] - correction.shape[1]))
        return torch.cat([code, row[:, None]], dim=1)


class CorrectedControl(MotionControl):
    """The sliders of codes with a second reading: `control`, which reads and writes the row too.

    Args:
        mapper: the method's M.
        average: w_plus [1, L, D] of the average face.
        read_twice: bool [K], which controls are.
    """

    def __init__(self, control: MotionControl, mapper: MotionMapper, average: Tensor, read_twice: Tensor) -> None:
        super().__init__(control.config)
        self.load_state_dict(control.state_dict())
        self.to(control.scale.device).train(control.training).requires_grad_(False)
        self._mapper = (mapper,)  # not a part of this module
        self.average: Tensor
        self.read_twice: Tensor
        for name, value in (("average", average), ("read_twice", read_twice)):
            self.register_buffer(name, value.to(control.scale.device), persistent=False)

    def encode(self, controls: Tensor) -> Tensor:
        """controls [B, K] -> motion [B, L + 1, N], with no correction."""
        return F.pad(super().encode(controls), (0, 0, 0, 1))

    def decode(self, motion: Tensor) -> Tensor:
        """motion [B, L or L + 1, N] -> controls [B, K], corrected."""
        code, correction = self.parted(motion)
        return corrected(self.said(code), correction)

    def said(self, code: Tensor) -> Tensor:
        """code [B, L, N] -> controls [B, K]: of those that are read twice, what the mapper draws on an average face."""
        drawn = self.drawn(self._mapper[0](self.average.expand(len(code), -1, -1), code))
        return torch.where(self.read_twice, drawn, super().decode(code))

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
        control, (code, correction) = self.control, self.control.parted(motion)
        said = control.said(code)
        return self.mapper(identity, code) + control.shift(corrected(said, correction)) - control.shift(said)


def corrected(said: Tensor, correction: Tensor) -> Tensor:
    """Their sum, [B, K], which takes no expression below rest, or further below than it was said to be."""
    return (said + correction).maximum(said.clamp(max=0))


def read_twice(
    encoder: MotionEncoder,
    mapper: MotionMapper,
    control: MotionControl,
    reader: FaceReader,
    w_avg: Tensor,
    config: SecondReadingConfig,
) -> tuple[SecondReader, CorrectedMapper, CorrectedControl]:
    """The three networks that go together.

    Args:
        w_avg: [D], of the generator.

    Raises:
        ConfigError: a control that the model or the reader does not know; sliders without shifts, or whose shifts
            have no table `drawn`.
    """
    names, n_styles = control.config.controls, control.config.n_styles
    expressions = [name for name in names if not name.endswith("_deg")]
    unknown = [name for name in config.controls if name not in expressions]
    if unknown or not control.reads_w:
        wrong = f"controls {', '.join(unknown)}" if unknown else "sliders without shifts, or without their table drawn"
        raise ConfigError(
            f"second_reading: got {wrong}, expected some of {', '.join(expressions)}, with shifts (recipe shifts)"
        )
    if len(names) > control.config.motion_dim:
        raise ConfigError(f"second_reading: {len(names)} controls do not fit codes of {control.config.motion_dim}")
    gains = torch.zeros(len(names))
    gains[[names.index(name) for name in config.controls]] = torch.tensor(config.gains)
    sliders = CorrectedControl(control, mapper, w_avg.expand(1, n_styles, -1), gains > 0)
    second = SecondReader(encoder, sliders, reader, gains, config.noise)
    return second.eval(), CorrectedMapper(mapper, sliders).eval(), sliders
