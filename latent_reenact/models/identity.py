"""ArcFace: who somebody is, as a point on a sphere (Deng et al. 2019, arXiv 1801.07698)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.models.irse import BodyConfig, body, input_layer

ID_CROP_SIZE = 256  # aligned FFHQ-style picture that the crop below is made for
ID_CROP = (slice(35, 223), slice(32, 220))  # rows, columns: the face without hair and background (arXiv 2008.00951)


@dataclass(frozen=True, kw_only=True)
class IdentityEmbedderConfig:
    """Sizes of the embedder. The defaults are the published IR-SE-50."""

    input_size: int = 112
    embedding: int = 512
    body: BodyConfig = field(default_factory=BodyConfig)

    @property
    def feature_size(self) -> int:
        """Side of the body's last features: 7."""
        return self.input_size // 2 ** len(self.body.widths)


class IdentityEmbedder(nn.Module):
    """Face picture -> embedding. Module names follow the published checkpoint (`model_ir_se50.pth`)."""

    Config = IdentityEmbedderConfig

    def __init__(self, config: IdentityEmbedderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or IdentityEmbedderConfig()
        width, size = config.body.widths[-1], config.feature_size
        self.input_layer = input_layer(3, config.body.widths[0])
        self.body = body(config.body)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(width * size * size, config.embedding),
            nn.BatchNorm1d(config.embedding),
        )

    def raw(self, faces: Tensor) -> Tensor:
        """faces [B, 3, S, S] in [-1, 1] -> embedding before normalisation, [B, embedding]."""
        return self.output_layer(self.body(self.input_layer(faces)))

    def embed(self, faces: Tensor) -> Tensor:
        """faces [B, 3, S, S] in [-1, 1] -> unit vectors [B, embedding]."""
        return F.normalize(self.raw(faces), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned as FFHQ -> unit vectors [B, embedding]."""
        return self.embed(id_crop(images, self.config.input_size))


def id_crop(images: Tensor, size: int = 112) -> Tensor:
    """The part of an aligned picture [B, 3, H, W] that identity is read from, average-pooled to size × size."""
    if tuple(images.shape[2:]) != (ID_CROP_SIZE, ID_CROP_SIZE):
        images = F.adaptive_avg_pool2d(images, (ID_CROP_SIZE, ID_CROP_SIZE))
    rows, columns = ID_CROP
    return F.adaptive_avg_pool2d(images[:, :, rows, columns], (size, size))


def identity_loss(embedder: nn.Module, images: Tensor, reference: Tensor) -> Tensor:
    """Mean of 1 - <E(images), E(reference)>, which does not train the reference (arXiv 2008.00951, equation 4)."""
    return 1 - (embedder(images) * embedder(reference).detach()).sum(1).mean()
