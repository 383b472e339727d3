"""All commands in one program, and what its errors mean for the process."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import cast

import typer

import latent_reenact
from latent_reenact.cli import (
    bench,
    convert,
    demo,
    directions,
    doctor,
    evaluate,
    faces,
    models,
    prepare,
    synthface,
    training,
    verify,
    web,
)
from latent_reenact.cli.command import complain

PROGRAM = "latent-reenact"
# The parent of BadParameter is click's UsageError; where click lives depends on the version of typer.
_CommandLineError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

app = typer.Typer(
    help="One portrait, someone else's pose and expression: StyleGAN2 draws that person doing it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and leave.")
) -> None:
    if version:
        print(f"{PROGRAM} {latent_reenact.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


for _group in (demo, faces, convert, verify, doctor, bench, prepare, training, evaluate, web):
    _group.register(app)
for _name, _group in (("directions", directions), ("models", models), ("synthface", synthface)):
    _sub = typer.Typer(help=_group.HELP, rich_markup_mode=None)
    _group.register(_sub)
    app.add_typer(_sub, name=_name)


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; see `latent_reenact.cli.main`."""
    with _stoppable(), _quiet():
        try:
            return app(args=argv, prog_name=PROGRAM, standalone_mode=False) or 0
        except _CommandLineError as error:
            path = error.ctx.command_path if error.ctx else PROGRAM
            complain("error", f"{error.format_message().rstrip('.')}; see {path} --help")
            return error.exit_code


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A polite kill counts as Ctrl-C, so that unfinished outputs are removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Libraries' warnings are for developers: `python -W default -m latent_reenact` shows them."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
