"""The method's two trained networks: the motion encoder E_m and the mapper M (arXiv 2504.13021).

    g = G(M(E_i(identity) + E_m(driving)))     (+ is concatenation)

Legend: B batch, L = n_styles, D = w_dim, N = motion_dim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.irse import BodyConfig, body, input_layer
from latent_reenact.models.layers import EqualLinear

MapperForm = Literal["full", "shared", "separate"]


@dataclass(frozen=True, kw_only=True)
class MotionEncoderConfig:
    """Sizes of E_m. The defaults are the published network."""

    input: Literal["rgb", "grey_normalized"] = "rgb"  # grey with local contrast removed: blind to skin and light
    input_size: int = 256
    n_styles: int = 18
    motion_dim: int = 512
    bottleneck: int = 512
    body: BodyConfig = field(default_factory=BodyConfig)

    @property
    def feature_size(self) -> int:
        """Side of the pooled features: 7 in the published network, or less where the body ends smaller."""
        return min(7, self.input_size // 2 ** len(self.body.widths))


class MotionEncoder(nn.Module):
    """Aligned driving face -> motion code.

    IR-SE body, BN, 7×7 average pool, Linear to the bottleneck, equalised Linear to the codes.
    Module names follow the published checkpoint (`output_layer_2`, `linear`).
    """

    Config = MotionEncoderConfig

    def __init__(self, config: MotionEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionEncoderConfig()
        width, size = config.body.widths[-1], config.feature_size
        self.input_layer = input_layer(3 if config.input == "rgb" else 1, config.body.widths[0])
        self.body = body(config.body)
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.AdaptiveAvgPool2d((size, size)),
            nn.Flatten(),
            nn.Linear(width * size * size, config.bottleneck),
        )
        self.linear = EqualLinear(config.bottleneck, config.n_styles * config.motion_dim)

    @property
    def input_size(self) -> int:
        """Side of the pictures that the encoder looks at."""
        return self.config.input_size

    def bottleneck(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned -> [B, bottleneck]."""
        size = self.config.input_size
        if tuple(images.shape[2:]) != (size, size):
            images = F.adaptive_avg_pool2d(images, (size, size))
        x = images if self.config.input == "rgb" else normalize_contrast(images)
        return self.output_layer_2(self.body(self.input_layer(x)))

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned -> motion [B, L, N]."""
        codes = self.linear(self.bottleneck(images))
        return codes.reshape(-1, self.config.n_styles, self.config.motion_dim)


def normalize_contrast(images: Tensor) -> Tensor:
    """RGB [B, 3, S, S] -> grey [B, 1, S, S] with local mean 0 and local deviation about 1 (windows of S / 4)."""
    grey = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    window = max(3, images.shape[-1] // 4 | 1)

    def blur(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (window // 2,) * 4, mode="reflect"), window, 1)

    centred = grey - blur(grey)
    return centred / (blur(centred.square()) + 4e-3).sqrt()


@dataclass(frozen=True, kw_only=True)
class UnitMotionEncoderConfig:
    """Sizes of the FAU variant's motion encoder. The paper gives none for its hidden layers: these are ours."""

    n_units: int = 27  # action-unit scores, or expression coefficients: OpenGraphAU's main units
    n_angles: int = 2  # yaw and pitch; 3 with roll, which alignment takes out
    angle_scale_deg: float = 30.0  # an angle that weighs as much as a whole score
    n_styles: int = 18
    motion_dim: int = 512
    hidden: tuple[int, ...] = (512, 512)

    def __post_init__(self) -> None:
        if self.n_units < 0 or self.n_angles not in (0, 2, 3) or self.n_units + self.n_angles == 0:
            raise ConfigError(
                f"got {self.n_units} units and {self.n_angles} angles, expected 0 or more units and 0, 2 or 3 angles"
            )
        if self.angle_scale_deg <= 0:
            raise ConfigError(f"angle_scale_deg: got {self.angle_scale_deg}, expected more than 0")

    @property
    def n_inputs(self) -> int:
        """Numbers read from one picture."""
        return self.n_units + self.n_angles


class UnitMotionEncoder(nn.Module):
    """What was read from a driving face -> motion code: the variant *FAU*, which sees no picture."""

    Config = UnitMotionEncoderConfig

    def __init__(self, config: UnitMotionEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UnitMotionEncoderConfig()
        widths = [config.n_inputs, *config.hidden, config.n_styles * config.motion_dim]
        layers: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, readings: Tensor) -> Tensor:
        """readings [B, n_units + n_angles], scores first, then degrees -> motion [B, L, N]."""
        if readings.ndim != 2 or readings.shape[1] != self.config.n_inputs:
            raise ValueError(
                f"readings: got shape {tuple(readings.shape)}, expected [B, {self.config.n_inputs}]: "
                f"{self.config.n_units} scores and {self.config.n_angles} angles"
            )
        units, angles_deg = readings.split([self.config.n_units, self.config.n_angles], dim=1)
        codes = self.layers(torch.cat([units, angles_deg / self.config.angle_scale_deg], dim=1))
        return codes.reshape(-1, self.config.n_styles, self.config.motion_dim)


@dataclass(frozen=True, kw_only=True)
class MotionMapperConfig:
    """Sizes of M. The defaults are the published network."""

    form: MapperForm = "full"  # one layer over all codes; or one per style, shared by all styles or separate
    n_styles: int = 18
    w_dim: int = 512
    motion_dim: int = 512
    hidden: tuple[int, ...] = ()  # widths of hidden layers (leaky ReLU); none in the published network
    residual: bool = False  # add the identity's code to the output

    def __post_init__(self) -> None:
        if self.form == "full" and (self.hidden or self.residual):
            raise ConfigError("form 'full' is the published single layer: hidden must be empty and residual false")


class MotionMapper(nn.Module):
    """(identity w_plus, motion) -> w_plus of that person with that pose and expression."""

    Config = MotionMapperConfig

    def __init__(self, config: MotionMapperConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionMapperConfig()
        if config.form == "full":
            n_in = config.n_styles * (config.w_dim + config.motion_dim)
            self.linear = nn.Linear(n_in, config.n_styles * config.w_dim)
            nn.init.constant_(self.linear.weight, 1e-5)
            nn.init.constant_(self.linear.bias, 1e-3)
            return
        copies = 1 if config.form == "shared" else config.n_styles
        widths = [config.w_dim + config.motion_dim, *config.hidden, config.w_dim]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.weights = nn.ParameterList(torch.randn(copies, a, b) * a**-0.5 for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(copies, 1, b) for _, b in pairs)
        if config.residual:
            nn.init.zeros_(self.weights[-1])

    def forward(self, identity: Tensor, motion: Tensor) -> Tensor:
        """identity [B, L, D], motion [B, L, N] -> w_plus [B, L, D]; either may have B = 1."""
        batch = max(len(identity), len(motion))
        identity, motion = identity.expand(batch, -1, -1), motion.expand(batch, -1, -1)
        if self.config.form == "full":
            flat = torch.cat([identity.flatten(1), motion.flatten(1)], dim=1)
            return self.linear(flat).reshape(identity.shape)
        x = torch.cat([identity, motion], dim=2).transpose(0, 1)  # [L, B, D + N]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.leaky_relu(x, 0.2) if i > 0 else x
            x = x @ weight + bias
        w_plus = x.transpose(0, 1)
        return identity + w_plus if self.config.residual else w_plus
