"""Videos of people into shards of aligned faces, as the method's author made his from VoxCeleb2.

At most N clips a person, a few frames a clip at fixed steps, the largest face of each, cut as FFHQ is. Frames without
a face and heads turned too far are dropped, and counted.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latent_reenact.config import to_dict
from latent_reenact.errors import ConfigError, CorruptFileError, LimitExceededError, NoFaceError
from latent_reenact.face import DlibDetector, FaceDetector, align, alignment_from_landmarks, head_pose
from latent_reenact.face.alignment import landmarks_to_aligned
from latent_reenact.media import VideoLimits, VideoReader
from latent_reenact.media.files import VIDEO_SUFFIXES
from latent_reenact.training.preparation.cluster import Executor
from latent_reenact.training.preparation.plan import Plan, Progress, Unit, carry_out, make_units
from latent_reenact.training.shards.format import Sample, ShardWriter

_PEOPLE_PER_SHARD = 20  # a thousand frames where each has 5 clips of 10
_MIN_SHARDS = 32  # where there are that many people: so that all cores have work
_JPEG = {"quality": 95, "subsampling": 0}
_JPEG_BYTES_PER_PIXEL = 0.4  # of faces from video, measured 0.33
_TRUTH_BYTES = 1_500
_ANY_LENGTH = VideoLimits(max_seconds=float("inf"))  # only the beginning is read

# Why a frame that was planned did not become a sample
NO_FACE, EXTREME_POSE, CLIP_ENDED, UNREADABLE = "no face", "extreme pose", "clip too short", "unreadable video"


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """What is taken out of videos. The defaults are the author's, for VoxCeleb2."""

    clips: int = 5  # a person, at most: many clips of few people teach little
    frames: int = 10  # a clip
    every_s: float = 0.5  # neighbouring frames are nearly the same
    size: int = 256  # pixels: what the motion encoder and the identity network see
    framing: float = 1.0  # of the cut, in units of FFHQ's square
    max_yaw_deg: float = 45.0  # beyond it dlib's landmarks are guesses
    max_pitch_deg: float = 30.0
    val: float = 0.02  # share of people, or their number from 1 on
    test: float = 0.02  # the author's is 120 of 6000

    def __post_init__(self) -> None:
        if self.clips < 1 or not 1 <= self.frames <= 9999:
            raise ConfigError(f"clips, frames: got {self.clips} and {self.frames}, expected 1 or more of each")
        if not 16 <= self.size <= 2048:
            raise ConfigError(f"size: got {self.size}, expected 16 to 2048 pixels")
        for name in ("every_s", "framing", "max_yaw_deg", "max_pitch_deg"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected more than 0")


@dataclass(frozen=True)
class Person:
    """Someone, and the videos to take: (clip's name, path below the folder)."""

    name: str
    clips: tuple[tuple[str, str], ...]


def prepare_videos(
    folder: str | Path,
    out: str | Path,
    config: VideoConfig | None = None,
    *,
    run: Executor | None = None,
    progress: Progress | None = None,
    detector: Callable[[], FaceDetector] = DlibDetector,
) -> dict[str, Any]:
    """Cut the faces out of a folder's videos into shards below `out`, those that are there already excepted.

    Args:
        run, progress: as `carry_out` takes them.
        detector: makes a face detector, once in each process.

    Returns:
        The manifest.

    Raises:
        ConfigError: no videos. The rest as `carry_out`.
    """
    return carry_out(plan_videos(folder, out, config or VideoConfig(), detector), run, progress)


def plan_videos(
    folder: str | Path, out: str | Path, config: VideoConfig, detector: Callable[[], FaceDetector] = DlibDetector
) -> Plan[Person]:
    """What `prepare_videos` will write, at most. Raises ConfigError where the folder holds no videos."""
    folder, out = Path(folder), Path(out)
    people = find_people(folder, config.clips)
    content = {name: value for name, value in to_dict(config).items() if name not in ("val", "test")}
    units = make_units(
        people,
        lambda person: person.name,
        shares=(config.val, config.test),
        per_shard=min(_PEOPLE_PER_SHARD, max(1, len(people) // _MIN_SHARDS)),
        samples=lambda person: len(person.clips) * config.frames,
        fingerprint=["videos", content],
    )
    return Plan(
        kind="videos",
        out=out,
        config=config,
        units=units,
        clips=sum(len(person.clips) for person in people),
        sample_bytes=config.size**2 * _JPEG_BYTES_PER_PIXEL + _TRUTH_BYTES,
        work=partial(_write_people, config=config, folder=folder, out=out, detector=detector),
    )


def find_people(folder: Path, clips: int) -> list[Person]:
    """The people in a folder of videos, in the order of their names, with at most `clips` clips each.

    Where videos lie two folders deep or deeper, as in VoxCeleb2 (`.../person/clip/video.mp4`), the second last folder
    is the person. One folder deep, that folder is. Beside each other, each video is a person of its own. Of a person's
    videos those of different clip folders come first, in an order that depends on their names alone.

    Raises:
        ConfigError: no such folder, or no videos in it.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in _videos(folder):
        person, clip = _person_and_clip(path.parts)
        found[person][clip].append(path.as_posix())
    if not found:
        raise ConfigError(f"no videos in {folder}; expected a folder of {', '.join(sorted(VIDEO_SUFFIXES))} files")
    return [Person(name, _chosen(found[name], clips)) for name in sorted(found)]


def frames_at(reader: VideoReader, times_s: Sequence[float]) -> Iterator[tuple[np.ndarray, float]]:
    """The frame shown at each time, and when it began; none after the last one is decoded.

    A frame stands for every time that it is the nearest to, yet comes once; times after the end give nothing.
    """
    half_s = 0.5 / float(reader.info.fps)
    waiting = list(reversed(times_s))
    for frame, time_s in reader.iter_timed():
        due = False
        while waiting and time_s + half_s > waiting[-1]:
            waiting.pop()
            due = True
        if due:
            yield frame, time_s
        if not waiting:
            return


def face_sample(
    image: np.ndarray, config: VideoConfig, detector: FaceDetector
) -> tuple[bytes, np.ndarray, tuple[float, float, float]] | str:
    """The largest face of a frame: (JPEG, landmarks [68, 2] in its pixels, pose in degrees), or why there is none."""
    faces = detector.detect(image)
    if not faces:
        return NO_FACE
    try:
        alignment = alignment_from_landmarks(faces[0].landmarks, scale=config.framing)
        landmarks = landmarks_to_aligned(faces[0].landmarks, alignment, config.size)
        pose = head_pose(landmarks)
    except NoFaceError:  # a few pixels wide
        return NO_FACE
    if abs(pose.yaw_deg) > config.max_yaw_deg or abs(pose.pitch_deg) > config.max_pitch_deg:
        return EXTREME_POSE
    buffer = io.BytesIO()
    Image.fromarray(align(image, alignment, config.size)).save(buffer, "JPEG", **_JPEG)
    return buffer.getvalue(), landmarks, pose


def _write_people(
    unit: Unit[Person], *, config: VideoConfig, folder: Path, out: Path, detector: Callable[[], FaceDetector]
) -> None:
    """One shard."""
    with ShardWriter(out / unit.name, unit=unit.digest) as shard:
        for person in unit.people:
            for clip, video in person.clips:
                taken = _Clip(person.name, clip, config, _detector(detector))
                for sample in taken.samples(folder / video):
                    shard.add(sample)
                shard.dropped.update(taken.dropped)
                if taken.failure:
                    shard.failures.append(taken.failure.replace(f"{folder}{os.sep}", ""))


class _Clip:
    """The samples of one clip; afterwards, what was dropped and what is wrong with the file."""

    def __init__(self, person: str, clip: str, config: VideoConfig, detector: FaceDetector) -> None:
        self.person, self.clip, self.config, self.detector = person, clip, config, detector
        self.dropped: Counter[str] = Counter()
        self.failure: str | None = None

    def samples(self, video: Path) -> Iterator[Sample]:
        read = 0
        try:
            with VideoReader(video, _ANY_LENGTH) as reader:
                times = [k * self.config.every_s for k in range(self.config.frames)]
                for image, time_s in frames_at(reader, times):
                    yield from self._sample(image, time_s, read)
                    read += 1
                if reader.truncated:
                    self.failure = f"{video} is cut off or damaged: {reader.truncated}"
        except (CorruptFileError, LimitExceededError) as error:
            self.failure = str(error)
        if missing := self.config.frames - read:
            self.dropped[UNREADABLE if self.failure else CLIP_ENDED] += missing

    def _sample(self, image: np.ndarray, time_s: float, number: int) -> Iterator[Sample]:
        found = face_sample(image, self.config, self.detector)
        if isinstance(found, str):
            self.dropped[found] += 1
            return
        picture, landmarks, pose = found
        yield Sample(
            person=self.person,
            clip=self.clip,
            frame=number,
            picture=picture,
            suffix="jpg",
            time_s=time_s,
            landmarks=landmarks,
            pose_deg=pose,
        )


@lru_cache(maxsize=1)
def _detector(make: Callable[[], FaceDetector]) -> FaceDetector:
    """One for each process: the landmark model is 100 MB."""
    return make()


def _videos(folder: Path) -> Iterator[Path]:
    """Paths below `folder` of what is called a video; hidden files and folders are left out."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; expected one of videos")
    seen: set[str] = set()  # links to folders are followed, yet not in circles
    for where, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                yield (Path(where) / name).relative_to(folder)


def _person_and_clip(parts: tuple[str, ...]) -> tuple[str, str]:
    """Person and clip folder of a path below the data's folder, as names that can be keys."""
    stem = parts[-1].rpartition(".")[0]
    folders = parts[:-1]
    person = folders[-2] if len(folders) > 1 else folders[0] if folders else stem
    return as_key(person), as_key(folders[-1]) if len(folders) > 1 else ""


def _chosen(clips: dict[str, list[str]], count: int) -> tuple[tuple[str, str], ...]:
    """The first videos of all clip folders, then the second ones, ...: (clip's name, path), `count` at most."""
    shuffled = [sorted(clips[clip], key=_hash) for clip in sorted(clips, key=_hash)]
    turns = (path for row in zip_longest(*shuffled) for path in row if path is not None)
    chosen: dict[str, str] = {}
    for path in islice(turns, count):
        name = _clip_name(Path(path))
        chosen[f"{name}-{_hash(path)[:8]}" if name in chosen else name] = path
    return tuple(sorted(chosen.items()))


def _clip_name(path: Path) -> str:
    return as_key("-".join([*path.parent.parts[-1:], path.stem]) if len(path.parts) > 2 else path.stem)


def as_key(name: str) -> str:
    """A name as part of a key: letters, digits, `-` and `_`; where that changes it, a hash keeps names apart.

    Names that begin with two `_` are not for samples in webdataset.
    """
    plain = re.sub(r"^__+|[^A-Za-z0-9_-]", "-", name)[:80]
    return name if plain == name else f"{plain}-{_hash(name)[:8]}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
