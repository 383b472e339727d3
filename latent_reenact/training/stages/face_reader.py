"""The reader of pose, landmarks, expression and gaze, trained on synthetic portraits, whose truth is exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.metrics import pearson
from latent_reenact.models.face_reader import FaceReader, FaceReaderConfig, FaceReading
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pixels import to_pixels
from latent_reenact.synthface.factors import EXPRESSION_SLIDERS
from latent_reenact.training import augment
from latent_reenact.training.controls import CONTROL_SCALES, control_values
from latent_reenact.training.loop import LoopConfig
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.shards.motion import POSE_NAMES
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage

# The controls that readings are judged by: two angles and ten sliders, closed eyes and frowns among them.
NAMED_CONTROLS = ("yaw_deg", "pitch_deg", *(name for name in EXPRESSION_SLIDERS if name != "squint"))
INNER = slice(17, 68)  # all landmarks but the jaw line


@dataclass(frozen=True, kw_only=True)
class FaceReaderStageConfig:
    """The reader's training. Changes are moderate: it reads rendered and generated pictures, sharp or a bit blurred."""

    network: FaceReaderConfig = field(default_factory=FaceReaderConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(kind="muon", lr=2e-3, adam_lr=1e-2))
    loop: LoopConfig
    colours: float = 0.5
    shade: float = 0.5
    degrade: float = 1.0
    pose_weight: float = 0.5  # of pose and gaze, beside the expression's; all errors are in standard deviations
    landmark_weight: float = 1.0
    evaluated: int = 512  # held-out portraits, at most


class FaceReaderStage(Stage):
    """Regression of all that is known about a portrait."""

    module: FaceReader

    def __init__(self, config: FaceReaderStageConfig, train: PortraitSet, held_out: PortraitSet) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self.module = channels_last(FaceReader(config.network))
        self.module.fit(train.motion, train.landmarks / train.resolution)
        self.optimizers = {"": config.optimizer}

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.module.to(setup.device)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        index = torch.randint(len(self.train), (batch,), generator=random)
        images = self._augmented(self.train.pictures(index).to(self.setup.device), random)
        with self.setup.autocast():
            reading = self.module(images)
        losses = self._losses(reading, index)
        config = self.config
        loss = losses["expression"] + config.pose_weight * losses["pose"] + config.landmark_weight * losses["landmarks"]
        return loss, {name: value.detach() for name, value in losses.items()}

    def _losses(self, reading: FaceReading, index: Tensor) -> dict[str, Tensor]:
        """Errors in standard deviations.

        Squares for the expression: most coefficients are zero in most portraits, and an absolute error would be
        content with reading the rare ones, such as frowns, as zero always.
        """
        true_motion = self.train.motion[index].to(reading.motion.device)
        true_landmarks = (self.train.landmarks[index] / self.train.resolution).to(reading.motion.device)
        error = (reading.motion - true_motion) / self.module.motion_std  # [B, 58]
        pose, expression = error.split([len(POSE_NAMES), self.config.network.expressions], dim=1)
        return {
            "pose": F.smooth_l1_loss(pose, torch.zeros_like(pose), beta=0.5),
            "expression": expression.square().mean(),
            "landmarks": (reading.landmarks - true_landmarks).abs().mean() / self.module.landmark_std.mean(),
        }

    @torch.no_grad()
    def evaluate(self, average: Any) -> Measures:
        was_training = average.training
        average.eval()
        index = torch.arange(min(self.config.evaluated, len(self.held_out)))
        parts = [average(self.held_out.pictures(i).to(self.setup.device)) for i in index.split(64)]
        reading = FaceReading(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))
        average.train(was_training)
        scalars = reading_errors(
            reading, self.held_out.motion[index], self.held_out.landmarks[index] / self.held_out.resolution
        )
        score = scalars["controls_r"] - scalars["nme_inner"]
        sheet = draw_landmarks(self.held_out.pictures(index[:12]), reading.landmarks[:12])
        return Measures(scalars=scalars, pictures={"landmarks": sheet}, score=score)

    def _augmented(self, images: Tensor, random: torch.Generator) -> Tensor:
        config = self.config
        images = augment.jitter_colours(images, config.colours, random)
        images = augment.shade(images, config.shade, random)
        return augment.degrade(images, config.degrade, random)


def reading_errors(reading: FaceReading, motion: Tensor, landmarks: Tensor) -> dict[str, float]:
    """Errors of N readings against the true motion [N, 58] and landmarks [N, 68, 2] in 0 .. 1.

    Mean absolute errors in degrees; `nme_inner`: mean distance of the inner 51 landmarks over the distance between
    the eyes' centres; `controls_r` and `controls_r_worst`: Pearson correlation over `NAMED_CONTROLS`, where one that
    never changes counts as 0.
    """
    pose_deg = (reading.pose_deg - motion[:, :3]).abs().mean(0)  # [3]
    gaze_deg = (reading.gaze_deg - motion[:, 3:5]).abs().mean()
    eyes = (landmarks[:, 36:42].mean(1) - landmarks[:, 42:48].mean(1)).norm(dim=1)  # [N]
    distance = (reading.landmarks - landmarks)[:, INNER].norm(dim=2).mean(1)
    read, true = control_values(reading.motion).numpy(), control_values(motion).numpy()
    columns = [list(CONTROL_SCALES).index(name) for name in NAMED_CONTROLS]
    r = np.nan_to_num([pearson(read[:, i], true[:, i]) for i in columns])
    return {
        "yaw_mae_deg": float(pose_deg[0]),
        "pitch_mae_deg": float(pose_deg[1]),
        "gaze_mae_deg": float(gaze_deg),
        "nme_inner": float((distance / eyes).mean()),
        "controls_r": float(r.mean()),
        "controls_r_worst": float(r.min()),
    }


def draw_landmarks(images: Tensor, landmarks: Tensor, scale: int = 2) -> np.ndarray:
    """Pictures [N, 3, R, R] in [-1, 1] side by side with green dots at landmarks [N, 68, 2] in 0 .. 1, uint8."""
    pictures = to_pixels(images).repeat(scale, axis=1).repeat(scale, axis=2)  # [N, R', R', 3]
    size = pictures.shape[1]
    places = (landmarks * size).long().clamp(0, size - 1).numpy()
    rows = np.arange(len(pictures))[:, None]
    pictures[rows, places[..., 1], places[..., 0]] = (0, 255, 0)
    return np.concatenate(list(pictures), axis=1)
