"""Who somebody is, read by dlib's own network: a second opinion that no training here ever saw.

dlib's ResNet of 29 layers (King 2017) reads an aligned cut of 150² pixels; two pictures of one person lie closer
than about 0.6 in its space of 128 dimensions. Synthetic faces are more alike than that: calibrate on them.
"""

from __future__ import annotations

import importlib.util
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.errors import MissingDependencyError
from latent_reenact.face._arrays import check_image, check_landmarks

DESCRIPTOR_SIZE = 128
_MODEL_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_FACE_PX = 256  # width of the landmarks while dlib cuts the face; it rounds them to whole pixels


class FaceDescriptor:
    """dlib's face recognition network. The model (22 MB) loads on first use; threads may share one object.

    Raises:
        MissingDependencyError: dlib or the model is not installed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """The descriptor of one face, float64 [128]; compare by distance or by cosine.

        Args:
            image: uint8 [H, W, 3], RGB.
            landmarks: the face's 68 iBUG points [68, 2], in pixels.
        """
        import cv2
        import dlib

        check_image(image)
        network = _network()
        points = check_landmarks(landmarks)
        zoom = _FACE_PX / max(float(np.ptp(points, axis=0).max()), 1.0)
        shift = _FACE_PX - zoom * (points.max(0) + points.min(0)) / 2  # to the middle of a square twice as wide
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        size = (2 * _FACE_PX, 2 * _FACE_PX)
        window = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        placed = [dlib.point(round(x), round(y)) for x, y in (points * zoom + shift).tolist()]
        shape = dlib.full_object_detection(dlib.rectangle(0, 0, *size), placed)
        with self._lock:
            return np.array(network.compute_face_descriptor(window, shape))


@lru_cache(maxsize=1)
def _network() -> Any:
    """Read once per process."""
    spec = importlib.util.find_spec("face_recognition_models")  # importing it would need pkg_resources
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / "models" / _MODEL_FILE
        if path.is_file() and importlib.util.find_spec("dlib"):
            import dlib

            return dlib.face_recognition_model_v1(str(path))
    raise MissingDependencyError(
        f"telling people apart needs dlib and its model {_MODEL_FILE}, which are not installed: "
        "pip install dlib-bin face_recognition_models"
    )
