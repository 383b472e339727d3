"""Where the clips of an evaluation come from: the synthetic world, shards that `prepare` wrote, or folders of videos.

A clip is a person's frames, aligned as FFHQ and all of one size. Only the synthetic world knows more than its pixels:
who is drawn and how, so that it can render the right answer of any pair of clips.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.face import FaceTrack, align
from latent_reenact.face.detect import FaceDetector
from latent_reenact.media import VideoReader, is_video_path
from latent_reenact.synthface.framing import ZOOM

if TYPE_CHECKING:  # they need numba, clips of other sources do not
    from latent_reenact.synthface import Factors, Renderer

FIRST_CLIP = 500_000  # of the test seed: a range that no other measure draws from
LEAST_FRAMES = 4  # with fewer, correlations over a clip mean nothing


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one person.

    name: unique in its source. frames: uint8 [T, R, R, 3]. fps: frames a second.
    factors: what the synthetic world drew; None in other clips.
    """

    name: str
    person: str
    frames: np.ndarray
    fps: float
    factors: Sequence[Factors] | None = None


class ClipSource(Protocol):
    """Clips by name, at one size and framing. `load` is asked for one at a time: they need not fit into memory."""

    @property
    def framing(self) -> float:
        """How much wider than FFHQ's square the frames are cut."""

    def people(self) -> dict[str, str]:
        """Clip -> person, in a fixed order."""

    def load(self, name: str) -> Clip:
        """Raises LatentReenactError where this one clip cannot be used; the others may."""

    def about(self) -> dict[str, Any]:
        """What the clips are, for the report and for telling two evaluations apart."""


class SyntheticClips:
    """Talking people of the test seed, rendered: never seen in training, and every right answer is known."""

    def __init__(self, renderer: Renderer, *, count: int, frames: int, fps: float, size: int) -> None:
        from latent_reenact.evaluation.world import TEST_SEED

        self.seed = TEST_SEED
        self.renderer, self.count, self.frames, self.fps, self.size = renderer, count, frames, fps, size

    @property
    def framing(self) -> float:
        return ZOOM

    def people(self) -> dict[str, str]:
        return {f"synthface-{i:04d}": f"synthface-{i:04d}" for i in range(self.count)}

    def load(self, name: str) -> Clip:
        from latent_reenact.synthface import talking_clip

        i = FIRST_CLIP + int(name.rpartition("-")[2])
        factors = list(talking_clip(self.seed, i, self.frames, self.fps))
        return Clip(name, name, self._draw(factors), self.fps, factors)

    def answer(self, identity: Clip, driving: Clip) -> np.ndarray:
        """The identity's person, in the scene of their own clip, doing what the driving clip does: [T, R, R, 3]."""
        assert identity.factors is not None
        assert driving.factors is not None
        person = identity.factors[0]
        return self._draw([replace(person, motion=one.motion) for one in driving.factors])

    def about(self) -> dict[str, Any]:
        return {"clips": "synthface", "world_seed": self.seed, "first": FIRST_CLIP}

    def _draw(self, factors: Sequence[Factors]) -> np.ndarray:
        return np.stack([self.renderer.render(one, self.size).image for one in factors])


class ShardClips:
    """The clips of one split of a folder that `latent-reenact prepare` wrote.

    Args:
        framing: how the pictures were cut; FFHQ's own by default, as `prepare` does with videos.
    """

    def __init__(
        self, folder: str | Path, *, frames: int, size: int, framing: float = 1.0, split: str = "test"
    ) -> None:
        self.folder, self.frames, self.size, self._framing, self.split = Path(folder), frames, size, framing, split
        shards = sorted((self.folder / split).glob("[!.]*.tar"))
        if not shards:
            raise ConfigError(f"no shards in {self.folder / split}; expected *.tar as `latent-reenact prepare` writes")
        self._places: dict[str, tuple[Path, list[str]]] = {}
        for shard in shards:
            for key in _keys(shard):
                self._places.setdefault(key.rpartition("/")[0], (shard, []))[1].append(key)

    @property
    def framing(self) -> float:
        return self._framing

    def people(self) -> dict[str, str]:
        long_enough = (name for name, (_, keys) in self._places.items() if len(keys) >= LEAST_FRAMES)
        return {name: name.partition("/")[0] for name in long_enough}

    def load(self, name: str) -> Clip:
        shard, keys = self._places[name]
        wanted = keys[: self.frames]
        frames, times = [], []
        with _opened(shard) as tar:
            members = {member.name: member for member in tar if member.name.rpartition("/")[0] == name}
            for key in wanted:
                picture, truth = _sample(tar, members, key)
                frames.append(_resized(picture, self.size))
                times.append(float(truth.get("time_s", 0.0)))
        steps = np.diff(times)
        fps = 1 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 2.0
        return Clip(name, name.partition("/")[0], np.stack(frames), fps)

    def about(self) -> dict[str, Any]:
        return {"clips": f"shards of {self.folder.name}/{self.split}"}


