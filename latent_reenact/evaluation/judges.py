"""Who reads the pictures: networks of the synthetic world that no training used, and dlib as the outside judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import ConfigError
from latent_reenact.face import DlibDetector, Face, FaceDetector
from latent_reenact.face.descriptor import FaceDescriptor
from latent_reenact.models import IdentityEmbedder, load_networks
from latent_reenact.models.face_reader import FaceReader
from latent_reenact.models.identity import id_crop
from latent_reenact.models.pixels import from_pixels

if TYPE_CHECKING:  # it needs numba, reading pictures does not
    from latent_reenact.synthface import Portrait

OUTSIDE_SIZE = 256  # dlib's detector finds faces from 80 pixels up


@dataclass(frozen=True, eq=False)
class Reading:
    """What is known, or was read, of N pictures.

    pose_deg: [N, 2 or 3], yaw and pitch first. landmarks: [N, 68, 2] in 0..1 of the picture's side.
    expression: [N, 53] in the order of `synthface.factors.EXPRESSION_NAMES`, 0..1.
    """

    pose_deg: np.ndarray
    landmarks: np.ndarray
    expression: np.ndarray


def truth(portraits: Sequence[Portrait]) -> Reading:
    """What the renderer knows."""
    return Reading(
        pose_deg=np.array([(p.yaw_deg, p.pitch_deg, p.roll_deg) for p in portraits]),
        landmarks=np.stack([p.landmarks / p.image.shape[0] for p in portraits]),
        expression=np.stack([p.factors.motion.expression_vector() for p in portraits]),
    )


class Judges:
    """Networks that read synthetic portraits, trained apart from every model that they judge.

    Args:
        reader: reads pose, landmarks and expression.
        identity: tells people apart; here its features count.
        batch: pictures at a time.
    """

    def __init__(self, reader: FaceReader, identity: IdentityEmbedder, *, batch: int = 64) -> None:
        self.reader, self.identity, self.batch = reader, identity, batch

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Judges:
        """Read a model folder with the networks `face_reader` and `identity`.

        Raises:
            WeightsNotFoundError, CorruptFileError; ConfigError: one of the two is not there.
        """
        networks = load_networks(folder, device=device)
        reader, identity = networks.get("face_reader"), networks.get("identity")
        if not isinstance(reader, FaceReader) or not isinstance(identity, IdentityEmbedder):
            got = ", ".join(f"{name} ({type(network).__name__})" for name, network in networks.items())
            raise ConfigError(
                f"judges in {folder}: got {got}; expected face_reader (FaceReader) and identity (IdentityEmbedder)"
            )
        return cls(reader, identity)

    @torch.inference_mode()
    def read(self, pictures: np.ndarray) -> Reading:
        """pictures: uint8 [N, R, R, 3]."""
        readings = [self.reader(part) for part in self._parts(pictures)]
        names = ("pose_deg", "landmarks", "expression")
        return Reading(*(torch.cat([getattr(r, name) for r in readings]).float().cpu().numpy() for name in names))

    @torch.inference_mode()
    def motion(self, pictures: np.ndarray) -> np.ndarray:
        """All but the landmarks, in the order of the synthetic world's motion vector: [N, 58]."""
        return torch.cat([self.reader(part).motion for part in self._parts(pictures)]).float().cpu().numpy()

    @torch.inference_mode()
    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Both networks' last feature maps, averaged over the picture, [N, F]: for Fréchet distances."""
        rows = []
        for part in self._parts(pictures):
            maps = (self._identity_map(part), self.reader.features(part)[-1])  # [B, C, h, w] each
            rows.append(torch.cat([x.mean((2, 3)) for x in maps], dim=1))
        return torch.cat(rows).float().cpu().numpy()

    def _identity_map(self, images: Tensor) -> Tensor:
        identity = self.identity
        return identity.body(identity.input_layer(id_crop(images, identity.config.input_size)))

    def _parts(self, pictures: np.ndarray) -> list[Tensor]:
        device = next(self.reader.parameters()).device
        parts = torch.from_numpy(pictures).permute(0, 3, 1, 2).split(self.batch)
        return [from_pixels(part.to(device)) for part in parts]


class OutsideJudge:
    """dlib: finds faces, reads their landmarks and tells people apart, on pictures enlarged to 256².

    Args:
        detector, describe: stand-ins for dlib's, for tests.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        describe: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.detector = detector or DlibDetector()
        self._describe = describe or FaceDescriptor()

    def find(self, picture: np.ndarray) -> Face | None:
        """The largest face, in pixels of the enlarged picture; searched once, at that size alone."""
        faces = self.detector.detect(enlarged(picture), thorough=False)
        return faces[0] if faces else None

    def describe(self, picture: np.ndarray, face: Face | None, *, instead: Face) -> np.ndarray:
        """The descriptor of `face`; where none was found, of whatever is in the place of `instead`."""
        large = enlarged(picture)
        landmarks = self.detector.landmarks(large, instead.box) if face is None else face.landmarks
        return self._describe(large, landmarks)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """uint8 [R, R, 3] -> [256, 256, 3]."""
    import cv2

    if picture.shape[0] == OUTSIDE_SIZE:
        return picture
    kind = cv2.INTER_CUBIC if picture.shape[0] < OUTSIDE_SIZE else cv2.INTER_AREA
    return cv2.resize(picture, (OUTSIDE_SIZE, OUTSIDE_SIZE), interpolation=kind)
