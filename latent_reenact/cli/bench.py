"""`bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latent_reenact.cli.command import Answer, Device, Model, command, progress_bar


def register(group: typer.Typer) -> None:
    command(group, "bench", bench)


def bench(
    model: Model = "builtin",
    frames: Annotated[int, typer.Option("--frames", min=1, help="Of the driving video.")] = 75,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write a JSON file.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="PATH",
            help="Your clone of JahodaPetr/Pose-and-Expression-Transfer or NVlabs/stylegan2-ada-pytorch: measured "
            "beside our network of the same size, both with random weights. On a GPU also a video at the published "
            "sizes.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="--against: of each program, in turns.")] = 5,
    device: Device = "auto",
) -> Answer:
    """Measure how long each stage takes on this machine.

    A video on the sample clip, an inversion, a start. Nothing is downloaded, nothing is left behind.
    """
    from latent_reenact.evaluation import anchors, speed
    from latent_reenact.media import atomic_write_json
    from latent_reenact.systems.plan import check_outputs

    if json_file is not None:
        check_outputs([json_file], suffixes=(".json",))
    program = None if against is None else anchors.recognise(against)
    with progress_bar() as progress:
        report = speed.measure(model, frames, device=device, progress=progress)
        versus = None if program is None else anchors.compare(program, device=device, rounds=rounds)
        published = None
        if versus is not None and report.device.startswith("cuda"):
            published = speed.measure_published(frames, device=device, progress=progress)
    data = report.as_dict()
    data |= {"against": versus.as_dict()} if versus else {}
    data |= {"published_sizes": published.as_dict()} if published else {}
    if json_file is not None:
        atomic_write_json(json_file, data)
    tables = [found.table() for found in (report, published, versus) if found is not None]
    return Answer("\n\n".join(tables), data)
