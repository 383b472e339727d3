"""The identity embedder: who somebody is, learnt with an angular margin (ArcFace, arXiv 1801.07698).

Two ways of learning, both on two pictures of one person at a time:
- `pairs`: the batch is the classifier: the other picture is the right class, all other people are the wrong ones.
  For the synthetic world, which has more people than pictures of each.
- `classes`: trained class weights, one for each person of the training set.
Where a person was rendered once, the frozen paired generator draws the second picture: the same factors with the motion
of somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.identity import ID_CROP, ID_CROP_SIZE, IdentityEmbedder, IdentityEmbedderConfig, id_crop
from latent_reenact.models.irse import BodyConfig
from latent_reenact.models.layers import channels_last
from latent_reenact.synthface import conditioning_names
from latent_reenact.training import augment
from latent_reenact.training.loop import LoopConfig
from latent_reenact.training.losses.margin import MarginClassifier, MarginConfig, pair_margin_loss
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Measures, Scalars, Setup, Stage
from latent_reenact.training.targets import Teacher


def _small_network() -> IdentityEmbedderConfig:
    body = BodyConfig(widths=(16, 32, 64, 128), depths=(1, 1, 2, 1), se_reduction=8)
    return IdentityEmbedderConfig(input_size=64, embedding=128, body=body)


@dataclass(frozen=True, kw_only=True)
class IdentityStageConfig:
    """The embedder's training. Colours change little, for the colour of skin and eyes is part of who somebody is."""

    network: IdentityEmbedderConfig = field(default_factory=_small_network)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(kind="muon", lr=1e-3, adam_lr=3e-3))
    loop: LoopConfig
    form: Literal["pairs", "classes"] = "pairs"
    margin: MarginConfig = field(default_factory=lambda: MarginConfig(scale=24.0, margin=0.2))
    sampled_classes: int | None = None  # of `classes`: how many a batch is compared with; all by default
    drawn_share: float = 1.0  # of the pairs whose second picture the paired generator draws; the others are two frames
    surroundings: float = 0.5  # share of pictures that get another one's hair and background
    colours: float = 0.2
    shade: float = 0.3
    frame: float = 0.5
    degrade: float = 0.6
    evaluated: int = 512  # held-out pairs

    def __post_init__(self) -> None:
        for name in ("drawn_share", "surroundings"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected a share from 0 to 1")


class View(NamedTuple):
    """Pictures [B, 3, R, R] in [-1, 1] and their landmarks [B, 68, 2] in 0 .. 1."""

    images: Tensor
    landmarks: Tensor


class PersonPairs:
    """Draws two pictures of one person: two frames, or a frame and the teacher's picture with another motion.

    Raises:
        ConfigError: drawn pairs without a teacher, or pairs of frames where everybody has one frame.
    """

    def __init__(self, portraits: PortraitSet, teacher: Teacher | None, drawn_share: float) -> None:
        if drawn_share > 0 and teacher is None:
            raise ConfigError(f"drawn_share: got {drawn_share} without a generator to draw; give a teacher or set 0")
        self.portraits, self.teacher, self.drawn_share = portraits, teacher, drawn_share
        _, self.person, counts = portraits.person.cpu().unique(return_inverse=True, return_counts=True)
        self.counts = counts  # frames of each person
        self.order = self.person.argsort(stable=True)  # rows, person by person
        self.place = self.order.argsort()  # where each row stands in that order
        self.first = counts.cumsum(0) - counts  # where each person begins in it
        self.shared = torch.nonzero(counts[self.person] > 1)[:, 0]  # rows whose person has another
        if drawn_share < 1 and not len(self.shared):
            raise ConfigError(
                f"drawn_share: got {drawn_share}, but nobody has two frames; set 1, or render several frames a person"
            )

    def draw(self, count: int, random: torch.Generator) -> tuple[View, View, Tensor]:
        """Two views, where the portraits are, and the person, int64 [count], counted from 0."""
        drawn = round(self.drawn_share * count)
        parts = [pairs(n, random) for n, pairs in ((drawn, self._drawn), (count - drawn, self._frames)) if n]
        first, second, person = zip(*parts, strict=True)
        return _joined(first), _joined(second), torch.cat(person)

    def _frames(self, count: int, random: torch.Generator) -> tuple[View, View, Tensor]:
        row = self.shared[torch.randint(len(self.shared), (count,), generator=random)]
        person = self.person[row]
        frames, first = self.counts[person], self.first[person]
        step = 1 + (torch.rand(count, generator=random) * (frames - 1)).long()  # 1 .. frames - 1
        other = self.order[first + (self.place[row] - first + step) % frames]
        return self._view(row), self._view(other), person

    def _drawn(self, count: int, random: torch.Generator) -> tuple[View, View, Tensor]:
        portraits, teacher = self.portraits, self.teacher
        assert teacher is not None
        driver = torch.randint(len(portraits), (count,), generator=random)
        column = torch.randint(portraits.partners.shape[1], (count,), generator=random)
        row, conditioning = portraits.partners[driver, column].cpu(), portraits.swapped[driver, column]
        with torch.no_grad():
            images = teacher.draw(teacher.generator.broadcast(teacher.w(conditioning)))
        landmarks = (conditioning[:, conditioning_names()["landmarks"]].unflatten(1, (68, 2)) + 1) / 2
        return self._view(row), View(images.to(landmarks.device), landmarks), self.person[row]

    def _view(self, row: Tensor) -> View:
        return View(self.portraits.pictures(row), self.portraits.landmarks[row] / self.portraits.resolution)


def _joined(views: Sequence[View]) -> View:
    return View(*(torch.cat(parts) for parts in zip(*views, strict=True)))


class IdentityNetworks(nn.Module):
    """What the stage trains: the embedder, and class weights where there are any."""

    def __init__(self, config: IdentityStageConfig, people: int) -> None:
        super().__init__()
        self.embedder = IdentityEmbedder(config.network)
        if config.form == "classes":
            self.classifier = MarginClassifier(
                people, config.network.embedding, config.margin, sampled=config.sampled_classes
            )


class IdentityStage(Stage):
    """Two pictures of each person of a batch, embedded and told from all others with a margin."""

    module: IdentityNetworks

    def __init__(
        self, config: IdentityStageConfig, train: PortraitSet, held_out: PortraitSet, teacher: Teacher | None = None
    ) -> None:
        self.config = config
        self.train = PersonPairs(train, teacher, config.drawn_share)
        self.held_out = PersonPairs(held_out, teacher, config.drawn_share)
        self.module = channels_last(IdentityNetworks(config, len(self.train.counts)))
        self.optimizers = {"": config.optimizer}

    @property
    def averaged(self) -> nn.Module:
        return self.module.embedder

    def start(self, setup: Setup) -> None:
        super().start(setup)
        self.module.to(setup.device)
        for pairs in (self.train, self.held_out):
            if pairs.teacher is not None:
                pairs.teacher = pairs.teacher.to(setup.device, setup.autocast)

    def loss(self, random: torch.Generator, batch: int, phase: str) -> tuple[Tensor, Scalars]:
        a, b, person = self.train.draw(batch, random)
        faces = torch.cat([self._faces(view, random) for view in (a, b)])
        person = person.to(self.setup.device)
        with self.setup.autocast():
            raw = self.module.embedder.raw(faces)
        embeddings = F.normalize(raw.float(), dim=1)  # [2B, E]
        first, second = embeddings.chunk(2)
        if self.config.form == "pairs":
            loss = pair_margin_loss(first, second, person, self.config.margin)
        else:
            loss = self.module.classifier(embeddings, torch.cat([person, person]), random)
        return loss, {"same_cos": (first * second).sum(1).mean().detach()}

    @torch.no_grad()
    def evaluate(self, average: Any) -> Measures:
        was_training = average.training
        average.eval()
        a, b, person = self.held_out.draw(self.config.evaluated, torch.Generator().manual_seed(0))
        first, second = (
            torch.cat([average(part.to(self.setup.device)).float().cpu() for part in view.images.split(64)])
            for view in (a, b)
        )
        average.train(was_training)
        scalars = verification(first, second, person)
        return Measures(scalars=scalars, score=scalars["auc"])

    def _faces(self, view: View, random: torch.Generator) -> Tensor:
        """What the embedder sees in training: [B, 3, S, S]."""
        config, device = self.config, self.setup.device
        images, landmarks = view.images.to(device), view.landmarks.to(device)
        rows, columns = (m.to(device) for m in crop_matrices(images.shape[-1], config.network.input_size))
        faces = rows @ images @ columns.T
        faces = exchange_surroundings(faces, in_id_crop(landmarks), config.surroundings, random)
        mirrored = (torch.rand(len(faces), 1, 1, 1, generator=random) < 0.5).to(device)
        faces = torch.where(mirrored, faces.flip(3), faces)
        faces = augment.jitter_frame(faces, config.frame, random)
        faces = augment.jitter_colours(faces, config.colours, random)
        faces = augment.shade(faces, config.shade, random)
        return augment.degrade(faces, config.degrade, random)


def verification(first: Tensor, second: Tensor, person: Tensor) -> dict[str, float]:
    """How well unit vectors [N, E] of two pictures of each `person` [N] tell the same from different people.

    auc: share of (same, different) pairs of pairs in the right order; `same_cos`, `different_cos`: mean cosines.
    """
    cosines = first @ second.T  # [N, N]
    same = cosines.diagonal()
    different = cosines[person[:, None] != person[None]].sort().values
    right = torch.searchsorted(different, same.contiguous()).double() / max(1, len(different))
    return {
        "auc": float(right.mean()),
        "same_cos": float(same.mean()),
        "different_cos": float(different.mean()),
    }


@lru_cache
def crop_matrices(resolution: int, size: int) -> tuple[Tensor, Tensor]:
    """`id_crop` of pictures of one size as `rows @ images @ columns.T`, each [size, resolution], in far less time.

    It is linear, rows and columns apart, so that the crops of unit vectors are its matrices.
    """
    unit = torch.eye(resolution)[:, None]  # [R, 1, R]
    rows = id_crop(unit[..., None], size)[:, 0, :, 0]
    columns = id_crop(unit[:, :, None], size)[:, 0, 0]
    return rows.T.contiguous(), columns.T.contiguous()


def in_id_crop(landmarks: Tensor) -> Tensor:
    """Landmarks in 0 .. 1 of the aligned picture -> of the part that `id_crop` cuts."""
    rows, columns = ID_CROP
    start = landmarks.new_tensor([columns.start, rows.start])
    size = landmarks.new_tensor([columns.stop - columns.start, rows.stop - rows.start])
    return (landmarks * ID_CROP_SIZE - start) / size


def exchange_surroundings(faces: Tensor, landmarks: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Put a share of the faces [B, 3, S, S] before the hair and background of the next one of the batch.

    Two pictures of one person share a room and a light, from which an embedder must not learn. The face is a soft
    ellipse round its landmarks [B, 68, 2] in 0 .. 1, raised by a quarter for the forehead.
    """
    low, high = landmarks.amin(1), landmarks.amax(1)  # [B, 2]
    low = torch.stack([low[:, 0], low[:, 1] - 0.25 * (high[:, 1] - low[:, 1])], dim=1)
    centre, half = (low + high) / 2, (high - low) / 2
    cells = (torch.arange(faces.shape[-1], device=faces.device) + 0.5) / faces.shape[-1]
    x, y = (((cells - centre[:, i, None]) / half[:, i, None]).square() for i in (0, 1))  # [B, S]
    radius = (x[:, None, :] + y[:, :, None]).sqrt()  # [B, S, S], 1 on the ellipse
    inside = ((1.1 - radius) / 0.2).clamp(0, 1)[:, None]
    chosen = (torch.rand(len(faces), 1, 1, 1, generator=random) < share).to(faces.device)
    mask = torch.where(chosen, inside, torch.ones_like(inside))
    return faces * mask + faces.roll(1, 0) * (1 - mask)
