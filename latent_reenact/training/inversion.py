"""The ReStyle encoder: from a picture to the latent that draws it (arXiv 2104.02699), with exact w as targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from latent_reenact.models.encoders import EncoderConfig, StyleEncoder
from latent_reenact.models.layers import channels_last
from latent_reenact.models.restyle import ReStyleEncoder, face_pool
from latent_reenact.training import augment
from latent_reenact.training.data import PortraitSet
from latent_reenact.training.generator import eye_mouth_weight, save_sheet
from latent_reenact.training.loop import LoopConfig
from latent_reenact.training.losses import psnr, pyramid_loss
from latent_reenact.training.targets import Teacher


@dataclass(frozen=True, kw_only=True)
class InversionConfig:
    """The inversion stage."""

    encoder: EncoderConfig
    loop: LoopConfig
    steps: int = 3  # at inference
    starts: tuple[float, ...] = (0.6, 0.3, 0.1)  # share of batches that begin after 0, 1, 2 ... steps
    picture_weight: float = 1.0  # of the pyramid loss, beside the distance in w
    picture_share: float = 0.5  # of each batch that is drawn: drawing costs most of a step
    eye_mouth_weight: float = 3.0


class InversionStage:
    """Trains one step from wherever the encoder's own earlier steps lead."""

    def __init__(self, config: InversionConfig, teacher: Teacher, train: PortraitSet, test: PortraitSet) -> None:
        self.config, self.teacher, self.train, self.test = config, teacher, train, test
        self.module = channels_last(StyleEncoder(config.encoder))
        for i in range(config.encoder.n_styles):  # start from "no correction"
            nn.init.zeros_(self.module.get_parameter(f"styles.{i}.linear.weight"))
        self.average_image = self._pooled(teacher.draw(self._start(1))).detach()

    def loss(self, generator: torch.Generator, batch: int) -> tuple[Tensor, dict[str, float]]:
        index = torch.randint(len(self.train), (batch,), generator=generator)
        truth = self.train.pictures(index)
        seen = augment.degrade(augment.jitter_colours(truth, 0.25, generator), 1.0, generator)
        images = self._pooled(seen)
        steps = int(torch.multinomial(torch.tensor(self.config.starts), 1, generator=generator))
        w_plus, estimate = self._roll_out(images, steps)
        w_plus = self._step(images, estimate, w_plus)
        distance = self.teacher.error(w_plus, self.teacher.w(self.train.conditioning[index]))
        drawn = max(1, int(self.config.picture_share * batch))
        landmarks = self.train.landmarks[index[:drawn]]
        weight = eye_mouth_weight(landmarks, self.train.resolution, self.config.eye_mouth_weight)
        picture = pyramid_loss(self.teacher.draw(w_plus[:drawn]), truth[:drawn], weight)
        loss = distance + self.config.picture_weight * picture
        return loss, {"w": float(distance.detach()), "picture": float(picture.detach())}

    @torch.no_grad()
    def evaluate(self, average: nn.Module, folder: Path) -> dict[str, float]:
        restyle = self.restyle(average)
        was_training = average.training
        average.eval()
        index = torch.arange(min(128, len(self.test)))
        truth = self.test.pictures(index)
        history = [torch.cat(parts) for parts in zip(*(restyle.trajectory(p) for p in truth.split(32)), strict=True)]
        images = torch.cat([self.teacher.draw(w) for w in history[-1].split(32)])
        w = self.teacher.w(self.test.conditioning[index])
        save_sheet([truth[:12], images[:12]], folder / "sheet.png")
        average.train(was_training)
        return {
            "psnr_db": psnr(images, truth),
            "w_first": float(self.teacher.error(history[0], w)),
            "w_last": float(self.teacher.error(history[-1], w)),
        }

    def restyle(self, encoder: nn.Module) -> ReStyleEncoder:
        """The whole inversion around trained weights."""
        module = ReStyleEncoder(encoder, self.teacher.generator, steps=self.config.steps)  # type: ignore[arg-type]
        module.latent_avg.copy_(self._start(1)[0])
        return module

    @torch.no_grad()
    def _roll_out(self, images: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """(w_plus, its picture) after some steps of the encoder as it is now."""
        w_plus, estimate = self._start(len(images)), self.average_image.expand(len(images), -1, -1, -1)
        for _ in range(steps):
            w_plus = self._step(images, estimate, w_plus)
            estimate = self._pooled(self.teacher.draw(w_plus))
        return w_plus, estimate

    def _step(self, images: Tensor, estimate: Tensor, w_plus: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            stacked = torch.cat([images, estimate], dim=1).contiguous(memory_format=torch.channels_last)
            residual = self.module(stacked)
        return w_plus + residual.float()

    def _start(self, batch: int) -> Tensor:
        return self.teacher.average.expand(batch, self.config.encoder.n_styles, -1)

    def _pooled(self, images: Tensor) -> Tensor:
        return face_pool(images, self.config.encoder.input_size)
