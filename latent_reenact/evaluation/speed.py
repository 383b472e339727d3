"""How long a model takes, stage by stage: a video, an inversion, a start.

The stages are measured one after another, a batch at a time, on the clip that comes with the package; then the whole
path, in which they overlap, from file to file. Memory does not grow with the number of frames.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

from latent_reenact import samples
from latent_reenact.config import to_dict
from latent_reenact.errors import BackendError, NoFaceError, UsageError
from latent_reenact.evaluation.machine import Machine, describe_machine
from latent_reenact.face import Alignment, FaceTrack, PasteBack, TrackedFrame
from latent_reenact.media import VideoReader, VideoWriter
from latent_reenact.models.pixels import to_pixels
from latent_reenact.systems import LatentReenactor, jobs
from latent_reenact.weights import resolve

STAGES = ("decode", "detect", "align", "encode motion", "map", "synthesise", "paste", "encode video")
_BATCH = 8
_PICTURES = 5  # inversions measured
_STARTS = 3
_LIBRARIES = ("torch", "numpy", "cv2", "av", "PIL", "face_recognition_models", "latent_reenact")


@dataclass(frozen=True)
class Row:
    """One measurement. ms: the median of `count`; per: what it is the time of ("frame", "picture", "process")."""

    name: str
    per: str
    ms: float
    count: int


@dataclass(frozen=True)
class SpeedReport:
    """What was measured, and on what.

    stages: of a video, one after another. whole: from file to file. others: inversions, starts, other programs.
    precision: of the network's numbers, and of the synthesis of videos.
    peak_mb: the most memory that a process which made the video held.
    """

    model: str
    device: str
    precision: str
    frames: int
    size: int  # side of the drawn pictures
    machine: Machine
    stages: tuple[Row, ...]
    whole: Row
    others: tuple[Row, ...] = ()
    peak_mb: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def overlap(self) -> float:
        """How many times as fast the whole is as its stages one after another."""
        return sum(row.ms for row in self.stages) / self.whole.ms

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**to_dict(self), "fps": round(1000 / self.whole.ms, 2), "overlap": round(self.overlap, 3)}

    def table(self) -> str:
        """For people."""
        total = sum(row.ms for row in self.stages)
        lines = [f"{self.model}, {self.size} x {self.size}, {self.frames} frames, {self.device}, {self.precision}"]
        lines += [str(self.machine), ""]
        lines += [f"{row.name:<34}{row.ms:10.2f} ms a {row.per:8}{row.ms / total:7.1%}" for row in self.stages]
        lines.append(f"{'one after another':<34}{total:10.2f} ms a frame")
        whole = f"{self.whole.name:<34}{self.whole.ms:10.2f} ms a frame   "
        lines.append(
            f"{whole}{1000 / self.whole.ms:.1f} frames/s, {self.overlap:.2f} times as fast as one after another"
        )
        lines += [f"{row.name:<34}{row.ms:10.2f} ms a {row.per}" for row in self.others]
        if self.peak_mb is not None:
            lines.append(f"{'peak memory of the video':<34}{self.peak_mb:10.0f} MB")
        return "\n".join([*lines, *self.notes])


@dataclass
class Stopwatch:
    """Seconds a stage took, one number a batch, each divided by its frames; waits for the device at both ends."""

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def __call__(self, name: str, count: int = 1) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds.setdefault(name, []).append((time.perf_counter() - start) / max(count, 1))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(
    model: jobs.Model = "builtin",
    frames: int = 75,
    *,
    device: str = "auto",
    starts: bool = True,
    progress: jobs.Progress | None = None,
) -> SpeedReport:
    """Measure a latent model on the samples that come with the package; needs no network and leaves no files.

    Args:
        frames: of the driving video.
        starts: also start processes of their own, for the time of a start and for peak memory; of a model that was
            given by name or folder.
        progress: told after each part.

    Raises:
        UsageError: a model that is no latent one, or no frames.
        WeightsNotFoundError, CorruptFileError, BackendError.
    """
    if frames < 1:
        raise UsageError(f"frames: got {frames}, expected 1 or more")
    reenactor = jobs.loaded(model, device)
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"bench measures latent models stage by stage; {reenactor.name} is none")
    told = progress or (lambda done, total, unit: None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = driving_clip(folder / "driving.mp4", frames)
        told(1, 4, "parts")
        stages, precision = measure_stages(reenactor, clip, frames, folder / "stages.mp4")
        whole = measure_whole(reenactor, clip, folder / "whole.mp4")
        told(2, 4, "parts")
        others = measure_pictures(reenactor)
        told(3, 4, "parts")
        peak = None
        if starts and isinstance(model, str | Path):
            others += measure_starts(model, device, folder)
            peak = peak_megabytes(model, device, clip, folder / "peak.mp4")
        told(4, 4, "parts")
    return SpeedReport(
        model=reenactor.name,
        device=str(reenactor.device),
        precision=precision,
        frames=frames,
        size=reenactor.resolution,
        machine=describe_machine(),
        stages=stages,
        whole=whole,
        others=others,
        peak_mb=peak,
    )


def driving_clip(path: Path, frames: int) -> Path:
    """The package's clip, back and forth, until it has so many frames."""
    with VideoReader(samples.path("driving.mp4")) as reader:
        shown = list(reader)
        with VideoWriter(path, fps=reader.info.fps) as out:
            for i in range(frames):
                there, back = divmod(i, max(len(shown) - 1, 1))
                out.write(shown[back if there % 2 == 0 else len(shown) - 1 - back])
    return path


