"""`reenact`, `invert`, `edit` and `sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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

if TYPE_CHECKING:
    from latent_reenact.editing.sampling_plan import SamplingConfig

Identity = Annotated[Path, typer.Argument(metavar="IDENTITY", help="Whose face: a picture, or what `invert` saved.")]
Badge = Annotated[bool, typer.Option("--badge", help="Write “AI generated” into the corner, for people to see.")]
_Range = Annotated[
    str | None, typer.Option(metavar="LOW:HIGH", help="Degrees, or 0 to 1: each picture's value lies between.")
]
_SHARDS_ABOVE = 1000  # pictures: more are no folder to look through


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
    pose_from: Annotated[
        Path | None,
        typer.Option("--pose-from", metavar="FILE", help="Take the pose of this picture, the expression of DRIVING."),
    ] = None,
    only: Annotated[
        Literal["pose", "expression"] | None,
        typer.Option("--only", help="Take only this from DRIVING; the rest stays as in the identity's picture."),
    ] = None,
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
    badge: Badge = False,
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
        badge=badge,
        part=only or "both",
        pose_from=pose_from,
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
    at_rest: Annotated[bool, typer.Option("--at-rest", help="What is not named is 0: a frontal face at rest.")] = False,
    badge: Badge = False,
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
        jobs.pose(
            model,
            identity,
            out,
            controls,
            at_rest=at_rest,
            badge=badge,
            face=parse_which(face),
            aligned=aligned,
            device=device,
        )
    )


def sample(
    out: Out,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many pictures.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first person; the others follow.")] = 0,
    yaw: _Range = None,
    pitch: _Range = None,
    roll: _Range = None,
    smile: _Range = None,
    jaw_open: _Range = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=LOW:HIGH", help="The same for any control of the model, repeatable."),
    ] = None,
    identities: Annotated[
        int | None, typer.Option("--identities", min=1, help="People in shards.  [default: one a picture]")
    ] = None,
    shards: Annotated[
        bool | None,
        typer.Option("--shards/--no-shards", help="Write webdataset shards.  [default: above 1000 pictures]"),
    ] = None,
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, help="Pictures in a shard.")] = 500,
    suffix: Annotated[Literal["png", "jpg", "webp"], typer.Option("--format", help="Of the pictures.")] = "png",
    latents: Annotated[
        bool, typer.Option("--latents", help="Keep each picture's w_plus in the shards (.npy).")
    ] = False,
    refine_steps: Annotated[
        int | None,
        typer.Option("--refine-steps", min=0, help="Of inversions; 0 is fastest.  [default: as the model says]"),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Processes that write shards.  [default: all cores]")
    ] = None,
    model: Model = "builtin",
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Draw people who do not exist.

    Each goes into the folder as a picture and as an identity, as the person came. With a LOW:HIGH for some controls
    each is drawn with values out of these ranges, everything else at rest, and gets a label. Thousands go into shards;
    the same command goes on where it was stopped.
    """
    named = {"yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll, "smile": smile, "jaw_open": jaw_open}
    ranges = {name: _range(name, word) for name, word in named.items() if word is not None}
    ranges |= dict(_named_range(word) for word in settings or [])
    from latent_reenact.editing.sampling_plan import SamplingConfig

    config = SamplingConfig(
        model=model,
        count=count,
        seed=seed,
        identities=identities,
        ranges=ranges,
        suffix=suffix,
        shard_size=shard_size,
        latents=latents,
        refine_steps=refine_steps,
    )
    if count > _SHARDS_ABOVE if shards is None else shards:
        return _sample_shards(config, out, processes, device)
    if identities or latents or processes:
        raise UsageError("--identities, --latents and --jobs are for shards: add --shards, or leave them out")
    return _sample_pictures(config, out, device)


def _sample_shards(config: SamplingConfig, out: Path, processes: int | None, device: str) -> Answer:
    from latent_reenact.editing.sampling import sample_shards
    from latent_reenact.systems.plan import output_folder
    from latent_reenact.training.preparation.cluster import executor

    with output_folder(out), progress_bar() as progress:
        report = sample_shards(out, config, run=executor(jobs=processes), device=device, progress=progress)
    speed = report["drawn"] / max(report["seconds"], 1e-6)
    text = f"{report['pictures']:,} pictures of {report['people']:,} people in {report['shards']:,} shards"
    return Answer(f"{out}\n{text}; {report['drawn']:,} drawn now, {speed:.1f} a second", report)


def _sample_pictures(config: SamplingConfig, out: Path, device: str) -> Answer:
    from functools import partial

    from latent_reenact.editing import sample_identity
    from latent_reenact.systems import jobs

    controls = [config.controls(index) for index in range(config.count)] if config.ranges else None
    steps = config.refine_steps
    draw = sample_identity if steps is None else partial(sample_identity, refine_steps=steps)
    with progress_bar() as progress:
        seeds = range(config.seed, config.seed + config.count)
        return report_answer(
            jobs.sample(
                config.model,
                draw,
                seeds,
                out,
                suffix=f".{config.suffix}",
                controls=controls,
                device=device,
                progress=progress,
            )
        )


def _range(name: str, word: str) -> tuple[float, float]:
    """`-30:30`, or one number for both ends."""
    low, _, high = word.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise UsageError(f"{name}: got {word!r}, expected LOW:HIGH, for example -30:30, or one number") from None


def _named_range(word: str) -> tuple[str, tuple[float, float]]:
    name, equals, values = word.partition("=")
    if not equals:
        raise UsageError(f"--set: got {word!r}, expected name=LOW:HIGH, for example squint=0:1")
    return name, _range(name, values)


def _setting(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise UsageError(f"--set: got {word!r}, expected name=number, for example smile=0.8") from None
