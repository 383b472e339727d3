"""The linear baseline: differences between latents, and nothing trained but the inversion (Jahoda 2023; 2504.13021).

    z = z_R + α (z_A1 - z_A0)

z_A1 is the inverted driving frame. z_A0 and z_R are mean latents, of the driving clip's and of the identity's, over
all frames and their mirror images: frontal and of average expression. So both must be clips, and frames come out once
the whole driving clip has been seen. The inversion is pSp-style or e4e-style ReStyle: the two published baselines.

Legend: B batch, T frames, L n_styles, D w_dim, S side of the crops.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Literal, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import ConfigError, CorruptFileError, UsageError
from latent_reenact.face import Alignment, Face, TrackedFrame
from latent_reenact.face.detect import FaceDetector, Which
from latent_reenact.face.track import Smoothing
from latent_reenact.media import VideoReader, is_image_path
from latent_reenact.models import ReStyleEncoder
from latent_reenact.models.fast_synthesis import Precision
from latent_reenact.models.pixels import to_pixels
from latent_reenact.systems.cutting import FaceCutter, open_frames
from latent_reenact.systems.drawing import FastestSynthesis
from latent_reenact.systems.identity import Identity
from latent_reenact.systems.protocol import Frames, Picture, Result

_ONE_PICTURE = (
    "the linear baseline compares frames with the mean of their clip, and got {what}: give a short clip of each person "
    "(a video, or frames [T, H, W, 3]), or use a latent model, which needs one picture only"
)


class LinearReenactor:
    """Moves a person in W+ by how a driving clip's latents differ from their mean.

    Holds no state of any user: one instance serves many threads.

    Args:
        inversion: a ReStyle encoder (pSp- or e4e-style) with its generator, frozen, in evaluation mode.
        name: written into identities and marks.
        framing: width of the model's cut in units of FFHQ's.
        alpha: α, how much of the difference is taken; 1 in the thesis.
        mean_every: of a clip's frames, one in so many counts for its mean; 1 in the thesis. Each that counts is
            inverted a second time, mirrored.
        batch: frames inverted together.
        detector: finds faces; dlib's by default.
        precision: of the convolutions that draw videos on a CPU: "fp32", "bf16", or "auto", bf16 where the CPU has it.
    """

    def __init__(
        self,
        inversion: ReStyleEncoder,
        *,
        name: str,
        framing: float = 1.0,
        alpha: float = 1.0,
        mean_every: int = 1,
        batch: int = 8,
        detector: FaceDetector | None = None,
        precision: Precision = "auto",
    ) -> None:
        if mean_every < 1 or batch < 1:
            raise ConfigError(f"got mean_every {mean_every} and batch {batch}, expected at least 1 of each")
        self.inversion, self._name, self._framing, self.alpha = inversion, name, framing, alpha
        self._mean_every, self._batch = mean_every, batch
        self.device = next(inversion.parameters()).device
        self._cutter = FaceCutter(max(self.resolution, inversion.input_size), framing, detector)
        self._video_synthesis = FastestSynthesis(inversion.generator.synthesis, precision)
        self._estimates = FastestSynthesis(inversion.generator.synthesis, "fp32")  # bf16: latents would be 1.5 % off

    @property
    def name(self) -> str:
        return self._name

    @property
    def resolution(self) -> int:
        """Side of the drawn pictures in pixels."""
        return self.inversion.generator.config.resolution

    @property
    def framing(self) -> float:
        return self._framing

    @property
    def controls(self) -> tuple[str, ...]:
        """None: only a clip drives."""
        return ()

    @property
    def reads(self) -> Literal["clip"]:
        """A person is read from a clip."""
        return "clip"

    def align(self, picture: Picture, *, face: Which = "largest") -> tuple[np.ndarray, Alignment]:
        """(pixels uint8 [H, W, 3], where the model cuts them).

        Raises:
            NoFaceError, ManyFacesError, CorruptFileError, LimitExceededError.
        """
        tracked = self._cutter.track_picture(picture, face)
        return tracked.image, tracked.alignment

    def identity(self, picture: Picture | Frames, *, face: Which = "largest", aligned: bool = False) -> Identity:
        """Read a person from a clip, done once: `w_plus` is z_R, `motion` how the first frame differs from it.

        Args:
            picture: a clip: a video file, a reader, or uint8 frames [H, W, 3]; not one picture.
            face: which one where there are several: "largest", "only" or a number.
            aligned: the frames are already cut as the model wants them.

        Raises:
            UsageError: one picture, or a clip of one frame.
            NoFaceError, ManyFacesError, CorruptFileError, LimitExceededError.
        """
        with contextlib.ExitStack() as stack:
            frames = open_frames(_clip(picture), stack)
            seen = self._read(self._cutter.track(frames, face, "lowpass", aligned=aligned), aligned)
        mean = seen.mean().to(self.device)
        with torch.inference_mode():
            reconstruction = self.inversion.generator.synthesis(mean[None])
        return Identity(
            w_plus=mean.cpu().numpy(),
            motion=(seen.first - seen.mean()).numpy(),
            picture=seen.picture,
            reconstruction=to_pixels(reconstruction)[0],
            model=self.name,
        )

    def __call__(
        self,
        identity: Identity,
        driving: Picture,
        *,
        face: Which = "largest",
        aligned: bool = False,
        relative: bool = False,
    ) -> NoReturn:
        """Not what this system can do: one picture has no mean to differ from. Raises UsageError; see `stream`."""
        raise UsageError(_ONE_PICTURE.format(what="one driving picture"))

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
        """Draw `identity` once for each driving frame, in order, after a first pass over the whole clip.

        Latents wait on disk in between (L · D floats a frame), so that memory does not grow with length; frames that
        come from a plain iterator are kept, since they cannot be asked for again.

        Args:
            driving: a video file, a reader, or an iterable of uint8 [H, W, 3] frames, two at least.
            relative: add each frame's difference from the first one to the identity's own first frame.
            smoothing: of the cut, so that the drawing does not jitter.
            batch: frames drawn together.

        A frame without a face repeats the last motion; its `driving_face.found` is False.

        Raises:
            UsageError: one picture; an identity of another model.
            NoFaceError, ManyFacesError, CorruptFileError, LimitExceededError.
        """
        self._check(identity)
        if batch < 1:
            raise UsageError(f"batch: got {batch}, expected at least 1")
        driving = _clip(driving)
        if not isinstance(driving, str | Path | VideoReader | list | tuple | np.ndarray):
            driving = list(driving)
        with contextlib.ExitStack() as stack:
            frames = open_frames(driving, stack)
            latents = stack.enter_context(tempfile.TemporaryFile())
            seen = self._read(self._cutter.track(frames, face, smoothing, aligned=aligned), aligned, latents)
            latents.seek(0)
            self._video_synthesis.start()
            tracked = (TrackedFrame(frame, *cut) for frame, cut in zip(frames, seen.cuts, strict=False))
            while chunk := list(islice(tracked, batch)):
                yield from self._draw(identity, seen, chunk, latents, relative)

    def pose(self, identity: Identity, **controls: float) -> Result:
        """Not what this system can do. Raises ConfigError."""
        raise ConfigError(f"the linear baseline {self.name} has no sliders: give a driving clip, or use a latent model")

    # -- parts --------------------------------------------------------------------------------------------------

    def _read(self, tracked: Iterator[TrackedFrame], aligned: bool, latents: IO[bytes] | None = None) -> _Seen:
        """Invert a whole clip; each frame's latent float32 [L, D] goes into the file `latents`."""
        config = self.inversion.generator.config
        self._estimates.start()
        seen = _Seen(torch.zeros(config.n_styles, config.w_dim, dtype=torch.float64))
        while chunk := list(islice(tracked, self._batch)):
            images = self._images(chunk, aligned)
            codes = self._invert(images)  # [B, L, D]
            every = self._mean_every
            rows = [r for r, f in enumerate(chunk) if (aligned or f.found) and (seen.frames + r) % every == 0]
            if rows:
                seen.add(codes[rows], self._invert(images[rows].flip(3)))
            if not seen.frames:
                seen.first, seen.picture = codes[0], self._picture(images[:1])
            for code, frame in zip(codes, chunk, strict=True):
                if aligned or frame.found or seen.last is None:
                    seen.last = code
                seen.cuts.append((frame.face, frame.alignment))
                if latents is not None:
                    latents.write(seen.last.numpy().tobytes())
        return seen.checked()

    def _invert(self, images: Tensor) -> Tensor:
        return self.inversion.invert(images, draw=self._estimates).float().cpu()

    def _draw(
        self, identity: Identity, seen: _Seen, chunk: list[TrackedFrame], latents: IO[bytes], relative: bool
    ) -> list[Result]:
        person = torch.tensor(identity.w_plus)
        raw = latents.read(len(chunk) * person.nbytes)
        codes = torch.frombuffer(bytearray(raw), dtype=torch.float32).reshape(-1, *person.shape)  # [B, L, D]
        motion = torch.tensor(identity.motion) + codes - seen.first if relative else codes - seen.mean()
        w_plus = person + self.alpha * motion
        with torch.inference_mode():
            images = to_pixels(self._video_synthesis(w_plus.to(self.device)))
        return [
            Result(image, code, own, frame, "reenact", self.name)
            for image, code, own, frame in zip(images, w_plus.numpy(), motion.numpy(), chunk, strict=True)
        ]

    def _images(self, chunk: list[TrackedFrame], aligned: bool) -> Tensor:
        crops = [frame.image if aligned else self._cutter.crop(frame) for frame in chunk]
        return self._cutter.tensor(crops, self.device)

    def _picture(self, images: Tensor) -> np.ndarray:
        return to_pixels(F.adaptive_avg_pool2d(images, (self.resolution, self.resolution)))[0]

    def _check(self, identity: Identity) -> None:
        config = self.inversion.generator.config
        expected = (config.n_styles, config.w_dim)
        if identity.w_plus.shape != expected or identity.model not in ("", self.name):
            raise UsageError(
                f"the identity was made by model {identity.model or 'unknown'!r} (w_plus {identity.w_plus.shape}), not "
                f"by {self.name!r} ({expected}), whose identities are means over a clip; read the clip with this system"
            )


