"""The networks, from small parts to whole models. Sizes are configuration: published ones are the defaults."""

from latent_reenact.models.build import load_network, load_networks, save_networks
from latent_reenact.models.encoders import EncoderConfig, StyleEncoder
from latent_reenact.models.irse import BodyConfig
from latent_reenact.models.motion import (
    MotionControl,
    MotionControlConfig,
    MotionEncoder,
    MotionEncoderConfig,
    MotionMapper,
    MotionMapperConfig,
)
from latent_reenact.models.restyle import ReStyleEncoder
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator

__all__ = [
    "BodyConfig",
    "EncoderConfig",
    "GeneratorConfig",
    "MotionControl",
    "MotionControlConfig",
    "MotionEncoder",
    "MotionEncoderConfig",
    "MotionMapper",
    "MotionMapperConfig",
    "ReStyleEncoder",
    "StyleEncoder",
    "StyleGAN2Generator",
    "load_network",
    "load_networks",
    "save_networks",
]
