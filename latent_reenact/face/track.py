"""Follow one face through a video, frame by frame, in flat memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from latent_reenact.errors import NoFaceError, UsageError
from latent_reenact.face._arrays import check_image
from latent_reenact.face.alignment import Alignment, alignment_from_landmarks
from latent_reenact.face.detect import Box, DlibDetector, Face, FaceDetector, Which, choose_face
from latent_reenact.face.smooth import AlignmentFilter

Smoothing = Literal["fixed", "lowpass", "none"]

# dlib's box against the landmarks it leads to: side over their r.m.s. spread, and how far the box lies above
# their mean, in sides. Measured on portraits and video, spread 5 % and 4 %.
_BOX_PER_SPREAD = 2.8
_BOX_RISE = 0.036
_SAME_FACE_IOU = 0.3
_LARGEST_JUMP = 0.25  # between two frames, in sides of the box: a head does not move faster, a lost track does
_LARGEST_GROWTH = 1.25
_STILL = 0.02  # a head that moves or grows less between two frames, in sides of the box, is read well without a look
_UNSEEN_FRAMES = 8  # how long landmarks are believed that no detector confirms: a face turned far away
_SEARCH_EVERY = 8  # frames between two searches of the whole frame for a lost face

# The small window in which the face is looked for first: the face's width there, in pixels. Sizes go in dlib's own
# steps and corners in cells of its grid, since a window that followed the face smoothly would make the box jump
# between grid positions, and the landmarks with it (crop size unsteady by 10 % instead of 1 %).
_WINDOW_BOX_PX = 130.0
_WINDOW_STEP = 1.2
_WINDOW_CELL_PX = 8


@dataclass(frozen=True)
class TrackedFrame:
    """One frame of a video and where the face is in it.

    face: the face seen here, or None where there was none.
    alignment: the (smoothed) square to cut out; where no face was found, the last one known.
    """

    image: np.ndarray
    face: Face | None
    alignment: Alignment

    @property
    def found(self) -> bool:
        return self.face is not None


class FaceTrack:
    """Follows one face through the frames of a video.

    The detector searches the whole frame only at the start and after a loss; from then on it looks at a small
    window around where the face was. Where that is skipped or finds nothing, the landmarks of one frame give the
    box for the next, as long as they move like a head. One track serves one video and one thread.

    Args:
        detector: finds faces; dlib's by default.
        which: the face to follow among several in the first frame that has any: "largest", "only" (there must
            be exactly one) or a number, 0 being the largest.
        smoothing: "lowpass" follows the head without jitter; "fixed" keeps the crop of the first frame with a
            face, so that the head moves inside it; "none" takes each frame as it is.
        scale: widens the crop against FFHQ's own framing.
        fps: frames per second, for the low-pass.
        detect_every: let the detector look at every n-th frame only while the head keeps still; a head that moves
            is looked for in every frame, since without that it is read less well.
        patience: how many frames a video may begin with before its first face. They are held back until then.
        max_gap: how many frames in a row the face may be away later on.
        name: what the frames come from, for messages.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        *,
        which: Which = "largest",
        smoothing: Smoothing = "lowpass",
        scale: float = 1.0,
        fps: float = 25.0,
        detect_every: int = 1,
        patience: int = 25,
        max_gap: int = 250,
        name: str = "the video",
    ) -> None:
        if smoothing not in get_args(Smoothing):
            raise UsageError(f"smoothing: got {smoothing!r}, expected one of {', '.join(get_args(Smoothing))}")
        if which == "all":
            raise UsageError("which face: got 'all', expected largest, only or a number: a video follows one face")
        if min(detect_every, patience, max_gap) < 1 or fps <= 0:
            raise UsageError("detect_every, patience, max_gap and fps must be above 0")
        self.detector = detector or DlibDetector()
        self.which, self.smoothing, self.scale, self.name = which, smoothing, scale, name
        self.detect_every, self.patience, self.max_gap = detect_every, patience, max_gap
        self.frames_seen = 0
        self._filter = AlignmentFilter(fps)
        self._face: Face | None = None  # last one seen, here or in an earlier frame
        self._alignment: Alignment | None = None
        self._unseen = 0  # frames since the detector last saw the face
        self._missing = 0  # frames since anything saw the face

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[TrackedFrame]:
        """The frames (uint8 [H, W, 3]) with their face, one out for each one in, in order.

        Frames before the first face carry its alignment and `face=None`.

        Raises:
            NoFaceError: no face in the first `patience` frames, or none for `max_gap` frames later on.
            ManyFacesError: `which` does not fit the faces there are.
        """
        waiting: list[np.ndarray] = []
        for image in frames:
            face = self.update(image)
            if self._alignment is None:
                waiting.append(image)
                continue
            for earlier in waiting:
                yield TrackedFrame(earlier, None, self._alignment)
            waiting.clear()
            yield TrackedFrame(image, face, self._alignment)
        if self._alignment is None:
            raise NoFaceError(self._nothing_found())

    def update(self, image: np.ndarray) -> Face | None:
        """The face in the next frame, or None if it is not there. `alignment` then holds the square to cut."""
        check_image(image)
        self.frames_seen += 1
        face = self._acquire(image) if self._face is None or self._missing else self._follow(image, self._face)
        if face is None:
            self._missing += 1
            self._check_patience()
            return None
        self._missing, self._face = 0, face
        self._alignment = self._smoothed(alignment_from_landmarks(face.landmarks, scale=self.scale))
        return face

    @property
    def alignment(self) -> Alignment | None:
        """The square to cut out of the latest frame; None before the first face."""
        return self._alignment

    def _smoothed(self, seen: Alignment) -> Alignment:
        if self.smoothing == "none":
            return seen
        if self.smoothing == "fixed":
            return self._alignment or seen
        return self._filter(seen)

    def _follow(self, image: np.ndarray, last: Face) -> Face | None:
        """The face that was there in the frame before."""
        self._unseen += 1
        if self._unseen < self.detect_every:
            guess = self._guess(image, last)
            if _moved_a_little(last.box, guess.box, _STILL, 1 + _STILL):
                return guess
        seen = self._look_near(image, last)
        if seen is not None:
            return self._confirmed(seen)
        guess = self._guess(image, last)
        trusted = self._unseen < max(self.detect_every, _UNSEEN_FRAMES)
        return guess if trusted and _moved_a_little(last.box, guess.box) else None

    def _guess(self, image: np.ndarray, last: Face) -> Face:
        """The face by its landmarks alone, begun at the box of the frame before."""
        landmarks = self.detector.landmarks(image, last.box)
        return Face(_box_of(landmarks), last.score, landmarks)

    def _acquire(self, image: np.ndarray) -> Face | None:
        """A face where there was none in the frame before."""
        if self._face is None:
            faces, which = self.detector.detect(image), self.which
        else:
            near = self._look_near(image, self._face)
            if near is not None:
                return self._confirmed(near)
            if self._missing % _SEARCH_EVERY:
                return None
            faces, which = self.detector.detect(image, thorough=False), "largest"
        if not faces:
            return None
        return self._confirmed(choose_face(faces, which, name=f"frame {self.frames_seen} of {self.name}")[0])

    def _confirmed(self, seen: Face) -> Face:
        """A detected face, with the box its landmarks ask for, so that boxes of consecutive frames compare."""
        self._unseen = 0
        return Face(_box_of(seen.landmarks), seen.score, seen.landmarks)

    def _look_near(self, image: np.ndarray, last: Face) -> Face | None:
        """Look for the same face in a small window around where it was."""
        window, offset, zoom = _window(image, last.box)
        if window is None:
            return None
        found = (_moved(face, offset, zoom) for face in self.detector.detect(window, thorough=False))
        best = max(found, key=lambda face: _iou(face.box, last.box), default=None)
        return best if best is not None and _iou(best.box, last.box) >= _SAME_FACE_IOU else None

    def _check_patience(self) -> None:
        if self._face is None and self._missing >= self.patience:
            raise NoFaceError(self._nothing_found())
        if self._face is not None and self._missing >= self.max_gap:
            raise NoFaceError(
                f"the face in {self.name} is gone since frame {self.frames_seen - self._missing + 1}, "
                f"{self._missing} frames ago; cut the video there, or allow a longer gap"
            )

    def _nothing_found(self) -> str:
        return (
            f"no face found in the first {self.frames_seen} frames of {self.name}; "
            "cut it so that it begins with a face turned at most about 45 degrees from the camera"
        )


