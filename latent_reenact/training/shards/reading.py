"""Samples out of shards: byte ranges through webdataset, then pictures and annotations, checked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latent_reenact.errors import CorruptFileError, MissingDependencyError

PICTURES = ("png", "jpg")
_MAX_SIDE = 4096
_POSE = ("yaw_deg", "pitch_deg", "roll_deg")

RawSample = dict[str, Any]  # "__key__" and suffix -> bytes, as webdataset has it


@dataclass(frozen=True)
class Face:
    """One decoded sample."""

    key: str
    person: str
    picture: np.ndarray  # uint8 [R, R, 3]
    landmarks: np.ndarray  # float32 [68, 2], pixels of `picture`, the centre of the top left one is (0, 0)
    pose_deg: np.ndarray  # float32 [3], yaw, pitch, roll
    z: np.ndarray | None  # float64 [LATENT_DIM], synthetic portraits only


def read_raw(
    shard: Path, start: int, end: int, on_error: Callable[[Exception], bool] | None = None
) -> Iterator[RawSample]:
    """The samples in bytes start .. end of a shard, read in one go, nothing decoded.

    Args:
        on_error: told of each failure; what can be read still comes. Without it, they are raised.

    Raises:
        MissingDependencyError: webdataset is not installed.
        CorruptFileError: the range is cut off or no tar, and there is no `on_error`.
    """
    try:
        from webdataset.tariterators import group_by_keys, tar_file_expander
    except ImportError:
        raise MissingDependencyError(
            "reading shards needs webdataset, which is not installed; pip install 'latent-reenact[train]'"
        ) from None

    def refuse(error: Exception) -> bool:
        raise CorruptFileError(f"{shard} is damaged or cut off ({error.args[0]}); prepare it again") from error

    handler = on_error or refuse
    try:
        with open(shard, "rb") as file:
            file.seek(start)
            content = io.BytesIO(file.read(end - start))
    except OSError as error:
        handler(error)
        return
    yield from group_by_keys(
        tar_file_expander([{"url": str(shard), "stream": content}], handler=handler), handler=handler
    )


def decode(raw: RawSample, resolution: int | None = None) -> Face:
    """A sample's picture, averaged to `resolution` pixels a side where that is given, and its annotations.

    Raises:
        CorruptFileError: a field is missing, cannot be decoded or has another shape than it should.
    """
    key = raw["__key__"]
    try:
        picture = _picture(raw)
        truth = json.loads(raw["json"])
        landmarks = np.asarray(truth["landmarks"], np.float32)
        pose = np.asarray([truth[name] for name in _POSE], np.float32)
        person = str(truth["person"])
        z = np.load(io.BytesIO(raw["npy"]), allow_pickle=False) if "npy" in raw else None
    except KeyError as error:
        raise CorruptFileError(f"sample {key} has no {error.args[0]}; expected a picture and its annotations") from None
    except Exception as error:  # Pillow, json and numpy raise a dozen kinds on damaged bytes
        raise CorruptFileError(f"sample {key} cannot be decoded: {error}; expected PNG or JPEG and JSON") from error
    if landmarks.shape != (68, 2) or not (np.isfinite(landmarks).all() and np.isfinite(pose).all()):
        raise CorruptFileError(f"sample {key} has landmarks {list(landmarks.shape)}; expected 68 finite points [68, 2]")
    if z is not None and not (z.ndim == 1 and z.dtype.kind == "f" and np.isfinite(z).all()):
        raise CorruptFileError(f"sample {key} has a latent {list(z.shape)} of {z.dtype}; expected finite numbers [D]")
    small, landmarks = _resized(key, picture, landmarks, resolution)
    return Face(key, person, small, landmarks, pose, z)


def _picture(raw: RawSample) -> np.ndarray:
    content = next((raw[suffix] for suffix in PICTURES if suffix in raw), None)
    if content is None:
        raise KeyError("picture (.png or .jpg)")
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        if max(image.size) > _MAX_SIDE or image.width != image.height:
            raise ValueError(f"the picture is {image.width} x {image.height}, not a square of at most {_MAX_SIDE}")
        return np.asarray(image.convert("RGB"))


def _resized(
    key: str, picture: np.ndarray, landmarks: np.ndarray, resolution: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the covered area; a smaller picture than asked for is refused, not blown up."""
    import cv2

    side = len(picture)
    if resolution is None or resolution == side:
        return picture, landmarks
    if resolution > side:
        raise CorruptFileError(f"sample {key} has {side} px; expected {resolution} or more: prepare a larger --size")
    small = cv2.resize(picture, (resolution, resolution), interpolation=cv2.INTER_AREA)
    return small, ((landmarks + 0.5) * (resolution / side) - 0.5).astype(np.float32)
