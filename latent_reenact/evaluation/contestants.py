"""Ways to reenact a clip, as an evaluation sees them: models of ours, and outside programs, in one protocol.

An outside program is a command with the words {identity}, {driving} and {output}: two videos to read and one to write,
all of aligned faces, one output frame for each driving frame.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from latent_reenact.errors import ConfigError, CorruptFileError, LatentReenactError, UsageError
from latent_reenact.evaluation.clips import Clip, reframed
from latent_reenact.media import VideoReader, VideoWriter
from latent_reenact.systems import Identity, Reenactor, load
from latent_reenact.weights import resolve
from latent_reenact.weights.folder import MANIFEST, sha256

_PLACES = ("identity", "driving", "output")
_REST_CHARS = 200  # of a failed program's last words


class Contestant(Protocol):
    """Maps an identity clip and a driving clip to an output clip."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str:
        """Other weights or another command: another fingerprint."""

    @property
    def takes_clips(self) -> bool:
        """Whether it needs more of the identity than one picture; known once it has run."""

    def run(self, identity: Clip, driving: Clip) -> np.ndarray:
        """uint8 [T, R, R, 3], one frame for each driving frame. Raises LatentReenactError: this pair is skipped."""


class ModelContestant:
    """A model of ours. Of the identity it sees the clip's first frame, or the whole clip where it needs that.

    Args:
        reenactor: the model, or what loads it when it is first needed.
        framing, size: of the clips.
    """

    def __init__(
        self, name: str, reenactor: Callable[[], Reenactor], *, fingerprint: str, framing: float, size: int
    ) -> None:
        self.name, self.fingerprint, self._framing, self._size = name, fingerprint, framing, size
        self._load = reenactor
        self._reenactor: Reenactor | None = None
        self._known: tuple[str, Identity] | None = None  # the last person: pairs come sorted by them
        self.takes_clips = False

    def run(self, identity: Clip, driving: Clip) -> np.ndarray:
        self._reenactor = reenactor = self._reenactor or self._load()
        ratio = reenactor.framing / self._framing
        frames = list(reframed(driving.frames, ratio, driving.frames.shape[1]))
        person = self._person(reenactor, identity, ratio)
        results = [result.image for result in reenactor.stream(person, frames, aligned=True)]
        return reframed(np.stack(results), 1 / ratio, self._size)

    def _person(self, reenactor: Reenactor, clip: Clip, ratio: float) -> Identity:
        if self._known is None or self._known[0] != clip.name:
            frames = reframed(clip.frames, ratio, clip.frames.shape[1])
            self._known = (clip.name, self._read(reenactor, frames))
        return self._known[1]

    def _read(self, reenactor: Reenactor, frames: np.ndarray) -> Identity:
        if not self.takes_clips:
            try:
                return reenactor.identity(frames[0], aligned=True)
            except UsageError:  # one picture is not enough for it
                self.takes_clips = True
        return reenactor.identity(frames, aligned=True)


class CommandContestant:
    """An outside program.

    Args:
        template: as a shell would split it; no shell runs. {identity}, {driving} and {output} become paths.
        time_limit_s: for one pair; then the program and what it started are stopped.

    Raises:
        ConfigError: a place is missing in the template.
    """

    takes_clips = True

    def __init__(self, name: str, template: str, *, time_limit_s: float, size: int) -> None:
        try:
            self._words = shlex.split(template)
        except ValueError as error:
            raise ConfigError(f"--command {template!r} cannot be split into words: {error}") from None
        missing = [place for place in _PLACES if not any(f"{{{place}}}" in word for word in self._words)]
        if missing:
            example = "'prog {identity} {driving} {output}'"
            raise ConfigError(f"--command {template!r} has no {{{missing[0]}}}; expected something like {example}")
        self.name, self.fingerprint, self._limit_s, self._size = name, template, time_limit_s, size

    def run(self, identity: Clip, driving: Clip) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            paths = {place: Path(folder) / f"{place}.mp4" for place in _PLACES}
            _write(paths["identity"], identity)
            _write(paths["driving"], driving)
            self._call(paths)
            return self._output(paths["output"], len(driving.frames))

    def _call(self, paths: dict[str, Path]) -> None:
        words = [_filled(word, paths) for word in self._words]
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
                )
            except OSError as error:
                raise ConfigError(f"the program {words[0]} cannot be started: {error.strerror}") from None
            try:
                code = process.wait(self._limit_s)
            except subprocess.TimeoutExpired:
                raise LatentReenactError(f"stopped after the time limit of {self._limit_s:g} s") from None
            finally:
                _stop(process)
            if code:
                said.seek(0)
                rest = " ".join(said.read().decode("utf-8", "replace").split())[-_REST_CHARS:]
                raise LatentReenactError(f"exit code {code}: {rest or 'it said nothing'}")

    def _output(self, path: Path, wanted: int) -> np.ndarray:
        if not path.exists():
            raise CorruptFileError("no output was written")
        with VideoReader(path) as reader:
            frames = [frame for frame, _ in zip(reader, range(wanted), strict=False)]
        if len(frames) < wanted:
            raise CorruptFileError(f"got {len(frames)} frames, expected {wanted}, one for each driving frame")
        height, width = frames[0].shape[:2]
        if height != width:
            raise CorruptFileError(f"got frames of {width} x {height}, expected squares cut as the driving clip's are")
        return reframed(np.stack(frames), 1, self._size)