def _box_of(landmarks: np.ndarray) -> Box:
    """The box that dlib's detector would draw around these landmarks."""
    x, y = landmarks.mean(0)
    half = _BOX_PER_SPREAD * float(np.sqrt(landmarks.var(0).sum())) / 2
    y -= 2 * half * _BOX_RISE
    return (float(x - half), float(y - half), float(x + half), float(y + half))


def _moved_a_little(before: Box, after: Box, jump: float = _LARGEST_JUMP, most: float = _LARGEST_GROWTH) -> bool:
    side = before[2] - before[0]
    growth = (after[2] - after[0]) / side
    shift = np.hypot(after[0] + after[2] - before[0] - before[2], after[1] + after[3] - before[1] - before[3]) / 2
    return bool(shift < jump * side and 1 / most < growth < most)


def _iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total if total > 0 else 0.0


def _window(image: np.ndarray, box: Box) -> tuple[np.ndarray | None, np.ndarray, float]:
    """The surroundings of `box`, brought to about one size; their offset in the picture and the zoom used."""
    import cv2

    height, width = image.shape[:2]
    side = box[2] - box[0]
    zoom = _WINDOW_STEP ** round(math.log(_WINDOW_BOX_PX / side, _WINDOW_STEP))
    cell = max(1, round(_WINDOW_CELL_PX / zoom))
    left, top = (max(0, int((v - 0.6 * side) // cell) * cell) for v in box[:2])
    right, bottom = (min(n, int(v + 0.6 * side) + 1) for n, v in zip((width, height), box[2:], strict=True))
    if right - left < 0.5 * side or bottom - top < 0.5 * side:
        return None, np.zeros(2), zoom
    size = (max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom)))
    kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return cv2.resize(image[top:bottom, left:right], size, interpolation=kind), np.array([left, top]), zoom


def _moved(face: Face, offset: np.ndarray, zoom: float) -> Face:
    """A face found in a window, in the picture's own pixels."""
    left, top, right, bottom = np.array(face.box) / zoom + np.tile(offset, 2)
    return Face((left, top, right, bottom), face.score, (face.landmarks + 0.5) / zoom - 0.5 + offset)
