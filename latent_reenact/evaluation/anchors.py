"""Our networks beside the programs that others published, at the same sizes, all with random weights.

Each program runs in a process of its own and they take turns, so that whatever else the machine does meets both.
The other program is imported from a clone that the user gives; nothing of it is copied.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from latent_reenact.config import to_dict
from latent_reenact.errors import BackendError, MissingDependencyError, UsageError
from latent_reenact.models.devices import on_gpu, usable

METHOD, NVIDIA = "JahodaPetr/Pose-and-Expression-Transfer", "NVlabs/stylegan2-ada-pytorch"
PROGRAMS = {METHOD: "psp.py", NVIDIA: "training/networks.py"}  # and a file that tells a clone
_TASKS = ("frame", "inversion")
_RESOLUTIONS = (1024, 256)
_BATCHES = {"cpu": (1,), "gpu": (1, 16)}
_SECONDS_A_ROUND = {"cpu": 6.0, "gpu": 3.0}


@dataclass(frozen=True)
class Program:
    """Somebody's program and where its clone is."""

    name: str
    path: Path


@dataclass(frozen=True)
class Race:
    """One task of both: medians in milliseconds of `rounds` turns, each of `batch` pictures drawn together."""

    task: str
    theirs_ms: float
    ours_ms: float
    rounds: int
    batch: int = 1

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.theirs_ms / self.ours_ms

    @property
    def images_s(self) -> tuple[float, float]:
        """Pictures a second, theirs and ours."""
        return 1000 * self.batch / self.theirs_ms, 1000 * self.batch / self.ours_ms


@dataclass(frozen=True)
class Versus:
    """What came of it. notes: how either ran, in words."""

    program: str
    rows: tuple[Race, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        data = to_dict(self)
        for row, values in zip(self.rows, data["rows"], strict=True):
            values["ratio"] = round(row.ratio, 3)
            values["theirs_images_s"], values["ours_images_s"] = (round(rate, 2) for rate in row.images_s)
        return data

    def table(self) -> str:
        """For people."""
        lines = [f"against {self.program}, random weights, in turns", ""]
        width = max([28, *(2 + len(row.task) for row in self.rows)])
        for row in self.rows:
            theirs, ours = row.images_s
            times = f"theirs {row.theirs_ms:10.2f} ms {theirs:8.1f} a second   ours {row.ours_ms:10.2f} ms {ours:8.1f}"
            lines.append(f"{row.task:<{width}}{times} a second{row.ratio:9.2f} times as fast")
        return "\n".join([*lines, *self.notes])


def recognise(path: str | Path) -> Program:
    """Whose program lies in `path`. Raises UsageError where it is none that is known."""
    for name, file in PROGRAMS.items():
        if (Path(path) / file).is_file():
            return Program(name, Path(path).resolve())
    raise UsageError(f"--against: {path} is no clone of {' or '.join(PROGRAMS)}")


def compare(program: Program, *, device: str = "auto", rounds: int = 5) -> Versus:
    """Measure both, in turns.

    Raises:
        MissingDependencyError: the other program imports what is not installed here; with its name.
        BackendError: a process ended early, or the device is not there.
    """
    where = usable(device)
    if program.name == NVIDIA:
        return _compare_synthesis(program, where, rounds)
    with _Runner("theirs", program, str(where)) as theirs, _Runner("ours", program, str(where)) as ours:
        rows = []
        for task in _TASKS:
            for runner in (theirs, ours):
                runner.seconds(task)  # the first is slow: packs weights, compiles
            turns = [(theirs.seconds(task), ours.seconds(task)) for _ in range(rounds)]
            their_ms, our_ms = (1000 * median(column) for column in zip(*turns, strict=True))
            rows.append(Race(task, round(their_ms, 2), round(our_ms, 2), rounds))
        return Versus(program.name, tuple(rows), (*theirs.notes, *ours.notes))


def _compare_synthesis(program: Program, device: torch.device, rounds: int) -> Versus:
    """At both published sizes; on a GPU also with batches, and against the anchor in both of its precisions."""
    from latent_reenact.models.benchmark import compare_synthesis

    kind = "gpu" if on_gpu(device) else "cpu"
    rows: list[Race] = []
    notes: list[str] = []
    for resolution, batch in itertools.product(_RESOLUTIONS, _BATCHES[kind]):
        measured = compare_synthesis(
            resolution, program.path, seconds=rounds * _SECONDS_A_ROUND[kind], device=str(device), batch=batch
        )
        rows += _races(measured)
        notes += [measured["machine"], *measured["notes"], *_remarks(measured)]
    return Versus(program.name, tuple(rows), tuple(dict.fromkeys(notes)))


def _races(measured: dict[str, Any]) -> list[Race]:
    """Each of ours against each of theirs, as far as they draw in alike numbers."""
    from latent_reenact.models.benchmark import ANCHOR, ANCHOR_HALF

    found, batch = measured["contestants"], measured["batch"]
    theirs = [name for name in (ANCHOR_HALF, ANCHOR) if name in found]
    rows = []
    for anchor, (name, ours) in itertools.product(theirs, found.items()):
        if name in theirs or (len(theirs) > 1 and (name == "network") != (anchor == ANCHOR)):
            continue
        numbers = f" against {anchor}" if len(theirs) > 1 else ""
        task = f"synthesis {measured['resolution']}, batch {batch}, {name}{numbers}"
        their_ms, our_ms = round(1000 * found[anchor]["wall_s"], 2), round(1000 * ours["wall_s"], 2)
        rows.append(Race(task, their_ms, our_ms, measured["rounds"], batch))
    return rows


def _remarks(measured: dict[str, Any]) -> list[str]:
    """Accuracy and memory."""
    about, remarks = f"synthesis {measured['resolution']}", []
    if measured["psnr_db"] is not None:
        remarks.append(f"{about}: half precision is {measured['psnr_db']:.1f} dB from float32")
    peaks = [
        f"{name} {found['peak_mb']:.0f} MB" for name, found in measured["contestants"].items() if "peak_mb" in found
    ]
    if peaks:
        remarks.append(f"{about}, batch {measured['batch']}: peak memory {', '.join(peaks)}")
    return remarks


class _Runner:
    """A process of `anchor_process` that waits for tasks."""

    def __init__(self, side: str, program: Program, device: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "latent_reenact.evaluation.anchor_process"]
        command += [side, str(program.path), device]
        self._side = side
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> _Runner:
        answer = self._answer()
        if "missing" in answer:
            self._process.kill()
            raise MissingDependencyError(f"--against: that program needs what is not here: {answer['missing']}")
        self.notes = tuple(answer["notes"])
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def seconds(self, task: str) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(task + "\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BackendError(f"--against: the process with {self._side} ended early; its last lines are above")
        return json.loads(line)
