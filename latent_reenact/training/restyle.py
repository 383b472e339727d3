"""The recipe of a ReStyle encoder: a generator and shards of aligned pictures -> a model folder that inverts.

config -> `ReStyleStage` -> `Loop` -> folder with `generator` and `inversion`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from latent_reenact.training.loop import Loop, LoopConfig, RunConfig
from latent_reenact.training.losses.inversion import InversionLoss, InversionWeights
from latent_reenact.training.shards.catalog import Catalog
from latent_reenact.training.shards.format import find_shards
from latent_reenact.training.shards.stream import PictureStream, stream
from latent_reenact.training.stage import Setup
from latent_reenact.training.stages.restyle import ReStyleConfig, ReStyleStage
from latent_reenact.weights import ModelFolder, resolve


@dataclass(frozen=True, kw_only=True)
class PicturesConfig:
    """Which pictures.

    folder: as `latent-reenact prepare` writes it, with `train/*.tar` and `val/*.tar`, disjoint by person.
    """

    folder: str
    seed: int = 1  # of the order
    workers: int = 4  # processes that decode
    held_out: int = 256  # pictures of `val` that the encoder is judged by and the best weights chosen by

    def __post_init__(self) -> None:
        if self.workers < 0 or self.held_out < 1:
            raise ConfigError(f"workers {self.workers}, held_out {self.held_out}: expected at least 0 and 1")


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
    average_samples: int = 100_000  # codes whose mean is the start; 0: the generator's own running mean
    description: str = ""


class ShardPictures:
    """Pictures of shards, split over the ranks; opened where the run stands.

    Args:
        resolution: side that the pictures are averaged to: what the encoder sees, since no more is looked at.
    """

    def __init__(self, shards: Sequence[Path], config: PicturesConfig, resolution: int) -> None:
        self.shards, self.config, self.resolution = shards, config, resolution
        self._stream: PictureStream | None = None

    def start(self, setup: Setup) -> None:
        """Open the stream behind the batches that are done: one a micro-step."""
        batches = stream(
            self.shards,
            seed=self.config.seed,
            batch=setup.batch,
            start=setup.step * setup.accumulate,
            rank=setup.rank,
            world_size=setup.world_size,
            workers=self.config.workers,
            resolution=self.resolution,
        )
        self._stream = PictureStream(batches)

    def pictures(self, random: torch.Generator, batch: int) -> Tensor:
        """[B, 3, R, R] in [-1, 1]."""
        return self._opened().pictures(random, batch)

    def names(self) -> Sequence[str]:
        return self._opened().keys

    def counters(self) -> Mapping[str, int]:
        return self._opened().batches.skipped

    def _opened(self) -> PictureStream:
        if self._stream is None:
            raise RuntimeError("the stage has to be started before it draws pictures")
        return self._stream


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
    if config.start_from_identity:
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


def held_out_pictures(config: PicturesConfig, resolution: int) -> Tensor:
    """Random pictures of `val`, the same in every run, [N, 3, R, R] in [-1, 1]."""
    shards = find_shards(config.folder, "val")
    count = min(config.held_out, len(Catalog.of(shards).keys))
    return next(stream(shards, seed=config.seed, batch=count, resolution=resolution)).pictures()


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
