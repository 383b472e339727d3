"""The main system: StyleGAN2, a ReStyle inversion, a motion encoder and a mapper (arXiv 2504.13021).

g = G(M(E_i(identity) + E_m(driving)))     (+ is concatenation)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import UsageError
from latent_reenact.face import Alignment, TrackedFrame
from latent_reenact.face.detect import FaceDetector, Which
from latent_reenact.face.track import Smoothing
from latent_reenact.media.overlap import ahead
from latent_reenact.models.fast_synthesis import Precision
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.refinement import RefinementConfig
from latent_reenact.systems.cutting import FaceCutter, open_frames, pixels
from latent_reenact.systems.drawing import Draw, FastestSynthesis
from latent_reenact.systems.frames import FramePath, Recode
from latent_reenact.systems.identity import Identity
from latent_reenact.systems.inverting import Inverter, LatentNetworks
from latent_reenact.systems.protocol import Frames, Part, Picture, Result
from latent_reenact.systems.sliders import Sliders


class LatentReenactor:
    """Reenacts in W+. Holds no state of any user: one instance serves many threads.

    Args:
        networks: what to run.
        name: the model's name, written into identities and marks.
        framing: width of the model's cut in units of FFHQ's.
        detector: finds faces; dlib's by default.
        refinement: how inversions are refined; not at all by default.
        precision: of the convolutions that draw videos: "fp32", "bf16" or "auto", see `FastestSynthesis`.

    Attributes:
        networks, device: what runs, and where.
        cutter: finds and cuts faces as this model wants them. inverter: reads people.
        path: a video's frames through the networks. video_synthesis: draws them. sliders: the controls, by name.
    """

    def __init__(
        self,
        networks: LatentNetworks,
        *,
        name: str,
        framing: float = 1.0,
        detector: FaceDetector | None = None,
        refinement: RefinementConfig | None = None,
        precision: Precision = "auto",
    ) -> None:
        self.networks, self._name, self._framing = networks, name, framing
        self.device = next(networks.generator.parameters()).device
        self.cutter = FaceCutter(self.crop_size, framing, detector)
        self.video_synthesis = FastestSynthesis(networks.generator.synthesis, precision)
        self.inverter = Inverter(networks, self.cutter, name, refinement)
        self.path = FramePath(networks.motion_encoder, networks.mapper, self.video_synthesis, self.device)
        self.sliders = Sliders(networks.control, networks.mapper, name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def resolution(self) -> int:
        """Side of the drawn pictures in pixels."""
        return self.networks.generator.config.resolution

    @property
    def framing(self) -> float:
        return self._framing

    @property
    def controls(self) -> tuple[str, ...]:
        """Names that `pose` takes."""
        return self.sliders.names

    @property
    def reads(self) -> Literal["picture"]:
        """A person is read from one picture."""
        return "picture"

    @property
    def crop_size(self) -> int:
        """Side of the aligned crop: enough for every network that reads it."""
        networks = self.networks
        return max(self.resolution, networks.inversion.input_size, networks.motion_encoder.input_size)

    # -- one picture --------------------------------------------------------------------------------------------

    def align(self, picture: Picture, *, face: Which = "largest") -> tuple[np.ndarray, Alignment]:
        """(pixels uint8 [H, W, 3], where the model cuts them).

        Raises:
            NoFaceError, ManyFacesError, CorruptFileError, LimitExceededError.
        """
        tracked = self.cutter.track_picture(picture, face)
        return tracked.image, tracked.alignment

    def identity(
        self, picture: Picture, *, face: Which = "largest", aligned: bool = False, refine_steps: int | None = None
    ) -> Identity:
        """Align a picture, invert it and read its own motion: done once a person.

        Args:
            picture: a file or uint8 [H, W, 3] RGB.
            face: which one where there are several: "largest", "only" or a number.
            aligned: the picture is already cut as the model wants it.
            refine_steps: of optimisation after the encoder's; by default as many as the model asks for.
        """
        crop = pixels(picture) if aligned else self.cutter.crop(self.cutter.track_picture(picture, face))
        return self.inverter.read(crop, refine_steps)

    def identity_from_latent(self, w_plus: np.ndarray) -> Identity:
        """An identity whose latent is known, float32 [L, D]; what the generator draws for it stands for its picture.

        Raises UsageError where the latent is not of this model's shape.
        """
        return self.inverter.of_latent(w_plus)

    def __call__(
        self,
        identity: Identity,
        driving: Picture | Result,
        *,
        face: Which = "largest",
        aligned: bool = False,
        relative: bool = False,
        part: Part = "both",
        pose: Picture | Result | None = None,
    ) -> Result:
        """Draw `identity` with the pose and expression of one picture.

        Args:
            driving: a picture; or a `Result` of this model, which lends the motion that it was drawn from: what drove
                it, whole, whatever `part` and `pose` were.
            face: which one where there are several. aligned: pictures are already cut as the model wants them.
            relative: add the picture's difference from a neutral, frontal face to the identity's own motion.
            part: what to take of the driving; the rest stays as in the identity's own picture.
            pose: whose yaw, pitch and roll to take instead of the driving's; then `part` is "both".

        Raises:
            NoFaceError, ManyFacesError, CorruptFileError, LimitExceededError.
            ConfigError: a part, a pose or `relative` of a model without sliders.
            UsageError: no such part; a part and a pose; a result of sliders, or of another model.
        """
        self.inverter.check(identity)
        recode = self._recoding(identity, part, pose, face, aligned)
        motion, tracked = self._motion_of(driving, face, aligned)
        with torch.inference_mode():
            if relative:
                motion = self._own_motion(identity) + motion - self.sliders.neutral()
            if recode is None:
                codes = self.networks.mapper(self._person(identity), motion)
            else:
                codes, motion = recode(motion)
            return self._draw_codes(codes, motion, [tracked], "reenact")[0]

    def pose(self, identity: Identity, **controls: float) -> Result:
        """Draw `identity` with some controls set; those not named stay as in its own picture.

        Args:
            controls: angles in degrees (`yaw_deg` > 0 turns the face to the viewer's right), expression
                coefficients in 0..1; the names are in `self.controls`.

        Raises:
            ConfigError: unknown control, or a model without controls. UsageError: a value that no face takes.
        """
        return self.poses(identity, [controls])[0]

    def poses(
        self,
        identity: Identity,
        settings: Sequence[Mapping[str, float]],
        *,
        at_rest: bool = False,
        fast: bool = False,
    ) -> list[Result]:
        """The same for several settings of the controls, drawn together.

        Args:
            at_rest: controls not named are 0: a frontal face at rest, whatever the person's own picture shows.
            fast: draw as videos are drawn, a grey level off.
        """
        self.inverter.check(identity)
        with torch.inference_mode():
            own = self._own_motion(identity)
            codes, motion = self.sliders.moved(self._person(identity), own, settings, at_rest=at_rest)
            motion, nothing = motion.expand(len(codes), -1, -1), [None] * len(codes)
            if not fast:
                return self._draw_codes(codes, motion, nothing, "pose")
            self.video_synthesis.start()
            return self._draw_codes(codes, motion, nothing, "pose", self.video_synthesis)

    def combine(
        self,
        identity: Identity,
        *,
        pose: Picture | Result | None = None,
        expression: Picture | Result | None = None,
        face: Which = "largest",
        aligned: bool = False,
    ) -> Result:
        """Draw `identity` with the pose of one picture and the expression of another; by default with its own.

        Raises as `__call__` does, and UsageError where neither is given.
        """
        if expression is not None:
            part: Part = "expression" if pose is None else "both"
            drawn = self(identity, expression, face=face, aligned=aligned, part=part, pose=pose)
        elif pose is not None:
            drawn = self(identity, pose, face=face, aligned=aligned, part="pose")
        else:
            raise UsageError("combine: got neither a pose nor an expression, expected a picture for one of them")
        return replace(drawn, operation="combine")

    # -- video --------------------------------------------------------------------------------------------------

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
        part: Part = "both",
        pose: Picture | Result | None = None,
    ) -> Iterator[Result]:
        """Draw `identity` once for each driving frame, in order; memory does not grow with length.

        A thread reads the frames and finds the face in them, up to a batch ahead. On a GPU one more batch is being
        drawn while results are handed out.

        Args:
            driving: a video file, a reader, or any iterable of uint8 [H, W, 3] frames.
            relative: add each frame's difference from the first one to the identity's own motion.
            smoothing: of the cut, so that the drawing does not jitter.
            batch: frames drawn together.
            part, pose: as in `__call__`.

        A frame without a face repeats the last motion; its `driving_face.found` is False.
        """
        self.inverter.check(identity)
        if batch < 1:
            raise UsageError(f"batch: got {batch}, expected at least 1")
        recode = self._recoding(identity, part, pose, face, aligned)
        with contextlib.ExitStack() as stack:
            tracked = self.cutter.track(open_frames(driving, stack), face, smoothing, aligned=aligned)
            crops = ((f, self.cutter.sized(f.image) if aligned else self.cutter.crop(f)) for f in tracked)
            cuts = stack.enter_context(contextlib.closing(ahead(crops, batch)))
            self.video_synthesis.start()
            drawn = self.path.run(
                cuts,
                self._person(identity),
                self._own_motion(identity) if relative else None,
                batch=batch,
                hold=not aligned,
                recode=recode,
            )
            for frames, images, codes, motions in drawn:
                yield from self._results(images, codes, motions, frames, "reenact")

    # -- parts --------------------------------------------------------------------------------------------------

    def _draw_codes(
        self,
        w_plus: Tensor,
        motion: Tensor,
        driving: Sequence[TrackedFrame | None],
        operation: str,
        draw: Draw | None = None,
    ) -> list[Result]:
        images = to_pixels((draw or self.networks.generator.synthesis)(w_plus))
        return self._results(images, w_plus.cpu().numpy(), motion.cpu().numpy(), driving, operation)

    def _results(
        self,
        images: np.ndarray,
        codes: np.ndarray,
        motions: np.ndarray,
        driving: Sequence[TrackedFrame | None],
        operation: str,
    ) -> list[Result]:
        return [
            Result(image, code, own, tracked, operation, self.name)
            for image, code, own, tracked in zip(images, codes, motions, driving, strict=True)
        ]

    def _person(self, identity: Identity) -> Tensor:
        return torch.tensor(identity.w_plus, device=self.device)[None]

    def _own_motion(self, identity: Identity) -> Tensor:
        return self.sliders.whole(torch.tensor(identity.motion, device=self.device)[None])

    def _motion_of(self, driving: Picture | Result, face: Which, aligned: bool) -> tuple[Tensor, TrackedFrame | None]:
        """Motion [1, L, N] of a picture or of a result, and the face that was read."""
        if isinstance(driving, Result):
            if driving.model != self.name or driving.operation != "reenact":
                raise UsageError(
                    f"got a result of {driving.operation!r} by model {driving.model!r}, expected one that a picture or "
                    f"a video drove, by {self.name!r}; give result.image for what another one shows"
                )
            return torch.tensor(driving.motion, device=self.device)[None], driving.driving_face
        tracked = None if aligned else self.cutter.track_picture(driving, face)
        crop = pixels(driving) if tracked is None else self.cutter.crop(tracked)
        with torch.inference_mode():
            return self.networks.motion_encoder(self.cutter.tensor([crop], self.device)), tracked

    def _recoding(
        self, identity: Identity, part: Part, pose: Picture | Result | None, face: Which, aligned: bool
    ) -> Recode | None:
        """What takes pose and expression from where they shall come; None where both come from the driving."""
        if part not in get_args(Part):
            raise UsageError(f"part: got {part!r}, expected one of {', '.join(get_args(Part))}")
        if part == "both" and pose is None:
            return None
        if part != "both" and pose is not None:
            raise UsageError(
                f"got a pose and part {part!r}, expected one of them: with a pose the rest is the driving's"
            )
        self.sliders.require()
        person, own = self._person(identity), self._own_motion(identity)
        turned = own if part == "expression" else None
        if pose is not None:
            turned, _ = self._motion_of(pose, face, aligned)
        still = own if part == "pose" else None
        return lambda motion: self.sliders.halves(
            person, motion if turned is None else turned, motion if still is None else still
        )
