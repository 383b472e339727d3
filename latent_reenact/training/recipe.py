"""The whole recipe of the `builtin` model: one config, its stages in order, one model folder.

portraits -> generator (paired, grown; then sharpened) -> estimators -> inversion -> motion, mapper, sliders
-> mapping from z -> export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models import FactorGenerator, ReStyleEncoder, StyleGAN2Generator, save_networks
from latent_reenact.synthface import Mesh, load_mesh
from latent_reenact.training.features import Features
from latent_reenact.training.loop import Loop, RunConfig
from latent_reenact.training.shards.portraits import PortraitSet, load_portraits
from latent_reenact.training.stages.inversion import InversionConfig, InversionStage
from latent_reenact.training.stages.mapping import MappingConfig, train_mapping
from latent_reenact.training.stages.motion import MotionConfig, MotionNetworks, MotionStage
from latent_reenact.training.stages.paired import PairedConfig, train_generator
from latent_reenact.training.targets import Teacher


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where portraits come from. `mesh` is an archive made by `latent-reenact synthface build-mesh`."""

    mesh: str
    seed: int = 1
    portraits: int = 40_000
    test_seed: int = 999  # reserved: no training seed may equal it
    test_portraits: int = 384

    def __post_init__(self) -> None:
        if self.seed == self.test_seed:
            raise ConfigError(f"seed: got {self.seed}, which is reserved for testing")
