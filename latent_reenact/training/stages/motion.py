"""Motion encoder, mapper and sliders: one person's latent with another's pose and expression (arXiv 2504.13021).

The paired generator knows the w of any person with any motion, so the cross output has an exact target where
the published recipe, on real footage, needs an identity network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.models.control import MotionControl, MotionControlConfig
from latent_reenact.models.layers import channels_last
from latent_reenact.models.motion import (
    MotionEncoder,
    MotionEncoderConfig,
    MotionMapper,
    MotionMapperConfig,
)
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.synthface import conditioning_names
from latent_reenact.training import augment
from latent_reenact.training.controls import CONTROL_SCALES, control_values, fit_scales
from latent_reenact.training.loop import LoopConfig
from latent_reenact.training.losses.pictures import psnr
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.shards.motion import MOTION_SIZE
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage
from latent_reenact.training.stages.paired import eye_mouth_weight, sheet
from latent_reenact.training.targets import Teacher

_LANDMARKS = conditioning_names()["landmarks"]
MOTION_BLOCKS = ("expression", "rotation", "pose", "gaze")  # of the conditioning


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """The motion stage."""

    encoder: MotionEncoderConfig
    mapper: MotionMapperConfig
    loop: LoopConfig
    optimizer: OptimizerConfig
    portraits: int | None = 24_576  # the first training portraits; all by default
    partners: int = 6  # people whom each of them drives
    identity_steps: int = 1  # of the inversion for the identities; further ones draw a picture each
    exact_share: float = 0.5  # of each batch whose identities are exact: refined inversions lie between the two
    picture_weight: float = 1.0  # of the pyramid loss, beside the distance in w
    factor_weight: float = 1.0  # of the distance in the factors of motion, read from w
    picture_share: float = 0.5  # of each batch that is drawn: drawing costs most of a step
    motion_weight: float = 0.3  # of reading the true factors from the bottleneck
    control_weight: float = 0.1
    eye_mouth_weight: float = 6.0
    augmentation: float = 1.0


class MotionNetworks(nn.Module):
    """What the stage trains together."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.encoder = MotionEncoder(config.encoder)
        self.mapper = MotionMapper(config.mapper)
        self.control = MotionControl(
            MotionControlConfig(
                controls=tuple(CONTROL_SCALES),
                scales=tuple(CONTROL_SCALES.values()),
                n_styles=config.encoder.n_styles,
                motion_dim=config.encoder.motion_dim,
            )
        )
        self.read_factors = nn.Linear(config.encoder.bottleneck, MOTION_SIZE)  # training only

    def forward(self, driving: Tensor, identity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(w_plus, motion, factors read) for driving pictures and identity w_plus."""
        bottleneck = self.encoder.bottleneck(driving)
        motion = self.encoder.linear(bottleneck).unflatten(1, (-1, self.encoder.config.motion_dim))
        return self.mapper(identity, motion.float()), motion.float(), self.read_factors(bottleneck).float()


class MotionStage(Stage):
    """`identities` [N, L, D] are the training portraits' inverted latents, made once beforehand."""

    module: MotionNetworks

    def __init__(
        self,
        config: MotionConfig,
        teacher: Teacher,
        train: PortraitSet,
        test: PortraitSet,
        identities: tuple[Tensor, Tensor],
    ) -> None:
        self.config, self.teacher, self.train, self.test = config, teacher, train, test
        self.train_identities, self.test_identities = identities[0].to(train.images.device), identities[1]
        self.module = channels_last(MotionNetworks(config))
        self.optimizers = {"": config.optimizer}
        self.factor_mean, self.factor_std = fit_scales(train.motion)

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.teacher = self.teacher.to(setup.device, setup.autocast)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        device = self.setup.device
        index = torch.randint(len(self.train), (batch,), generator=random)
        column = torch.randint(self.train.partners.shape[1], (batch,), generator=random)
        conditioning = self.train.swapped[index, column].to(device)
        identity = self._identities(self.train.partners[index, column])
        w_plus, motion, factors = self._forward(self._augmented(index, random), identity)

        w = self.teacher.w(conditioning)
        distance, wrong = self.teacher.error(w_plus, w), self.teacher.factor_error(w_plus, w, MOTION_BLOCKS)
        drawn = max(1, int(self.config.picture_share * batch))
        picture = self._picture_loss(w_plus[:drawn], w[:drawn], conditioning[:drawn])
        true_factors = (self.train.motion[index] - self.factor_mean) / self.factor_std
        read = F.mse_loss(factors, true_factors.to(device))  # L1 would read what is rare, such as frowns, as never
        control = self._control_loss(motion, self.train.motion[index].to(device))
        loss = distance + self.config.picture_weight * picture + self.config.factor_weight * wrong
        loss = loss + self.config.motion_weight * read + self.config.control_weight * control
        return loss, {"w": distance, "picture": picture, "factors": wrong, "read": read, "control": control}

    def evaluate(self, average: nn.Module) -> Measures:
        device = self.setup.device
        was_training = average.training
        average.eval()
        index = torch.arange(min(128, len(self.test)))
        driving = self.test.pictures(index).to(device)
        partner, conditioning = self.test.partners[index, 0], self.test.swapped[index, 0].to(device)
        w_plus, motion, _ = average(driving, self.test_identities[partner].to(device))  # type: ignore[operator]
        w = self.teacher.w(conditioning)
        truth = self.teacher.draw(w[:, None].expand_as(w_plus))
        images = self.teacher.draw(w_plus)
        weight = eye_mouth_weight(self._landmarks(conditioning), images.shape[-1], 9.0)
        rows = [self.test.pictures(partner[:12]), driving[:12], images[:12], truth[:12]]
        read = average.control.decode(motion).cpu()  # type: ignore[union-attr, operator]
        true = control_values(self.test.motion[index])
        average.train(was_training)
        scalars = {
            "psnr_db": psnr(images, truth),
            "eye_mouth_psnr_db": psnr(images, truth, (weight > 1).float()),
            "w": float(self.teacher.error(w_plus, w)),
            "yaw_mae_deg": float((read[:, 0] - true[:, 0]).abs().mean()),
        }
        columns = zip(CONTROL_SCALES, read.T, true.T, strict=True)
        r = {name: float(torch.corrcoef(torch.stack([a, b]))[0, 1]) for name, a, b in columns}
        worst = min(r, key=lambda name: r[name])
        scalars |= {"control_r": sum(r.values()) / len(r), f"worst_r_{worst}": r[worst]}
        return Measures(scalars=scalars, pictures={"sheet": sheet(rows)})

    def _identities(self, rows: Tensor) -> Tensor:
        """[B, L, D]: the first ones exact, the others inverted."""
        inverted = self.train_identities[rows].to(self.setup.device)
        exact = round(self.config.exact_share * len(rows))
        w = self.teacher.w(self.train.conditioning[rows[:exact]])
        return torch.cat([w[:, None].expand(-1, inverted.shape[1], -1), inverted[exact:]])

    def _forward(self, driving: Tensor, identity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with self.setup.autocast():
            w_plus, motion, factors = self.module(driving, identity)
        return w_plus.float(), motion, factors

    def _augmented(self, index: Tensor, generator: torch.Generator) -> Tensor:
        images, strength = self.train.pictures(index).to(self.setup.device), self.config.augmentation
        images = augment.jitter_frame(images, strength, generator)
        images = augment.shade(images, strength, generator)
        images = augment.jitter_colours(images, strength, generator)
        return augment.cut_out(augment.degrade(images, 2 * strength, generator), generator)

    def _picture_loss(self, w_plus: Tensor, w: Tensor, conditioning: Tensor) -> Tensor:
        with torch.no_grad():
            truth = self.teacher.draw(w[:, None].expand_as(w_plus))
        weight = eye_mouth_weight(self._landmarks(conditioning), truth.shape[-1], self.config.eye_mouth_weight)
        return pyramid_loss(self.teacher.draw(w_plus), truth, weight)

    def _landmarks(self, conditioning: Tensor) -> Tensor:
        """The projected landmarks among the inputs, in [-1, 1]: back to pixels, [B, 68, 2]."""
        return (conditioning[:, _LANDMARKS].unflatten(1, (68, 2)) + 1) / 2 * self.train.resolution

    def _control_loss(self, motion: Tensor, factors: Tensor) -> Tensor:
        """Sliders read from the code, and the code (held fixed) written from the sliders."""
        control, motion = self.module.control, motion.detach()
        true = control_values(factors)
        read = F.smooth_l1_loss(control.decode(motion) / control.scale, true / control.scale, beta=0.5)
        written = F.mse_loss(control.encode(true), motion) / motion.var().clamp(min=1e-4)
        return read + written
