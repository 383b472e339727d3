"""From what users give (files, pixels, videos) to aligned crops: the same for every system that reads faces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import UsageError
from latent_reenact.face import DlibDetector, FaceTrack, TrackedFrame, alignment_from_landmarks, choose_face
from latent_reenact.face import align as cut
from latent_reenact.face.alignment import Alignment
from latent_reenact.face.detect import FaceDetector, Which
from latent_reenact.face.track import Smoothing
from latent_reenact.media import VideoReader, read_image
from latent_reenact.models.pixels import from_pixels
from latent_reenact.systems.protocol import Frames, Picture

_LOOK_EVERY = 4  # frames of a still head; moves the cut by 0.2 % of its side and its size by 0.7 % (95th percentile)


class FaceCutter:
    """Finds faces and cuts them as a model wants them.

    Args:
        size: side of the crops in pixels.
        framing: width of the cut in units of FFHQ's.
        detector: finds faces; dlib's by default.
    """

    def __init__(self, size: int, framing: float, detector: FaceDetector | None = None) -> None:
        self.size, self.framing = size, framing
        self._detector = detector

    @property
    def detector(self) -> FaceDetector:
        """Made on first use: pictures that come aligned need none."""
        if self._detector is None:
            self._detector = DlibDetector()
        return self._detector

    def track_picture(self, picture: Picture, face: Which) -> TrackedFrame:
        """A picture with its face.

        Raises:
            NoFaceError, ManyFacesError, CorruptFileError, LimitExceededError, UsageError.
        """
        found = pixels(picture)
        name = str(picture) if isinstance(picture, str | Path) else "the picture"
        if face == "all":
            raise UsageError("which face: got 'all', expected largest, only or a number: one face drives or is drawn")
        chosen = choose_face(self.detector.detect(found), face, name=name)[0]
        return TrackedFrame(found, chosen, alignment_from_landmarks(chosen.landmarks, scale=self.framing))

    def track(
        self, frames: VideoReader | Iterable[np.ndarray], face: Which, smoothing: Smoothing, *, aligned: bool
    ) -> Iterator[TrackedFrame]:
        """A video's frames with their face; frames that come aligned are their own cut."""
        if aligned:
            return _uncut(frames)
        fps, name = 25.0, "the video"
        if isinstance(frames, VideoReader):
            fps, name = float(frames.info.fps), str(frames.path)
        return iter(self.follow(face=face, smoothing=smoothing, fps=fps, name=name).stream(frames))

    def follow(self, *, face: Which = "largest", smoothing: Smoothing = "lowpass", fps: float, name: str) -> FaceTrack:
        """What follows a face through a video as this model wants it; `name` is the video's, for messages."""
        return FaceTrack(
            self.detector,
            which=face,
            smoothing=smoothing,
            scale=self.framing,
            fps=fps,
            detect_every=_LOOK_EVERY,
            name=name,
        )

    def crop(self, tracked: TrackedFrame) -> np.ndarray:
        """uint8 [size, size, 3]."""
        return cut(tracked.image, tracked.alignment, self.size)

    def tensor(self, crops: list[np.ndarray], device: torch.device) -> Tensor:
        """Aligned uint8 crops [H, H, 3] of any size -> float [B, 3, size, size] in [-1, 1]."""
        sized = np.stack([self.sized(crop) for crop in crops])
        return from_pixels(torch.from_numpy(sized).to(device).permute(0, 3, 1, 2))

    def sized(self, crop: np.ndarray) -> np.ndarray:
        """An aligned uint8 crop [H, H, 3] of any size -> [size, size, 3]."""
        return _square(crop, self.size)


def pixels(picture: Picture) -> np.ndarray:
    """uint8 [H, W, 3] of a file or of pixels."""
    return read_image(picture) if isinstance(picture, str | Path) else np.asarray(picture)


def open_frames(driving: Frames, stack: contextlib.ExitStack) -> VideoReader | Iterable[np.ndarray]:
    """A video file opened for as long as `stack` lives; anything else as it is."""
    return stack.enter_context(VideoReader(driving)) if isinstance(driving, str | Path) else driving


def _square(crop: np.ndarray, size: int) -> np.ndarray:
    """An aligned picture of any size, resized."""
    import cv2

    if crop.ndim != 3 or crop.shape[2] != 3 or crop.shape[0] != crop.shape[1]:
        raise UsageError(
            f"an aligned picture is a square [S, S, 3], got {crop.shape}; leave out aligned to have it cut"
        )
    if crop.shape[0] == size:
        return crop
    shrinking = crop.shape[0] > size
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def _uncut(frames: Iterable[np.ndarray]) -> Iterator[TrackedFrame]:
    """Frames that come aligned: the whole picture is the cut."""
    for frame in frames:
        half = frame.shape[0] / 2
        yield TrackedFrame(frame, None, Alignment((half - 0.5, half - 0.5), (half, 0.0)))
