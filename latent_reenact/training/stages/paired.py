"""The generator's paired stage: factors of a synthetic portrait -> its picture, grown from 16² up.

The factors' conditioning vector stands where z stands in StyleGAN2; the mapping's skip keeps every factor linearly
readable in w.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from latent_reenact.models import FactorGenerator, FactorMapping, FactorMappingConfig
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.models.stylegan2 import GeneratorConfig, SynthesisNetwork
from latent_reenact.synthface.landmarks import EYE_MOUTH_BOXES
from latent_reenact.training.checkpoints import Checkpoints
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses.pictures import psnr
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage


@dataclass(frozen=True, kw_only=True)
class GrowthConfig:
    """One resolution of the growth."""

    loop: LoopConfig
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(kind="muon", lr=8e-3))
    portraits: int | None = None  # the first so many; small pictures need fewer, which are there sooner


@dataclass(frozen=True, kw_only=True)
class PairedConfig:
    """The paired stage."""

    generator: GeneratorConfig
    growth: dict[int, GrowthConfig]  # resolution -> how it is trained, in order
    eye_mouth_weight: float = 3.0  # added to the loss weight round eyes and mouth
    factor_layers: int = 4


def eye_mouth_weight(landmarks: Tensor, resolution: int, extra: float) -> Tensor:
    """Loss weight 1 + extra inside soft boxes round the eyes and the mouth, mean 1.

    landmarks [B, 68, 2] in pixels -> [B, 1, R, R].
    """
    weight = 1 + extra * eye_mouth_mask(landmarks, resolution)[:, None]
    return weight / weight.mean()


def eye_mouth_mask(landmarks: Tensor, size: int) -> Tensor:
    """`synthface.eye_mouth_mask` where the losses are computed: [B, 68, 2] in pixels -> [B, size, size] in 0 .. 1."""
    centres = torch.arange(size, device=landmarks.device) + 0.5
    masks = []
    for first, last, across, down in EYE_MOUTH_BOXES:
        low, high = landmarks[:, first:last].amin(1), landmarks[:, first:last].amax(1)  # [B, 2]
        centre, half = (low + high) / 2, (high - low) / 2
        width = half[:, :1] * (1 + across) + 0.5
        height = torch.maximum(half[:, 1:] * (1 + down), half[:, :1] * 0.45) + 0.5
        dx, dy = (centres - centre[:, :1]).abs() / width, (centres - centre[:, 1:]).abs() / height  # [B, size]
        distance = torch.maximum(dx[:, None, :], dy[:, :, None])
        masks.append(((1.5 - distance) * 2).clamp(0, 1))
    return torch.stack(masks).amax(0)


class PairedStage(Stage):
    """One resolution of the paired stage."""

    def __init__(
        self,
        generator: FactorGenerator,
        train: PortraitSet,
        test: PortraitSet,
        optimizer: OptimizerConfig,
        extra: float = 3.0,
    ) -> None:
        self.module, self.train, self.test, self.extra = generator, train, test, extra
        self.optimizers = {"": optimizer}

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        index = torch.randint(len(self.train), (batch,), generator=random)
        truth = self.train.pictures(index).to(self.setup.device)
        landmarks = self.train.landmarks[index].to(self.setup.device)
        weight = eye_mouth_weight(landmarks, self.train.resolution, self.extra)
        image = draw(self.module, self.train.conditioning[index].to(self.setup.device), self.setup)  # type: ignore[arg-type]
        return pyramid_loss(image, truth, weight), {}

    def evaluate(self, average: FactorGenerator) -> Measures:
        return paired_measures(average, self.test, self.setup)


def draw(generator: FactorGenerator, conditioning: Tensor, setup: Setup) -> Tensor:
    """conditioning [B, K] -> image [B, 3, R, R] float32; the mapping stays in float32, convolutions do not."""
    w_plus = generator.broadcast(generator.factors(conditioning))
    with setup.autocast():
        return generator.synthesis(w_plus, noise_mode="const").float()


@torch.no_grad()
def paired_measures(average: FactorGenerator, test: PortraitSet, setup: Setup) -> Measures:
    """PSNR against held-out renders, and a sheet of both."""
    index = torch.arange(min(256, len(test)))
    truth = test.pictures(index)
    parts = test.conditioning[index].to(setup.device).split(64)
    image = torch.cat([draw(average, part, setup) for part in parts]).cpu()
    mask = (eye_mouth_weight(test.landmarks[index], test.resolution, 9.0) > 1).float()
    scalars = {"psnr_db": psnr(image, truth), "eye_mouth_psnr_db": psnr(image, truth, mask)}
    return Measures(scalars=scalars, pictures={"sheet": sheet([truth[:12], image[:12]])})


def train_generator(
    config: PairedConfig,
    load: Callable[[int, int | None], tuple[PortraitSet, PortraitSet]],
    folder: Path,
    fabric: Fabric,
    start: Mapping[str, nn.Module] = MappingProxyType({}),
) -> FactorGenerator:
    """Grow the generator through `config.growth`, going on at the last resolution that was begun.

    load: resolution, count -> training and held-out portraits. start: networks `factors` and `generator` to go on from,
        at the last resolution alone.
    """
    state: dict[str, Tensor] = {}
    generator = None
    growths = list(config.growth.items())
    begun = [i for i, (resolution, _) in enumerate(growths) if Checkpoints(folder / f"{resolution}").paths()]
    first = len(growths) - 1 if start else max(begun, default=0)
    for resolution, growth in growths[first:]:
        train, test = load(resolution, growth.portraits)
        generator = grown(replace(config.generator, resolution=resolution), config.factor_layers, train, state)
        if start:
            generator.factors.load_state_dict(start["factors"].state_dict())
            generator.synthesis.load_state_dict(start["generator"].get_submodule("synthesis").state_dict())
        stage = PairedStage(generator, train, test, growth.optimizer, config.eye_mouth_weight)
        state = Loop(stage, growth.loop, folder / f"{resolution}", fabric).run().state_dict()
    if generator is None:
        raise ValueError("growth: got no resolution, expected at least one")
    generator.load_state_dict(state)
    return generator


def grown(config: GeneratorConfig, layers: int, train: PortraitSet, state: dict[str, Tensor]) -> FactorGenerator:
    """A generator that starts from a smaller one's weights; the new skip to RGB starts at zero."""
    torch.manual_seed(config.resolution)
    sizes = FactorMappingConfig(inputs=train.conditioning.shape[1], w_dim=config.w_dim, layers=layers)
    generator = channels_last(FactorGenerator(FactorMapping(sizes), SynthesisNetwork(config)))
    generator.factors.fit(train.conditioning)
    if state:
        generator.load_state_dict(state, strict=False)
        last = len(config.resolutions) - 1
        nn.init.zeros_(generator.synthesis.get_parameter(f"blocks.{last}.to_rgb.conv.weight"))
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.requires_grad_(False)  # the portraits are exact: there is nothing random to draw
    return generator


def sheet(rows: Sequence[Tensor], scale: int = 2) -> np.ndarray:
    """Rows of pictures [N, 3, R, R] in [-1, 1] as one picture, as wide as the shortest of them."""
    width = min(map(len, rows))
    strips = [np.concatenate(list(to_pixels(row[:width])), axis=1) for row in rows]
    return np.concatenate(strips, axis=0).repeat(scale, 0).repeat(scale, 1)
