"""`evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from latent_reenact.cli.command import Answer, Device, Json, Out, command, progress_bar


def register(group: typer.Typer) -> None:
    command(group, "evaluate", evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of the model.")],
    out: Out,
    mesh: Annotated[Path, typer.Option("--mesh", help="synthetic: the archive that build-mesh made.")],
    protocol: Annotated[
        Literal["synthetic"], typer.Option("--protocol", help="synthetic: against the truth of rendered portraits.")
    ] = "synthetic",
    judges: Annotated[
        Path | None, typer.Option("--judges", help="synthetic: a folder with the networks face_reader and identity.")
    ] = None,
    people: Annotated[int | None, typer.Option("--people", min=2, help="Inverted people.  [default: 200]")] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=2, help="Pictures of the Fréchet distance.  [default: 10000]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few of everything: a trial, no measurement.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Measure MODEL and write report.md, report.json and contact sheets into a folder.

    A bar that is missed is no error: the report says so.
    """
    from dataclasses import replace

    from latent_reenact.evaluation import synthetic
    from latent_reenact.systems.plan import output_folder

    sizes = {name: value for name, value in (("people", people), ("samples", samples)) if value is not None}
    config = replace(synthetic.QUICK if quick else synthetic.SyntheticConfig(), **sizes)
    with output_folder(out), progress_bar() as progress:
        report = synthetic.evaluate(
            model, out, mesh=mesh, judges=judges, config=config, device=device, progress=progress
        )
    missed = [f"missed or not measured: {row.text}" for row in report.missed]
    return Answer("\n".join([report.table(), *missed, str(out / "report.md")]), report.as_dict())
