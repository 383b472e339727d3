"""Who is drawn: a face cut out of a picture, or a latent, becomes an `Identity`.

ReStyle's steps (arXiv 2104.02699), then as many of optimisation as the model asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.models import (
    MotionControl,
    MotionEncoder,
    MotionMapper,
    ReStyleEncoder,
    StyleGAN2Generator,
    UnitMotion,
)
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.refinement import RefinementConfig, refine
from latent_reenact.models.second_reading import CorrectedMapper, SecondReader
from latent_reenact.systems.cutting import FaceCutter
from latent_reenact.systems.drawing import FastestSynthesis
from latent_reenact.systems.identity import Identity

_WORTH_THE_WAIT = 256  # pixels: below, an inversion is done before the fast synthesis is loaded


@dataclass(frozen=True)
class LatentNetworks:
    """The networks of the system, frozen, in evaluation mode, on one device."""

    generator: StyleGAN2Generator
    inversion: ReStyleEncoder
    motion_encoder: MotionEncoder | UnitMotion | SecondReader
    mapper: MotionMapper | CorrectedMapper
    control: MotionControl | None = None
    identity: nn.Module | None = None  # embedder of aligned faces, for refined inversions


class Inverter:
    """Reads people. Threads may share it.

    Args:
        cutter: makes tensors of cut faces. name: of the model, written into identities.
        refinement: of what the encoder finds; none by default.

    Raises ConfigError where expressions shall be held and no table of the sliders tells what they are.

    Attributes:
        estimates: draws what an inversion looks at on its way, in float32: in bfloat16 latents would be off by 1.5 %.
    """

    def __init__(
        self, networks: LatentNetworks, cutter: FaceCutter, name: str, refinement: RefinementConfig | None = None
    ) -> None:
        self._networks, self._cutter, self._name = networks, cutter, name
        self._refinement = refinement or RefinementConfig(steps=0)
        self._held: Tensor | None = None
        if self._refinement.hold_expressions:
            if networks.control is None or not networks.control.reads_w:
                raise ConfigError(
                    "refinement.hold_expressions: got a model without sliders, or whose shifts lack the table drawn; "
                    "expected one that has it (recipe shifts)"
                )
            self._held = networks.control.expressions_in_w
        self._device = next(networks.generator.parameters()).device
        self.estimates = FastestSynthesis(networks.generator.synthesis, "fp32")

    def read(self, crop: np.ndarray, refine_steps: int | None = None) -> Identity:
        """The person in a cut face, uint8 [S, S, 3].

        Args:
            refine_steps: of optimisation after the encoder's; by default as many as the model asks for.
        """
        images = self._cutter.tensor([crop], self._device)
        w_plus = self._invert(images, refine_steps)
        with torch.inference_mode():
            motion = self._networks.motion_encoder(images)
            reconstruction = self._networks.generator.synthesis(w_plus)
        return Identity(
            w_plus=w_plus[0].cpu().numpy(),
            motion=motion[0].cpu().numpy(),
            picture=to_pixels(self._at_resolution(images))[0],
            reconstruction=to_pixels(reconstruction)[0],
            model=self._name,
        )

    def of_latent(self, w_plus: np.ndarray) -> Identity:
        """The person of a latent, float32 [L, D]; what the generator draws stands for their picture.

        Raises UsageError where the latent is not of this model's shape.
        """
        if w_plus.shape != self._shape or not np.isfinite(w_plus).all():
            raise UsageError(
                f"got a latent of shape {w_plus.shape}, expected finite numbers {list(self._shape)} for model "
                f"{self._name!r}"
            )
        with torch.inference_mode():
            image = self._networks.generator.synthesis(torch.tensor(w_plus, device=self._device)[None].float())
            drawn = to_pixels(image)[0]
            motion = self._networks.motion_encoder(self._cutter.tensor([drawn], self._device))
        return Identity(
            w_plus=np.asarray(w_plus, dtype=np.float32),
            motion=motion[0].cpu().numpy(),
            picture=drawn,
            reconstruction=drawn,
            model=self._name,
        )

    def check(self, identity: Identity) -> None:
        """Raises UsageError where another model made the identity."""
        networks = self._networks
        lengths = {self._shape[0], self._shape[0] if networks.control is None else networks.control.rows}
        motion = {(length, networks.mapper.config.motion_dim) for length in lengths}  # a second reading may be missing
        fits = identity.w_plus.shape == self._shape and identity.motion.shape in motion
        if not fits or identity.model not in ("", self._name):
            raise UsageError(
                f"the identity was made by model {identity.model or 'unknown'!r} (w_plus {identity.w_plus.shape}, "
                f"motion {identity.motion.shape}), not by {self._name!r} ({self._shape}, {max(motion)}); "
                "invert the picture again with this model"
            )

    @property
    def _shape(self) -> tuple[int, int]:
        config = self._networks.generator.config
        return config.n_styles, config.w_dim

    @property
    def _resolution(self) -> int:
        return self._networks.generator.config.resolution

    def _invert(self, images: Tensor, refine_steps: int | None) -> Tensor:
        """images [B, 3, S, S] -> w_plus [B, L, D]."""
        networks, config = self._networks, self._refinement
        if refine_steps is not None:
            config = replace(config, steps=refine_steps)
        draw = None
        if self._resolution >= _WORTH_THE_WAIT:
            self.estimates.start()
            draw = self.estimates
        w_plus = networks.inversion.invert(images, draw=draw)
        images = self._at_resolution(images)
        return refine(networks.generator, images, w_plus, config, networks.identity, self._held)

    def _at_resolution(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, (self._resolution, self._resolution))
