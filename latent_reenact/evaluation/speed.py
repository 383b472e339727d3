"""How long a model takes, stage by stage: a video, an inversion, a start.

The stages are measured one after another, a batch at a time, on the clip that comes with the package; then the whole
path, in which they overlap, from file to file. Memory does not grow with the number of frames.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from latent_reenact import samples
from latent_reenact.config import to_dict
from latent_reenact.errors import NoFaceError, UsageError
from latent_reenact.evaluation import starts as processes
from latent_reenact.evaluation.machine import Machine, describe_machine
from latent_reenact.evaluation.published_sizes import published_reenactor
from latent_reenact.face import Alignment, FaceTrack, PasteBack, TrackedFrame
from latent_reenact.media import VideoReader, VideoWriter
from latent_reenact.models.devices import on_gpu
from latent_reenact.models.pixels import to_pixels
from latent_reenact.systems import LatentReenactor, jobs

STAGES = ("decode", "detect", "align", "encode motion", "map", "synthesise", "paste", "encode video")
_BATCH = 8
_PICTURES = 5  # inversions measured
_ALIGNED = 240  # frames that come aligned, on a GPU


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
    peak_mb: the most memory that a process which made the video held. peak_gpu_mb: that tensors took on the GPU.
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
    peak_gpu_mb: float | None = None
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
        peaks = {"peak memory of the video": self.peak_mb, "peak memory on the GPU": self.peak_gpu_mb}
        lines += [f"{name:<34}{peak:10.0f} MB" for name, peak in peaks.items() if peak is not None]
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
        if on_gpu(self.device):
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
    told, gpu = progress or (lambda done, total, unit: None), on_gpu(reenactor.device)
    if gpu:
        torch.cuda.reset_peak_memory_stats(reenactor.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = driving_clip(folder / "driving.mp4", frames)
        told(1, 4, "parts")
        stages, precision = measure_stages(reenactor, clip, frames, folder / "stages.mp4")
        whole = measure_whole(reenactor, clip, folder / "whole.mp4")
        told(2, 4, "parts")
        others = (measure_aligned(reenactor, max(frames, _ALIGNED) if gpu else frames), *measure_pictures(reenactor))
        told(3, 4, "parts")
        peak = None
        if starts and isinstance(model, str | Path):
            cold, warm = processes.start_seconds(model, device, folder)
            others += _row("start, files not in memory", "process", [cold]), _row("start", "process", warm)
            peak = processes.peak_megabytes(model, device, clip, folder / "peak.mp4")
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
        peak_gpu_mb=round(torch.cuda.max_memory_allocated(reenactor.device) / 1e6) if gpu else None,
    )


def measure_published(frames: int = 75, *, device: str = "auto", progress: jobs.Progress | None = None) -> SpeedReport:
    """The same of networks of the published sizes (1024²) with random weights, on which time does not depend.

    Raises:
        UsageError, BackendError.
    """
    return measure(published_reenactor(device), frames, starts=False, progress=progress)


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


def measure_aligned(reenactor: LatentReenactor, frames: int) -> Row:
    """From frames that come aligned to finished ones, in memory: all that the networks' device and its host do."""
    size = reenactor.crop_size
    noise = np.random.default_rng(0).integers(0, 256, (_BATCH, size, size, 3), dtype=np.uint8)
    identity = reenactor.identity(noise[0], aligned=True)
    for count in (2 * _BATCH, frames):  # the first warms up
        start = time.perf_counter()
        shown = itertools.islice(itertools.cycle(noise), count)
        done = sum(1 for _ in reenactor.stream(identity, shown, aligned=True, batch=_BATCH))
        seconds = time.perf_counter() - start
    return Row("aligned frames to finished frames", "frame", round(1000 * seconds / done, 3), done)


def measure_pictures(reenactor: LatentReenactor) -> tuple[Row, ...]:
    """Inversions, and one picture driving another, in a process that runs."""
    portrait, driving = samples.path("portrait_a.png"), samples.path("driving.png")
    crop = samples.path("evaluation_identity.png")
    identity, inversion = reenactor.identity(portrait), reenactor.networks.inversion
    aligned = torch.zeros(1, 3, inversion.input_size, inversion.input_size, device=reenactor.device)
    calls: dict[str, Callable[[], object]] = {
        "inversion, aligned": lambda: reenactor.identity(crop, aligned=True),
        "inversion, from a file": lambda: reenactor.identity(portrait),
        "inversion, its networks alone": lambda: inversion.invert(aligned, draw=reenactor.inverter.estimates).cpu(),
        "one picture, running process": lambda: reenactor(identity, driving),
    }
    return tuple(_row(name, "picture", [_seconds(call) for _ in range(_PICTURES)]) for name, call in calls.items())


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
