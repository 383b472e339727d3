"""What every way to reenact offers, so that command line, app and evaluation never ask which one they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from latent_reenact.face.alignment import Alignment
from latent_reenact.face.detect import Which
from latent_reenact.face.track import Smoothing, TrackedFrame
from latent_reenact.media import Provenance, VideoReader, write_image
from latent_reenact.systems.identity import Identity

Picture = str | Path | np.ndarray
Frames = str | Path | VideoReader | Iterable[np.ndarray]
Part = Literal["both", "pose", "expression"]
"""What to take of the driving: all of it, the head's pose, or the expression, gaze included."""


@dataclass(frozen=True, eq=False)
class Result:
    """One drawn picture and how it came to be.

    image: uint8 [R, R, 3].
    w_plus: float32 [L, D], what was drawn. motion: float32, shaped as an identity's, the code that it began from:
        where sliders or parts move w_plus itself, it does not show what they did.
    driving_face: the driving frame with its face, or None where sliders drove.
    """

    image: np.ndarray
    w_plus: np.ndarray
    motion: np.ndarray
    driving_face: TrackedFrame | None
    operation: str
    model: str

    def provenance(self, **changes: str) -> Provenance:
        """The mark for a file made from this."""
        return Provenance(**{"model": self.model, "operation": self.operation, **changes})

    def save(self, path: str | Path) -> None:
        """Write a PNG, JPEG or WebP file marked as made by AI.

        Raises:
            OutputError: unknown suffix, or the file cannot be written.
        """
        write_image(path, self.image, marks=self.provenance())


class Reenactor(Protocol):
    """A system: reads an identity once, then draws it with other poses and expressions.

    name: the model's name. resolution: side of the drawn pictures.
    framing: how much wider than FFHQ's square the model's world is cut (1 for FFHQ models).
    reads: what a person is read from: a picture, or a clip of several.
    """

    @property
    def name(self) -> str: ...
    @property
    def resolution(self) -> int: ...
    @property
    def framing(self) -> float: ...
    @property
    def controls(self) -> tuple[str, ...]: ...
    @property
    def reads(self) -> Literal["picture", "clip"]: ...

    def align(self, picture: Picture, *, face: Which = "largest") -> tuple[np.ndarray, Alignment]:
        """(the picture's pixels, where the model cuts it)."""

    def identity(self, picture: Picture, *, face: Which = "largest", aligned: bool = False) -> Identity:
        """Read a person from a picture."""

    def __call__(
        self,
        identity: Identity,
        driving: Picture,
        *,
        face: Which = "largest",
        aligned: bool = False,
        relative: bool = False,
    ) -> Result:
        """Draw the identity with the pose and expression of one driving picture."""

    def stream(
        self,
        identity: Identity,
        driving: Frames,
        *,
        face: Which = "largest",
        aligned: bool = False,
        relative: bool = False,
        smoothing: Smoothing = "lowpass",
        batch: int = 8,
    ) -> Iterator[Result]:
        """Draw the identity once for each driving frame; memory does not grow with length."""

    def pose(self, identity: Identity, **controls: float) -> Result:
        """Draw the identity with named controls set (degrees, or coefficients in 0..1)."""
