"""Our networks beside the programs that others published, at the same sizes, all with random weights.

Each program runs in a process of its own and they take turns, so that whatever else the machine does meets both.
The other program is imported from a clone that the user gives; nothing of it is copied.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from latent_reenact.config import to_dict
from latent_reenact.errors import BackendError, MissingDependencyError, UsageError

METHOD, NVIDIA = "JahodaPetr/Pose-and-Expression-Transfer", "NVlabs/stylegan2-ada-pytorch"
PROGRAMS = {METHOD: "psp.py", NVIDIA: "training/networks.py"}  # and a file that tells a clone
_TASKS = ("frame", "inversion")
_SECONDS_A_ROUND = 6.0


@dataclass(frozen=True)
class Program:
    """Somebody's program and where its clone is."""

    name: str
    path: Path


@dataclass(frozen=True)
class Race:
    """One task of both: medians in milliseconds of `rounds` turns."""

    task: str
    theirs_ms: float
    ours_ms: float
    rounds: int

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.theirs_ms / self.ours_ms


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
        return data

    def table(self) -> str:
        """For people."""
        lines = [f"against {self.program}, random weights, batch 1, in turns"]
        lines += [
            f"{row.task:<28}theirs {row.theirs_ms:10.1f} ms   ours {row.ours_ms:10.1f} ms{row.ratio:9.2f} times as fast"
            for row in self.rows
        ]
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
        BackendError: a process ended early.
    """
    if program.name == NVIDIA:
        return _compare_synthesis(program, rounds)
    with _Runner("theirs", program, device) as theirs, _Runner("ours", program, device) as ours:
        rows = []
        for task in _TASKS:
            for runner in (theirs, ours):
                runner.seconds(task)  # the first is slow: packs weights, compiles
            turns = [(theirs.seconds(task), ours.seconds(task)) for _ in range(rounds)]
            their_ms, our_ms = (1000 * median(column) for column in zip(*turns, strict=True))
            rows.append(Race(task, round(their_ms, 2), round(our_ms, 2), rounds))
        return Versus(program.name, tuple(rows), (*theirs.notes, *ours.notes))


def _compare_synthesis(program: Program, rounds: int) -> Versus:
    """On the CPU, at both published sizes."""
    from latent_reenact.models.benchmark import ANCHOR, compare_synthesis

    rows = []
    for resolution in (1024, 256):
        measured = compare_synthesis(resolution, program.path, seconds=rounds * _SECONDS_A_ROUND)
        theirs_ms = 1000 * measured["contestants"][ANCHOR]["wall_s"]
        rows += [
            Race(
                f"synthesis {resolution}, {name}",
                round(theirs_ms, 2),
                round(1000 * ours["wall_s"], 2),
                measured["rounds"],
            )
            for name, ours in measured["contestants"].items()
            if name != ANCHOR
        ]
    return Versus(program.name, tuple(rows), (measured["machine"],))


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
