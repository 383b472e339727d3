"""ReStyle: inversion by a few residual steps (Alaluf et al. 2021, arXiv 2104.02699, section 3).

w_{t+1} = w_t + E(x, y_t),   y_t = G(w_t),   w_0 = the average latent
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.models.encoders import StyleEncoder
from latent_reenact.models.stylegan2 import StyleGAN2Generator

Draw = Callable[[Tensor], Tensor]
"""w_plus [B, L, D] -> pictures [B, 3, R, R]."""


def face_pool(images: Tensor, size: int) -> Tensor:
    """Average-pool (or replicate) to size × size, as upstream does between generator and encoder."""
    return F.adaptive_avg_pool2d(images, (size, size))


class ReStyleEncoder(nn.Module):
    """An encoder with its generator and its starting point.

    Args:
        encoder: takes [picture, current estimate] stacked on channels; or, with three channels, the picture alone,
            and then one step from the average latent is all there is (pSp, e4e).
        generator: frozen; held, but not part of this module's weights.
        steps: default number of steps (5 in the paper).
    """

    def __init__(self, encoder: StyleEncoder, generator: StyleGAN2Generator, *, steps: int = 5) -> None:
        super().__init__()
        self.encoder = encoder
        self._generator = (generator,)  # in a tuple, so that its weights are saved once, elsewhere
        self.steps = steps if encoder.config.input_channels > 3 else 1
        self.latent_avg: Tensor
        self.register_buffer("latent_avg", torch.zeros(generator.config.n_styles, generator.config.w_dim))

    @property
    def generator(self) -> StyleGAN2Generator:
        """The generator that draws the estimates."""
        return self._generator[0]

    @property
    def sees_estimate(self) -> bool:
        """Whether the encoder looks at the current estimate beside the picture."""
        return self.encoder.config.input_channels > 3

    @property
    def input_size(self) -> int:
        """Side of the pictures that the encoder takes."""
        return self.encoder.config.input_size

    def average_image(self, draw: Draw | None = None) -> Tensor:
        """Picture of the average latent, [1, 3, input_size, input_size]; `draw` as in `trajectory`."""
        return face_pool((draw or self.generator.synthesis)(self.latent_avg[None]), self.input_size)

    def step(self, images: Tensor, estimate: Tensor, w_plus: Tensor) -> Tensor:
        """One residual step: the next w_plus [B, L, D]."""
        return w_plus + self.encoder(torch.cat([images, estimate], dim=1) if self.sees_estimate else images)

    def trajectory(self, images: Tensor, steps: int | None = None, draw: Draw | None = None) -> list[Tensor]:
        """w_plus after each step.

        Args:
            images: [B, 3, H, W] in [-1, 1], aligned; pooled to the encoder's size where they differ.
            draw: draws the estimates in the generator's place, as a faster form of it may.
        """
        if tuple(images.shape[2:]) != (self.input_size, self.input_size):
            images = face_pool(images, self.input_size)
        w_plus = self.latent_avg.expand(len(images), -1, -1)
        if not self.sees_estimate:
            return [self.step(images, images, w_plus)]
        estimate = self.average_image(draw).expand(len(images), -1, -1, -1)
        history = []
        for i in range(self.steps if steps is None else steps):
            if i > 0:
                estimate = face_pool((draw or self.generator.synthesis)(w_plus), self.input_size)
            w_plus = self.step(images, estimate, w_plus)
            history.append(w_plus)
        return history

    @torch.no_grad()
    def invert(self, images: Tensor, steps: int | None = None, draw: Draw | None = None) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned -> w_plus [B, L, D]; `draw` as in `trajectory`."""
        return self.trajectory(images, steps, draw)[-1]
