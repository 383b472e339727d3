"""Shards on disk: webdataset tar files of aligned faces, each with an index beside it.

A sample is the tar members of one key `person/clip/frame`:
    .png or .jpg  the aligned picture, [S, S, 3] RGB
    .json         person, clip, time_s, landmarks [68][2] in its pixels, yaw_deg, pitch_deg, roll_deg
    .npy          synthetic portraits only: z float64 [LATENT_DIM], of which `factors_from_latent` makes the portrait
Pixel (0, 0) is the centre of the top left pixel. Frames of a clip, and clips of a person, are neighbours in one shard.

`00000.json` beside `00000.tar` is its index (`media/shards.py`), and says what was dropped on the way.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.errors import ConfigError
from latent_reenact.media.shards import ShardFile, load_index_file, shard_files

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One aligned face, its picture already encoded."""

    person: str
    clip: str
    frame: int
    picture: bytes
    suffix: str  # "png" or "jpg"
    time_s: float
    landmarks: np.ndarray  # [68, 2], pixels of the picture
    pose_deg: tuple[float, float, float]  # yaw, pitch, roll
    z: np.ndarray | None = None  # float64 [LATENT_DIM]

    @property
    def key(self) -> str:
        return f"{self.person}/{self.clip}/{self.frame:04d}"

    def members(self) -> dict[str, bytes]:
        """Suffix -> content, in the order in which they are written."""
        members = {self.suffix: self.picture, "json": json.dumps(self.truth(), ensure_ascii=False).encode()}
        if self.z is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(self.z, np.float64), allow_pickle=False)
            members["npy"] = buffer.getvalue()
        return members

    def truth(self) -> dict[str, Any]:
        """The annotations; landmarks to a thousandth of a pixel."""
        yaw, pitch, roll = (round(float(angle), 4) for angle in self.pose_deg)
        return {
            "person": self.person,
            "clip": self.clip,
            "time_s": round(float(self.time_s), 4),
            "landmarks": np.round(np.asarray(self.landmarks, np.float64), 3).tolist(),
            "yaw_deg": yaw,
            "pitch_deg": pitch,
            "roll_deg": roll,
        }


@dataclass(frozen=True)
class ShardIndex:
    """Where the samples of a shard are.

    offsets: [N + 1], sample i lies in bytes offsets[i] .. offsets[i + 1].
    truncated: what is wrong with the file, None where it is whole.
    """

    path: Path
    keys: tuple[str, ...]
    offsets: np.ndarray
    truncated: str | None = None

    def __len__(self) -> int:
        return len(self.keys)


class ShardWriter(ShardFile):
    """A `ShardFile` of faces.

    with ShardWriter(path) as shard:
        shard.add(sample)

    dropped: reason -> frames that did not become samples; failures: a line for each file that could not be read.
    Both are filled by the caller and written into the index.
    """

    def __init__(self, path: Path, *, unit: str = "") -> None:
        super().__init__(path, unit=unit)
        self.dropped: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> ShardWriter:
        super().__enter__()
        return self

    def add(self, sample: Sample) -> None:
        self.write(sample.key, sample.members())

    def about(self) -> dict[str, Any]:
        return {"dropped": dict(sorted(self.dropped.items())), "failures": self.failures}


def write_shard(path: Path, samples: Iterable[Sample], *, unit: str = "") -> ShardIndex:
    """Write `samples`, frames of a clip next to each other, as one shard. Raises as `ShardFile` does."""
    with ShardWriter(path, unit=unit) as shard:
        for sample in samples:
            shard.add(sample)
    return read_index(path)


def read_index(shard: Path) -> ShardIndex:
    """Keys and places of a shard's samples: from the file beside it, or from the tar headers where that does not fit.

    Pictures are not read. A damaged shard gives the samples before the damage.
    """
    known = load_index_file(shard)
    if known is None:
        return _scan(shard)
    return ShardIndex(shard, tuple(known["keys"]), np.asarray(known["offsets"], np.int64))


def find_shards(folder: str | Path, split: str = "train") -> list[Path]:
    """The shards of one split of a prepared folder, in order. Raises ConfigError where there are none."""
    found = shard_files(Path(folder) / split)
    if not found:
        raise ConfigError(
            f"no shards in {Path(folder) / split}; expected *.tar files as `latent-reenact prepare` writes"
        )
    return found


def _scan(shard: Path) -> ShardIndex:
    """The index of a shard by its headers alone. Of a cut shard, the last sample may lack a member."""
    starts: dict[str, int] = {}
    end, truncated = 0, None
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                stop = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if stop > size:
                    raise tarfile.ReadError("unexpected end of data")
                if info.isreg():
                    starts.setdefault(sample_key(info.name), info.offset)
                end = stop
        with open(shard, "rb") as file:  # tarfile takes a damaged header for the end
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no end of the archive after {len(starts)} samples")
    except (OSError, tarfile.TarError) as error:
        truncated = str(error) or type(error).__name__
    return ShardIndex(shard, tuple(starts), np.asarray([*starts.values(), end], np.int64), truncated)


def sample_key(member: str) -> str:
    """`person/clip/0003.json` -> `person/clip/0003`, by webdataset's rule: up to the first dot of the last part."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def clip_of(key: str) -> str:
    """`person/clip/0003` -> `person/clip`."""
    return key.rpartition("/")[0]


def person_of(key: str) -> str:
    """`person/clip/0003` -> `person`."""
    return key.partition("/")[0]
