"""The recipe of the published method: a generator with its inversion, prepared clips -> a model that reenacts.

inverted identities (once) -> motion encoder and mapper (and the generator, in the variant Gen) -> model folder
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.models import ReStyleEncoder, StyleGAN2Generator, load_network, load_networks, save_networks
from latent_reenact.training.clips import ClipSet, ClipSource, ClipStream, load_clips, shard_pictures
from latent_reenact.training.identities import IdentityCache, InversionCacheConfig, invert_portions, shard_portion
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.method_slots import EstimatorsConfig, load_slots
from latent_reenact.training.shards.format import find_shards
from latent_reenact.training.stages.reenactment import MethodNetworks, ReenactmentConfig, ReenactmentStage
from latent_reenact.weights import ModelFolder, resolve


@dataclass(frozen=True, kw_only=True)
class ClipDataConfig:
    """Prepared clips: `folder`/train and another split, disjoint by person."""

    folder: str  # as `latent-reenact prepare` writes it
    held_out: Literal["val", "test"] = "val"  # what the best weights are chosen by
    held_out_clips: int = 64
    resolution: int | None = None  # side that pictures are averaged to; None keeps theirs
    in_memory: bool = False  # or streamed
    workers: int = 4  # a process, that read and decode the stream
    seed: int = 0  # of the stream's order

    def __post_init__(self) -> None:
        if self.held_out_clips < 2 or self.workers < 0:
            raise ConfigError(
                f"held_out_clips {self.held_out_clips} and workers {self.workers}: expected at least 2 and 0"
            )


@dataclass(frozen=True, kw_only=True)
class ReenactmentRecipeConfig:
    """Everything that makes a model of the published kind."""

    recipe: Literal["reenactment"] = "reenactment"
    name: str
    folder: str  # the run, its checkpoints, the inverted identities and the finished model
    model: str  # name or folder of a model with `generator` and `inversion`
    estimators: EstimatorsConfig = field(default_factory=EstimatorsConfig)
    data: ClipDataConfig
    identities: InversionCacheConfig = field(default_factory=InversionCacheConfig)
    stage: ReenactmentConfig = field(default_factory=ReenactmentConfig)
    loop: LoopConfig
    run: RunConfig = field(default_factory=RunConfig)
    description: str = ""


def train_reenactment(config: ReenactmentRecipeConfig, fabric: Fabric | None = None) -> Path:
    """Run the recipe, or go on with it, and return the finished model's folder.

    Raises:
        ConfigError, WeightsNotFoundError, CorruptFileError, InterruptedRunError.
    """
    fabric = fabric or config.run.launch()
    generator, inversion = load_base(config.model, fabric.device)
    slots = load_slots(config.estimators, with_units=config.stage.units is not None)
    train = find_shards(config.data.folder, "train")
    held_out = find_shards(config.data.folder, config.data.held_out)
    identities = invert_identities(config, inversion, [*train, *held_out], fabric)
    drawn = copy.deepcopy(generator) if config.stage.train_generator else generator  # the inversion keeps its own
    torch.manual_seed(config.loop.seed)
    stage = ReenactmentStage(
        config.stage, drawn, slots, clip_source(config.data, train), identities, held_out_clips(config.data, held_out)
    )
    average = Loop(stage, config.loop, Path(config.folder) / "reenactment", fabric).run()
    path = Path(config.folder) / config.name
    if fabric.is_global_zero:
        export(config, average, generator, inversion, path)
    fabric.barrier()
    return path


def load_base(model: str, device: torch.device) -> tuple[StyleGAN2Generator, ReStyleEncoder]:
    """Generator and inversion of a model, frozen."""
    networks = load_networks(model, device=device)
    generator, inversion = networks.get("generator"), networks.get("inversion")
    if not (isinstance(generator, StyleGAN2Generator) and isinstance(inversion, ReStyleEncoder)):
        raise WeightsNotFoundError(
            f"model: {model} has {', '.join(networks)}; expected a generator and its inversion, as "
            "restyle-psp-ffhq has: latent-reenact models fetch restyle-psp-ffhq"
        )
    return generator, inversion


def invert_identities(
    config: ReenactmentRecipeConfig, inversion: ReStyleEncoder, shards: Sequence[Path], fabric: Fabric
) -> IdentityCache:
    """Every frame of the shards inverted, shared among the processes; those that are there are kept."""
    read = partial(shard_pictures, size=config.data.resolution)
    portions = [shard_portion(path, read) for path in shards]
    folder = invert_portions(
        Path(config.folder) / "identities",
        inversion,
        portions,
        config.identities,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    fabric.barrier()
    return IdentityCache(folder, portions)


def clip_source(config: ClipDataConfig, shards: Sequence[Path]) -> ClipSource:
    """Training clips, in memory or streamed."""
    if config.in_memory:
        return load_clips(shards, config.resolution)
    return ClipStream(shards, seed=config.seed, resolution=config.resolution, workers=config.workers)


def held_out_clips(config: ClipDataConfig, shards: Sequence[Path]) -> ClipSet:
    """The clips that select, spread evenly over the people."""
    return load_clips(shards, config.resolution).spread(config.held_out_clips)


def export(
    config: ReenactmentRecipeConfig,
    trained: nn.Module,
    generator: StyleGAN2Generator,
    inversion: ReStyleEncoder,
    path: Path,
) -> None:
    """Write the model folder. In the variant Gen the inversion's generator stands beside the one that draws."""
    assert isinstance(trained, MethodNetworks)
    base = ModelFolder(resolve(config.model)).config
    networks: dict[str, nn.Module] = {"generator": generator if trained.generator is None else trained.generator}
    if inversion.generator is not networks["generator"]:
        networks["inversion_generator"] = inversion.generator
    networks |= {"inversion": inversion, "motion_encoder": trained.encoder, "mapper": trained.mapper}
    about: dict[str, Any] = {
        "name": config.name,
        # FAU's encoder takes what a reader of action units reads, not a picture; the reader goes with it.
        "system": "latent" if config.stage.units is None else "latent-units",
        "framing": base.get("framing", 1.0),
        "licence": base.get("licence", ""),
        "description": config.description,
    }
    if config.stage.units is not None and config.estimators.own is not None:
        networks["face_reader"] = load_network(config.estimators.own, "face_reader")
    elif config.stage.units is not None:
        about["readers"] = {"units": config.estimators.units, "pose": config.estimators.pose}
    save_networks(path, networks, about)
