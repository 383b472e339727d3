"""The whole latent system at toy size, built in code: 32 px, random weights."""

from __future__ import annotations

import numpy as np
import torch

from latent_reenact.face import Face
from latent_reenact.models import (
    BodyConfig,
    EncoderConfig,
    GeneratorConfig,
    MotionControl,
    MotionControlConfig,
    MotionEncoder,
    MotionEncoderConfig,
    MotionMapper,
    MotionMapperConfig,
    ReStyleEncoder,
    StyleEncoder,
    StyleGAN2Generator,
)
from latent_reenact.systems import LatentNetworks, LatentReenactor

L, D, N = 8, 8, 4
BODY = BodyConfig(widths=(4, 4, 8), depths=(1, 1, 1), se_reduction=2)
ABOUT = {"name": "tiny", "system": "latent", "framing": 1.12, "licence": "Apache-2.0", "description": "for tests"}


def networks(seed: int = 0) -> LatentNetworks:
    torch.manual_seed(seed)
    generator = StyleGAN2Generator(
        GeneratorConfig(resolution=32, z_dim=8, w_dim=D, mapping_layers=2, channels={4: 8, 8: 8, 16: 8, 32: 4})
    )
    encoder = StyleEncoder(EncoderConfig(input_channels=6, input_size=32, n_styles=L, w_dim=D, body=BODY))
    parts = LatentNetworks(
        generator=generator,
        inversion=ReStyleEncoder(encoder, generator, steps=2),
        motion_encoder=MotionEncoder(
            MotionEncoderConfig(input_size=32, n_styles=L, motion_dim=N, bottleneck=8, body=BODY)
        ),
        mapper=MotionMapper(MotionMapperConfig(form="separate", n_styles=L, w_dim=D, motion_dim=N)),
        control=MotionControl(
            MotionControlConfig(controls=("yaw_deg", "smile"), scales=(15.0, 0.3), n_styles=L, motion_dim=N)
        ),
    )
    for network in filter(None, vars(parts).values()):
        network.eval().requires_grad_(False)
    return parts


class CentreDetector:
    """Finds one face in the middle of any picture that is not black."""

    def detect(self, image: np.ndarray, *, thorough: bool = True) -> list[Face]:
        if not image.any():
            return []
        h, w = image.shape[:2]
        return [Face((w / 4, h / 4, 3 * w / 4, 3 * h / 4), 1.0, self.landmarks(image, (0.0, 0.0, 1.0, 1.0)))]

    def landmarks(self, image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        h, w = image.shape[:2]
        size = min(h, w) / 4 if image.any() else 0.0  # in a black picture every point falls together
        return frontal_landmarks() * size + [w / 2, h / 2]


def frontal_landmarks() -> np.ndarray:
    """68 points of a schematic frontal face, about [-1, 1]."""
    jaw = np.stack([np.cos(np.linspace(np.pi, 0, 17)), 0.9 * np.sin(np.linspace(np.pi, 0, 17)) + 0.1], 1)
    brows = np.array([[x, -0.55] for x in np.r_[np.linspace(-0.7, -0.2, 5), np.linspace(0.2, 0.7, 5)]])
    nose = np.array([*([0, y] for y in np.linspace(-0.3, 0.15, 4)), *([x, 0.22] for x in np.linspace(-0.15, 0.15, 5))])
    turns = np.linspace(np.pi, -np.pi, 7)[:-1]
    eyes = [np.stack([c + 0.17 * np.cos(turns), -0.3 - 0.07 * np.sin(turns)], 1) for c in (-0.42, 0.42)]
    outer = np.linspace(np.pi, -np.pi, 13)[:-1]
    inner = np.linspace(np.pi, -np.pi, 9)[:-1]
    mouth = [np.stack([r * np.cos(t), 0.5 - r * 0.4 * np.sin(t)], 1) for r, t in ((0.35, outer), (0.25, inner))]
    return np.concatenate([jaw, brows, nose, *eyes, *mouth])


def reenactor() -> LatentReenactor:
    return LatentReenactor(networks(), name="tiny", framing=1.12, detector=CentreDetector())


def picture(seed: int = 0, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (size, size, 3), dtype=np.uint8)
