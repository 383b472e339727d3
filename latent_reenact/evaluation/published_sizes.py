"""The method at its published sizes, 1024² from FFHQ, with random weights: time does not depend on them."""

from __future__ import annotations

from latent_reenact.models import (
    EncoderConfig,
    MotionEncoder,
    MotionMapper,
    ReStyleEncoder,
    StyleEncoder,
    StyleGAN2Generator,
)
from latent_reenact.models.devices import usable
from latent_reenact.systems import LatentNetworks, LatentReenactor

NAME = "published sizes, random weights"
RESTYLE_STEPS = 5


def published_networks(device: str = "auto") -> LatentNetworks:
    """Frozen, in evaluation mode. Raises BackendError where the device is not there."""
    where = usable(device)
    generator = StyleGAN2Generator()
    encoder = StyleEncoder(EncoderConfig(input_channels=6))
    networks = LatentNetworks(
        generator=generator,
        inversion=ReStyleEncoder(encoder, generator, steps=RESTYLE_STEPS),
        motion_encoder=MotionEncoder(),
        mapper=MotionMapper(),
    )
    for network in filter(None, vars(networks).values()):
        network.to(where).eval().requires_grad_(False)
    return networks


def published_reenactor(device: str = "auto") -> LatentReenactor:
    """The system of those networks."""
    return LatentReenactor(published_networks(device), name=NAME)
