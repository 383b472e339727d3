"""A reenactor without networks: faces are green patches, and a result has the colour of the driving face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.face import Alignment, Face, FaceTrack, TrackedFrame, align, alignment_from_landmarks, choose_face
from latent_reenact.media import VideoReader, read_image
from latent_reenact.systems import Identity, Result

RESOLUTION = 64
SKIN = (60, 200, 70)
_DEPTH = 4, 8  # of w_plus


def _ring(count: int, x: float, y: float, width: float, height: float, turn: float = 1.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi * turn, count, endpoint=turn < 1)
    return np.stack([x - width * np.cos(angle), y + height * np.sin(angle)], 1)


def _template() -> np.ndarray:
    """68 points of a face in a box of side 1, of the spread that the tracker expects."""
    left, right = (np.stack([x + np.linspace(0, 0.3, 5), np.full(5, -0.45)], 1) for x in (-0.4, 0.1))
    nose = np.concatenate([[[0, -0.25 + 0.1 * i] for i in range(4)], [[-0.1 + 0.05 * i, 0.12] for i in range(5)]])
    eyes = np.concatenate([_ring(6, -0.25, -0.25, 0.1, 0.05), _ring(6, 0.25, -0.25, 0.1, 0.05)])
    mouth = np.concatenate([_ring(12, 0, 0.35, 0.2, 0.08), _ring(8, 0, 0.35, 0.12, 0.04)])
    points = np.concatenate([_ring(17, 0, -0.1, 0.55, 0.75, 0.5), left, right, nose, eyes, mouth])
    points -= points.mean(0)
    return points / (2.8 * np.sqrt(points.var(0).sum())) + [0.5, 0.5]


TEMPLATE = _template()


class GreenPatchDetector:
    """Every patch of the skin colour is a face."""

    def detect(self, image: np.ndarray, *, thorough: bool = True) -> list[Face]:
        _, _, stats, _ = cv2.connectedComponentsWithStats(_is_skin(image).astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:] if area >= 64 and area > 0.6 * w * h]
        faces = [Face(tuple(map(float, box)), 1.0, self.landmarks(image, box)) for box in boxes]
        return sorted(faces, key=lambda face: -face.area)

    def landmarks(self, image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        left, top, right, bottom = box
        row, column = (
            int(np.clip(v / 2, 0, n - 1)) for v, n in zip((top + bottom, left + right), image.shape[:2], strict=True)
        )
        lost = not _is_skin(image[row : row + 1, column : column + 1]).all()  # then the points are somewhere else
        return TEMPLATE * [right - left, bottom - top] + [left, top] + lost * (right - left)


class FakeReenactor:
    name, resolution, framing = "fake", RESOLUTION, 1.12
    controls = ("yaw_deg", "smile")
    reads = "picture"
    max_gap = 250

    def __init__(self) -> None:
        self.detector = GreenPatchDetector()

    def align(self, picture: Path | np.ndarray, *, face="largest") -> tuple[np.ndarray, Alignment]:
        tracked = self._tracked(picture, face)
        return tracked.image, tracked.alignment

    def identity(self, picture: Path | np.ndarray, *, face="largest", aligned: bool = False) -> Identity:
        crop = _pixels(picture) if aligned else self._crop(self._tracked(picture, face))
        crop = np.asarray(Image.fromarray(crop).resize((RESOLUTION, RESOLUTION)))
        codes = np.full(_DEPTH, crop.mean() / 255, np.float32)
        return Identity(codes, codes, crop, crop, self.name)

    def __call__(self, identity: Identity, driving: Path, *, face="largest", aligned=False, relative=False) -> Result:
        tracked = None if aligned else self._tracked(driving, face)
        return self._drawn(identity, _pixels(driving) if tracked is None else self._crop(tracked), tracked, "reenact")

    def stream(
        self,
        identity: Identity,
        driving: VideoReader | Iterable[np.ndarray],
        *,
        face="largest",
        aligned: bool = False,
        relative: bool = False,
        smoothing="lowpass",
        batch: int = 8,
    ) -> Iterator[Result]:
        name = str(getattr(driving, "path", "the video"))
        track = FaceTrack(
            self.detector, which=face, smoothing=smoothing, scale=self.framing, max_gap=self.max_gap, name=name
        )
        for tracked in track.stream(driving):
            yield self._drawn(identity, self._crop(tracked), tracked, "reenact")

    def pose(self, identity: Identity, **controls: float) -> Result:
        for name in controls:
            if name not in self.controls:
                raise ConfigError(f"unknown control {name!r}; expected some of {', '.join(self.controls)}")
        return self._drawn(identity, np.full((4, 4, 3), 90, np.uint8), None, "pose")

    def _tracked(self, picture: Path | np.ndarray, face) -> TrackedFrame:
        pixels = _pixels(picture)
        chosen = choose_face(self.detector.detect(pixels), face, name=str(picture))[0]
        return TrackedFrame(pixels, chosen, alignment_from_landmarks(chosen.landmarks, scale=self.framing))

    def _crop(self, tracked: TrackedFrame) -> np.ndarray:
        return align(tracked.image, tracked.alignment, RESOLUTION)

    def _drawn(self, identity: Identity, crop: np.ndarray, tracked: TrackedFrame | None, operation: str) -> Result:
        if identity.model != self.name:
            raise UsageError(
                f"the identity was made by model {identity.model!r}, not by {self.name!r}; invert it again"
            )
        image = np.empty((RESOLUTION, RESOLUTION, 3), np.uint8)
        image[:] = crop.reshape(-1, 3).mean(0)
        return Result(image, identity.w_plus, identity.motion, tracked, operation, self.name)


def _is_skin(image: np.ndarray) -> np.ndarray:
    return np.abs(image.astype(int) - SKIN).max(2) < 60


def _pixels(picture: Path | np.ndarray) -> np.ndarray:
    return picture if isinstance(picture, np.ndarray) else read_image(picture)
