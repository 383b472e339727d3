"""The estimators' recipe: a reader of faces and an identity embedder, trained on synthetic portraits.

Trained beside a model they stand in its losses where the published recipe has LPIPS and ArcFace; trained by a config
of their own (`estimators.yaml`, `judges.yaml`) they become a model folder, also for judging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from latent_reenact.errors import ConfigError
from latent_reenact.models import save_networks
from latent_reenact.synthface import load_mesh
from latent_reenact.training.loop import Loop
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.preparation.synthetic import SyntheticConfig, prepare_synthetic
from latent_reenact.training.shards.format import find_shards
from latent_reenact.training.shards.portraits import PortraitSet, load_portraits
from latent_reenact.training.stages.face_reader import FaceReaderStage, FaceReaderStageConfig
from latent_reenact.training.stages.identity import IdentityStage, IdentityStageConfig
from latent_reenact.training.targets import Teacher


@dataclass(frozen=True, kw_only=True)
class EstimatorsConfig:
    """Both estimators. `seed` is that of their first weights; the loops have their own."""

    face_reader: FaceReaderStageConfig
    identity: IdentityStageConfig
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EstimatorsDataConfig:
    """Portraits to learn from, rendered where they are not there yet.

    The seeds of models' tests stay out: estimators that saw those people could not judge.
    """

    mesh: str  # made by `latent-reenact synthface build-mesh`
    folder: str | None = None  # with `portraits` and `held-out`; by default the recipe's own folder
    seed: int = 1
    people: int = 23_552
    frames: int = 2  # a person; from 2 on nothing needs to be drawn
    size: int = 128
    held_out_seed: int = 998
    held_out_people: int = 256

    def __post_init__(self) -> None:
        if self.seed == self.held_out_seed:
            raise ConfigError(f"seed: got {self.seed}, which is that of the held-out people; give another")


@dataclass(frozen=True, kw_only=True)
class EstimatorsRecipeConfig:
    """Everything that makes a model folder of estimators."""

    recipe: Literal["estimators"] = "estimators"
    name: str
    folder: str  # the model folder, and below it the runs
    data: EstimatorsDataConfig
    estimators: EstimatorsConfig
    run: RunConfig = field(default_factory=RunConfig)
    licence: str = "Apache-2.0"
    description: str = ""


def run_estimators(config: EstimatorsRecipeConfig) -> Path:
    """Run or continue the recipe; the finished model folder.

    Raises:
        ConfigError, WeightsNotFoundError, CorruptFileError, InterruptedRunError, DivergedError.
    """
    torch.set_num_threads(1)  # processes average gradients; threads inside one are slower
    fabric = config.run.launch()
    folder = Path(config.folder)
    train, held_out = prepared_portraits(config.data, Path(config.data.folder or folder), fabric)
    about = {"name": config.name, "licence": config.licence, "description": config.description}
    train_estimators(config.estimators, train, held_out, None, folder, fabric, about)
    return folder


def prepared_portraits(data: EstimatorsDataConfig, folder: Path, fabric: Fabric) -> tuple[PortraitSet, PortraitSet]:
    """(training, held-out) portraits, rendered by the first process on all cores where they are missing."""
    if fabric.is_global_zero:
        for name, seed, people in (
            ("portraits", data.seed, data.people),
            ("held-out", data.held_out_seed, data.held_out_people),
        ):
            sizes = SyntheticConfig(seed=seed, people=people, frames=data.frames, size=data.size)
            prepare_synthetic(data.mesh, folder / name, sizes)
    fabric.barrier()
    mesh = load_mesh(data.mesh)
    train, held_out = (load_portraits(find_shards(folder / n), data.size, mesh) for n in ("portraits", "held-out"))
    return train, held_out


def train_estimators(
    config: EstimatorsConfig,
    train: PortraitSet,
    held_out: PortraitSet,
    teacher: Teacher | None,
    folder: Path,
    fabric: Fabric,
    about: Mapping[str, str] | None = None,
) -> dict[str, nn.Module]:
    """Train or continue both and write `folder` as a model folder; the networks `face_reader` and `identity`.

    Args:
        held_out: other people; the best weights are chosen by them.
        teacher: draws second pictures of people, where `identity.drawn_share` asks for them.
        about: further entries of the model folder's config.
    """
    torch.manual_seed(config.seed)
    reading = FaceReaderStage(config.face_reader, train, held_out)
    reader = Loop(reading, config.face_reader.loop, folder / "face_reader", fabric).run()
    torch.manual_seed(config.seed + 1)
    telling = IdentityStage(config.identity, train, held_out, teacher)
    identity = Loop(telling, config.identity.loop, folder / "identity", fabric).run()
    networks = {"face_reader": reader.eval(), "identity": identity.eval()}
    if fabric.is_global_zero:
        save_networks(folder, networks, {"name": folder.name, "licence": "Apache-2.0", **(about or {})})
    fabric.barrier()
    return networks
