"""A small reader of aligned faces: head pose, 68 landmarks, expression and gaze, all at once.

Landmarks are expectations over heat maps (integral regression, Sun et al. 2018, arXiv 1711.08229, equation 3):

    landmark_k = sum over cells p of softmax(h_k)(p) · p,      h_k = what the picture says + a prior round the mean

The heat maps come from the body's stages, summed from coarse to fine (Lin et al. 2017, arXiv 1612.03144).
Pose, expression and gaze are read from the last features and the landmarks. Legend: B batch, S input_size, K 68.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.irse import BodyConfig, body, input_layer

LANDMARKS = 68
_POSE, _GAZE = 3, 2


@dataclass(frozen=True, kw_only=True)
class FaceReaderConfig:
    """Sizes of the reader."""

    input_size: int = 128
    fold: int = 2  # blocks of fold × fold pixels become the channels of one: detail is kept at the cost of a fold²-th
    body: BodyConfig = field(
        default_factory=lambda: BodyConfig(widths=(24, 48, 96, 128), depths=(1, 2, 2, 1), se_reduction=8)
    )
    heat_stage: int = 1  # the stage of the body whose resolution the heat maps have
    heat_width: int = 48
    bottleneck: int = 128
    expressions: int = 53

    def __post_init__(self) -> None:
        cell = self.fold * 2 ** len(self.body.widths)
        if self.input_size % cell:
            raise ConfigError(f"input_size: got {self.input_size}, expected a multiple of {cell} (fold and stages)")
        if not 0 <= self.heat_stage < len(self.body.widths):
            raise ConfigError(f"heat_stage: got {self.heat_stage}, expected one of the {len(self.body.widths)} stages")

    @property
    def feature_size(self) -> int:
        """Side of the body's last features."""
        return self.input_size // (self.fold * 2 ** len(self.body.widths))

    @property
    def motion_size(self) -> int:
        """Pose, gaze and expression together: 58."""
        return _POSE + _GAZE + self.expressions


class FaceReading(NamedTuple):
    """What a reader sees: degrees with the signs of `face.pose`, landmarks in 0 .. 1 of the picture (x, y)."""

    pose_deg: Tensor  # [B, 3]: yaw, pitch, roll
    landmarks: Tensor  # [B, 68, 2]
    expression: Tensor  # [B, 53]: blendshape coefficients, in the order of `synthface.factors.EXPRESSION_NAMES`
    gaze_deg: Tensor  # [B, 2]: yaw, pitch

    @property
    def motion(self) -> Tensor:
        """All but the landmarks, in the order of the synthetic world's motion vector: [B, 58]."""
        return torch.cat([self.pose_deg, self.gaze_deg, self.expression], dim=1)


class FaceReader(nn.Module):
    """Aligned face -> `FaceReading`. Outputs are standardised inside: `fit` sets the world's means and deviations."""

    Config = FaceReaderConfig

    def __init__(self, config: FaceReaderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FaceReaderConfig()
        widths, size = config.body.widths, config.feature_size
        self.input_layer = input_layer(3 * config.fold**2, widths[0])
        self.body = body(config.body)
        self.laterals = nn.ModuleList(nn.Conv2d(w, config.heat_width, 1) for w in widths[config.heat_stage :])
        self.heat = nn.Sequential(
            nn.BatchNorm2d(config.heat_width),
            nn.PReLU(config.heat_width),
            nn.Conv2d(config.heat_width, config.heat_width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(config.heat_width),
            nn.PReLU(config.heat_width),
            nn.Conv2d(config.heat_width, LANDMARKS, 1),
        )
        self.pooled = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Flatten(),
            nn.Linear(widths[-1] * size * size, config.bottleneck),
        )
        self.motion = nn.Sequential(
            nn.Linear(config.bottleneck + 2 * LANDMARKS, config.bottleneck),
            nn.PReLU(config.bottleneck),
            nn.Linear(config.bottleneck, config.motion_size),
        )
        for name in ("heat.5.weight", "heat.5.bias", "motion.2.weight", "motion.2.bias"):  # begin with the mean face
            nn.init.zeros_(self.get_parameter(name))
        self.motion_mean: Tensor
        self.motion_std: Tensor
        self.landmark_mean: Tensor
        self.landmark_std: Tensor
        self.register_buffer("motion_mean", torch.zeros(config.motion_size))
        self.register_buffer("motion_std", torch.ones(config.motion_size))
        self.register_buffer("landmark_mean", torch.full((LANDMARKS, 2), 0.5))
        self.register_buffer("landmark_std", torch.full((LANDMARKS, 2), 0.2))

    @torch.no_grad()
    def fit(self, motion: Tensor, landmarks: Tensor) -> None:
        """Take means and deviations from examples: motion [N, 58], landmarks [N, 68, 2] in 0 .. 1."""
        deviation = motion.std(0)
        self.motion_mean.copy_(motion.mean(0))
        self.motion_std.copy_(torch.where(deviation > 1e-3, deviation, torch.ones_like(deviation)))
        self.landmark_mean.copy_(landmarks.mean(0))
        self.landmark_std.copy_(landmarks.std(0).clamp(min=1e-3))

    def features(self, images: Tensor) -> list[Tensor]:
        """images [B, 3, H, W] in [-1, 1] -> the stem's and each stage's maps, fine to coarse."""
        size = self.config.input_size
        if tuple(images.shape[2:]) != (size, size):
            images = F.adaptive_avg_pool2d(images, (size, size))
        x = self.input_layer(F.pixel_unshuffle(images, self.config.fold))
        found = [x]
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in self.config.body.stage_ends:
                found.append(x)
        return found

    def forward(self, images: Tensor) -> FaceReading:
        """images [B, 3, H, W] in [-1, 1], aligned as FFHQ -> reading in float32."""
        maps = self.features(images)
        landmarks = self._landmarks(maps[1:])  # [B, K, 2]
        points = ((landmarks - self.landmark_mean) / self.landmark_std).flatten(1)
        bottleneck = self.pooled(maps[-1])
        standard = self.motion(torch.cat([bottleneck, points.to(bottleneck.dtype)], dim=1)).float()
        motion = standard * self.motion_std + self.motion_mean  # [B, 58]
        pose, gaze, expression = motion.split([_POSE, _GAZE, self.config.expressions], dim=1)
        return FaceReading(pose, landmarks, expression, gaze)

    def _landmarks(self, stages: list[Tensor]) -> Tensor:
        """The stages' maps -> [B, K, 2] in 0 .. 1."""
        pyramid = [lateral(x) for lateral, x in zip(self.laterals, stages[self.config.heat_stage :], strict=True)]
        x = pyramid.pop()
        while pyramid:
            finer = pyramid.pop()
            x = finer + F.interpolate(x, size=finer.shape[2:], mode="bilinear")
        heat = self.heat(x).float()  # [B, K, h, w]
        cells = (torch.arange(heat.shape[-1], device=heat.device) + 0.5) / heat.shape[-1]
        share = (heat + self._prior(cells)).flatten(2).softmax(2).unflatten(2, heat.shape[2:])
        return torch.stack([share.sum(2) @ cells, share.sum(3) @ cells], dim=2)

    def _prior(self, cells: Tensor) -> Tensor:
        """Log of a Gaussian round each mean landmark, twice as wide as the landmark wanders: [K, h, w]."""
        width = 2 * self.landmark_std + 0.5 / len(cells)  # [K, 2]
        x, y = (((cells - self.landmark_mean[:, i, None]) / width[:, i, None]).square() for i in (0, 1))  # [K, h]
        return -0.5 * (x[:, None, :] + y[:, :, None])
