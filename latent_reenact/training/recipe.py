"""The whole recipe of the `builtin` model: one config, its stages in order, one model folder.

portraits -> generator: paired, grown; then sharpened -> estimators -> inversion -> motion, mapper, sliders
-> mapping from z -> export
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latent_reenact.config import to_dict
from latent_reenact.errors import ConfigError
from latent_reenact.models import FactorGenerator, ReStyleEncoder, StyleGAN2Generator, load_networks, save_networks
from latent_reenact.models.refinement import RefinementConfig
from latent_reenact.models.second_reading import SecondReadingConfig
from latent_reenact.training.estimators import EstimatorsConfig, train_estimators
from latent_reenact.training.features import Features
from latent_reenact.training.loop import Loop
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.preparation.ahead import PortraitsAhead, Wanted
from latent_reenact.training.preparation.synthetic import SyntheticConfig
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.shifts import ShiftsFitConfig, add_shifts
from latent_reenact.training.stages.inversion import InversionConfig, InversionStage
from latent_reenact.training.stages.mapping import MappingConfig, train_mapping
from latent_reenact.training.stages.mixed import MixedConfig, MixedStage
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


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Everything that makes a model."""

    recipe: Literal["builtin"] = "builtin"
    name: str
    folder: str  # runs, checkpoints and the finished model go here
    data: DataConfig
    generator: PairedConfig
    sharpen: MixedConfig | None = None
    estimators: EstimatorsConfig
    inversion: InversionConfig
    motion: MotionConfig
    mapping: MappingConfig
    shifts: ShiftsFitConfig | None = None  # of the sliders, fitted last
    second_reading: SecondReadingConfig | None = None  # by the face reader, of what the motion code says too little of
    run: RunConfig = field(default_factory=RunConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)  # of inversions, by whoever uses the model
    framing: float = 1.12  # the synthetic world is cut a little wider than FFHQ
    licence: str = "Apache-2.0"
    description: str = ""

    def __post_init__(self) -> None:
        if self.second_reading is not None and self.shifts is None:
            raise ConfigError("second_reading: got it without shifts, expected both: the shifts draw what it reads")
        if self.refinement.hold_expressions and self.shifts is None:
            raise ConfigError(
                "refinement.hold_expressions: got it without shifts, expected both: their table tells expressions"
            )


def run_recipe(config: RecipeConfig, *, init_from: str | Path | None = None) -> Path:
    """Run or continue the recipe; the finished model folder."""
    return Recipe(config, init_from=init_from).run()


