"""The recipe of a ReStyle encoder: a generator and shards of aligned pictures -> a model folder that inverts.

config -> `ReStyleStage` -> `Loop` -> folder with `generator` and `inversion`
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.models import (
    IdentityEmbedder,
    StyleEncoder,
    StyleGAN2Generator,
    load_network,
    load_networks,
    save_networks,
)
from latent_reenact.training.features import Features
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses.inversion import InversionLoss, InversionWeights
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.pictures import PicturesConfig, ShardPictures, held_out_pictures
from latent_reenact.training.shards.format import find_shards
from latent_reenact.training.stages.restyle import ReStyleConfig, ReStyleStage
from latent_reenact.weights import ModelFolder, resolve


@dataclass(frozen=True, kw_only=True)
class LossNetworksConfig:
    """The networks of the losses. The defaults are the published ones, by the names that `models fetch` knows."""

    own: str | None = None  # a model folder with our `face_reader` and `identity`, in the place of both
    lpips: str = "lpips-alex"
    identity: str = "arcface-ir-se50"


@dataclass(frozen=True, kw_only=True)
class ReStyleTrainingConfig:
    """Everything that makes an inverting encoder."""

    recipe: Literal["inversion"] = "inversion"
    name: str
    folder: str  # runs, checkpoints and the finished model go here
    model: str  # name or folder of a model with the `generator` to invert
    data: PicturesConfig
    estimators: LossNetworksConfig = field(default_factory=LossNetworksConfig)
    stage: ReStyleConfig = field(default_factory=ReStyleConfig)
    loop: LoopConfig
    run: RunConfig = field(default_factory=RunConfig)
    start_from_identity: bool = True  # the body begins as that of the identity network, as pSp's does for faces
    start_from: str | None = None  # or stem and body begin as those of this model's inversion
    average_samples: int = 100_000  # codes whose mean is the start; 0: the generator's own running mean
    description: str = ""


def train_restyle(config: ReStyleTrainingConfig) -> Path:
    """Run or continue the recipe and return the finished model folder.

    Raises:
        ConfigError, WeightsNotFoundError, CorruptFileError, InterruptedRunError.
    """
    fabric = config.run.launch()
    torch.manual_seed(config.loop.seed)
    stage = build_stage(config)
    average = Loop(stage, config.loop, Path(config.folder) / "inversion", fabric).run()
    path = Path(config.folder) / config.name
    if fabric.is_global_zero:
        export(stage, average, config, path)
    fabric.barrier()
    return path


def build_stage(config: ReStyleTrainingConfig) -> ReStyleStage:
    """The stage with its networks and pictures."""
    generator = load_network(config.model)
    if not isinstance(generator, StyleGAN2Generator):
        raise ConfigError(f"model: {config.model} holds a {type(generator).__name__}, expected a StyleGAN2Generator")
    losses, embedder = load_losses(config.stage.weights, config.estimators)
    size = config.stage.encoder.input_size
    train = ShardPictures(find_shards(config.data.folder), config.data, size)
    start = average_code(generator, config.average_samples)
    stage = ReStyleStage(config.stage, generator, start, losses, train, held_out_pictures(config.data, size))
    if config.start_from is not None:
        begin_with_inversion(stage.module.encoder, config.start_from)
    elif config.start_from_identity:
        begin_with_body(stage.module.encoder, embedder)
    return stage


def load_losses(weights: InversionWeights, config: LossNetworksConfig) -> tuple[InversionLoss, nn.Module]:
    """The losses and their identity network.

    Raises:
        WeightsNotFoundError: a network is not here; says how to get it.
    """
    if config.own is not None:
        features = Features.load(config.own)
        return InversionLoss(weights, features.distance, features.identity), features.identity
    lpips, embedder = _published(config.lpips), _published(config.identity)
    return InversionLoss(weights, lpips, embedder), embedder


def begin_with_body(encoder: StyleEncoder, embedder: nn.Module) -> None:
    """Copy the identity network's body, all but the stem, into the encoder (arXiv 2008.00951, implementation).

    Raises:
        ConfigError: the bodies are not alike.
    """
    alike = isinstance(embedder, IdentityEmbedder) and encoder.config.trunk == "irse"
    if not alike or embedder.config.body != encoder.config.body:  # type: ignore[union-attr]
        raise ConfigError(
            "start_from_identity: the encoder's body is not the identity network's; give both the same widths and "
            "depths, or set start_from_identity to false"
        )
    encoder.body.load_state_dict(embedder.get_submodule("body").state_dict())


@torch.no_grad()
def begin_with_inversion(encoder: StyleEncoder, model: str) -> None:
    """Begin as a model's inversion: stem and body, and the heads too where they are alike.

    A progressive encoder's later heads add to the first one's code; their sum begins with nothing added.

    Raises:
        WeightsNotFoundError: no such model, or one without inversion.
        ConfigError: stem or body are not alike.
    """
    trained = load_network(model, "inversion").get_submodule("encoder").state_dict()
    own = encoder.state_dict()
    alike = {name for name, value in own.items() if name in trained and trained[name].shape == value.shape}
    differing = [name for name in own if name not in alike]
    if others := [name for name in differing if not name.startswith("styles.")]:
        raise ConfigError(
            f"start_from: the inversion of {model} has another {others[0]}; give the encoder the same input_channels, "
            "widths and depths"
        )
    heads = not differing
    encoder.load_state_dict(
        {name: trained[name] for name in own if heads or not name.startswith("styles.")}, strict=False
    )
    if heads and encoder.config.is_progressive:
        for head in list(encoder.styles)[1:]:
            for name in ("linear.weight", "linear.bias"):
                nn.init.zeros_(head.get_parameter(name))


@torch.no_grad()
def average_code(generator: StyleGAN2Generator, samples: int) -> Tensor:
    """The mean of w over random z, [D]; the same whenever it is asked for."""
    if samples == 0:
        return generator.mapping.w_avg
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(generator.config.w_dim, dtype=torch.float64)
    for start in range(0, samples, 4096):
        z = torch.randn(min(4096, samples - start), generator.config.z_dim, generator=random)
        total += generator.mapping(z).double().sum(0)
    return (total / samples).float()


def export(stage: ReStyleStage, average: nn.Module, config: ReStyleTrainingConfig, path: Path) -> None:
    """Write the generator and the inversion round it; the generator's licence goes with it."""
    assert isinstance(average, StyleEncoder)
    source = ModelFolder(resolve(config.model))
    about = {
        "name": config.name,
        "licence": source.config.get("licence", "that of the generator"),
        "description": config.description or f"inversion of pictures for the generator of {source.name}",
    }
    save_networks(path, {"generator": stage.generator, "inversion": stage.restyle(average)}, about)


def _published(name: str) -> Any:
    """The only network of a published estimator's folder."""
    try:
        return next(iter(load_networks(name).values()))
    except WeightsNotFoundError as error:
        raise WeightsNotFoundError(f"{error}; get it with: latent-reenact models fetch {name}") from None
