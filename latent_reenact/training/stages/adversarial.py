"""StyleGAN2's generator from noise and a data set: the published recipe (arXiv 1912.04958, 2006.06676).

Legend: B batch, L style inputs, D their width, R resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator
from latent_reenact.training.stage import Measures, Scalars, Setup
from latent_reenact.training.stages.game import Drawn, Game, GameConfig, approach, check_share, laplacian_ratio
from latent_reenact.training.stages.paired import sheet
from latent_reenact.training.stages.restyle import PictureSource

EVALUATED = 64  # pictures


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(GameConfig):
    """The generator from noise."""

    generator: GeneratorConfig
    mixing: float = 0.9  # probability that a picture takes its styles from two z (StyleGAN, section 3.1)
    w_average_decay: float = 0.995  # of the mean w, for truncation

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("mixing", self.mixing)
        check_share("w_average_decay", self.w_average_decay)


class AdversarialStage(Game):
    """z ~ N(0, I) -> pictures that pass for those of a data set.

    Args:
        train: real pictures; asked once for each micro-step of the discriminator, and nowhere else.
        held_out: other real ones [N, 3, R, R] in [-1, 1], for `evaluate`; without them it makes sheets only.
    """

    config: AdversarialConfig

    def __init__(self, config: AdversarialConfig, train: PictureSource, held_out: Tensor | None = None) -> None:
        super().__init__(config, StyleGAN2Generator(config.generator))
        self.train, self.held_out = train, held_out

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.train.start(setup)

    def sample_names(self) -> Sequence[str]:
        return self.train.names()

    def counters(self) -> Mapping[str, int]:
        return self.train.counters()

    def draw(self, random: torch.Generator, batch: int, *, mixed_precision: bool = True) -> Drawn:
        w_plus = self._mixed_styles(random, batch)
        return Drawn(self.synthesize(w_plus, random, mixed_precision), w_plus)

    def real(self, random: torch.Generator, batch: int, drawn: Drawn) -> Tensor:
        return self.train.pictures(random, batch).to(self.setup.device)

    def generator_phase(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        drawn = self.draw(random, batch)
        average = self.module.get_buffer("generator.mapping.w_avg")
        approach(average, drawn.w_plus[:, 0], 1 - self.config.w_average_decay)
        return self.fooling(random, drawn)

    def _mixed_styles(self, random: torch.Generator, batch: int) -> Tensor:
        """w_plus [B, L, D] of random z, some with a second one from a random layer on."""
        sizes = self.config.generator
        z = torch.randn(2 * batch, sizes.z_dim, generator=random).to(self.setup.device)
        one, other = self.module.generator.map_to_w_plus(z).chunk(2)  # type: ignore[operator]
        cutoff = torch.randint(1, sizes.n_styles, (batch,), generator=random)
        mixed = torch.rand(batch, generator=random) < self.config.mixing
        cutoff = torch.where(mixed, cutoff, sizes.n_styles)
        first = (torch.arange(sizes.n_styles) < cutoff[:, None]).to(one.device)  # [B, L]
        return torch.where(first[:, :, None], one, other)

    @torch.no_grad()
    def evaluate(self, average: StyleGAN2Generator) -> Measures:
        """A sheet, and how much fine detail the drawings have beside real pictures."""
        random = torch.Generator().manual_seed(0)
        z = torch.randn(EVALUATED, average.config.z_dim, generator=random)
        parts = []
        for part in z.to(self.setup.device).split(16):
            with self.setup.autocast():
                parts.append(average(part).float().cpu())
        images = torch.cat(parts)
        rows = list(images[:36].split(12))
        if self.held_out is None:
            return Measures(pictures={"sheet": sheet(rows, scale=1)})
        scalars = {"laplacian_ratio": laplacian_ratio(images, self.held_out)}
        return Measures(scalars=scalars, pictures={"sheet": sheet([self.held_out[:12], *rows], scale=1)})
