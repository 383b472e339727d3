"""Keep the crop of a video steady: a low-pass on the alignment's centre, size and angle."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, field

from latent_reenact.face.alignment import Alignment


@dataclass
class AlignmentFilter:
    """The one-euro filter (Casiez, Roussel and Vogel 2012) on a stream of alignments.

    Slow changes, which are mostly the landmarks' noise, are averaged; fast ones, which are the head's motion,
    pass almost at once. Everything is measured in sides of the square, so picture size does not matter.

    fps: frames per second of the stream.
    rest_hz: cut-off at rest. 0.5 Hz averages over about a third of a second.
    follow: how much the cut-off rises, in Hz, per side (or radian) and second of motion.
    follow_size: the same for the size, per e-fold and second. Lower: a head comes nearer slowly, while an opening
        mouth stretches FFHQ's square within a few frames.
    """

    fps: float = 25.0
    rest_hz: float = 0.5
    follow: float = 12.0
    follow_size: float = 2.0
    _state: Alignment | None = field(default=None, init=False, repr=False)
    _speed: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), init=False, repr=False)

    def __call__(self, seen: Alignment) -> Alignment:
        """The smoothed alignment for this frame. A jump of more than half a side starts afresh."""
        if self._state is None or _distance(self._state, seen) > 0.5:
            self._state, self._speed = seen, (0.0, 0.0, 0.0)
            return seen
        state = self._state
        turn = complex(*seen.x_axis) / complex(*state.x_axis)
        centre_step = complex(seen.centre[0] - state.centre[0], seen.centre[1] - state.centre[1]) / state.side
        steps = (abs(centre_step), math.log(abs(turn)), cmath.phase(turn))
        slow = self._weight(1.0)
        self._speed = tuple(v + slow * (s * self.fps - v) for v, s in zip(self._speed, steps, strict=True))  # type: ignore[assignment]
        follow = (self.follow, self.follow_size, self.follow)
        cutoffs = (self.rest_hz + f * abs(v) for f, v in zip(follow, self._speed, strict=True))
        move, grow, rotate = (self._weight(cutoff) for cutoff in cutoffs)
        centre = complex(*state.centre) + move * centre_step * state.side
        axis = complex(*state.x_axis) * cmath.exp(complex(grow * steps[1], rotate * steps[2]))
        self._state = Alignment((centre.real, centre.imag), (axis.real, axis.imag), seen.scale)
        return self._state

    def _weight(self, cutoff_hz: float) -> float:
        """Share of the newest value in a first-order low-pass at `cutoff_hz`."""
        return 1 / (1 + self.fps / (2 * math.pi * cutoff_hz))


def _distance(a: Alignment, b: Alignment) -> float:
    """How far two squares are apart: between centres, or by the logarithm of their sizes, in sides."""
    return max(math.dist(a.centre, b.centre) / a.side, abs(math.log(b.side / a.side)))
