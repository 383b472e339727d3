"""The recipe of a generator from noise: shards of aligned pictures -> a model folder with `generator`.

config -> `AdversarialStage` -> `Loop` -> folder
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from latent_reenact.models import save_networks
from latent_reenact.training.loop import Loop
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.pictures import PicturesConfig, ShardPictures, held_out_pictures
from latent_reenact.training.shards.format import find_shards
from latent_reenact.training.stages.adversarial import AdversarialConfig, AdversarialStage


@dataclass(frozen=True, kw_only=True)
class GeneratorTrainingConfig:
    """Everything that makes a generator."""

    recipe: Literal["generator"] = "generator"
    name: str
    folder: str  # runs, checkpoints and the finished model go here
    data: PicturesConfig
    stage: AdversarialConfig
    run: RunConfig = field(default_factory=RunConfig)
    licence: str = "that of the pictures"
    description: str = ""


def train_gan(config: GeneratorTrainingConfig) -> Path:
    """Run or continue the recipe and return the finished model folder.

    Raises:
        ConfigError, CorruptFileError, InterruptedRunError, DivergedError.
    """
    fabric = config.run.launch()
    torch.manual_seed(config.stage.loop.seed)
    resolution = config.stage.generator.resolution
    train = ShardPictures(find_shards(config.data.folder), config.data, resolution)
    stage = AdversarialStage(config.stage, train, held_out_pictures(config.data, resolution))
    average = Loop(stage, config.stage.loop, Path(config.folder) / "generator", fabric).run()
    path = Path(config.folder) / config.name
    if fabric.is_global_zero:
        about = {"name": config.name, "licence": config.licence, "description": config.description}
        save_networks(path, {"generator": average}, about)
    fabric.barrier()
    return path
