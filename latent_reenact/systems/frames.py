"""A video's frames through the networks, a batch at a time.

    crops -> motion encoder -> motion, held or made relative -> mapper -> w_plus -> synthesis -> pixels
    `------ a CUDA graph ----'                                  `--------- a CUDA graph -------------'

On a GPU the host neither waits for a batch nor feeds it kernel by kernel: while one is drawn, the next is cut and sent,
and the one before is fetched and handed out. Without a GPU the same functions are called one after another.

Legend: B frames of a batch, S side of a crop, R of a drawn picture, D, N as in `models/motion.py`, L its rows, in
motion one more where a model reads faces twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from latent_reenact.face import TrackedFrame
from latent_reenact.models import MotionEncoder, MotionMapper, UnitMotion, devices
from latent_reenact.models.graphs import Graphed
from latent_reenact.models.pixels import from_pixels, to_bytes
from latent_reenact.models.second_reading import CorrectedMapper, SecondReader
from latent_reenact.systems.drawing import FastestSynthesis
from latent_reenact.systems.transfer import Arrived, Downloads, Uploads

Cut = tuple[TrackedFrame, np.ndarray]
"""A frame and its crop, uint8 [S, S, 3]."""
Drawn = tuple[list[TrackedFrame], np.ndarray, np.ndarray, np.ndarray]
"""Frames, their pictures uint8 [B, R, R, 3], w_plus [B, L, D], motion [B, L, N]."""
Recode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""motion [B, L, N] -> what to draw in the mapper's place, w_plus [B, L, D], and the motion it stands for."""


class FramePath:
    """The networks that every frame goes through. Holds nothing of any video; threads may share it.

    Args:
        motion_encoder, mapper: on `device`, in evaluation mode.
        synthesis: draws there.
    """

    def __init__(
        self,
        motion_encoder: MotionEncoder | UnitMotion | SecondReader,
        mapper: MotionMapper | CorrectedMapper,
        synthesis: FastestSynthesis,
        device: torch.device,
    ) -> None:
        self._encoder, self._mapper, self._synthesis = motion_encoder, mapper, synthesis
        self._encode, self._draw = Graphed(self._encoded), Graphed(self._mapped_and_drawn)
        self._draw_codes = Graphed(self._drawn_codes)
        self._up, self._down = Uploads(device), Downloads(device)
        self._depth = 1 if devices.on_gpu(device) else 0  # batches on their way while one is handed out

    def run(
        self,
        cuts: Iterator[Cut],
        identity: Tensor,
        own: Tensor | None,
        *,
        batch: int,
        hold: bool,
        recode: Recode | None = None,
    ) -> Iterator[Drawn]:
        """Draw a video.

        Args:
            cuts: frames and their crops, all of one size.
            identity: w_plus [1, L, D] of the person drawn.
            own: that person's motion [1, L, N], to which each frame's difference from the first is added; None: the
                frame's motion is taken as it is.
            batch: frames drawn together.
            hold: a frame without a face repeats the last motion.
            recode: makes of a batch's motion what is drawn, in the mapper's place.
        """
        on_their_way: deque[tuple[list[TrackedFrame], Arrived]] = deque()
        reference = last = None
        while pairs := list(islice(cuts, batch)):
            frames = [frame for frame, _ in pairs]
            with torch.inference_mode():
                motion = self.motion([crop for _, crop in pairs], batch)
                if hold:
                    _hold(motion, frames, last)
                last = motion[-1:]
                if own is not None:
                    reference = motion[:1] if reference is None else reference
                    motion = own + motion - reference
                if recode is None:
                    arriving = self.drawn(identity, motion, batch)
                else:
                    arriving = self._recoded(*recode(motion), batch)
                on_their_way.append((frames, arriving))
            if len(on_their_way) > self._depth:
                yield _arrived(*on_their_way.popleft())
        while on_their_way:
            yield _arrived(*on_their_way.popleft())

    @torch.inference_mode()
    def motion(self, crops: Sequence[np.ndarray], batch: int) -> Tensor:
        """Up to `batch` crops -> motion [B, L, N], on the device."""
        return self._encode(self._up(crops), batch=batch)[0]

    @torch.inference_mode()
    def drawn(self, identity: Tensor, motion: Tensor, batch: int) -> Arrived:
        """identity [1, L, D], motion [B, L, N], up to `batch` -> pictures, w_plus and motion, once they have come."""
        pixels, w_plus = self._draw(identity.expand(len(motion), -1, -1), motion, batch=batch)
        return self._down(pixels, w_plus, motion)

    def _recoded(self, w_plus: Tensor, motion: Tensor, batch: int) -> Arrived:
        (pixels,) = self._draw_codes(w_plus, batch=batch)
        return self._down(pixels, w_plus, motion)

    def _encoded(self, crops: Tensor) -> tuple[Tensor, ...]:
        return (self._encoder(from_pixels(crops.permute(0, 3, 1, 2))),)

    def _mapped_and_drawn(self, identity: Tensor, motion: Tensor) -> tuple[Tensor, ...]:
        w_plus = self._mapper(identity, motion)
        return *self._drawn_codes(w_plus), w_plus

    def _drawn_codes(self, w_plus: Tensor) -> tuple[Tensor, ...]:
        return (to_bytes(self._synthesis.plain(w_plus)),)


def _hold(motion: Tensor, frames: list[TrackedFrame], last: Tensor | None) -> None:
    """Where no face was found, the motion of the frame before, in place."""
    for i, frame in enumerate(frames):
        previous = motion[i - 1 : i] if i > 0 else last
        if not frame.found and previous is not None:
            motion[i : i + 1] = previous


def _arrived(frames: list[TrackedFrame], arrived: Arrived) -> Drawn:
    pixels, w_plus, motion = arrived()
    return frames, pixels, w_plus, motion
