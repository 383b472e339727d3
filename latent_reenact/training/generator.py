"""The generator's paired stage: factors of a synthetic portrait -> its picture, grown from 16² up.

The factors' conditioning vector stands where z stands in StyleGAN2; `mapping_skip` keeps every factor
linearly readable in w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latent_reenact.media import Provenance, write_image
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator
from latent_reenact.synthface import eye_mouth_mask
from latent_reenact.training.data import PortraitSet, Standardizer, load_shards
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses import psnr, pyramid_loss


@dataclass(frozen=True, kw_only=True)
class PairedConfig:
    """The paired stage."""

    generator: GeneratorConfig
    growth: dict[int, LoopConfig]  # resolution -> its loop, in order
    eye_mouth_weight: float = 3.0  # added to the loss weight round eyes and mouth
    training_limit: int | None = None  # portraits


def eye_mouth_weight(landmarks: Tensor, resolution: int, extra: float) -> Tensor:
    """Loss weight 1 + extra inside soft boxes round the eyes and the mouth, mean 1.

    landmarks [B, 68, 2] in pixels -> [B, 1, R, R].
    """
    inside = torch.from_numpy(eye_mouth_mask(landmarks.numpy(), resolution))  # [B, R, R]
    weight = 1 + extra * inside[:, None]
    return weight / weight.mean()


class PairedStage:
    """One resolution of the paired stage."""

    def __init__(
        self, module: StyleGAN2Generator, train: PortraitSet, test: PortraitSet, inputs: Standardizer, extra: float
    ) -> None:
        self.module, self.train, self.test, self.inputs, self.extra = module, train, test, inputs, extra

    def loss(self, generator: torch.Generator, batch: int) -> tuple[Tensor, dict[str, float]]:
        index = torch.randint(len(self.train), (batch,), generator=generator)
        truth = self.train.pictures(index)
        weight = eye_mouth_weight(self.train.landmarks[index], self.train.resolution, self.extra)
        image = draw(self.module, self.inputs(self.train.conditioning[index]))
        return pyramid_loss(image, truth, weight), {}

    @torch.no_grad()
    def evaluate(self, average: StyleGAN2Generator, folder: Path) -> dict[str, float]:
        index = torch.arange(min(256, len(self.test)))
        truth = self.test.pictures(index)
        image = torch.cat([draw(average, part) for part in self.inputs(self.test.conditioning[index]).split(64)])
        mask = (eye_mouth_weight(self.test.landmarks[index], self.test.resolution, 9.0) > 1).float()
        save_sheet([truth[:12], image[:12]], folder / "sheet.png")
        return {"psnr_db": psnr(image, truth), "eye_mouth_psnr_db": psnr(image, truth, mask)}


def draw(generator: StyleGAN2Generator, z: Tensor) -> Tensor:
    """z [B, K] -> image [B, 3, R, R] float32, convolutions in bf16; the mapping stays in float32."""
    w_plus = generator.broadcast(generator.mapping(z))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return generator.synthesis(w_plus, noise_mode="none").float()


def train_generator(
    config: PairedConfig, train_shards: Sequence[Path], test_shards: Sequence[Path], folder: Path
) -> tuple[StyleGAN2Generator, Standardizer]:
    """Grow the generator through `config.growth`; each resolution resumes where it stopped."""
    state: dict[str, Tensor] = {}
    module = inputs = None
    for resolution, loop_config in config.growth.items():
        train = load_shards(train_shards, resolution, config.training_limit)
        test = load_shards(test_shards, resolution)
        inputs = inputs or Standardizer.fit(train.conditioning)
        module = grown(replace(config.generator, resolution=resolution, z_dim=inputs.size), state)
        stage = PairedStage(module, train, test, inputs, config.eye_mouth_weight)
        state = Loop(stage, loop_config, folder / f"{resolution}").run().state_dict()
    if module is None or inputs is None:
        raise ValueError("growth: got no resolution, expected at least one")
    module.load_state_dict(state)
    return module, inputs


def grown(config: GeneratorConfig, state: dict[str, Tensor]) -> StyleGAN2Generator:
    """A generator that starts from a smaller one's weights; the new skip to RGB starts at zero."""
    torch.manual_seed(config.resolution)
    module = channels_last(StyleGAN2Generator(config))
    if state:
        module.load_state_dict(state, strict=False)
        last = len(config.resolutions) - 1
        nn.init.zeros_(module.synthesis.get_parameter(f"blocks.{last}.to_rgb.conv.weight"))
    for name, parameter in module.named_parameters():
        if name.endswith("noise_strength"):
            parameter.requires_grad_(False)  # the portraits are exact: there is nothing random to draw
    return module


def save_sheet(rows: Sequence[Tensor], path: Path, scale: int = 2) -> None:
    """Rows of pictures [N, 3, R, R] in [-1, 1] as one PNG."""
    strips = [np.concatenate(list(to_pixels(row)), axis=1) for row in rows]
    sheet = np.concatenate(strips, axis=0).repeat(scale, 0).repeat(scale, 1)
    write_image(path, sheet, marks=Provenance(operation="training"))
