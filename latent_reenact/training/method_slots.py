"""The networks that judge in the method's training: official ones, or our own small world's, under their own names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.face import DlibDetector
from latent_reenact.models import ActionUnitDetector, FaceReader, HopeNet, IdentityEmbedder, load_network, load_networks
from latent_reenact.models.pixels import to_pixels
from latent_reenact.models.unit_readers import OfficialUnits, OwnUnits, our_angles
from latent_reenact.training.features import Features
from latent_reenact.training.stages.reenactment import Slots

# Where an aligned face lies in its picture, as dlib boxes faces: left, top, right, bottom over the side.
ALIGNED_BOX = (0.2, 0.27, 0.8, 0.87)


@dataclass(frozen=True, kw_only=True)
class EstimatorsConfig:
    """Which networks judge. The defaults are the published ones, by the names that `models fetch` knows."""

    own: str | None = None  # a model folder with our `face_reader` and `identity`, in the place of all the others
    lpips: str = "lpips-alex"
    identity: str = "arcface-ir-se50"
    pose: str = "hopenet"
    units: str = "opengraphau-resnet50-stage1"  # loaded for the variant FAU alone
    identity_region: Literal["whole", "face"] = "whole"  # what is pooled for ArcFace; "face" is pSp's crop


class Reading(NamedTuple):
    """Landmarks in 0 .. 1 of the picture and yaw, pitch, roll with the signs of `face.pose`."""

    landmarks: Tensor  # [B, 68, 2]
    pose_deg: Tensor  # [B, 3]


class OfficialReader(nn.Module):
    """HopeNet's angles, and dlib's 68 points in the place where alignment puts a face: no picture is without them."""

    def __init__(self, pose: HopeNet, detector: DlibDetector | None = None) -> None:
        super().__init__()
        self.pose, self._detector = pose, detector or DlibDetector()

    def forward(self, images: Tensor) -> Reading:
        """images [B, 3, S, S] in [-1, 1], aligned."""
        side = images.shape[-1]
        box = tuple(side * edge for edge in ALIGNED_BOX)
        points = [self._detector.landmarks(pixels, box) / side for pixels in to_pixels(images)]  # type: ignore[arg-type]
        landmarks = torch.from_numpy(np.stack(points)).to(images.device)
        return Reading(landmarks, our_angles(self.pose(images)))


class WholePicture(nn.Module):
    """ArcFace on the average pool of the whole aligned picture, as the method's program reads it."""

    def __init__(self, embedder: IdentityEmbedder) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, S, S] in [-1, 1] -> unit vectors [B, E]."""
        size = self.embedder.config.input_size
        return self.embedder.embed(F.adaptive_avg_pool2d(images, (size, size)))


def load_slots(config: EstimatorsConfig, *, with_units: bool) -> Slots:
    """The networks that losses and measures need, and the reader of action units for the variant FAU.

    Raises:
        WeightsNotFoundError: a model is not here.
        ConfigError: a model is of another kind than its place.
    """
    if config.own is not None:
        return _own(config.own, with_units)
    lpips, embedder, pose = (_one(name) for name in (config.lpips, config.identity, config.pose))
    _expect(embedder, IdentityEmbedder, "identity")
    _expect(pose, HopeNet, "pose")
    units = None
    if with_units:
        detector = _one(config.units)
        _expect(detector, ActionUnitDetector, "units")
        units = OfficialUnits(detector, pose)
    return Slots(
        perceptual=lpips,
        embedder=WholePicture(embedder) if config.identity_region == "whole" else embedder,
        reader=OfficialReader(pose),
        units=units,
    )


def _own(folder: str, with_units: bool) -> Slots:
    networks = load_networks(folder)
    missing = {"face_reader", "identity"} - set(networks)
    if missing:
        raise WeightsNotFoundError(
            f"estimators.own: {folder} has {', '.join(networks)}, and no {' or '.join(sorted(missing))}; "
            "expected the folder that the estimators' recipe writes"
        )
    features, reader = Features.load(folder), networks["face_reader"]
    if not isinstance(reader, FaceReader):
        raise ConfigError(
            f"estimators.own: {folder} has a {type(reader).__name__} as its face_reader, not a FaceReader"
        )
    return Slots(features.distance, features.identity, reader, OwnUnits(reader) if with_units else None)


def _one(name: str) -> Any:
    """The only network of a published estimator's folder."""
    try:
        return load_network(name)
    except WeightsNotFoundError as error:
        raise WeightsNotFoundError(f"{error}; get it with: latent-reenact models fetch {name}") from None


def _expect(network: nn.Module, kind: type[nn.Module], place: str) -> None:
    if not isinstance(network, kind):
        raise ConfigError(f"estimators.{place}: got a {type(network).__name__}, expected a {kind.__name__}")
