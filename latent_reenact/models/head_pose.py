"""HopeNet: head angles as the expectation over 3° bins (Ruiz et al. 2018, arXiv 1710.00925)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from latent_reenact.models.resnet import ResNet, ResNetConfig, imagenet_normalized, resized


@dataclass(frozen=True, kw_only=True)
class HopeNetConfig:
    """Sizes of HopeNet. The defaults are the published network."""

    bins: int = 66
    bin_deg: float = 3.0
    first_bin_deg: float = -99.0
    input_size: int = 224
    backbone: ResNetConfig = field(default_factory=lambda: ResNetConfig(num_classes=None))


class HopeNet(ResNet):
    """ResNet-50 with a classifier for each head angle.

    Names follow the published checkpoint; its `fc_finetune` is not used for prediction, and kept.
    """

    Config = HopeNetConfig  # type: ignore[assignment]
    config: HopeNetConfig  # type: ignore[assignment]

    def __init__(self, config: HopeNetConfig | None = None) -> None:
        config = config or HopeNetConfig()
        super().__init__(config.backbone)
        self.config = config
        features = config.backbone.features
        self.fc_yaw = nn.Linear(features, config.bins)
        self.fc_pitch = nn.Linear(features, config.bins)
        self.fc_roll = nn.Linear(features, config.bins)
        self.fc_finetune = nn.Linear(features + 3, 3)

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """images [B, 3, H, W] in [-1, 1], a face with some room -> yaw, pitch, roll logits [B, bins]."""
        x = imagenet_normalized(resized(images, self.config.input_size))
        pooled = self.features(x).mean((2, 3))
        return self.fc_yaw(pooled), self.fc_pitch(pooled), self.fc_roll(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1] -> degrees [B, 3]: yaw, pitch, roll with the network's own signs.

        Its yaw > 0 turns the face to the viewer's left and its roll > 0 tilts the top of the head to the viewer's
        right: negate both for our `yaw_deg` and `roll_deg`. Its pitch > 0 looks up, as ours does. (So upstream
        draws the axes of a face; these are the angles of 300W-LP, which it was trained on.)
        """
        bins = torch.arange(self.config.bins, device=images.device, dtype=images.dtype)
        expected = [(logits.softmax(1) * bins).sum(1) for logits in self.logits(images)]
        return torch.stack(expected, dim=1) * self.config.bin_deg + self.config.first_bin_deg
