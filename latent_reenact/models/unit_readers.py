"""What the variant *FAU* knows of a driving picture: action units, or expression coefficients, and the head's pose.

Legend: B batch, L n_styles, N motion_dim, K units and angles together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.action_units import MAIN_UNITS, ActionUnitDetector
from latent_reenact.models.face_reader import FaceReader
from latent_reenact.models.head_pose import HopeNet
from latent_reenact.models.motion import UnitMotionEncoder


class OfficialUnits(nn.Module):
    """OpenGraphAU's 27 main units and HopeNet's yaw and pitch."""

    n_units, n_angles = len(MAIN_UNITS), 2
    input_size = 256  # of which the units' detector takes the middle

    def __init__(self, units: ActionUnitDetector, pose: HopeNet) -> None:
        super().__init__()
        self.units, self.pose = units, pose

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, S, S] in [-1, 1] -> [B, 29]: scores, then degrees."""
        return torch.cat([self.units(images)[:, : self.n_units], our_angles(self.pose(images))[:, :2]], dim=1)


class OwnUnits(nn.Module):
    """Our face reader's expression coefficients, and its yaw and pitch."""

    n_angles = 2

    def __init__(self, reader: FaceReader) -> None:
        super().__init__()
        self.reader = reader

    @property
    def n_units(self) -> int:
        return self.reader.config.expressions

    @property
    def input_size(self) -> int:
        return self.reader.config.input_size

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, S, S] in [-1, 1] -> [B, 55]: coefficients, then degrees."""
        read = self.reader(images)
        return torch.cat([read.expression, read.pose_deg[:, :2]], dim=1)


def our_angles(degrees: Tensor) -> Tensor:
    """HopeNet's yaw, pitch, roll [B, 3] with the signs of `face.pose`."""
    return degrees * degrees.new_tensor([-1.0, 1.0, -1.0])


class UnitMotion(nn.Module):
    """Aligned driving face -> readings -> motion code: in the place of `MotionEncoder` in the variant *FAU*.

    Raises:
        ConfigError: the encoder was made for other readings than the reader gives.
    """

    def __init__(self, reader: OfficialUnits | OwnUnits, encoder: UnitMotionEncoder) -> None:
        super().__init__()
        expected = (encoder.config.n_units, encoder.config.n_angles)
        if (reader.n_units, reader.n_angles) != expected:
            raise ConfigError(
                f"the reader gives {reader.n_units} units and {reader.n_angles} angles, and the motion encoder expects "
                f"{expected[0]} and {expected[1]}; name the reader that it was trained with"
            )
        self.reader, self.encoder = reader, encoder

    @property
    def input_size(self) -> int:
        """Side of the pictures that the reader looks at."""
        return self.reader.input_size

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned -> motion [B, L, N]."""
        return self.encoder(self.reader(images))
