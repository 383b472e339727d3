"""The people that somebody may draw: from pictures, from files saved before, from seeds."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from latent_reenact.editing import draw_portrait, read_settings, sample_identity
from latent_reenact.errors import NoFaceError, UsageError
from latent_reenact.face import DlibDetector, Face, align, alignment_from_landmarks
from latent_reenact.face.detect import FaceDetector
from latent_reenact.media import VideoReader, read_image
from latent_reenact.systems import Identity, Reenactor
from latent_reenact.systems.plan import IDENTITY_SUFFIX
from latent_reenact.webui.files import Workspace
from latent_reenact.webui.limits import Limits
from latent_reenact.webui.messages import about
from latent_reenact.webui.session import Sitter

IDENTITY = "the identity picture"
_CUT_PX = 512  # of a face shown beside a result
_MOST_FACES, _FACE_PX = 12, 160
_FRAMES_WITHOUT_FACE = 25  # that a video may begin with


class People:
    """Reads and makes people with the one reenactor that all users share; it holds nobody's state.

    Args:
        detector: finds the faces to choose from; dlib's by default.
    """

    def __init__(
        self, reenactor: Reenactor, workspace: Workspace, limits: Limits, detector: FaceDetector | None = None
    ) -> None:
        self.reenactor, self.workspace, self.limits = reenactor, workspace, limits
        self._detector = detector
        self._samples: dict[tuple[str, int], Identity] = {}
        self._reading = threading.Lock()

    @property
    def detector(self) -> FaceDetector:
        self._detector = self._detector or DlibDetector()
        return self._detector

    def faces(self, path: Path) -> list[np.ndarray]:
        """The faces of a picture, or of a video's first frames, largest first: uint8 [S, S, 3] each.

        Raises:
            NoFaceError, CorruptFileError, LimitExceededError.
        """
        picture, found = self._first_faces(path)
        return [align(picture, alignment_from_landmarks(face.landmarks), _FACE_PX) for face in found[:_MOST_FACES]]

    def _first_faces(self, path: Path) -> tuple[np.ndarray, list[Face]]:
        if not self.limits.check(path):
            picture = read_image(path, self.limits.of_pictures)
            if found := self.detector.detect(picture):
                return picture, found
        else:
            with VideoReader(path, self.limits.of_videos) as video:
                for frame, _ in zip(video, range(_FRAMES_WITHOUT_FACE), strict=False):
                    if found := self.detector.detect(frame):
                        return frame, found
        raise NoFaceError("no face found")

    def open(self, path: Path, face: int = 0) -> Sitter:
        """A picture of somebody, or an identity saved before.

        Raises:
            Trouble: it is neither, or was made by another model.
        """
        if path.suffix.lower() != IDENTITY_SUFFIX:
            with about(IDENTITY):
                self.check_picture(path)
            return Sitter(path, face, title=path.stem)
        with about("the saved person"):
            identity = Identity.load(path)
            self._check_model(identity)
        return Sitter(identity=identity, title=path.stem)

    def check_picture(self, path: Path) -> None:
        """Raises UsageError for a video, LimitExceededError for a file that is too large."""
        if self.limits.check(path):
            raise UsageError("a video cannot be the identity here; take a picture of the person")

    def _check_model(self, identity: Identity) -> None:
        if identity.model not in ("", self.reenactor.name):
            raise UsageError(
                f"this person was saved with the model {identity.model}, and here {self.reenactor.name} runs; read the "
                "picture again"
            )

    def read(self, sitter: Sitter) -> Identity:
        """The sitter's identity, read from the picture the first time. Raises Trouble."""
        if sitter.identity is None:
            with about(IDENTITY):
                if sitter.picture is None:
                    raise UsageError("there is nobody to draw yet; choose a picture of a person")
                sitter.identity = self._read(sitter.picture, sitter.face)
        return sitter.identity

    def _read(self, picture: Path, face: int) -> Identity:
        """The package's own samples are read once for all users."""
        if not self.workspace.is_sample(picture):
            return self.reenactor.identity(picture, face=face)
        with self._reading:
            key = picture.name, face
            if key not in self._samples:
                self._samples[key] = self.reenactor.identity(picture, face=face)
            return self._samples[key]

    def random(self, seed: int) -> Sitter:
        """Somebody who does not exist. Raises Trouble."""
        with about("the random person"):
            return Sitter(identity=sample_identity(self.reenactor, seed), title=f"Random person {seed}")

    def portrait(self, seed: int) -> np.ndarray:
        """Their picture alone, uint8 [R, R, 3]."""
        with about("the random person"):
            return draw_portrait(self.reenactor, seed)

    def settings(self, sitter: Sitter) -> dict[str, float]:
        """Where the sliders stand for somebody as pictured. Raises Trouble."""
        identity = self.read(sitter)
        with about(IDENTITY):
            return read_settings(self.reenactor, identity)

    def cut(self, sitter: Sitter) -> np.ndarray:
        """The sitter's face as the model cuts it, uint8 [S, S, 3]."""
        if sitter.picture is None:
            return self.read(sitter).picture
        return align(*self.reenactor.align(sitter.picture, face=sitter.face), max(_CUT_PX, self.reenactor.resolution))

    def save(self, sitter: Sitter) -> Path:
        """The identity as a file to open again. Raises Trouble."""
        identity = self.read(sitter)
        with about("the person"), self.workspace.job_folder() as folder:
            path = folder / f"{file_name(sitter.title or 'person')}{IDENTITY_SUFFIX}"
            identity.save(path)
            return path


def file_name(title: str) -> str:
    """A title as a harmless name of a file."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in title.lower())
    return "-".join(part for part in kept.split("-") if part)[:60] or "portrait"
