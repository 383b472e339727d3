"""`reenact`, `invert`, `edit` and `sample`."""

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
from latent_reenact.errors import UsageError

Identity = Annotated[Path, typer.Argument(metavar="IDENTITY", help="Whose face: a picture, or what `invert` saved.")]


def register(group: typer.Typer) -> None:
    for function in (reenact, invert, edit, sample):
        command(group, function.__name__, function)


def reenact(
    identity: Identity,
    driving: Annotated[
        Path,
        typer.Argument(metavar="DRIVING", help="Whose pose and expression: a picture, a video, or a folder of them."),
    ],
    out: Out,
    model: Model = "builtin",
    face: Face = "largest",
    identity_face: Annotated[str, typer.Option("--identity-face", help="The same for the identity's picture.")] = (
        "largest"
    ),
    aligned: Aligned = False,
    relative: Annotated[
        bool, typer.Option("--relative", help="Add the driving's changes to the identity's own pose and expression.")
    ] = False,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Put the result back into the identity's original picture.")
    ] = False,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Show identity, driving and result in a row.")
    ] = False,
    crop_forehead: Annotated[
        bool, typer.Option("--crop-forehead", help="Cut off the top 240 of 1024 rows, as the method's author does.")
    ] = False,
    smoothing: Annotated[
        Literal["lowpass", "fixed", "none"],
        typer.Option("--smoothing", help="How the cut of a video follows the head."),
    ] = "lowpass",
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Draw IDENTITY with the pose and expression of DRIVING.

    A video gives a video with the same frames and sound; a folder gives a folder.
    """
    from latent_reenact.face import parse_which
    from latent_reenact.systems import jobs

    options = jobs.ReenactOptions(
        face=parse_which(face),
        identity_face=parse_which(identity_face),
        aligned=aligned,
        relative=relative,
        paste_back=paste_back,
        side_by_side=side_by_side,
        crop_forehead=crop_forehead,
        smoothing=smoothing,
    )
    with progress_bar() as progress:
        return report_answer(jobs.reenact(model, identity, driving, out, options, device=device, progress=progress))


def invert(
    picture: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of one person.")],
    out: Out,
    model: Model = "builtin",
    face: Face = "largest",
    aligned: Aligned = False,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Read a person from IMAGE and save the identity (.safetensors)."""
    from latent_reenact.face import parse_which
    from latent_reenact.systems import jobs

    return report_answer(jobs.invert(model, picture, out, face=parse_which(face), aligned=aligned, device=device))


def edit(
    identity: Identity,
    out: Out,
    yaw: Annotated[float | None, typer.Option("--yaw", help="Degrees; > 0 turns to the viewer's right.")] = None,
    pitch: Annotated[float | None, typer.Option("--pitch", help="Degrees; > 0 looks up.")] = None,
    roll: Annotated[float | None, typer.Option("--roll", help="Degrees; > 0 tilts to the viewer's left.")] = None,
    smile: Annotated[float | None, typer.Option("--smile", help="0 to 1.")] = None,
    jaw_open: Annotated[float | None, typer.Option("--jaw-open", help="0 to 1.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any control of the model, repeatable.")
    ] = None,
    model: Model = "builtin",
    face: Face = "largest",
    aligned: Aligned = False,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Draw IDENTITY with another pose or expression.

    What is not named stays as it is in its own picture.
    """
    from latent_reenact.face import parse_which
    from latent_reenact.systems import jobs

    named = {"yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll, "smile": smile, "jaw_open": jaw_open}
    controls = {name: value for name, value in named.items() if value is not None}
    controls |= dict(map(_setting, settings or []))
    return report_answer(
        jobs.pose(model, identity, out, controls, face=parse_which(face), aligned=aligned, device=device)
    )


def sample(
    out: Out,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many people.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first person; the others follow.")] = 0,
    model: Model = "builtin",
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Draw people who do not exist.

    Each goes into the folder as a picture and as an identity.
    """
    from latent_reenact.editing import sample_identity
    from latent_reenact.systems import jobs

    with progress_bar() as progress:
        seeds = range(seed, seed + count)
        return report_answer(jobs.sample(model, sample_identity, seeds, out, device=device, progress=progress))


def _setting(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise UsageError(f"--set: got {word!r}, expected name=number, for example smile=0.8") from None
