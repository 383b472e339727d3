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
    if start == end:  # an empty shard; tarfile takes nothing for damage
        return
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
        picture, side = _picture(raw, resolution)
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
    scale = np.float32(len(picture) / side)
    return Face(key, person, picture, (landmarks + 0.5) * scale - 0.5 if scale != 1 else landmarks, pose, z)


def _picture(raw: RawSample, resolution: int | None) -> tuple[np.ndarray, int]:
    """The picture, averaged over the covered area, and its side before that.

    By Pillow: OpenCV's threads do not survive the fork of a loader's worker.
    """
    content = next((raw[suffix] for suffix in PICTURES if suffix in raw), None)
    if content is None:
        raise KeyError("picture (.png or .jpg)")
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        side = image.width
        if side > _MAX_SIDE or side != image.height:
            raise ValueError(f"the picture is {side} x {image.height}, not a square of at most {_MAX_SIDE}")
        if resolution is not None and resolution > side:
            raise ValueError(f"the picture has {side} px, {resolution} are asked for: prepare a larger --size")
        rgb = image.convert("RGB")
        if resolution is None:
            return np.array(rgb), side
        if side % resolution == 0:  # rounds once, where `resize` does for each axis
            return np.array(rgb.reduce(side // resolution)), side
        return np.array(rgb.resize((resolution, resolution), Image.Resampling.BOX)), side
