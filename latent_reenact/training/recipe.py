"""The whole recipe of the `builtin` model: one config, five stages, one model folder.

prepare -> generator (paired, grown) -> inversion -> motion, mapper, sliders -> mapping from z -> export
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from latent_reenact.config import load_yaml
from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.models import ReStyleEncoder, save_networks
from latent_reenact.models.stylegan2 import StyleGAN2Generator
from latent_reenact.synthface import Mesh, load_mesh
from latent_reenact.training.data import PortraitSet, load_shards
from latent_reenact.training.generator import PairedConfig, train_generator
from latent_reenact.training.inversion import InversionConfig, InversionStage
from latent_reenact.training.loop import Loop, Processes
from latent_reenact.training.mapping import MappingConfig, train_mapping
from latent_reenact.training.motion import MotionConfig, MotionNetworks, MotionStage
from latent_reenact.training.prepare import prepare_shards
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


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Everything that makes a model."""

    name: str
    folder: str  # runs, checkpoints and the finished model go here
    data: DataConfig
    generator: PairedConfig
    inversion: InversionConfig
    motion: MotionConfig
    mapping: MappingConfig
    framing: float = 1.12  # the synthetic world is cut a little wider than FFHQ
    licence: str = "Apache-2.0"
    description: str = ""


def train(config_path: str | Path, overrides: Sequence[str] = (), resume: str = "auto") -> Path:
    """Run or continue a recipe and return the finished model folder.

    Start it under `torchrun --nproc-per-node N` to train in N processes.

    Args:
        overrides: `key.subkey=value` words.
        resume: "auto" continues where the folder stands; "never" refuses a folder with a run in it.

    Raises:
        ConfigError, WeightsNotFoundError, InterruptedRunError.
    """
    if resume not in ("auto", "never"):
        raise UsageError(f"resume: got {resume!r}, expected auto or never")
    config = load_yaml(RecipeConfig, config_path, overrides)
    if resume == "never" and Path(config.folder).exists():
        raise UsageError(f"{config.folder} already holds a run; give another folder, or resume it with --resume auto")
    return Recipe(config).run()


class Recipe:
    """The stages in order; every stage that is done is read back from its last checkpoint."""

    def __init__(self, config: RecipeConfig, mesh: Mesh | None = None) -> None:
        self.config = config
        self.folder = Path(config.folder)
        self.processes = Processes()
        self.mesh = load_mesh(config.data.mesh) if mesh is None else mesh
        torch.set_num_threads(1)  # processes average gradients; threads inside one are slower

    def run(self) -> Path:
        train_shards, test_shards = self.prepare()
        generator, inputs = train_generator(self.config.generator, train_shards, test_shards, self.folder / "generator")
        resolution = generator.config.resolution
        train, test = load_shards(train_shards, resolution), load_shards(test_shards, resolution)
        teacher = Teacher.build(generator, inputs, train.conditioning)
        restyle = self.train_inversion(teacher, train, test)
        motion = self.train_motion(teacher, restyle, train, test)
        final = train_mapping(teacher, self.mesh, self.config.mapping, self.folder / "mapping")
        return self.export(final, restyle, motion)

    def prepare(self) -> tuple[list[Path], list[Path]]:
        """Shards of training and test portraits; each process renders its part."""
        data, size = self.config.data, max(self.config.generator.growth)
        rank, n = self.processes.rank, self.processes.size
        share = -(-data.portraits // n)
        first = rank * share
        count = max(0, min(share, data.portraits - first))
        shards = self.folder / "shards"
        for _ in prepare_shards(self.mesh, shards / "train", seed=data.seed, first=first, count=count, size=size):
            pass
        if rank == 0:
            test = prepare_shards(self.mesh, shards / "test", seed=data.test_seed, count=data.test_portraits, size=size)
            for _ in test:
                pass
        if n > 1:
            dist.barrier()
        return sorted((shards / "train").glob("*.npz")), sorted((shards / "test").glob("*.npz"))

    def train_inversion(self, teacher: Teacher, train: PortraitSet, test: PortraitSet) -> ReStyleEncoder:
        torch.manual_seed(1)
        stage = InversionStage(self.config.inversion, teacher, train, test)
        average = Loop(stage, self.config.inversion.loop, self.folder / "inversion").run()
        return stage.restyle(average.eval())

    def train_motion(
        self, teacher: Teacher, restyle: ReStyleEncoder, train: PortraitSet, test: PortraitSet
    ) -> MotionNetworks:
        train = train.first(self.config.motion.portraits)
        steps = self.config.motion.identity_steps
        identities = (
            invert_all(restyle, train, steps, self.processes),
            invert_all(restyle, test, steps, self.processes),
        )
        torch.manual_seed(2)
        stage = MotionStage(self.config.motion, teacher, train, test, identities)
        networks = Loop(stage, self.config.motion.loop, self.folder / "motion").run()
        return networks.eval()  # type: ignore[return-value]

    def export(self, generator: StyleGAN2Generator, restyle: ReStyleEncoder, motion: MotionNetworks) -> Path:
        """Write the model folder (first process only)."""
        path = self.folder / self.config.name
        if self.processes.rank == 0:
            networks = {
                "generator": generator,
                "inversion": restyle,
                "motion_encoder": motion.encoder,
                "mapper": motion.mapper,
                "control": motion.control,
            }
            about = {
                "name": self.config.name,
                "system": "latent",
                "framing": self.config.framing,
                "licence": self.config.licence,
                "description": self.config.description,
            }
            save_networks(path, networks, about)
        return path


@torch.no_grad()
def invert_all(restyle: ReStyleEncoder, portraits: PortraitSet, steps: int, processes: Processes) -> Tensor:
    """Inverted latents [N, L, D], made once, beforehand, as the paper does; the processes share the work."""
    share = -(-len(portraits) // processes.size)
    mine = torch.arange(len(portraits))[processes.rank * share : (processes.rank + 1) * share]
    config = restyle.generator.config
    latents = torch.zeros(len(portraits), config.n_styles, config.w_dim)
    for index in mine.split(64):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents[index] = restyle.invert(portraits.pictures(index), steps).float()
    if processes.size > 1:
        dist.all_reduce(latents)
    return latents