@dataclass
class _Seen:
    """What is kept of a clip that was inverted: little a frame, whatever its size."""

    total: Tensor  # float64 [L, D], over the frames that count and their mirror images
    counted: int = 0
    first: Tensor = field(default_factory=lambda: torch.zeros(0))  # float32 [L, D]
    last: Tensor | None = None  # of the last frame with a face
    picture: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    cuts: list[tuple[Face | None, Alignment]] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return len(self.cuts)

    def add(self, codes: Tensor, mirrored: Tensor) -> None:
        self.total += codes.double().sum(0) + mirrored.double().sum(0)
        self.counted += 2 * len(codes)

    def mean(self) -> Tensor:
        return (self.total / self.counted).float()

    def checked(self) -> _Seen:
        """Raises UsageError for one frame, CorruptFileError for none, or none that counts."""
        if self.frames == 1:
            raise UsageError(_ONE_PICTURE.format(what="a clip of one frame"))
        if not self.counted:
            raise CorruptFileError(
                f"a clip of {self.frames} frames, none counted for the mean; give a longer clip, or mean_every=1"
            )
        return self


def _clip(given: Picture | Frames) -> Frames:
    """`given`, unless it is one picture."""
    if isinstance(given, np.ndarray) and given.ndim == 3:
        raise UsageError(_ONE_PICTURE.format(what=f"one picture {list(given.shape)}"))
    if isinstance(given, str | Path) and is_image_path(given):
        raise UsageError(_ONE_PICTURE.format(what=f"the picture {given}"))
    return given