def measure_stages(reenactor: LatentReenactor, clip: Path, frames: int, out: Path) -> tuple[tuple[Row, ...], str]:
    """Every stage of a video that is pasted back, one after another, a batch at a time; and the precision drawn in."""
    portrait, networks, device = samples.path("portrait_a.png"), reenactor.networks, reenactor.device
    identity = torch.tensor(reenactor.identity(portrait).w_plus, device=device)[None]
    paste = PasteBack(*reenactor.align(portrait), reenactor.resolution)
    cutter = reenactor.cutter
    draw = reenactor.video_synthesis
    draw.start(patience_s=600)
    watch = Stopwatch(device)
    with VideoReader(clip) as reader, VideoWriter(out, like=clip) as video, torch.inference_mode():
        track = cutter.follow(fps=float(reader.info.fps), name="the sample")
        decoded = iter(reader)
        for start in range(0, frames, _BATCH):
            n = min(_BATCH, frames - start)
            with watch("decode", n):
                shown = list(islice(decoded, n))
            with watch("detect", n):
                found = [TrackedFrame(frame, track.update(frame), _cut_of(track)) for frame in shown]
            with watch("align", n):
                crops = [cutter.crop(frame) for frame in found]
            with watch("encode motion", n):
                motion = networks.motion_encoder(cutter.tensor(crops, device))
            with watch("map", n):
                w_plus = networks.mapper(identity, motion)
            with watch("synthesise", n):
                images = to_pixels(draw(w_plus))
            with watch("paste", n):
                pasted = [paste(image) for image in images]
            with watch("encode video", n):
                for picture in pasted:
                    video.write(picture)
    return tuple(_row(name, "frame", watch.seconds[name]) for name in STAGES), draw.precision


def measure_whole(reenactor: LatentReenactor, clip: Path, out: Path) -> Row:
    """From file to file, pasted back, the identity already read."""
    with VideoReader(clip) as reader:
        next(reenactor.stream(reenactor.identity(samples.path("portrait_a.png")), islice(reader, 1)))  # warm
    options = jobs.ReenactOptions(paste_back=True)
    report = jobs.reenact(reenactor, samples.path("portrait_a.png"), clip, out, options)
    return Row("whole path", "frame", round(1000 * report.seconds / report.frames, 3), report.frames)


def measure_pictures(reenactor: LatentReenactor) -> tuple[Row, ...]:
    """Inversions, and one picture driving another, in a process that runs."""
    portrait, driving = samples.path("portrait_a.png"), samples.path("driving.png")
    crop = samples.path("evaluation_identity.png")
    identity = reenactor.identity(portrait)
    calls: dict[str, Callable[[], object]] = {
        "inversion, aligned": lambda: reenactor.identity(crop, aligned=True),
        "inversion, from a file": lambda: reenactor.identity(portrait),
        "one picture, running process": lambda: reenactor(identity, driving),
    }
    return tuple(_row(name, "picture", [_seconds(call) for _ in range(_PICTURES)]) for name, call in calls.items())


def measure_starts(model: str | Path, device: str, folder: Path) -> tuple[Row, ...]:
    """`reenact` on one picture, from nothing to a file: files evicted from memory first, then with them there."""
    words = ["reenact", samples.path("portrait_a.png"), samples.path("driving.png"), "-o", folder / "start.png"]
    words += ["--model", model, "--device", device]
    _forget_files(model)
    cold = _seconds(lambda: run_program(words))
    warm = [_seconds(lambda: run_program(words)) for _ in range(_STARTS)]
    return _row("start, files not in memory", "process", [cold]), _row("start", "process", warm)


def peak_megabytes(model: str | Path, device: str, clip: Path, out: Path) -> float:
    """The most memory that a process held which made a video of `clip`."""
    words = ["reenact", samples.path("portrait_a.png"), clip, "-o", out, "--model", model, "--device", device]
    return run_program(words)


def run_program(words: Sequence[object]) -> float:
    """`latent-reenact` with these words in a process of its own; its peak memory in MB.

    Raises:
        BackendError: it failed; with its last line.
    """
    command = [sys.executable, "-m", "latent_reenact", *map(str, words)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise BackendError(f"a process that bench started failed: {''.join(last) or process.returncode}")
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _forget_files(model: str | Path) -> None:
    """Ask the system to drop libraries and weights from its file cache; what another process uses stays there."""
    if not hasattr(os, "posix_fadvise"):
        return
    folders = [resolve(model)]
    for name in _LIBRARIES:
        spec = importlib.util.find_spec(name)
        folders += map(Path, spec.submodule_search_locations or [] if spec else [])
    for path in itertools.chain.from_iterable(folder.rglob("*") for folder in folders):
        if path.is_file():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _cut_of(track: FaceTrack) -> Alignment:
    if track.alignment is None:
        raise NoFaceError("no face in the first frame of the sample; the installation is damaged: run doctor")
    return track.alignment


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _row(name: str, per: str, seconds: Sequence[float]) -> Row:
    return Row(name, per, round(1000 * median(seconds), 3), len(seconds))
