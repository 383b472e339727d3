"""The recipe of a smaller model: generator and inversion of a model at a lower resolution, taught by the model itself.

model -> the blocks and heads that the lower resolution has -> trained to draw and invert as the whole one does

Nothing but the model is needed: pictures and latents are its own. What tries ideas cheaply starts here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    ReStyleEncoder,
    StyleEncoder,
    StyleGAN2Generator,
    load_networks,
    save_networks,
)
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.models.restyle import face_pool
from latent_reenact.models.stylegan2 import SynthesisNetwork
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses.pictures import psnr
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage
from latent_reenact.training.stages.paired import sheet
from latent_reenact.weights import ModelFolder, resolve

_HELD_OUT = 64  # pictures


@dataclass(frozen=True, kw_only=True)
class SmallerStageConfig:
    """One of the two stages."""

    loop: LoopConfig
    optimizer: OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class SmallerConfig:
    """Everything that makes a smaller model."""

    recipe: Literal["smaller"] = "smaller"
    name: str
    folder: str
    model: str  # name or folder of a model with `generator` and `inversion`
    resolution: int
    generator: SmallerStageConfig
    inversion: SmallerStageConfig
    layer_spread: float = 0.3  # how far a code's layers lie from their common w, in units of w's deviation
    run: RunConfig = field(default_factory=RunConfig)
    description: str = ""


class Codes:
    """w_plus as inversions of the model's own people have them: a common w, and each layer a little off."""

    def __init__(self, generator: StyleGAN2Generator, layer_spread: float) -> None:
        self.generator, self.share = generator, layer_spread
        w = self._w(torch.Generator().manual_seed(0), 4096)
        self.spread = float((w - w.mean(0)).square().mean().sqrt())

    def draw(self, random: torch.Generator, batch: int, device: torch.device) -> Tensor:
        """[B, L, D]."""
        w = self._w(random, batch)
        noise = torch.randn(batch, self.generator.config.n_styles, w.shape[1], generator=random)
        return w[:, None].to(device) + (self.share * self.spread * noise).to(device)

    @torch.no_grad()
    def _w(self, random: torch.Generator, count: int) -> Tensor:
        z = torch.randn(count, self.generator.config.z_dim, generator=random)
        return self.generator.mapping(z.to(self.generator.mapping.w_avg.device)).float().cpu()


class SmallerSynthesis(Stage):
    """The lower blocks learn to draw the whole generator's picture, averaged down."""

    def __init__(self, config: SmallerStageConfig, teacher: StyleGAN2Generator, resolution: int, codes: Codes) -> None:
        self.teacher, self.codes = teacher, codes
        self.sizes = replace(teacher.config, resolution=resolution)
        self.module = channels_last(SynthesisNetwork(self.sizes))
        take_over(self.module, teacher.synthesis.state_dict())
        self.optimizers = {"": config.optimizer}

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.teacher.to(setup.device)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        w_plus = self.codes.draw(random, batch, self.setup.device)
        drawn, truth = self._both(self.module, w_plus)
        return pyramid_loss(drawn, truth, torch.ones_like(truth[:, :1])), {}

    def evaluate(self, average: nn.Module) -> Measures:
        w_plus = self.codes.draw(torch.Generator().manual_seed(1), _HELD_OUT, self.setup.device)
        drawn, truth = self._both(average, w_plus)
        return Measures(scalars={"psnr_db": psnr(drawn, truth)}, pictures={"sheet": sheet([truth[:12], drawn[:12]])})

    def _both(self, synthesis: nn.Module, w_plus: Tensor) -> tuple[Tensor, Tensor]:
        """The smaller picture, and the whole one at its size."""
        with self.setup.autocast():
            drawn = synthesis(w_plus[:, : self.sizes.n_styles]).float()
            with torch.no_grad():
                truth = self.teacher.synthesis(w_plus).float()
        return drawn, face_pool(truth, self.sizes.resolution)


