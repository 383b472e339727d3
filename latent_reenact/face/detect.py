"""Find faces and their 68 landmarks.

The default detector is dlib's: a HOG window for the box, regression trees (Kazemi and Sullivan 2014) for the
landmarks. Its 68-point model was trained on iBUG 300-W, whose licence excludes commercial use; anything that
obeys `FaceDetector` can take its place.

Pixels: the centre of the top left pixel is (0, 0), x runs right and y down, as in OpenCV and dlib.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from latent_reenact.errors import ManyFacesError, MissingDependencyError, NoFaceError, UsageError
from latent_reenact.face._arrays import check_image

Box = tuple[float, float, float, float]
Which = Literal["largest", "only", "all"] | int
"""Which of several faces: a word, or a number counted from 0 for the largest."""

_LANDMARK_FILE = "shape_predictor_68_face_landmarks.dat"
_LANDMARK_BOX_PX = 256  # the face's width while its landmarks are read; dlib rounds them to whole pixels


@dataclass(frozen=True)
class Face:
    """One face in a picture.

    box: (left, top, right, bottom) in pixels; may reach over the picture's edge.
    score: the detector's confidence; for dlib about 0 (barely) to 3 (beyond doubt).
    landmarks: the 68 iBUG points, float [68, 2], x and y in pixels.
    """

    box: Box
    score: float
    landmarks: np.ndarray = field(repr=False, compare=False)

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class FaceDetector(Protocol):
    """What the rest of the program needs of a detector. One object may serve several threads."""

    def detect(self, image: np.ndarray, *, thorough: bool = True) -> list[Face]:
        """All faces of `image` (uint8 [H, W, 3]), largest first; with `thorough` also the small ones."""
        ...

    def landmarks(self, image: np.ndarray, box: Box) -> np.ndarray:
        """The 68 points [68, 2] of the face known to be in `box`, whether or not one is really there."""
        ...


class DlibDetector:
    """dlib's frontal HOG detector (faces turned up to about 45 degrees) and 68 landmarks.

    A picture is searched at `max_side` pixels, where the smallest face found is 80 px wide (an eighth of the
    picture's longer side); only when nothing is there, twice and four times finer. Calls are serialised by a lock,
    since dlib's detector keeps scratch memory, so threads may share one object. The landmark model loads on first use.

    Raises:
        MissingDependencyError: dlib or the landmark model is not installed.
    """

    def __init__(self, max_side: int = 640, threshold: float = 0.0) -> None:
        if max_side < 80:
            raise UsageError(f"max_side: got {max_side}, expected at least 80 (the size of dlib's window)")
        self.max_side = max_side
        self.threshold = threshold
        self._hog = _import_dlib().get_frontal_face_detector()
        self._lock = threading.Lock()

    def detect(self, image: np.ndarray, *, thorough: bool = True) -> list[Face]:
        check_image(image)
        scales = self._scales(max(image.shape[:2]))
        for scale in scales if thorough else scales[:1]:
            boxes = self._boxes(image, scale)
            if boxes:
                faces = [Face(box, score, self.landmarks(image, box)) for box, score in boxes]
                return sorted(faces, key=lambda face: -face.area)
        return []

    def landmarks(self, image: np.ndarray, box: Box) -> np.ndarray:
        import cv2

        dlib = _import_dlib()
        left, top, right, bottom = box
        side = max(right - left, bottom - top, 1.0)
        zoom, half = _LANDMARK_BOX_PX / side, _LANDMARK_BOX_PX // 2
        # window <- picture: the box in the middle half of a square, with as much again around it.
        shift = np.array([half - zoom * (left + right - side) / 2, half - zoom * (top + bottom - side) / 2])
        to_window = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        size = (4 * half, 4 * half)
        window = cv2.warpAffine(image, to_window, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        predictor = _landmark_model()
        with self._lock:
            shape = predictor(window, dlib.rectangle(half, half, 3 * half - 1, 3 * half - 1))
        points = np.array([[p.x, p.y] for p in shape.parts()], dtype=np.float64)
        return (points - shift) / zoom

    def _scales(self, longest: int) -> list[float]:
        """Factors to search at: first the fast one, then finer; only small pictures are enlarged over twice."""
        first = min(1.0, self.max_side / longest)
        finer = [s for s in (2 * first, 4 * first) if s <= 2 or s * longest <= 2 * self.max_side]
        return [first, *finer]

    def _boxes(self, image: np.ndarray, scale: float) -> list[tuple[Box, float]]:
        scaled = _resized(image, scale)
        with self._lock:
            rectangles, scores, _ = self._hog.run(scaled, 0, self.threshold)
        ratio_x, ratio_y = image.shape[1] / scaled.shape[1], image.shape[0] / scaled.shape[0]
        return [
            ((r.left() * ratio_x, r.top() * ratio_y, (r.right() + 1) * ratio_x, (r.bottom() + 1) * ratio_y), float(s))
            for r, s in zip(rectangles, scores, strict=True)
        ]


def choose_face(faces: Sequence[Face], which: Which = "largest", *, name: str = "the picture") -> list[Face]:
    """The faces meant by `which`, in the order of `faces` (largest first).

    Args:
        faces: what a detector found, largest first.
        which: "largest"; "only" (there must be exactly one); "all"; or a number, 0 being the largest.
        name: what was searched, for the message: a file name, "frame 12 of talk.mp4" ...

    Raises:
        NoFaceError: `faces` is empty.
        ManyFacesError: "only" and there are several, or the number is out of range.
        UsageError: `which` is none of these.
    """
    if isinstance(which, bool) or not (isinstance(which, int) or which in ("largest", "only", "all")):
        raise UsageError(f"which face: got {which!r}, expected largest, only, all or a number (0 is the largest)")
    if not faces:
        raise NoFaceError(
            f"no face found in {name}; expected one turned at most about 45 degrees from the camera: "
            "crop closer, take a sharper or larger picture, or say that it is already an aligned face"
        )
    if which == "all":
        return list(faces)
    if isinstance(which, int):
        if not 0 <= which < len(faces):
            raise ManyFacesError(f"face {which} is not in {name}, which has {_listing(faces)}")
        return [faces[which]]
    if which == "only" and len(faces) > 1:
        raise ManyFacesError(f"expected one face in {name}, got {_listing(faces)}; choose largest or a number")
    return [faces[0]]


def parse_which(text: str) -> Which:
    """`text` from a command line as a choice of face: a word, or a number as `int`.

    Raises:
        UsageError: neither.
    """
    if text in ("largest", "only", "all"):
        return text  # type: ignore[return-value]
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return int(text)
    raise UsageError(f"which face: got {text!r}, expected largest, only, all or a number (0 is the largest)")


def _listing(faces: Sequence[Face], limit: int = 10) -> str:
    boxes = [f"{i}: ({', '.join(f'{v:.0f}' for v in face.box)})" for i, face in enumerate(faces[:limit])]
    more = ", ..." if len(faces) > limit else ""
    return f"{len(faces)} face{'s' * (len(faces) != 1)} (left, top, right, bottom): {', '.join(boxes)}{more}"


def _resized(image: np.ndarray, scale: float) -> np.ndarray:
    import cv2

    if scale == 1:
        return np.ascontiguousarray(image)
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=kind)


def _import_dlib() -> Any:
    try:
        import dlib
    except ImportError:
        raise MissingDependencyError(
            "face detection needs dlib, which is not installed: pip install dlib-bin, or pass another detector"
        ) from None
    return dlib


@lru_cache(maxsize=1)
def _landmark_model() -> Any:
    """dlib's 68-point predictor, read once per process (100 MB)."""
    spec = importlib.util.find_spec("face_recognition_models")  # importing it would need pkg_resources
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        path = Path(root) / "models" / _LANDMARK_FILE
        if path.is_file():
            return _import_dlib().shape_predictor(str(path))
    raise MissingDependencyError(
        f"the landmark model {_LANDMARK_FILE} is not installed: "
        "pip install face_recognition_models, or pass another detector"
    )
