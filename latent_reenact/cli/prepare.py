"""`prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_reenact.cli.command import Answer, Json, Out, command, progress_bar
from latent_reenact.errors import UsageError

if TYPE_CHECKING:
    from latent_reenact.training.preparation.plan import Plan

_GIB = 2**30


def register(group: typer.Typer) -> None:
    command(group, "prepare", prepare)


def prepare(
    out: Out,
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Videos: PERSON/CLIP/*.mp4, or any.")] = None,
    synthetic: Annotated[
        int | None, typer.Option("--synthetic", min=1, metavar="N", help="N synthetic people instead of FOLDER.")
    ] = None,
    mesh: Annotated[Path | None, typer.Option("--mesh", help="The archive that synthface build-mesh made.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Which synthetic people. [default: 1]")] = None,
    clips: Annotated[
        int | None, typer.Option("--clips", min=1, help="Of a person, at most; others are left out. [default: 5]")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Of a clip; of a synthetic person. [default: 10; 1]")
    ] = None,
    every_s: Annotated[
        float | None, typer.Option("--every-s", help="Seconds from frame to frame. [default: 0.5]")
    ] = None,
    size: Annotated[int, typer.Option("--size", min=16, max=2048, help="Side of the pictures in pixels.")] = 256,
    framing: Annotated[
        float | None, typer.Option("--framing", help="How much wider than FFHQ's square to cut. [default: 1]")
    ] = None,
    max_yaw: Annotated[
        float | None, typer.Option("--max-yaw", help="Degrees; heads turned further are dropped. [default: 45]")
    ] = None,
    max_pitch: Annotated[float | None, typer.Option("--max-pitch", help="Degrees, up or down. [default: 30]")] = None,
    val: Annotated[
        float | None, typer.Option("--val", help="Share of the people, or their number from 1 on. [default: 0.02; 0]")
    ] = None,
    test: Annotated[float | None, typer.Option("--test", help="The same for the test. [default: 0.02; 0]")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes. [default: all cores]")] = None,
    cluster: Annotated[
        Literal["local", "ray"], typer.Option("--cluster", help="ray spreads the work over a Ray cluster.")
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the disk it needs, and leave.")
    ] = False,
    as_json: Json = False,
) -> Answer:
    """Make a data set for training: aligned faces from the videos in FOLDER, or synthetic portraits.

    Shards that are there already are kept, so a stopped run goes on when it is started again.
    """
    if (folder is None) == (synthetic is None):
        raise UsageError("expected either a FOLDER of videos or --synthetic N; see latent-reenact prepare --help")
    shared = {"size": size, "frames": frames, "val": val, "test": test}
    of_videos = {"--clips": clips, "--every-s": every_s, "--framing": framing}
    of_videos |= {"--max-yaw": max_yaw, "--max-pitch": max_pitch}
    if folder is not None:
        _refuse("for --synthetic", {"--mesh": mesh, "--seed": seed})
        settings = {"clips": clips, "every_s": every_s, "framing": framing}
        plan = _videos(folder, out, shared | settings | {"max_yaw_deg": max_yaw, "max_pitch_deg": max_pitch})
    else:
        _refuse("for videos", of_videos)
        if mesh is None:
            raise UsageError("--synthetic needs --mesh, the archive that latent-reenact synthface build-mesh makes")
        plan = _synthetic(mesh, out, shared | {"people": synthetic, "seed": seed})
    return _planned(plan) if dry_run else _carried_out(plan, jobs, cluster)


def _videos(folder: Path, out: Path, settings: dict[str, Any]) -> Plan[Any]:
    from latent_reenact.training.preparation.videos import VideoConfig, plan_videos

    return plan_videos(folder, out, VideoConfig(**_given(settings)))


def _synthetic(mesh: Path, out: Path, settings: dict[str, Any]) -> Plan[Any]:
    from latent_reenact.training.preparation.synthetic import SyntheticConfig, plan_synthetic

    return plan_synthetic(mesh, out, SyntheticConfig(**_given(settings)))


def _planned(plan: Plan[Any]) -> Answer:
    summary = plan.summary()
    return Answer(_plan_text(summary), summary)


def _carried_out(plan: Plan[Any], jobs: int | None, cluster: Literal["local", "ray"]) -> Answer:
    from latent_reenact.systems.plan import output_folder
    from latent_reenact.training.preparation.cluster import executor
    from latent_reenact.training.preparation.plan import carry_out

    run = executor(cluster, jobs)
    with output_folder(plan.out), progress_bar() as progress:
        manifest = carry_out(plan, run, progress)
    return Answer(_manifest_text(manifest, plan.out), manifest, warnings=_warnings(manifest))


def _refuse(why: str, options: dict[str, Any]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"got {' and '.join(given)}, which is {why} only; see latent-reenact prepare --help")


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Without those that keep their default."""
    return {name: value for name, value in settings.items() if value is not None}


def _plan_text(plan: dict[str, Any]) -> str:
    people = ", ".join(f"{count:,} {split}" for split, count in plan["people"].items())
    needed, missing, free = (plan[f"{name}_bytes"] / _GIB for name in ("needed", "missing", "free"))
    return (
        f"people   {people}\n"
        f"clips    {plan['clips']:,}\n"
        f"frames   {plan['samples']:,} at most\n"
        f"shards   {plan['shards']:,}, of which {plan['shards_done']:,} are there\n"
        f"disk     about {needed:.2f} GiB, {missing:.2f} of it still to be written; {free:.2f} free, "
        f"{'which fits' if plan['fits'] else 'WHICH DOES NOT FIT'}"
    )


def _manifest_text(manifest: dict[str, Any], out: Path) -> str:
    lines = [str(out)]
    for split, part in manifest["splits"].items():
        if part["samples"]:
            lines.append(
                f"{split:<5}  {part['people']:,} people, {part['clips']:,} clips, {part['samples']:,} faces "
                f"in {len(part['shards']):,} shards"
            )
    if manifest["dropped"]:
        lines.append("dropped  " + ", ".join(f"{reason}: {n:,}" for reason, n in manifest["dropped"].items()))
    return "\n".join(lines)


def _warnings(manifest: dict[str, Any]) -> list[str]:
    failures = manifest["failures"]
    more = [f"... and {len(failures) - 5:,} more videos; all are in manifest.json"] if len(failures) > 5 else []
    return [*failures[:5], *more]
