"""What all commands share: their answer, how it is printed, and the options they have in common."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_reenact.errors import InterruptedRunError, LatentReenactError

if TYPE_CHECKING:
    from latent_reenact.systems.jobs import Progress, Report

_BAR_AFTER_S = 2.0

Model = Annotated[str, typer.Option("--model", help="Name or folder of the model.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Aligned = Annotated[bool, typer.Option("--aligned", help="Pictures are already cut as the model wants them.")]
Face = Annotated[str, typer.Option("--face", help="Which face of several: largest, only, or a number from 0.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file or folder to write.")]


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    text: for people, on stdout. data: for programs, with --json instead.
    errors, warnings: lines for stderr.
    """

    text: str
    data: Any
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    exit_code: int = 0


def command(group: typer.Typer, name: str, function: Callable[..., Answer]) -> None:
    """Make `function` a command: its arguments come from the command line, its answer is printed."""

    @functools.wraps(function)
    def run(**arguments: Any) -> int:
        as_json = bool(arguments.get("as_json"))
        try:
            answer = function(**arguments)
        except KeyboardInterrupt:
            error = InterruptedRunError("interrupted: what was finished stays, nothing is half-written; run it again")
            return _fail(error, as_json)
        except LatentReenactError as error:
            return _fail(error, as_json)
        if as_json:
            _print_json(answer.data)
        elif answer.text:
            print(answer.text)
        for warning in answer.warnings:
            complain("warning", warning)
        for line in answer.errors:
            complain("error", line)
        return answer.exit_code

    group.command(name)(run)


def report_answer(report: Report) -> Answer:
    """A job's report as an answer: exit code 1 where some files of a batch failed."""
    lines = list(report.outputs)
    faceless = f", {report.frames_without_face} without a face (the last pose held)"
    lines.append(
        f"{report.frames} {'picture or frame' if report.frames == 1 else 'pictures or frames'} "
        f"in {report.seconds:.1f} s ({report.fps:.1f} a second){faceless if report.frames_without_face else ''}"
    )
    return Answer(
        "\n".join(lines),
        report.as_dict(),
        errors=[failure.message for failure in report.failures],
        warnings=report.warnings,
        exit_code=1 if report.failures else 0,
    )


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr for what lasts over two seconds, where stderr is a terminal."""
    from tqdm import tqdm

    with tqdm(disable=None, delay=_BAR_AFTER_S, leave=False, file=sys.stderr) as bar:

        def show(done: float, total: float | None, unit: str) -> None:
            bar.total, bar.unit = total, f" {unit}"
            bar.update(done - bar.n)

        yield show


def say(message: str) -> None:
    """One line on stderr that is no complaint."""
    print(message, file=sys.stderr)


def complain(kind: str, message: str) -> None:
    """One line on stderr."""
    print(f"{kind}: {' '.join(message.split())}", file=sys.stderr)


def _fail(error: LatentReenactError, as_json: bool) -> int:
    if as_json:
        _print_json({"error": str(error), "kind": type(error).__name__})
    complain("error", str(error))
    return error.exit_code


def _print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False))
