# ruff: noqa: F401
"""Faces in pictures: find them, align them as FFHQ does, follow them through a video, put results back.

Names load on first use (PEP 562), so importing the package does not import dlib or OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "Alignment": "alignment",
    "align": "alignment",
    "alignment_from_landmarks": "alignment",
    "landmarks_to_aligned": "alignment",
    "Box": "detect",
    "DlibDetector": "detect",
    "Face": "detect",
    "FaceDetector": "detect",
    "Which": "detect",
    "choose_face": "detect",
    "parse_which": "detect",
    "PasteBack": "paste",
    "face_mask": "paste",
    "match_color": "paste",
    "paste_back": "paste",
    "square_mask": "paste",
    "HeadPose": "pose",
    "head_pose": "pose",
    "measure": "pose",
    "AlignmentFilter": "smooth",
    "FaceTrack": "track",
    "Smoothing": "track",
    "TrackedFrame": "track",
}

__all__ = [*_EXPORTS]

if TYPE_CHECKING:  # what __getattr__ serves, for readers and type checkers
    from latent_reenact.face.alignment import Alignment, align, alignment_from_landmarks, landmarks_to_aligned
    from latent_reenact.face.detect import Box, DlibDetector, Face, FaceDetector, Which, choose_face, parse_which
    from latent_reenact.face.paste import PasteBack, face_mask, match_color, paste_back, square_mask
    from latent_reenact.face.pose import HeadPose, head_pose, measure
    from latent_reenact.face.smooth import AlignmentFilter
    from latent_reenact.face.track import FaceTrack, Smoothing, TrackedFrame


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
