"""`directions fit` and `directions apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from latent_reenact.cli.command import (
    Aligned,
    Answer,
    Device,
    Face,
    Json,
    Model,
    Out,
    command,
    progress_bar,
    report_answer,
)

HELP = "Directions in the latent space along which one thing about a face changes."


def register(group: typer.Typer) -> None:
    command(group, "fit", fit)
    command(group, "apply", apply)


def fit(
    measure: Annotated[str, typer.Argument(metavar="MEASURE", help="yaw_deg, pitch_deg, smile, jaw_open, ...")],
    out: Out,
    method: Annotated[
        Literal["boundary", "difference", "component"], typer.Option("--method", help="How it is found.")
    ] = "boundary",
    published: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Take a published direction and calibrate it.")
    ] = None,
    people: Annotated[int, typer.Option("-n", "--people", min=16, help="Random faces to look at.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the faces.")] = 0,
    model: Model = "builtin",
    reader: Annotated[
        str | None, typer.Option("--reader", help="The model whose face reader measures; by default the same.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Find the direction of a measure and calibrate it.

    A slider along it then means degrees, or a coefficient.
    """
    from latent_reenact.editing.direction_jobs import fit
    from latent_reenact.editing.fitting import FitOptions

    options = FitOptions(method=method, published=published, people=people, seed=seed)
    with progress_bar() as progress:
        report = fit(model, measure, out, options, reader=reader, device=device, progress=progress)
    data = {"output": str(out), **report.as_dict()}
    low, high = data["range"]
    return Answer(
        f"{out}\n{measure} changes by {low:.3g} to {high:.3g} (single faces ± {data['deviation']:.2g} at the ends); "
        f"correlation with the measure {report.correlation:.2f}",
        data,
    )


def apply(
    identity: Annotated[Path, typer.Argument(metavar="IDENTITY", help="A picture, or a saved identity.")],
    direction: Annotated[Path, typer.Argument(metavar="DIRECTION", help="A file of a direction.")],
    amount: Annotated[float, typer.Option("--by", help="The change: degrees, a coefficient, or steps.")],
    out: Out,
    model: Model = "builtin",
    face: Face = "largest",
    aligned: Aligned = False,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Draw IDENTITY moved along DIRECTION."""
    from latent_reenact.editing.direction_jobs import apply
    from latent_reenact.face import parse_which

    which = parse_which(face)
    return report_answer(apply(model, identity, direction, amount, out, face=which, aligned=aligned, device=device))
