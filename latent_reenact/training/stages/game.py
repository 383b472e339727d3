"""The game of generator and discriminator that the adversarial stages share (Karras et al. 2020, arXiv 1912.04958).

Both in turn, each with its lazy regulariser: path lengths and R1. Pictures on their way to the discriminator are
augmented (arXiv 2006.06676).

Legend: B batch, L style inputs, D their width, R resolution.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.metrics import laplacian_energy
from latent_reenact.models.discriminator import Discriminator, DiscriminatorConfig
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.stylegan2 import NoiseMode
from latent_reenact.training.ada import AdaptiveAugmentation, AugmentationConfig, sum_over_ranks
from latent_reenact.training.loop import LoopConfig
from latent_reenact.training.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    lazy_optimizer,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.stage import Phase, Scalars, Setup, Stage

AUGMENTATION = AugmentationConfig()
ADAM = OptimizerConfig(kind="adam", lr=0.002, betas=(0.0, 0.99))  # of both networks, appendix B


@dataclass(frozen=True, kw_only=True)
class GameConfig:
    """What every adversarial stage sets. The defaults are the published ones of config F."""

    discriminator: DiscriminatorConfig
    loop: LoopConfig
    generator_optimizer: OptimizerConfig = ADAM
    discriminator_optimizer: OptimizerConfig = ADAM
    augmentation: AugmentationConfig = AUGMENTATION
    adversarial_weight: float = 1.0  # of the generator's loss
    r1_gamma: float = 10.0  # 0: no such phase
    r1_every: int = 16
    path_weight: float = 2.0  # 0: no such phase
    path_every: int = 4
    path_share: float = 0.5  # of the batch: the phase keeps a second graph in memory
    path_decay: float = 0.01  # of the running mean of path lengths
    noise_mode: NoiseMode = "random"
    crop: int | None = None  # side of the random squares that the discriminator sees; None: whole pictures

    def __post_init__(self) -> None:
        for name in ("r1_every", "path_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected at least 1")
        for name in ("path_share", "path_decay"):
            check_share(name, getattr(self, name))
        for name in ("adversarial_weight", "r1_gamma", "path_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if self.crop is not None and self.crop != self.discriminator.resolution:
            raise ConfigError(f"crop: got {self.crop}, expected the discriminator's {self.discriminator.resolution}")


def check_share(name: str, value: float) -> None:
    """Raise ConfigError unless value lies in 0..1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}: got {value}, expected from 0 to 1")


class AdversarialNetworks(nn.Module):
    """All that is saved: both networks, the control of the augmentation, and the running mean of path lengths."""

    path_mean: Tensor

    def __init__(self, generator: nn.Module, discriminator: Discriminator, ada: AdaptiveAugmentation) -> None:
        super().__init__()
        self.generator, self.discriminator, self.ada = generator, discriminator, ada
        self.register_buffer("path_mean", torch.zeros([]))


@dataclass(frozen=True)
class Drawn:
    """Pictures [B, 3, R, R] in float32, the w_plus [B, L, D] behind them, and the rows of a data set, if of one."""

    images: Tensor
    w_plus: Tensor
    rows: Tensor | None = None


