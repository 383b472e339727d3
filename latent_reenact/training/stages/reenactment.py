"""The method's training (Jahoda and Čech 2025, arXiv 2504.13021, section 3) on clips of aligned frames.

    g = G(M(E_m(driving) + E_i(identity)))     E_m and M trained, G and E_i frozen, + is concatenation

A step takes two clips. Frame driving_A moves two identities: its own clip's, which gives the self output, compared with
driving_A itself, and another person's, R, which gives the cross output, compared with R's inverted identity.

What a step does not do twice: identities are inverted beforehand (`training.identities`); driving_A's motion code is
computed once and serves both outputs; both are drawn by one pass of the generator, whose frozen weights get no
gradient. What no loss looks at is not drawn.

Legend: B batch, L n_styles, D w_dim, N motion_dim, R the generator's resolution, S the clips', T frames of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.metrics import cosine_similarity, fl_correlation, pose_mae
from latent_reenact.models import (
    MotionEncoder,
    MotionEncoderConfig,
    MotionMapper,
    MotionMapperConfig,
    StyleGAN2Generator,
    UnitMotionEncoder,
    UnitMotionEncoderConfig,
)
from latent_reenact.models.layers import channels_last
from latent_reenact.models.pixels import from_pixels, to_pixels
from latent_reenact.training.clips import ClipBatch, ClipSet, ClipSource
from latent_reenact.training.identities import IdentityCache
from latent_reenact.training.losses.reenactment import (
    Embedder,
    Motions,
    Perceptual,
    ReenactmentLoss,
    ReenactmentLossConfig,
    pooled,
)
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage

RANGER = OptimizerConfig(kind="ranger", lr=1e-5, betas=(0.95, 0.999), eps=1e-5)
SHEET_CLIPS, SHEET_FRAMES = 6, 5


@dataclass(frozen=True, kw_only=True)
class ReenactmentConfig:
    """The stage. The defaults are the thesis's best model; its variants are

    Gen: `train_generator: true`; Cos: `losses: {cosface: ...}`; FAU: `units: {...}`.
    """

    encoder: MotionEncoderConfig = field(default_factory=MotionEncoderConfig)
    units: UnitMotionEncoderConfig | None = None  # in the encoder's place: motion from action units and pose
    mapper: MotionMapperConfig = field(default_factory=MotionMapperConfig)
    losses: ReenactmentLossConfig = field(default_factory=ReenactmentLossConfig)
    optimizer: OptimizerConfig = RANGER  # the thesis's; its program's default is lr 1e-4
    train_generator: bool = False
    noise: Literal["const", "none"] = "const"  # the author's program draws it at random, and its videos flicker

    @property
    def motion(self) -> MotionEncoderConfig | UnitMotionEncoderConfig:
        """Of the motion encoder that is trained."""
        return self.encoder if self.units is None else self.units


class FaceReading(Protocol):
    """What model selection reads from pictures."""

    @property
    def landmarks(self) -> Tensor: ...  # [B, 68, 2], in any unit of length

    @property
    def pose_deg(self) -> Tensor: ...  # [B, 3]: yaw, pitch, roll


@dataclass(frozen=True)
class Slots:
    """The networks that judge, all frozen, on pictures [B, 3, H, W] in [-1, 1].

    perceptual: a, b -> distances [B]; embedder: -> unit vectors [B, E]; reader: -> landmarks and pose;
    units: -> readings [B, K] for the variant FAU.
    """

    perceptual: Perceptual
    embedder: Embedder
    reader: Callable[[Tensor], FaceReading]
    units: Callable[[Tensor], Tensor] | None = None


class MethodNetworks(nn.Module):
    """What is trained: E_m and M, and G too in the variant Gen."""

    def __init__(self, config: ReenactmentConfig, generator: StyleGAN2Generator | None = None) -> None:
        super().__init__()
        self.encoder: MotionEncoder | UnitMotionEncoder = (
            MotionEncoder(config.encoder) if config.units is None else UnitMotionEncoder(config.units)
        )
        self.mapper = MotionMapper(config.mapper)
        self.generator = generator
        if generator is not None:
            generator.requires_grad_(True)
            generator.mapping.requires_grad_(False)  # z -> w takes no part


class _Driving(NamedTuple):
    """The held-out driving frames of one clip, as read once."""

    landmarks: np.ndarray  # [T, 68, 2]
    pose_deg: np.ndarray  # [T, 3]


class ReenactmentStage(Stage):
    """Trains motion encoder and mapper.

    Args:
        generator: G; frozen here, or trained in the variant Gen.
        slots: the networks of losses and measures; frozen here where they are modules.
        train: where clips come from.
        identities: inverted identities of all their frames that serve as one, and of the held-out clips' first frames.
        held_out: clips of people that are in no training clip; each drives the next one's person.

    Raises:
        ConfigError: networks that do not fit together, or a variant without what it needs.
    """

    def __init__(
        self,
        config: ReenactmentConfig,
        generator: StyleGAN2Generator,
        slots: Slots,
        train: ClipSource,
        identities: IdentityCache,
        held_out: ClipSet,
    ) -> None:
        check_sizes(config, generator, slots)
        self.config, self.slots, self.train, self.identities = config, slots, train, identities
        self.held_out = held_out
        self._frozen = generator.requires_grad_(False).eval()
        self.module = channels_last(MethodNetworks(config, generator if config.train_generator else None))
        self.optimizers = {"": config.optimizer}
        self.losses = ReenactmentLoss(config.losses, slots.perceptual, slots.embedder)
        self._last: ClipBatch | None = None
        self._driving: dict[int, _Driving] = {}

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self._frozen.to(setup.device)
        if setup.world_size > 1 and setup.device.type == "cuda":  # few samples a process: the batch's own statistics
            nn.SyncBatchNorm.convert_sync_batchnorm(self.module.encoder)
        for slot in vars(self.slots).values():
            if isinstance(slot, nn.Module):
                slot.to(setup.device).eval().requires_grad_(False)
        self.train.start(setup)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        clips = self._last = self.train.draw(random, batch)
        losses = self.config.losses
        driving = self._images(clips.driving_a)  # [B, 3, S, S]
        motion, other = self._motions(clips, driving)  # [B, L, N]
        keys = [clips.identity_a_keys] * losses.needs_self + [clips.identity_r_keys] * losses.needs_cross
        outputs = self._draw(self.module, [self._latents(k) for k in keys], motion)
        seen = None if other is None else self._seen(outputs, motion, other)
        identity = self._images(self.identities.pictures(clips.identity_r_keys))
        self_output = outputs[0] if losses.needs_self else None
        cross_output = outputs[-1] if losses.needs_cross else None
        return self.losses(self_output, driving, cross_output, identity, seen)

    def sample_names(self) -> Sequence[str]:
        """Driving frames and identities of the last batch."""
        if self._last is None:
            return ()
        return (*self._last.driving_a_keys, *self._last.identity_a_keys, *self._last.identity_r_keys)

    def counters(self) -> Mapping[str, int]:
        return self.train.counters()

    def _motions(self, clips: ClipBatch, driving: Tensor) -> tuple[Tensor, Tensor | None]:
        """z_A, and z_R where CosFace needs it: one pass of the encoder in any case."""
        if self.config.losses.cosface == 0:
            return self._motion(self.module, driving), None
        both = torch.cat([driving, self._images(clips.driving_r)])
        motion, other = self._motion(self.module, both).chunk(2)
        return motion, other

    def _seen(self, outputs: Sequence[Tensor], motion: Tensor, other: Tensor) -> Motions:
        """The motion that self and cross output show, beside the codes of the driving pictures."""
        shown = self._motion(self.module, pooled(torch.cat(list(outputs)), self._motion_size()))
        self_output, cross_output = shown.chunk(2)
        return Motions(self_output, cross_output, motion, other)

    def _motion(self, networks: nn.Module, images: Tensor) -> Tensor:
        """images [B, 3, H, W] -> motion [B, L, N] float32."""
        seen = images if self.slots.units is None or self.config.units is None else self.slots.units(images)
        with self.setup.autocast():
            motion = networks.encoder(seen)  # type: ignore[operator]
        return motion.float()

    def _motion_size(self) -> int:
        """Side at which the motion of an output is read: that of the encoder, or of the losses for FAU's reader."""
        return self.config.encoder.input_size if self.config.units is None else self.config.losses.picture_size

    def _draw(self, networks: nn.Module, identities: Sequence[Tensor], motion: Tensor) -> Sequence[Tensor]:
        """Pictures [B, 3, R, R] float32 for each batch of identities [B, L, D], moved by `motion`, all in one pass."""
        generator = self._frozen if networks.generator is None else networks.generator
        with self.setup.autocast():
            w_plus = networks.mapper(torch.cat(list(identities)), motion.repeat(len(identities), 1, 1))  # type: ignore[operator]
            images = generator.synthesis(w_plus.float(), noise_mode=self.config.noise)  # type: ignore[union-attr, operator]
        return images.float().chunk(len(identities))

    def _latents(self, keys: Sequence[str]) -> Tensor:
        return self.identities.latents(keys).to(self.setup.device, non_blocking=True)

    def _images(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] -> float in [-1, 1] on the device."""
        return from_pixels(pixels.to(self.setup.device, non_blocking=True))

    # -- model selection ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, average: nn.Module) -> Measures:
        """Cross outputs of the held-out clips, read by the paper's measures.

        fl_correlation (the score: the loss keeps falling while expressions get worse), pose_mae_deg, csim.
        """
        was_training = average.training
        average.eval()
        correlations, poses, similarities, rows = [], [], [], []
        for clip in range(len(self.held_out)):
            driving, identity, output = self._cross(average, clip)
            true, read = self._read_driving(clip, driving), self.slots.reader(output)
            correlations.append(fl_correlation(true.landmarks, _array(read.landmarks)))
            poses.append(pose_mae(true.pose_deg, _array(read.pose_deg)))
            similarities.append(cosine_similarity(*self._embedded(output, identity)).mean())
            if clip < SHEET_CLIPS:
                rows.append(_row(identity, driving, output))
        average.train(was_training)
        score = float(np.mean(correlations))
        scalars = {"fl_correlation": score, "pose_mae_deg": float(np.mean(poses)), "csim": float(np.mean(similarities))}
        return Measures(scalars=scalars, pictures={"cross": np.concatenate(rows)}, score=score)

    def _cross(self, networks: nn.Module, clip: int) -> tuple[Tensor, Tensor, Tensor]:
        """A clip's frames [T, 3, S, S], the picture [1, 3, S, S] of another's person, and that person moved by them."""
        held_out = self.held_out
        first = held_out.rows(held_out.partner(clip))[:1]
        latent = self._latents([held_out.keys[int(first)]])
        driving = self._images(held_out.pictures[held_out.rows(clip)])
        parts = [
            self._draw(networks, [latent.expand(len(frames), -1, -1)], self._motion(networks, frames))[0]
            for frames in driving.split(max(1, 2 * self.setup.batch))
        ]
        return driving, self._images(held_out.pictures[first]), torch.cat(parts)

    def _read_driving(self, clip: int, driving: Tensor) -> _Driving:
        """The reading of held-out driving frames never changes: made once."""
        if clip not in self._driving:
            read = self.slots.reader(driving)
            self._driving[clip] = _Driving(_array(read.landmarks), _array(read.pose_deg))
        return self._driving[clip]

    def _embedded(self, output: Tensor, identity: Tensor) -> tuple[np.ndarray, np.ndarray]:
        size = self.config.losses.picture_size
        one = _array(self.slots.embedder(pooled(output, size)))
        return one, np.broadcast_to(_array(self.slots.embedder(pooled(identity, size))), one.shape)


def check_sizes(config: ReenactmentConfig, generator: StyleGAN2Generator, slots: Slots) -> None:
    """Raise ConfigError where motion encoder, mapper and generator do not speak of the same codes."""
    mapper, motion, drawn = config.mapper, config.motion, generator.config
    got, expected = (mapper.n_styles, mapper.w_dim), (drawn.n_styles, drawn.w_dim)
    if got != expected:
        raise ConfigError(f"mapper.n_styles, w_dim: got {got}, expected the generator's {expected}")
    got, expected = (motion.n_styles, motion.motion_dim), (mapper.n_styles, mapper.motion_dim)
    if got != expected:
        raise ConfigError(f"the motion encoder's n_styles, motion_dim: got {got}, expected the mapper's {expected}")
    if config.units is not None and slots.units is None:
        raise ConfigError(
            "units: got an encoder of action units and nothing that reads them; name `estimators` that do"
        )


def _row(identity: Tensor, driving: Tensor, output: Tensor) -> np.ndarray:
    """Identity, then driving frames, of a short clip some twice, over their outputs: uint8 [2 * S, (1 + T) * S, 3]."""
    every = torch.linspace(0, len(driving) - 1, SHEET_FRAMES).long().to(driving.device)
    size = min(driving.shape[-1], output.shape[-1])
    above, below = (to_pixels(pooled(images[every], size)) for images in (driving, output))
    face = to_pixels(pooled(identity, size))[0]
    return np.concatenate(
        [np.concatenate([face, *above], axis=1), np.concatenate([np.zeros_like(face), *below], axis=1)]
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
