"""The sliders: angles and expressions to motion codes, back from them, and what the codes do not carry.

A motion code holds what the motion encoder reads in a driving picture, and reads of rare expressions little. A slider
needs no picture: where a model has a table of shifts, sliders move w_plus itself, each along a curve of its own,

    w_plus = M(identity, motion) + shift(wanted) - shift(current),    shift(c) = sum over k of a_k c_k + b_k c_k²

and elsewhere they move the motion code: M(identity, motion + encode(wanted) - encode(current)). Where w of the world's
faces tells what they do, a table may say how: drawn(w) = D w + d, in the controls' scales.

Legend: B batch, K controls, L n_styles, N motion_dim, D w_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError

SHIFT_UNIT = 1e-3  # of the integers in a table of shifts
_REACH = 6.0  # scales: further no control was ever seen, and no picture comes of it

Mapper = Callable[[Tensor, Tensor], Tensor]
"""(identity w_plus [B, L, D], motion [B, L, N]) -> w_plus [B, L, D]."""


@dataclass(frozen=True, kw_only=True)
class ControlShiftsConfig:
    """A table of shifts: every row is D integers in thousandths of w, parted by spaces."""

    rest: tuple[str, ...]  # a row a layer: from the mapper's face at rest to one that is
    linear: tuple[str, ...]  # a row a control: a_k, for a control as large as its scale
    square: tuple[str, ...]  # a row a control: b_k
    drawn: tuple[str, ...] = ()  # a row a control, with d as its last number; models without a second reading need none

    @classmethod
    def of(cls, rest: Tensor, linear: Tensor, square: Tensor, drawn: Tensor | None = None) -> ControlShiftsConfig:
        """rest [L, D], linear and square [K, D], drawn [K, D + 1]."""
        read = () if drawn is None else _written(drawn)
        return cls(rest=_written(rest), linear=_written(linear), square=_written(square), drawn=read)


@dataclass(frozen=True, kw_only=True)
class MotionControlConfig:
    """Sizes of the sliders' two small networks, and their shifts."""

    controls: tuple[str, ...] = ()  # names, in order
    scales: tuple[float, ...] = ()  # one unit of the network's input in the control's own unit
    n_styles: int = 18
    motion_dim: int = 512
    hidden: int = 128
    shifts: ControlShiftsConfig | None = None

    def __post_init__(self) -> None:
        if len(self.controls) != len(self.scales):
            raise ConfigError(f"controls: got {len(self.controls)} names and {len(self.scales)} scales")
        if self.shifts is not None:
            got = len(self.shifts.rest), len(self.shifts.linear), len(self.shifts.square)
            expected = self.n_styles, len(self.controls), len(self.controls)
            if got != expected:
                raise ConfigError(f"shifts: got {got} rows, expected {expected}: a layer's each, and a control's twice")
            if len(self.shifts.drawn) not in (0, len(self.controls)):
                raise ConfigError(
                    f"shifts.drawn: got {len(self.shifts.drawn)} rows, expected {len(self.controls)} or none"
                )

    def limits(self, control: str) -> tuple[float, float]:
        """What a control may be set to."""
        reach = _REACH * self.scales[self.controls.index(control)]
        return -reach, reach