class Game(Stage):
    """The phases that all adversarial stages share. A stage says how pictures are drawn, and which ones are real."""

    module: AdversarialNetworks

    def __init__(self, config: GameConfig, generator: Any) -> None:
        seen = config.crop or generator.config.resolution
        if seen != config.discriminator.resolution or seen > generator.config.resolution:
            raise ConfigError(
                f"discriminator.resolution: got {config.discriminator.resolution}, expected the generator's "
                f"{generator.config.resolution}, or a smaller `crop` of the same size"
            )
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.requires_grad_(config.noise_mode != "none")
        ada = AdaptiveAugmentation(config.augmentation)
        self.config = config
        self.judged: deque[Tensor] = deque(maxlen=1)  # real pictures of the step's discriminator phase, by micro-step
        self.module = channels_last(AdversarialNetworks(generator, Discriminator(config.discriminator), ada))
        self.phases = _phases(config)
        self.optimizers = {
            "generator": _optimizer(config.generator_optimizer, config.path_weight, config.path_every),
            "discriminator": _optimizer(config.discriminator_optimizer, config.r1_gamma, config.r1_every),
        }

    @property
    def averaged(self) -> nn.Module:
        return self.module.generator

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        losses = {
            "generator": self.generator_phase,
            "path_length": self.path_length_phase,
            "discriminator": self.discriminator_phase,
            "r1": self.r1_phase,
        }
        return losses[phase](random, batch)

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.judged = deque(maxlen=setup.accumulate)

    def finish_step(self, step: int) -> None:
        self.module.ada.finish_step(step)

    def draw(self, random: torch.Generator, batch: int, *, mixed_precision: bool = True) -> Drawn:
        """Random pictures with their graph."""
        raise NotImplementedError

    def real(self, random: torch.Generator, batch: int, drawn: Drawn) -> Tensor:
        """Real pictures [B, 3, R, R], on the stage's device; those that `drawn` should equal, where it has rows."""
        raise NotImplementedError

    def generator_phase(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        """Draw, and be judged (see `fooling`)."""
        raise NotImplementedError

    def fooling(self, random: torch.Generator, drawn: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's weighted adversarial loss."""
        logits = self.judge(self.cropped(random, drawn.images)[0], random)
        adversarial = generator_loss(logits)
        scalars = {"adversarial": adversarial.detach(), "logit": logits.detach().mean()}
        return self.config.adversarial_weight * adversarial, scalars

    def path_length_phase(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        """Equation 4, in full precision: it differentiates twice."""
        drawn = self.draw(random, max(1, round(batch * self.config.path_share)), mixed_precision=False)
        lengths = path_lengths(drawn.images, drawn.w_plus, random)
        approach(self.module.path_mean, lengths, self.config.path_decay)
        penalty = path_length_penalty(lengths, self.module.path_mean.clone())
        loss = self.config.path_weight * self.config.path_every * penalty
        return loss, {"penalty": penalty.detach(), "length": lengths.detach().mean()}

    def discriminator_phase(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        with torch.no_grad():
            drawn = self.draw(random, batch)
            drawn_crop, real_crop = self.cropped(random, drawn.images, self.real(random, batch, drawn))
            self.judged.append(real_crop)
        drawn_logits, real_logits = self.judge(drawn_crop, random), self.judge(real_crop, random)
        self.module.ada.observe(real_logits)
        scalars = {
            "drawn_logit": drawn_logits.detach().mean(),
            "real_logit": real_logits.detach().mean(),
            "real_sign": real_logits.detach().flatten(1).mean(1).sign().mean(),
            "augmentation_p": self.module.ada.p.clone(),
        }
        return discriminator_loss(real_logits, drawn_logits), scalars

    def r1_phase(self, random: torch.Generator, batch: int) -> tuple[Tensor, Scalars]:
        """R1 in full precision, as it differentiates twice, at the pictures of this step's discriminator phase."""
        pictures = self.judged.popleft().clone().requires_grad_(True)
        penalty = r1_penalty(self.judge(pictures, random, mixed_precision=False), pictures)
        return self.config.r1_gamma / 2 * self.config.r1_every * penalty, {"penalty": penalty.detach()}

    def cropped(self, random: torch.Generator, *sets: Tensor) -> tuple[Tensor, ...]:
        """The same random square of each set's i-th picture; whole pictures where no crop is wished."""
        side, (b, _, h, w) = self.config.crop, sets[0].shape
        if side is None:
            return sets
        top, left = (torch.randint(n - side + 1, (b, 1), generator=random) for n in (h, w))
        rows, columns = ((first + torch.arange(side)).to(sets[0].device) for first in (top, left))  # [B, side]
        rows, columns = rows[:, None, :, None].expand(-1, 3, -1, w), columns[:, None, None].expand(-1, 3, side, -1)
        return tuple(images.gather(2, rows).gather(3, columns) for images in sets)

    def judge(self, images: Tensor, random: torch.Generator, *, mixed_precision: bool = True) -> Tensor:
        """Logits, float32, of augmented pictures."""
        images = self.module.ada(images, random)
        with self.precision(mixed_precision):
            return self.module.discriminator(images).float()

    def synthesize(self, w_plus: Tensor, random: torch.Generator, mixed_precision: bool) -> Tensor:
        """w_plus [B, L, D] -> pictures [B, 3, R, R], float32, with the noise that training asks for."""
        noise = seeded(random, self.setup.device) if self.config.noise_mode == "random" else nullcontext()
        with self.precision(mixed_precision), noise:
            return self.averaged.synthesis(w_plus, noise_mode=self.config.noise_mode).float()  # type: ignore[operator]

    def precision(self, mixed: bool) -> AbstractContextManager:
        """The loop's mixed precision, or none."""
        return self.setup.autocast() if mixed else torch.autocast(self.setup.device.type, enabled=False)


def _phases(config: GameConfig) -> list[Phase]:
    """One step, in order; a regulariser of no weight is left out."""
    phases = [
        Phase(name="generator", trains="generator"),
        Phase(name="path_length", trains="generator", every=config.path_every),
        Phase(name="discriminator", trains="discriminator"),
        Phase(name="r1", trains="discriminator", every=config.r1_every),
    ]
    absent = {"path_length": config.path_weight == 0, "r1": config.r1_gamma == 0}
    return [phase for phase in phases if not absent.get(phase.name, False)]


def _optimizer(config: OptimizerConfig, weight: float, every: int) -> OptimizerConfig:
    return lazy_optimizer(config, every) if weight else config


@torch.no_grad()
def approach(average: Tensor, values: Tensor, share: float) -> None:
    """Move a running mean towards the mean over `values` [B, ...] of all ranks; not where that is not finite."""
    total = sum_over_ranks(torch.stack([values.float().mean(0), torch.ones_like(average)]))
    mean = total[0] / total[1]
    average.copy_(torch.where(mean.isfinite(), average.lerp(mean, share), average))


@contextmanager
def seeded(random: torch.Generator, device: torch.device) -> Iterator[None]:
    """Let what draws from PyTorch's global generators (the noise inputs) follow from `random`, and leave no trace."""
    seed = int(torch.randint(2**62, (), generator=random))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def laplacian_ratio(images: Tensor, real: Tensor) -> float:
    """Fine detail of pictures [N, 3, R, R] over that of real ones; below 1 where they are blurred."""
    drawn_energy, real_energy = (sum(map(laplacian_energy, to_pixels(x))) / len(x) for x in (images, real))
    return drawn_energy / max(real_energy, 1e-12)
