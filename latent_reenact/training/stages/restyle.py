"""The ReStyle encoder trained as published, on pictures alone: no latent of any picture needs to be known.

    w_{t+1} = w_t + E(x, G(w_t)),  w_0 = the average latent,  N steps   (arXiv 2104.02699, section 3)

pSp's losses (2008.00951) after each step; over e4e (2102.02766) also the delta regularisation, offsets that come one
by one, and a latent discriminator. One step and a picture alone for an input is pSp's and e4e's own training.

Legend: B batch, L = n_styles, D = w_dim, S side of the encoder's pictures, R of the source's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.encoders import EncoderConfig, StyleEncoder
from latent_reenact.models.latent_discriminator import LatentDiscriminator, LatentDiscriminatorConfig, LatentPool
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.restyle import ReStyleEncoder, face_pool
from latent_reenact.models.stylegan2 import StyleGAN2Generator
from latent_reenact.training.losses.adversarial import discriminator_loss, generator_loss
from latent_reenact.training.losses.inversion import (
    InversionLoss,
    InversionWeights,
    latent_r1_penalty,
    progressive_stage,
    sum_of_separate,
)
from latent_reenact.training.losses.pictures import psnr
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.stage import Measures, Phase, Scalars, Setup, Stage

ADAM = OptimizerConfig(kind="adam", lr=2e-5, betas=(0.9, 0.999))
RANGER = OptimizerConfig(kind="ranger", lr=1e-4, betas=(0.95, 0.999), eps=1e-5)
SHEET_PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig:
    """e4e's latent discriminator in training. The defaults are those of its authors."""

    weight: float = 0.1  # of the adversarial term in the encoder's loss
    discriminator: LatentDiscriminatorConfig = field(default_factory=LatentDiscriminatorConfig)
    optimizer: OptimizerConfig = ADAM
    r1_gamma: float = 10.0
    r1_every: int = 16  # steps (lazy regularisation)

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.r1_gamma < 0 or self.r1_every < 1:
            raise ConfigError(
                f"adversary: got weight {self.weight}, r1_gamma {self.r1_gamma}, r1_every {self.r1_every}; "
                "expected more than 0, at least 0 and at least 1; for no adversary leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class ReStyleConfig:
    """The stage. The defaults are ReStyle's over pSp for faces at 1024²."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    steps: int = 5
    weights: InversionWeights = field(default_factory=InversionWeights)
    optimizer: OptimizerConfig = RANGER
    adversary: AdversaryConfig | None = None
    progressive_start: int = 20_000  # steps before the second style of a progressive encoder gets its offset
    progressive_every: int = 2_000  # steps from one more style to the next
    flip: bool = True  # half of the pictures left to right

    def __post_init__(self) -> None:
        if self.steps < 1 or self.progressive_start < 0 or self.progressive_every < 1:
            raise ConfigError(
                f"steps {self.steps}, progressive_start {self.progressive_start}, progressive_every "
                f"{self.progressive_every}: expected at least 1, 0 and 1"
            )
        if self.encoder.input_channels == 3 and self.steps > 1:
            raise ConfigError(
                f"steps: got {self.steps} for an encoder of 3 channels, which cannot see the estimate; "
                "expected 1, or 6 input_channels"
            )


class PictureSource(Protocol):
    """Where pictures come from: random ones of a set in memory, or the next ones of a stream."""

    def start(self, setup: Setup) -> None:
        """Called before the first step and after a resume."""

    def pictures(self, random: torch.Generator, batch: int) -> Tensor:
        """[B, 3, R, R] in [-1, 1], on any device."""

    def names(self) -> Sequence[str]:
        """Of the samples of the last batch."""

    def counters(self) -> Mapping[str, int]:
        """Such as unreadable samples."""


class ReStyleNetworks(nn.Module):
    """What is trained: the encoder, and e4e's adversary where there is one."""

    def __init__(self, config: ReStyleConfig) -> None:
        super().__init__()
        encoder, adversary = config.encoder, config.adversary
        self.encoder = channels_last(StyleEncoder(encoder))
        for head in self.encoder.styles:  # begin at the average latent; offsets whose turn has not come stay 0
            nn.init.zeros_(head.get_parameter("linear.weight"))
        if adversary is not None:
            self.discriminator = LatentDiscriminator(adversary.discriminator)
            self.pool = LatentPool(adversary.discriminator.pool, encoder.n_styles, encoder.w_dim)


class ReStyleStage(Stage):
    """Trains the encoder round a frozen generator.

    Each of the N steps is one pass of the encoder and one of the generator, whose picture is both what the step is
    judged by and what the next step sees. Latents and pictures are detached from one step to the next, so each
    step's loss is differentiated alone and its graph freed: memory is that of one step (see `sum_of_separate`).

    Args:
        generator: is frozen here.
        average: [D] or [L, D], where all pictures start: the mean w.
        losses: with networks in its slots; frozen here where they are modules.
        train: where pictures come from.
        held_out: pictures for `evaluate`, [N, 3, H, W] in [-1, 1].

    Raises:
        ConfigError: encoder, discriminator and generator do not fit together.
    """

    module: ReStyleNetworks

    def __init__(
        self,
        config: ReStyleConfig,
        generator: StyleGAN2Generator,
        average: Tensor,
        losses: InversionLoss,
        train: PictureSource,
        held_out: Tensor,
    ) -> None:
        check_sizes(config, generator)
        self.config, self.generator, self.losses, self.train, self.held_out = config, generator, losses, train, held_out
        self.average = average.detach().expand(config.encoder.n_styles, -1)  # [L, D]
        self.module = ReStyleNetworks(config)
        self.optimizers = {"encoder.": config.optimizer}
        self.phases = [Phase(trains="encoder.")]
        if config.adversary is not None:
            self.optimizers["discriminator."] = config.adversary.optimizer
            self.phases.append(Phase(name="discriminator", trains="discriminator."))
        if config.adversary is not None and config.adversary.r1_gamma > 0:
            self.phases.append(Phase(name="r1", trains="discriminator.", every=config.adversary.r1_every))
        self._fresh: list[Tensor] = []  # codes of this step for the discriminator, [B, L, D]

    @property
    def averaged(self) -> StyleEncoder:
        return self.module.encoder

    @torch.no_grad()
    def start(self, setup: Setup) -> None:
        super().start(setup)
        for network in (self.generator, self.losses.perceptual, self.losses.embedder):
            if isinstance(network, nn.Module):
                network.to(setup.device).eval().requires_grad_(False)
        self.average = self.average.to(setup.device)
        self.average_picture = self._draw(self.average[None])  # [1, 3, S, S]
        self.train.start(setup)
        self._set_progress(setup.step)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        if phase == "discriminator":
            return self._discriminator_loss(random), {}
        if phase == "r1":
            return self._r1_loss(random, batch), {}
        return self._encoder_loss(random, batch)

    def refine(self, encoder: nn.Module, truth: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(w_plus [B, L, D], its picture [B, 3, S, S]) after each step; gradients reach one step back.

        truth [B, 3, S, S].
        """
        w_plus = self.average.expand(len(truth), -1, -1)
        estimate = self.average_picture.expand(len(truth), -1, -1, -1)
        for _ in range(self.config.steps):
            seen = torch.cat([truth, estimate], dim=1) if self.config.encoder.input_channels > 3 else truth
            with self.setup.autocast():
                residual = encoder(seen.contiguous(memory_format=torch.channels_last))
            w_plus = w_plus + residual.float()
            picture = self._draw(w_plus)
            yield w_plus, picture
            w_plus, estimate = w_plus.detach(), picture.detach()

    def finish_step(self, step: int) -> None:
        if self._fresh:
            fresh = self._of_all_ranks(torch.cat(self._fresh))
            self.module.pool.push(fresh, torch.Generator().manual_seed(step))  # the same on every rank
            self._fresh = []
        self._set_progress(step + 1)

    def sample_names(self) -> Sequence[str]:
        return self.train.names()

    def counters(self) -> Mapping[str, int]:
        return self.train.counters()

    @torch.no_grad()
    def evaluate(self, average: StyleEncoder) -> Measures:
        """Of the held-out pictures after each step t = 1 ... N: loss_t, its terms, psnr_db_t, similarity_t (cosine).

        The score is minus the pictures' part of the loss after the last step.
        """
        was_training = average.training
        average.eval()
        average.progressive_stage = self.module.encoder.progressive_stage
        sums: dict[str, float] = {}
        rows: list[Tensor] = []
        for part in self.held_out.split(self.setup.batch):
            truth = face_pool(part.to(self.setup.device), self.config.encoder.input_size)
            pictures = [picture for _, picture in self.refine(average, truth)]
            for name, value in self._measures(pictures, truth).items():
                sums[name] = sums.get(name, 0.0) + value * len(part) / len(self.held_out)
            rows.append(torch.stack([truth, *pictures]))  # [1 + N, B, 3, S, S]
        average.train(was_training)
        columns = torch.cat(rows, dim=1)[:, :SHEET_PICTURES]
        return Measures(scalars=sums, pictures={"inversion": sheet(columns)}, score=-sums[f"loss_{self.config.steps}"])

    def restyle(self, encoder: StyleEncoder) -> ReStyleEncoder:
        """The whole inversion round trained weights."""
        module = ReStyleEncoder(encoder, self.generator, steps=self.config.steps)
        module.latent_avg.copy_(self.average)
        return module

    def _encoder_loss(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        truth = self._truth(random, batch)
        reference = self.losses.reference(truth)
        codes: list[Tensor] = []
        scalars: dict[str, Tensor] = {}

        def steps() -> Iterator[Tensor]:
            for t, (w_plus, picture) in enumerate(self.refine(self.module.encoder, truth), 1):
                picture_loss, picture_terms = self.losses.pictures(picture, truth, reference)
                latent_loss, latent_terms = self.losses.latents(w_plus, self.average)
                loss = picture_loss + latent_loss + self._adversarial_loss(w_plus)
                codes.append(w_plus.detach())
                scalars.update({f"step_{t}": loss.detach()})
                scalars.update({name: term.detach() for name, term in (picture_terms | latent_terms).items()})
                yield loss

        total = sum_of_separate(steps(), [p for p in self.module.encoder.parameters() if p.requires_grad])
        if self.config.adversary is not None:  # of each picture the code after one step, so that all steps are judged
            at = torch.randint(self.config.steps, (batch,), generator=random).to(truth.device)
            self._fresh.append(torch.stack(codes)[at, torch.arange(batch, device=truth.device)])
        return total, scalars

    def _adversarial_loss(self, w_plus: Tensor) -> Tensor | float:
        if self.config.adversary is None:
            return 0.0
        return self.config.adversary.weight * generator_loss(self.module.discriminator(self._judged(w_plus)))

    def _discriminator_loss(self, random: torch.Generator) -> Tensor:
        fake = self.module.pool.mix(torch.cat(self._fresh), random)
        real = self._real(random, len(fake))
        discriminator = self.module.discriminator
        return discriminator_loss(discriminator(real), discriminator(self._judged(fake)))

    def _r1_loss(self, random: torch.Generator, batch: int) -> Tensor:
        """(gamma / 2) · R1, times the steps that it stands for."""
        adversary = self.config.adversary
        assert adversary is not None
        real = self._real(random, batch).requires_grad_(True)
        penalty = latent_r1_penalty(self.module.discriminator(real), real)
        return adversary.r1_gamma / 2 * adversary.r1_every * penalty

    @torch.no_grad()
    def _real(self, random: torch.Generator, batch: int) -> Tensor:
        """Codes [B, D] of the mapping network."""
        z = torch.randn(batch, self.generator.config.z_dim, generator=random)
        return self.generator.mapping(z.to(self.setup.device))

    def _judged(self, w_plus: Tensor) -> Tensor:
        """The styles that the discriminator looks at: those that differ from the first, and the first."""
        return w_plus[:, : self.module.encoder.progressive_stage + 1]

    def _truth(self, random: torch.Generator, batch: int) -> Tensor:
        pictures = self.train.pictures(random, batch).to(self.setup.device, torch.float32)
        if self.config.flip:
            flipped = (torch.rand(batch, generator=random) < 0.5).to(pictures.device)
            pictures = torch.where(flipped[:, None, None, None], pictures.flip(3), pictures)
        return face_pool(pictures, self.config.encoder.input_size)  # [B, 3, S, S]

    def _draw(self, w_plus: Tensor) -> Tensor:
        """w_plus [B, L, D] -> picture [B, 3, S, S] float32, the noise constant."""
        with self.setup.autocast():
            picture = self.generator.synthesis(w_plus)
        return face_pool(picture.float(), self.config.encoder.input_size)

    def _measures(self, pictures: Sequence[Tensor], truth: Tensor) -> dict[str, float]:
        reference = self.losses.reference(truth)
        measures: dict[str, float] = {}
        for t, picture in enumerate(pictures, 1):
            loss, terms = self.losses.pictures(picture, truth, reference)
            measures |= {f"loss_{t}": float(loss), f"psnr_db_{t}": psnr(picture, truth)}
            measures |= {f"{name}_{t}": float(term) for name, term in terms.items() if name != "identity"}
            if "identity" in terms:
                measures[f"similarity_{t}"] = 1 - float(terms["identity"])
        return measures

    def _set_progress(self, step: int) -> None:
        """How many offsets the encoder has after `step` steps."""
        config = self.config
        if config.encoder.is_progressive:
            self.module.encoder.progressive_stage = progressive_stage(
                step, config.encoder.n_styles, start=config.progressive_start, every=config.progressive_every
            )

    def _of_all_ranks(self, codes: Tensor) -> Tensor:
        if self.setup.world_size == 1:
            return codes
        parts = [torch.empty_like(codes) for _ in range(self.setup.world_size)]
        torch.distributed.all_gather(parts, codes.contiguous())
        return torch.cat(parts)


def check_sizes(config: ReStyleConfig, generator: StyleGAN2Generator) -> None:
    """Raise ConfigError where encoder, discriminator and generator do not speak of the same w_plus."""
    got = (config.encoder.n_styles, config.encoder.w_dim)
    expected = (generator.config.n_styles, generator.config.w_dim)
    if got != expected:
        raise ConfigError(f"encoder: got n_styles, w_dim = {got}, expected the generator's {expected}")
    if config.adversary is not None and config.adversary.discriminator.w_dim != expected[1]:
        raise ConfigError(
            f"discriminator: got w_dim {config.adversary.discriminator.w_dim}, expected the generator's {expected[1]}"
        )


def sheet(rows: Tensor) -> np.ndarray:
    """rows [T, B, 3, S, S] in [-1, 1] -> one picture uint8 [T * S, B * S, 3]."""
    return np.concatenate([np.concatenate(list(to_pixels(row)), axis=1) for row in rows], axis=0)
