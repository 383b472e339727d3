"""`demo`: the main job on the pictures and the clip that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latent_reenact.cli.command import Answer, Device, Json, Model, command, progress_bar

RESULTS = {"picture.png": "driving.png", "video.mp4": "driving.mp4"}  # what is written, and the sample that drives it

Folder = Annotated[Path, typer.Option("--out", "-o", help="The folder to write; made if need be.")]


def register(group: typer.Typer) -> None:
    command(group, "demo", demo)


def demo(out: Folder = Path("out"), model: Model = "builtin", device: Device = "auto", as_json: Json = False) -> Answer:
    """Reenact the samples that come with the package.

    Leaves picture.png and video.mp4 to look at: identity, driving and result in a row.
    """
    from latent_reenact import samples
    from latent_reenact.systems import jobs, plan

    options = jobs.ReenactOptions(side_by_side=True)
    with plan.output_folder(out), progress_bar() as progress:
        reenactor = jobs.loaded(model, device)
        identity = reenactor.identity(samples.path("portrait_a.png"))
        reports = [
            jobs.reenact(reenactor, identity, samples.path(driving), out / name, options, progress=progress)
            for name, driving in RESULTS.items()
        ]
    outputs = [path for report in reports for path in report.outputs]
    frames, seconds = sum(report.frames for report in reports), sum(report.seconds for report in reports)
    text = "\n".join([*outputs, f"{frames} pictures and frames in {seconds:.1f} s: look at them"])
    return Answer(text, {"outputs": outputs, "frames": frames, "seconds": seconds})