class SmallerInversion(Stage):
    """The encoder learns to find the codes of the smaller generator's pictures, step by step as ReStyle does."""

    def __init__(self, config: SmallerStageConfig, whole: ReStyleEncoder, generator: StyleGAN2Generator, codes: Codes):
        sizes = replace(whole.encoder.config, n_styles=generator.config.n_styles)
        self.module = channels_last(StyleEncoder(sizes))
        take_over(self.module, whole.encoder.state_dict())
        self.restyle = ReStyleEncoder(self.module, generator, steps=whole.steps)  # type: ignore[arg-type]
        self.restyle.latent_avg.copy_(whole.latent_avg[: generator.config.n_styles])
        self.codes, self.optimizers = codes, {"": config.optimizer}

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.restyle.to(setup.device)
        self.restyle.generator.to(setup.device)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        w_plus, pictures = self._samples(random, batch)
        steps = 1 + int(torch.randint(self.restyle.steps, (), generator=random))
        with self.setup.autocast():
            with torch.no_grad():
                before = self.restyle.trajectory(pictures, steps - 1)
            start = before[-1].float() if before else self.restyle.latent_avg.expand(batch, -1, -1)
            with torch.no_grad():
                estimate = face_pool(self.restyle.generator.synthesis(start), self.restyle.input_size)
            found = self.restyle.step(face_pool(pictures, self.restyle.input_size), estimate, start).float()
            drawn = self.restyle.generator.synthesis(found).float()
        distance = self._distance(found, w_plus)
        picture = pyramid_loss(drawn, pictures, torch.ones_like(pictures[:, :1]))
        return distance + picture, {"w": distance, "picture": picture}

    def evaluate(self, average: nn.Module) -> Measures:
        w_plus, pictures = self._samples(torch.Generator().manual_seed(1), _HELD_OUT)
        restyle = self.inversion(average)
        was_training = average.training
        average.eval()
        with self.setup.autocast():
            found = restyle.trajectory(pictures)[-1].float()
            drawn = restyle.generator.synthesis(found).float()
        average.train(was_training)
        scalars = {"psnr_db": psnr(drawn, pictures), "w": float(self._distance(found, w_plus))}
        return Measures(scalars=scalars, pictures={"sheet": sheet([pictures[:12], drawn[:12]])})

    def inversion(self, encoder: nn.Module) -> ReStyleEncoder:
        """The whole inversion around trained weights."""
        made = ReStyleEncoder(encoder, self.restyle.generator, steps=self.restyle.steps)  # type: ignore[arg-type]
        made.latent_avg.copy_(self.restyle.latent_avg)
        return made.to(self.restyle.latent_avg.device)

    @torch.no_grad()
    def _samples(self, random: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        """(w_plus [B, L, D], their pictures [B, 3, R, R])."""
        generator = self.restyle.generator
        w_plus = self.codes.draw(random, batch, self.setup.device)[:, : generator.config.n_styles]
        with self.setup.autocast():
            return w_plus, generator.synthesis(w_plus).float()

    def _distance(self, found: Tensor, w_plus: Tensor) -> Tensor:
        return ((found - w_plus) / self.codes.spread).square().mean()


def take_over(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Fill a network with the tensors of a larger one of its kind, which must have all of its own."""
    own = network.state_dict()
    network.load_state_dict({name: state[name] for name in own})


def train_smaller(config: SmallerConfig) -> Path:
    """Run or continue the recipe and return the finished model folder.

    Raises:
        ConfigError: a model without generator and inversion, or of no higher resolution.
        WeightsNotFoundError, CorruptFileError, InterruptedRunError.
    """
    fabric = config.run.launch()
    torch.set_num_threads(1)
    networks: dict[str, Any] = load_networks(config.model)
    teacher, whole = networks.get("generator"), networks.get("inversion")
    if not (isinstance(teacher, StyleGAN2Generator) and isinstance(whole, ReStyleEncoder)):
        raise ConfigError(f"model: {config.model} has {', '.join(networks)}; expected a generator and its inversion")
    if not 8 <= config.resolution < teacher.config.resolution:
        raise ConfigError(f"resolution: got {config.resolution}, expected 8 to {teacher.config.resolution // 2}")
    codes, folder = Codes(teacher, config.layer_spread), Path(config.folder)
    drawing = SmallerSynthesis(config.generator, teacher, config.resolution, codes)
    synthesis = Loop(drawing, config.generator.loop, folder / "generator", fabric).run()
    generator = StyleGAN2Generator(drawing.sizes)
    generator.synthesis.load_state_dict(synthesis.state_dict())
    generator.mapping.load_state_dict(teacher.mapping.state_dict())
    inverting = SmallerInversion(config.inversion, whole, generator.eval().requires_grad_(False), codes)
    encoder = Loop(inverting, config.inversion.loop, folder / "inversion", fabric).run()
    path, source = folder / config.name, ModelFolder(resolve(config.model))
    if fabric.is_global_zero:
        about = {"name": config.name, "licence": source.config["licence"], "description": config.description}
        about |= {"framing": source.config.get("framing", 1.0)}
        save_networks(path, {"generator": generator, "inversion": inverting.inversion(encoder.eval())}, about)
    fabric.barrier()
    return path
