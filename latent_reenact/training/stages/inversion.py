"""The ReStyle encoder: from a picture to the latent that draws it (arXiv 2104.02699), with exact w as targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latent_reenact.models import EncoderConfig, ReStyleEncoder, StyleEncoder, StyleGAN2Generator
from latent_reenact.models.identity import identity_loss
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.models.restyle import face_pool
from latent_reenact.training import augment
from latent_reenact.training.features import Features
from latent_reenact.training.loop import LoopConfig
from latent_reenact.training.losses.pictures import psnr
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage
from latent_reenact.training.stages.paired import eye_mouth_weight, sheet
from latent_reenact.training.targets import Teacher


@dataclass(frozen=True, kw_only=True)
class InversionConfig:
    """The inversion stage."""

    encoder: EncoderConfig
    loop: LoopConfig
    optimizer: OptimizerConfig
    steps: int = 3  # at inference
    starts: tuple[float, ...] = (0.6, 0.3, 0.1)  # share of batches that begin after 0, 1, 2 ... steps
    w_weight: float = 1.0  # of the distance in w
    factor_weight: float = 1.0  # of the distance in the factors that are read from w
    picture_weight: float = 1.0  # of the pyramid loss
    identity_weight: float = 0.5  # of 1 - cos between identity embeddings: ArcFace's place
    perceptual_weight: float = 0.1  # of the distance between our own networks' features: LPIPS' place
    picture_share: float = 0.5  # of each batch that is drawn: drawing costs most of a step
    degraded_share: float = 0.3  # of each batch that is seen in other colours, blurred and noisy, as photos may be
    eye_mouth_weight: float = 3.0


class InversionStage(Stage):
    """Trains one step from wherever the encoder's own earlier steps lead."""

    def __init__(
        self,
        config: InversionConfig,
        teacher: Teacher,
        features: Features | None,
        train: PortraitSet,
        test: PortraitSet,
    ) -> None:
        self.config, self.teacher, self.features, self.train, self.test = config, teacher, features, train, test
        self.module = channels_last(StyleEncoder(config.encoder))
        for i in range(config.encoder.n_styles):  # start from "no correction"
            nn.init.zeros_(self.module.get_parameter(f"styles.{i}.linear.weight"))
        self.optimizers = {"": config.optimizer}

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.teacher = self.teacher.to(setup.device, setup.autocast)
        if self.features is not None:
            self.features = self.features.to(setup.device)
        with torch.no_grad():
            self.average_image = self._pooled(self.teacher.draw(self._start(1)))

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        index = torch.randint(len(self.train), (batch,), generator=random)
        truth = self.train.pictures(index).to(self.setup.device)
        seen = truth.clone()
        degraded = round(self.config.degraded_share * batch)
        if degraded:
            seen[-degraded:] = augment.degrade(augment.jitter_colours(truth[-degraded:], 0.25, random), 1.0, random)
        images = self._pooled(seen)
        steps = int(torch.multinomial(torch.tensor(self.config.starts), 1, generator=random))
        w_plus, estimate = self._roll_out(images, steps)
        w_plus = self._step(images, estimate, w_plus)
        w = self.teacher.w(self.train.conditioning[index])
        distance, wrong = self.teacher.error(w_plus, w), self.teacher.factor_error(w_plus, w)
        drawn = max(1, int(self.config.picture_share * batch))
        loss, scalars = self._picture_loss(w_plus[:drawn], truth[:drawn], self.train.landmarks[index[:drawn]])
        loss = loss + self.config.w_weight * distance + self.config.factor_weight * wrong
        return loss, {"w": distance, "factors": wrong, **scalars}

    def _picture_loss(self, w_plus: Tensor, truth: Tensor, landmarks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config, image = self.config, self.teacher.draw(w_plus)
        weight = eye_mouth_weight(landmarks.to(image.device), image.shape[-1], config.eye_mouth_weight)
        terms = {"picture": pyramid_loss(image, truth, weight)}
        loss = config.picture_weight * terms["picture"]
        if self.features is not None:
            terms["identity"] = identity_loss(self.features.identity, image, truth)
            terms["perceptual"] = self.features.distance(image, truth).mean()
            loss = loss + config.identity_weight * terms["identity"] + config.perceptual_weight * terms["perceptual"]
        return loss, terms

    def evaluate(self, average: nn.Module) -> Measures:
        restyle = self.restyle(average)
        was_training = average.training
        average.eval()
        index = torch.arange(min(128, len(self.test)))
        truth = self.test.pictures(index).to(self.setup.device)
        with self.setup.autocast():
            parts = [restyle.trajectory(p) for p in truth.split(32)]
        history = [torch.cat(steps).float() for steps in zip(*parts, strict=True)]
        images = torch.cat([self.teacher.draw(w) for w in history[-1].split(32)])
        w = self.teacher.w(self.test.conditioning[index])
        average.train(was_training)
        scalars = {
            "psnr_db": psnr(images, truth),
            "w_first": float(self.teacher.error(history[0], w)),
            "w_last": float(self.teacher.error(history[-1], w)),
        }
        if self.features is not None:
            scalars["identity_cos"] = 1 - float(identity_loss(self.features.identity, images, truth))
        return Measures(scalars=scalars, pictures={"sheet": sheet([truth[:12], images[:12]])})

    def restyle(self, encoder: nn.Module) -> ReStyleEncoder:
        """The whole inversion around trained weights."""
        config = self.teacher.generator.config
        generator = StyleGAN2Generator(config)
        generator.synthesis = self.teacher.generator.synthesis
        module = ReStyleEncoder(encoder, generator, steps=self.config.steps)  # type: ignore[arg-type]
        module.latent_avg.copy_(self._start(1)[0])
        return module.to(self.teacher.average.device)

    @torch.no_grad()
    def _roll_out(self, images: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """(w_plus, its picture) after some steps of the encoder as it is now."""
        w_plus, estimate = self._start(len(images)), self.average_image.expand(len(images), -1, -1, -1)
        for _ in range(steps):
            w_plus = self._step(images, estimate, w_plus)
            estimate = self._pooled(self.teacher.draw(w_plus))
        return w_plus, estimate

    def _step(self, images: Tensor, estimate: Tensor, w_plus: Tensor) -> Tensor:
        with self.setup.autocast():
            stacked = torch.cat([images, estimate], dim=1).contiguous(memory_format=torch.channels_last)
            residual = self.module(stacked)
        return w_plus + residual.float()

    def _start(self, batch: int) -> Tensor:
        return self.teacher.average.expand(batch, self.config.encoder.n_styles, -1)

    def _pooled(self, images: Tensor) -> Tensor:
        return face_pool(images, self.config.encoder.input_size)