class VideoClips:
    """The videos of a folder; one in a folder of its own is of that folder's person, others each of their own.

    Args:
        fps: frames taken a second, evenly; a video that has fewer gives all it has.
        framing: width of the cut in units of FFHQ's.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        frames: int,
        fps: float,
        size: int,
        framing: float,
        detector: FaceDetector | None = None,
    ) -> None:
        self.folder, self.frames, self.fps, self.size, self._framing = Path(folder), frames, fps, size, framing
        self._detector = detector
        if not self.folder.is_dir():
            raise ConfigError(f"no folder {self.folder}; expected one with videos, in folders named by person or not")
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and is_video_path(path))
        self._paths = {str(path.relative_to(self.folder)): path for path in found}
        if not self._paths:
            raise ConfigError(f"no videos in {self.folder}; expected MP4, MOV, MKV, WebM, AVI or GIF files")

    @property
    def framing(self) -> float:
        return self._framing

    def people(self) -> dict[str, str]:
        return {name: name.partition("/")[0] if "/" in name else name for name in self._paths}

    def load(self, name: str) -> Clip:
        with VideoReader(self._paths[name]) as reader:
            rate = float(reader.info.fps)
            step = max(1, round(rate / self.fps))
            track = FaceTrack(self._detector, smoothing="none", scale=self.framing, fps=rate / step, name=name)
            taken = islice(islice(reader, 0, None, step), self.frames)
            frames = [align(f.image, f.alignment, self.size) for f in track.stream(taken) if f.found]
        if len(frames) < LEAST_FRAMES:
            raise CorruptFileError(f"{name} shows a face in {len(frames)} frames, expected {LEAST_FRAMES} or more")
        return Clip(name, self.people()[name], np.stack(frames), rate / step)

    def about(self) -> dict[str, Any]:
        return {"clips": f"videos of {self.folder.name}"}


def reframed(frames: np.ndarray, ratio: float, size: int) -> np.ndarray:
    """Aligned frames [T, R, R, 3] as a cut `ratio` times as wide shows them, [T, size, size, 3].

    What lies outside the old cut is mirrored.
    """
    import cv2

    side = frames.shape[1]
    if ratio == 1 and side == size:
        return frames
    if ratio == 1:
        return np.stack([_resized(frame, size) for frame in frames])
    scale = ratio * side / size
    shift = (side - 1) / 2 - scale * (size - 1) / 2
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack(
        [cv2.warpAffine(f, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101) for f in frames]
    )


def _resized(picture: np.ndarray, size: int) -> np.ndarray:
    import cv2

    if picture.shape[0] == size:
        return picture
    kind = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(picture, (size, size), interpolation=kind)


def _opened(shard: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(shard, "r:")
    except (OSError, tarfile.TarError) as error:
        raise CorruptFileError(f"{shard} cannot be read ({error}); prepare it again") from error


def _keys(shard: Path) -> list[str]:
    """The samples of a shard: from the index beside it where that is whole, from its headers else."""
    try:
        return list(json.loads(shard.with_suffix(".json").read_text(encoding="utf-8"))["keys"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with _opened(shard) as tar:
        return [name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json")]


def _sample(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], key: str) -> tuple[np.ndarray, dict[str, Any]]:
    """(picture uint8 [R, R, 3], annotations) of one sample."""
    from PIL import Image

    try:
        name = next(f"{key}.{suffix}" for suffix in ("png", "jpg") if f"{key}.{suffix}" in members)
        picture = np.asarray(Image.open(_member(tar, members[name]), formats=("PNG", "JPEG")).convert("RGB"))
        return picture, json.load(_member(tar, members[f"{key}.json"]))
    except (StopIteration, KeyError, OSError, ValueError, tarfile.TarError) as error:
        raise CorruptFileError(f"sample {key} cannot be read ({error!r}); prepare it again") from error


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> io.BytesIO:
    file = tar.extractfile(info)
    return io.BytesIO(b"" if file is None else file.read())