@dataclass(frozen=True)
class SystemSpec:
    """One entry of `--systems`: a name, and the model behind it."""

    name: str
    model: str
    linear: bool

    @classmethod
    def parse(cls, words: str, default_model: str) -> list[SystemSpec]:
        """`latent,linear-psp,linear-e4e=FOLDER`: a name alone means the default model, or the model of that name.

        A name that begins with `linear` is the linear baseline on that model's inversion.

        Raises:
            UsageError: an empty or doubled name, or one that means nothing.
        """
        specs = [cls._one(word.strip(), default_model) for word in words.split(",") if word.strip()]
        names = [spec.name for spec in specs]
        if not specs or len({*names}) < len(names):
            raise UsageError(f"--systems: got {words!r}, expected different names, such as latent,linear-psp")
        return specs

    @classmethod
    def _one(cls, word: str, default_model: str) -> SystemSpec:
        name, _, model = word.partition("=")
        linear = name.startswith("linear")
        if not name or "/" in name or name.startswith("."):
            raise UsageError(f"--systems: got {word!r}, expected NAME or NAME=FOLDER, the name without slashes")
        if not model and name in ("latent", "linear", "linear-psp"):
            model = default_model
        if not model:
            model = name.removeprefix("linear-")
            try:
                resolve(model)
            except LatentReenactError:
                raise UsageError(f"--systems: no model is called {model!r}; say which with {name}=FOLDER") from None
        return cls(name, model, linear)


def open_system(spec: SystemSpec, *, framing: float, size: int, device: str = "auto") -> ModelContestant:
    """A system whose weights load when it first runs.

    Raises:
        WeightsNotFoundError: no such model.
    """
    folder = resolve(spec.model)
    manifest = folder / MANIFEST
    prints = sha256(manifest) if manifest.is_file() else str(spec.model)

    def reenactor() -> Reenactor:
        return load(spec.model, device=device, system="linear") if spec.linear else load(spec.model, device=device)

    return ModelContestant(
        spec.name, reenactor, fingerprint=f"{prints}{' linear' * spec.linear}", framing=framing, size=size
    )


def open_commands(templates: Sequence[str], *, time_limit_s: float, size: int) -> list[CommandContestant]:
    """`NAME=PROGRAM ...`, or a program alone, which is then called command-1, command-2, ..."""
    found = []
    for i, template in enumerate(templates, start=1):
        name, equals, rest = template.partition("=")
        named = bool(equals) and name.replace("-", "").replace("_", "").isalnum()
        found.append(
            CommandContestant(
                name if named else f"command-{i}",
                rest if named else template,
                time_limit_s=time_limit_s,
                size=size,
            )
        )
    return found


def _filled(word: str, paths: dict[str, Path]) -> str:
    for place, path in paths.items():
        word = word.replace(f"{{{place}}}", str(path))
    return word


def _write(path: Path, clip: Clip) -> None:
    """A clip as a video, visually lossless."""
    with VideoWriter(path, fps=round(clip.fps, 3), crf=4) as out:
        for frame in clip.frames:
            out.write(frame)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program of ours and what it started, if any of it still runs."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
