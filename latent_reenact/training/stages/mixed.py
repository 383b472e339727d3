"""Paired regression and adversarial training together: the factors' picture, and sharp.

The generator draws portraits from their factors as in `stages.paired`; that loss keeps every factor where it is. The
discriminator judges the same drawings beside the renders that they should equal, so that what an average of many
portraits would blur gets sharp.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_reenact.errors import ConfigError
from latent_reenact.models import FactorGenerator
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.models.stylegan2 import NoiseMode
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Measures, Scalars
from latent_reenact.training.stages import paired
from latent_reenact.training.stages.game import Drawn, Game, GameConfig, laplacian_ratio


@dataclass(frozen=True, kw_only=True)
class MixedConfig(GameConfig):
    """Both terms. Path lengths are off: w has its meaning from the factors."""

    path_weight: float = 0.0
    noise_mode: NoiseMode = "const"
    regression_weight: float = 1.0
    eye_mouth_weight: float = 3.0  # added to the regression's weight round eyes and mouth
    portraits: int | None = None  # the first so many; all by default

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("regression_weight", "eye_mouth_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected 0 or more")


class MixedStage(Game):
    """Goes on from a generator of the paired stage.

    Args:
        generator: trained on factors; its noise strengths become trainable unless `noise_mode` is "none".
        train, test: portraits at its resolution.
    """

    config: MixedConfig

    def __init__(self, config: MixedConfig, generator: FactorGenerator, train: PortraitSet, test: PortraitSet) -> None:
        super().__init__(config, generator)
        self.train, self.test = train, test
        self.rows: list[int] = []

    def sample_names(self) -> list[str]:
        return [f"portrait {row}" for row in self.rows]

    def draw(self, random: torch.Generator, batch: int, *, mixed_precision: bool = True) -> Drawn:
        rows = torch.randint(len(self.train), (batch,), generator=random)
        self.rows = rows.tolist()
        generator: FactorGenerator = self.module.generator  # type: ignore[assignment]
        w_plus = generator.broadcast(generator.factors(self.train.conditioning[rows].to(self.setup.device)))
        return Drawn(self.synthesize(w_plus, random, mixed_precision), w_plus, rows)

    def real(self, random: torch.Generator, batch: int, drawn: Drawn) -> Tensor:
        assert drawn.rows is not None
        return self.train.pictures(drawn.rows).to(self.setup.device)

    def generator_phase(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        drawn = self.draw(random, batch)
        adversarial, scalars = self.fooling(random, drawn)
        landmarks = self.train.landmarks[drawn.rows].to(self.setup.device)
        weight = paired.eye_mouth_weight(landmarks, self.train.resolution, self.config.eye_mouth_weight)
        regression = pyramid_loss(drawn.images, self.real(random, batch, drawn), weight)
        scalars["regression"] = regression.detach()
        return adversarial + self.config.regression_weight * regression, scalars

    @torch.no_grad()
    def evaluate(self, average: FactorGenerator) -> Measures:
        """The paired stage's measures, and how much fine detail the drawings have beside the renders."""
        measures = paired.paired_measures(average, self.test, self.setup)
        rows = torch.arange(min(64, len(self.test)))
        conditioning = self.test.conditioning[rows].to(self.setup.device)
        images = torch.cat([paired.draw(average, part, self.setup) for part in conditioning.split(16)])
        scalars = {**measures.scalars, "laplacian_ratio": laplacian_ratio(images, self.test.pictures(rows))}
        return Measures(scalars=scalars, pictures=measures.pictures)