class Recipe:
    """The stages in order; every stage that is done is read back from its last checkpoint.

    init_from: name or folder of a model of this recipe, whose networks are where training begins.
    """

    def __init__(self, config: RecipeConfig, *, init_from: str | Path | None = None) -> None:
        self.config = config
        self.folder = Path(config.folder)
        torch.set_num_threads(1)  # processes average gradients; threads inside one are slower
        self.fabric = config.run.launch()
        self.start = {} if init_from is None else starting_networks(init_from)
        data, size = config.data, max(config.generator.growth)
        portraits = SyntheticConfig(seed=data.seed, people=data.portraits, size=size)
        held_out = SyntheticConfig(seed=data.test_seed, people=data.test_portraits, size=size)
        folders = {"portraits": portraits, "held-out": held_out}
        first = self.fabric.is_global_zero
        self.ahead = PortraitsAhead(data.mesh, self.folder, folders, wanted_portraits(config), renders=first)

    def run(self) -> Path:
        self.prepare()
        try:
            return self.train()
        finally:
            self.ahead.stop()

    def prepare(self) -> None:
        """Let the first process see to portraits: before all else, or beside an accelerator's work."""
        if self.fabric.is_global_zero:
            (self.ahead.render if self.fabric.device.type == "cpu" else self.ahead.start)()
        self.fabric.barrier()

    def train(self) -> Path:
        config, size = self.config, max(self.config.generator.growth)
        generator = self.train_generator()
        pairs, test = self.portraits(size, config.motion.portraits, config.motion.partners)
        teacher = Teacher.build(generator, pairs.conditioning).to(self.fabric.device, self.fabric.autocast)
        features = self.train_estimators(teacher, pairs, test)
        restyle = self.train_inversion(teacher, features, *self.portraits(size))
        motion = self.train_motion(teacher, restyle, pairs, test)
        folder = self.folder / "mapping"
        final = train_mapping(teacher, self.ahead.mesh, config.mapping, generator.config, folder, self.fabric)
        return self.export(final, generator, restyle, motion, features)

    def portraits(
        self, resolution: int, count: int | None = None, partners: int = 0
    ) -> tuple[PortraitSet, PortraitSet]:
        """(the first training portraits, all by default; held-out portraits) at a resolution."""
        train, held_out = map(self.ahead.load, wanted_sets(self.config, resolution, count, partners))
        return train.to(self.fabric.device), held_out

    def train_generator(self) -> FactorGenerator:
        config = self.config.generator
        generator = train_generator(config, self.portraits, self.folder / "generator", self.fabric, self.start)
        if self.config.sharpen is None:
            return generator
        torch.manual_seed(3)
        portraits = self.portraits(generator.config.resolution, self.config.sharpen.portraits)
        stage = MixedStage(self.config.sharpen, generator, *portraits)
        sharp = Loop(stage, self.config.sharpen.loop, self.folder / "sharpen", self.fabric).run()
        return sharp  # type: ignore[return-value]

    def train_estimators(self, teacher: Teacher, train: PortraitSet, test: PortraitSet) -> Features:
        folder = self.folder / "estimators"
        networks = train_estimators(self.config.estimators, train, test, teacher, folder, self.fabric)
        return Features.of(networks).to(self.fabric.device)

    def train_inversion(
        self, teacher: Teacher, features: Features, train: PortraitSet, test: PortraitSet
    ) -> ReStyleEncoder:
        torch.manual_seed(1)
        stage = InversionStage(self.config.inversion, teacher, features, train, test)
        if "inversion" in self.start:
            stage.module.load_state_dict(self.start["inversion"].encoder.state_dict())  # type: ignore[union-attr]
        average = Loop(stage, self.config.inversion.loop, self.folder / "inversion", self.fabric).run()
        return stage.restyle(average.eval())

    def train_motion(
        self, teacher: Teacher, restyle: ReStyleEncoder, train: PortraitSet, test: PortraitSet
    ) -> MotionNetworks:
        steps = self.config.motion.identity_steps
        identities = self.invert_all(restyle, train, steps), self.invert_all(restyle, test, steps)
        torch.manual_seed(2)
        stage = MotionStage(self.config.motion, teacher, train, test, identities)
        for name, start in (("encoder", "motion_encoder"), ("mapper", "mapper"), ("control", "control")):
            if start in self.start:
                stage.module.get_submodule(name).load_state_dict(self.start[start].state_dict())
        networks = Loop(stage, self.config.motion.loop, self.folder / "motion", self.fabric).run()
        return networks.eval()  # type: ignore[return-value]

    @torch.no_grad()
    def invert_all(self, restyle: ReStyleEncoder, portraits: PortraitSet, steps: int) -> Tensor:
        """Inverted latents [N, L, D], made once, beforehand, as the paper does; the processes share the work."""
        rank, size = self.fabric.global_rank, self.fabric.world_size
        config = restyle.generator.config
        latents = torch.zeros(len(portraits), config.n_styles, config.w_dim, device=self.fabric.device)
        for index in torch.arange(len(portraits)).tensor_split(size)[rank].split(64):
            with self.fabric.autocast():
                latents[index] = restyle.invert(portraits.pictures(index).to(self.fabric.device), steps).float()
        if size > 1:
            latents = self.fabric.all_reduce(latents, reduce_op="sum")  # type: ignore[assignment]
        return latents.cpu()

    def export(
        self,
        final: StyleGAN2Generator,
        generator: FactorGenerator,
        restyle: ReStyleEncoder,
        motion: MotionNetworks,
        features: Features,
    ) -> Path:
        """Write the model folder (first process only)."""
        path, config = self.folder / self.config.name, self.config
        if self.fabric.is_global_zero:
            networks: Mapping[str, nn.Module] = {
                "generator": final,
                "inversion": restyle,
                "motion_encoder": motion.encoder,
                "mapper": motion.mapper,
                "control": motion.control,
                "factors": generator.factors,
                **features.networks(),
            }
            about = {"name": config.name, "system": "latent", "framing": config.framing, "licence": config.licence}
            about |= {"description": config.description, "refinement": to_dict(config.refinement)}
            save_networks(path, networks, about)
            if config.shifts is not None:
                more = {} if config.second_reading is None else {"second_reading": to_dict(config.second_reading)}
                add_shifts(path, path, self.ahead.mesh, config.shifts, more)
        self.fabric.barrier()
        return path


def wanted_sets(config: RecipeConfig, resolution: int, count: int | None, partners: int) -> tuple[Wanted, Wanted]:
    """The first `count` training portraits, all by default, and the held-out ones."""
    data = config.data
    train = Wanted(folder="portraits", count=count or data.portraits, resolution=resolution, partners=partners)
    partners = config.motion.partners
    return train, Wanted(folder="held-out", count=data.test_portraits, resolution=resolution, partners=partners)


def wanted_portraits(config: RecipeConfig) -> list[Wanted]:
    """Every set that the recipe asks for, in that order."""
    growth, motion = config.generator.growth, config.motion
    sizes = [(resolution, one.portraits, 0) for resolution, one in growth.items()]
    if config.sharpen is not None:
        sizes.append((max(growth), config.sharpen.portraits, 0))
    sizes += [(max(growth), motion.portraits, motion.partners), (max(growth), None, 0)]
    return [wanted for size in sizes for wanted in wanted_sets(config, *size)[::-1]]


def starting_networks(model: str | Path) -> dict[str, Any]:
    """The networks of a model of this recipe.

    Raises:
        ConfigError: a model without the mapping from factors, which the later stages need.
    """
    networks = load_networks(model)
    if "factors" not in networks:
        raise ConfigError(f"--init-from: model {model} has no network `factors`, so its generator cannot be trained on")
    return {name: network.requires_grad_(True) for name, network in networks.items()}