class MotionControl(nn.Module):
    """Sliders <-> motion code: angles in degrees (`*_deg`), expressions as coefficients in 0..1.

    Attributes:
        has_shifts: whether sliders move w_plus rather than the motion code.
        reads_w: whether `drawn` is there.
    """

    Config = MotionControlConfig

    def __init__(self, config: MotionControlConfig) -> None:
        super().__init__()
        self.config = config
        n_controls, n_codes = len(config.controls), config.n_styles * config.motion_dim
        self.to_motion = _perceptron(n_controls, config.hidden, n_codes)
        self.to_controls = _perceptron(n_codes, config.hidden, n_controls)
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(config.scales, device="cpu"), persistent=False)
        self.has_shifts = config.shifts is not None
        self.rest: Tensor
        self.linear: Tensor
        self.square: Tensor
        for name in ("rest", "linear", "square") if config.shifts is not None else ():
            self.register_buffer(name, _read(getattr(config.shifts, name), name), persistent=False)
        if config.shifts is not None and len({self.rest.shape[1], self.linear.shape[1], self.square.shape[1]}) > 1:
            raise ConfigError("shifts: got tables of several widths, expected all of w_dim columns")
        self.reads_w = config.shifts is not None and bool(config.shifts.drawn)
        self.drawn_table: Tensor
        if config.shifts is not None and config.shifts.drawn:
            self.register_buffer("drawn_table", _read(config.shifts.drawn, "drawn"), persistent=False)
            if self.drawn_table.shape[1] != self.linear.shape[1] + 1:
                raise ConfigError("shifts.drawn: expected one column more than the other tables have")

    @property
    def rows(self) -> int:
        """Of the motion codes that it reads and writes."""
        return self.config.n_styles

    def encode(self, controls: Tensor) -> Tensor:
        """controls [B, K], in their own units -> motion [B, L, N]."""
        codes = self.to_motion(controls / self.scale)
        return codes.reshape(-1, self.config.n_styles, self.config.motion_dim)

    def decode(self, motion: Tensor) -> Tensor:
        """motion [B, L, N] -> controls [B, K], in their own units."""
        return self.to_controls(motion.flatten(1)) * self.scale

    def shift(self, controls: Tensor) -> Tensor:
        """controls [B, K] -> how far they take w from a face at rest, [B, 1, D]; for a control that has shifts."""
        x = controls / self.scale
        return (x @ self.linear + x.square() @ self.square)[:, None]

    def drawn(self, w_plus: Tensor) -> Tensor:
        """What the faces of w_plus [B, L, D] do, as their mean w shows it: controls [B, K], in their own units."""
        table = self.drawn_table
        return F.linear(w_plus.mean(1), table[:, :-1], table[:, -1]) * self.scale

    @property
    def expressions_in_w(self) -> Tensor:
        """Directions in w [M, D] that `drawn` reads the expressions along, one each."""
        rows = [k for k, name in enumerate(self.config.controls) if not name.endswith("_deg")]
        return self.drawn_table[rows, :-1]

    def moved(
        self, mapper: Mapper, identity: Tensor, motion: Tensor, current: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A face with some controls changed.

        Args:
            mapper: the method's M.
            identity: w_plus [B or 1, L, D]. motion: [B or 1, L, N], the code to start from.
            current: what the controls are in `motion`; wanted: what they shall be, both [B or 1, K].

        Returns:
            w_plus [B, L, D], and the motion code [B or 1, L, N] that the mapper was given.
        """
        if self.has_shifts:
            return mapper(identity, motion) + self.shift(wanted) - self.shift(current), motion
        motion = motion + self.encode(wanted) - self.encode(current)
        return mapper(identity, motion), motion

    def from_rest(self, mapper: Mapper, identity: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The same, from a frontal face at rest whatever the person's picture shows."""
        still = torch.zeros(1, len(self.config.controls), device=wanted.device)
        w_plus, motion = self.moved(mapper, identity, self.encode(still), still, wanted)
        return (w_plus + self.rest if self.has_shifts else w_plus), motion


def _perceptron(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, hidden), nn.SiLU(), nn.Linear(hidden, n_out))


def _written(table: Tensor) -> tuple[str, ...]:
    rows = (table.detach().cpu().double() / SHIFT_UNIT).round().long().tolist()
    return tuple(" ".join(map(str, row)) for row in rows)


def _read(rows: tuple[str, ...], name: str) -> Tensor:
    """A table of shifts, float32 [rows, D]."""
    try:
        table = np.array([[int(word) for word in row.split()] for row in rows], np.float64)
        if table.ndim != 2 or table.shape[1] == 0 or np.abs(table).max(initial=0) > 1e6:
            raise ValueError
    except ValueError:
        raise ConfigError(f"shifts.{name}: expected rows of as many integers each, up to a million") from None
    return torch.tensor(table * SHIFT_UNIT, dtype=torch.float32, device="cpu")
