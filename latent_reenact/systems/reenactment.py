"""Driving files into results, one after another: what stays the same over them, and what came of each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from latent_reenact.config import to_dict
from latent_reenact.errors import (
    ConfigError,
    CorruptFileError,
    LimitExceededError,
    ManyFacesError,
    NoFaceError,
    OutputError,
    UsageError,
)
from latent_reenact.face import PasteBack, Smoothing, Which, align
from latent_reenact.media import Provenance, VideoReader, VideoWriter, read_image, side_by_side, with_badge, write_image
from latent_reenact.media.overlap import behind
from latent_reenact.media.provenance import COMPOSITE, SYNTHETIC
from latent_reenact.systems.identity import Identity
from latent_reenact.systems.plan import Task
from latent_reenact.systems.protocol import Part, Reenactor, Result

Progress = Callable[[float, float | None, str], None]
"""Called as work goes on with how much is done, of how much (None: unknown), and the unit ("frames", "files")."""

_SHOWN_HEIGHT = 256  # a row of small pictures is shown at least this high

_WAITING = 8  # results that wait to be written, at most
_FOREHEAD = 240 / 1024  # share of the rows (the method's own program)

# One file's own trouble: the other files of a batch still have a chance.
_FILE_ERRORS = (CorruptFileError, LimitExceededError, ManyFacesError, NoFaceError, OutputError)


@dataclass(frozen=True, kw_only=True)
class ReenactOptions:
    """How to reenact.

    face, identity_face: which face of several drives, and which is the identity: "largest", "only" or a number
        from 0 for the largest.
    aligned: identity and driving are already cut as the model wants them.
    relative: add the driving's change (of a video from its first frame, of a picture from a neutral, frontal
        face) to the identity's own pose and expression.
    paste_back: put the result back into the identity's original picture.
    side_by_side: show identity, driving and result in a row.
    crop_forehead: cut off the rows above the forehead, 240 of 1024, which the method's training data blurs.
    smoothing: of the cut of a driving video, so that the result does not jitter.
    badge: lay a small label over the result, that people see.
    part: what to take of the driving; the rest stays as in the identity's own picture.
    pose_from: a picture whose pose is taken instead of the driving's; of several faces the largest.
    """

    face: Which = "largest"
    identity_face: Which = "largest"
    aligned: bool = False
    relative: bool = False
    paste_back: bool = False
    side_by_side: bool = False
    crop_forehead: bool = False
    smoothing: Smoothing = "lowpass"
    badge: bool = False
    part: Part = "both"
    pose_from: str | Path | None = None

    def __post_init__(self) -> None:
        check_one_face(self.face, "drives")
        check_one_face(self.identity_face, "is the identity")
        if self.smoothing not in get_args(Smoothing):
            raise UsageError(f"smoothing: got {self.smoothing!r}, expected one of {', '.join(get_args(Smoothing))}")
        if self.part not in get_args(Part):
            raise UsageError(f"part: got {self.part!r}, expected one of {', '.join(get_args(Part))}")
        if self.pose_from is not None and self.part != "both":
            raise UsageError(
                f"got a picture to take the pose from and part {self.part!r}, expected one of them: with the picture, "
                "only the expression is taken of what drives"
            )
        if self.paste_back and self.aligned:
            raise UsageError(
                "paste back: an aligned picture has no surroundings to go back into; leave one of them out"
            )
        if self.paste_back and self.crop_forehead:
            raise UsageError("paste back needs the whole square: leave out either that or crop forehead")


@dataclass(frozen=True)
class Failure:
    """A file of a batch that could not be done, and why."""

    driving: str
    message: str


@dataclass(frozen=True)
class Report:
    """What a job did.

    outputs: the files written. failures: the files of a batch that could not be done. warnings: what else to know.
    frames: pictures and frames drawn; frames_without_face: those that held the last pose.
    seconds: the time they took, without loading the model; fps: frames a second.
    """

    outputs: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    frames: int = 0
    frames_without_face: int = 0
    seconds: float = 0.0
    fps: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return to_dict(self)


@dataclass(frozen=True)
class Stage:
    """What stays the same over all driving files."""

    reenactor: Reenactor
    identity: Identity
    options: ReenactOptions
    original: PasteBack | None  # the identity's own picture, to paste back into
    pose: Result | None = None  # lends its pose to all of them

    def draw(self, driving: Path) -> Result:
        o = self.options
        return self.reenactor(
            self.identity, driving, face=o.face, aligned=o.aligned, relative=o.relative, **self._halves()
        )

    def stream(self, driving: VideoReader) -> Iterator[Result]:
        o = self.options
        wanted: dict[str, Any] = {"face": o.face, "aligned": o.aligned, "relative": o.relative}
        return self.reenactor.stream(self.identity, driving, **wanted, smoothing=o.smoothing, **self._halves())

    def _halves(self) -> dict[str, Any]:
        """Words that only systems with sliders know."""
        if self.options.part == "both" and self.pose is None:
            return {}
        return {"part": self.options.part, "pose": self.pose}

    def finished(self, result: Result, driving: np.ndarray | None = None) -> np.ndarray:
        """The picture to write; `driving` is shown beside it where the result does not say what drove it."""
        image, shown = result.image, self.identity.picture
        if self.original is not None:
            shown, image = self.original.original, self.original(image)
        if self.options.crop_forehead:
            image = image[round(image.shape[0] * _FOREHEAD) :]
        if self.options.badge:
            image = with_badge(image)
        if not self.options.side_by_side:
            return image
        if result.driving_face is not None:
            tracked = result.driving_face
            driving = align(tracked.image, tracked.alignment, self.reenactor.resolution)
        assert driving is not None
        return side_by_side([shown, driving, image], max(image.shape[0], _SHOWN_HEIGHT))

    def marks(self) -> Provenance:
        mixed = self.options.paste_back or self.options.side_by_side
        return Provenance(model=self.reenactor.name, operation="reenact", source_type=COMPOSITE if mixed else SYNTHETIC)


def check_parts(reenactor: Reenactor, options: ReenactOptions) -> None:
    """Raises ConfigError where a part is wanted of a model that cannot tell pose from expression."""
    if (options.part != "both" or options.pose_from is not None) and not reenactor.controls:
        raise ConfigError(
            f"model {reenactor.name} cannot tell pose from expression: it has no sliders; take both, or use builtin"
        )


def set_stage(
    reenactor: Reenactor, identity: Identity, options: ReenactOptions, original: PasteBack | None = None
) -> Stage:
    """Raises as `check_parts`; NoFaceError, CorruptFileError, ... of the picture that lends its pose."""
    check_parts(reenactor, options)
    pose = None if options.pose_from is None else reenactor(identity, options.pose_from, aligned=options.aligned)
    return Stage(reenactor, identity, options, original, pose)


@dataclass
class Work:
    """The driving files, one after another, and what came of them."""

    stage: Stage
    progress: Progress
    outputs: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    frames: int = 0
    frames_without_face: int = 0
    started: float = field(default_factory=time.perf_counter)

    def run_all(self, tasks: list[Task]) -> None:
        for index, task in enumerate(tasks):

            def within(done: float, total: float | None, unit: str, index: int = index) -> None:
                self.progress(index + (done / total if total else 0), len(tasks), "files")

            try:
                self.run(task, within)
            except _FILE_ERRORS as error:
                self.failures.append(Failure(str(task.driving), str(error)))
            self.progress(index + 1, len(tasks), "files")

    def run(self, task: Task, progress: Progress) -> None:
        if task.is_video:
            self._run_video(task, progress)
        else:
            self._run_picture(task)
            progress(1, 1, "frames")
        self.outputs.append(str(task.out))

    def report(self) -> Report:
        seconds = time.perf_counter() - self.started
        return Report(
            tuple(self.outputs),
            tuple(self.failures),
            tuple(self.warnings),
            self.frames,
            self.frames_without_face,
            round(seconds, 3),
            round(self.frames / max(seconds, 1e-6), 2),
        )

    def _run_picture(self, task: Task) -> None:
        result = self.stage.draw(task.driving)
        driving = read_image(task.driving) if result.driving_face is None else None
        write_image(task.out, self.stage.finished(result, driving), marks=self.stage.marks())
        self.frames += 1

    def _run_video(self, task: Task, progress: Progress) -> None:
        stage, o = self.stage, self.stage.options
        frames = faceless = 0
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(VideoReader(task.driving))
            out = stack.enter_context(VideoWriter(task.out, like=task.driving, marks=stage.marks()))
            results = stage.stream(reader)
            if isinstance(results, Generator):
                stack.callback(results.close)  # before the reader: a thread may be in it

            def finish(result: Result) -> None:
                out.write(stage.finished(result))

            write = stack.enter_context(behind(finish, _WAITING))
            for result in results:
                write(result)
                frames += 1
                faceless += not (o.aligned or result.driving_face is None or result.driving_face.found)
                progress(frames, reader.info.frames, "frames")
        if reader.truncated:
            self.warnings.append(f"{task.driving} is cut off ({reader.truncated}); the result has the {frames} frames")
        self.frames += frames
        self.frames_without_face += faceless


def check_one_face(face: Which, role: str) -> None:
    """Raises UsageError where `face` asks for all of them."""
    if face == "all":
        raise UsageError(
            f"face: got 'all', expected largest, only or a number: one face {role}; run once for each face"
        )
