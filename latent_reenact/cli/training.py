"""`train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from latent_reenact.cli.command import Answer, command


def register(group: typer.Typer) -> None:
    command(group, "train", train)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that replace the file's.")
    ] = None,
    resume: Annotated[
        Literal["auto", "never"], typer.Option("--resume", help="auto goes on where the last run stopped.")
    ] = "auto",
    init_from: Annotated[
        str | None,
        typer.Option("--init-from", metavar="MODEL", help="Name or folder of a model to go on from, such as builtin."),
    ] = None,
) -> Answer:
    """Train the networks of a model as CONFIG says.

    A stopped run goes on where it was. Several processes: torchrun --nproc-per-node N -m latent_reenact train CONFIG.
    """
    from latent_reenact import training

    folder = training.train(config, overrides or [], resume, init_from)
    return Answer(f"the model is in {folder}", {"model": str(folder)})
