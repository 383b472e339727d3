"""The networks, from small parts to whole models. Sizes are configuration: published ones are the defaults."""

from latent_reenact.models.action_units import UNIT_NAMES, ActionUnitConfig, ActionUnitDetector
from latent_reenact.models.build import load_network, load_networks, save_networks
from latent_reenact.models.control import ControlShiftsConfig, MotionControl, MotionControlConfig
from latent_reenact.models.discriminator import Discriminator, DiscriminatorConfig
from latent_reenact.models.encoders import EncoderConfig, StyleEncoder
from latent_reenact.models.face_reader import FaceReader, FaceReaderConfig, FaceReading
from latent_reenact.models.factors import FactorGenerator, FactorMapping, FactorMappingConfig
from latent_reenact.models.feature_distance import FeatureDistance
from latent_reenact.models.head_pose import HopeNet, HopeNetConfig
from latent_reenact.models.identity import IdentityEmbedder, IdentityEmbedderConfig
from latent_reenact.models.identity_onnx import OnnxIdentityEmbedder
from latent_reenact.models.irse import BodyConfig
from latent_reenact.models.lpips import LPIPS, LPIPSConfig, PerceptualFeatures
from latent_reenact.models.motion import (
    MotionEncoder,
    MotionEncoderConfig,
    MotionMapper,
    MotionMapperConfig,
    UnitMotionEncoder,
    UnitMotionEncoderConfig,
)
from latent_reenact.models.resnet import ResNet, ResNetConfig
from latent_reenact.models.restyle import ReStyleEncoder
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator
from latent_reenact.models.unit_readers import UnitMotion

__all__ = [
    "LPIPS",
    "UNIT_NAMES",
    "ActionUnitConfig",
    "ActionUnitDetector",
    "BodyConfig",
    "ControlShiftsConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "EncoderConfig",
    "FaceReader",
    "FaceReaderConfig",
    "FaceReading",
    "FactorGenerator",
    "FactorMapping",
    "FactorMappingConfig",
    "FeatureDistance",
    "GeneratorConfig",
    "HopeNet",
    "HopeNetConfig",
    "IdentityEmbedder",
    "IdentityEmbedderConfig",
    "LPIPSConfig",
    "MotionControl",
    "MotionControlConfig",
    "MotionEncoder",
    "MotionEncoderConfig",
    "MotionMapper",
    "MotionMapperConfig",
    "OnnxIdentityEmbedder",
    "PerceptualFeatures",
    "ReStyleEncoder",
    "ResNet",
    "ResNetConfig",
    "StyleEncoder",
    "StyleGAN2Generator",
    "UnitMotion",
    "UnitMotionEncoder",
    "UnitMotionEncoderConfig",
    "load_network",
    "load_networks",
    "save_networks",
]
