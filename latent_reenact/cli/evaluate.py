"""`evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_reenact.cli.command import Answer, Device, Json, Out, command, progress_bar
from latent_reenact.errors import UsageError

if TYPE_CHECKING:
    from latent_reenact.evaluation.report import Report


def register(group: typer.Typer) -> None:
    command(group, "evaluate", evaluate)


def evaluate(
    out: Out,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of the model.")] = "builtin",
    protocol: Annotated[
        Literal["synthetic", "control", "cross", "self"],
        typer.Option(
            "--protocol",
            help="synthetic: one model against the truth of rendered portraits. control: its sliders, on random "
            "people. cross, self: systems on clips.",
        ),
    ] = "synthetic",
    mesh: Annotated[
        Path | None, typer.Option("--mesh", help="The archive that build-mesh made: portraits, or clips, of synthface.")
    ] = None,
    shards: Annotated[
        Path | None, typer.Option("--shards", help="cross, self: clips of a folder that `prepare` wrote (split test).")
    ] = None,
    videos: Annotated[Path | None, typer.Option("--videos", help="cross, self: a folder of videos.")] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            "--systems",
            metavar="NAME[=FOLDER],...",
            help="cross, self: rows of the table. latent: MODEL; linear...: the linear baseline.  [default: latent]",
        ),
    ] = None,
    commands: Annotated[
        list[str] | None,
        typer.Option(
            "--command",
            metavar="[NAME=]PROGRAM",
            help="cross, self: an outside program with {identity}, {driving} and {output}; repeatable.",
        ),
    ] = None,
    estimators: Annotated[
        list[str] | None,
        typer.Option(
            "--estimator",
            metavar="NAME",
            help="cross, self: reads faces: dlib, a model folder, an .onnx file; repeatable.  [default: MODEL, dlib]",
        ),
    ] = None,
    pairs: Annotated[int | None, typer.Option("--pairs", min=2, help="cross, self: pairs of clips.  [default: 50]")] = (
        None
    ),
    pairs_file: Annotated[Path | None, typer.Option("--pairs-file", help="cross, self: the pairs.json to use.")] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=4, help="cross, self: frames of a clip.  [default: 16]")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=16, help="cross, self: pixels of a clip.  [default: the systems', 256 at most]"),
    ] = None,
    framing: Annotated[
        float | None, typer.Option("--framing", help="cross, self: cut of shards and videos, in FFHQ's widths.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="cross, self: of pairs and intervals; control: of people.")
    ] = 0,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=1, help="cross, self: seconds a PROGRAM may take.")
    ] = (300.0),
    judges: Annotated[
        Path | None, typer.Option("--judges", help="A folder with the networks face_reader and identity.")
    ] = None,
    people: Annotated[
        int | None,
        typer.Option("--people", min=2, help="synthetic: inverted people; control: random ones.  [default: 200; 24]"),
    ] = None,
    values: Annotated[int | None, typer.Option("--values", min=3, help="control: of a slider.  [default: 7]")] = None,
    own: Annotated[
        bool, typer.Option("--own", help="control: start from people's own pictures, not from faces at rest.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=2, help="synthetic: pictures of the Fréchet distance. [default: 10000]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few of everything: a trial, no measurement.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Measure MODEL, or compare systems, and write a report and pictures into a folder.

    The same command goes on where a comparison stopped. A bar that is missed is no error: the report says so.
    """
    if protocol == "synthetic":
        if mesh is None:
            raise UsageError("protocol synthetic needs --mesh, the archive that `synthface build-mesh` makes")
        return _synthetic(model, out, mesh, judges, {"people": people, "samples": samples}, quick, device)
    if protocol == "control":
        config = {"people": people, "values": values, "seed": seed, "own": own}
        return _control(model, out, mesh, judges, config, quick, device)
    sizes = {"pairs": pairs or (4 if quick else None), "frames": frames or (8 if quick else None)}
    named = [*([str(judges)] if judges else []), *(estimators or (["dlib"] if judges else []))]
    options: dict[str, Any] = {
        **{"size": size, "systems": systems, "commands": commands or (), "mesh": mesh, "shards": shards},
        **{"videos": videos, "framing": framing, "estimators": named, "pairs_file": pairs_file},
        **{"time_limit_s": time_limit, "device": device},
    }
    return _clips(model, out, {"protocol": protocol, "seed": seed, **sizes}, options)


def _synthetic(
    model: str, out: Path, mesh: Path, judges: Path | None, sizes: dict[str, int | None], quick: bool, device: str
) -> Answer:
    from dataclasses import replace

    from latent_reenact.evaluation import synthetic
    from latent_reenact.systems.plan import output_folder

    start = synthetic.QUICK if quick else synthetic.SyntheticConfig()
    config = replace(start, **{name: value for name, value in sizes.items() if value is not None})
    with output_folder(out), progress_bar() as progress:
        report = synthetic.evaluate(
            model, out, mesh=mesh, judges=judges, config=config, device=device, progress=progress
        )
    return _reported(report, out)


def _control(
    model: str, out: Path, mesh: Path | None, judges: Path | None, sizes: dict[str, Any], quick: bool, device: str
) -> Answer:
    from dataclasses import replace

    from latent_reenact.editing import sample_identity
    from latent_reenact.evaluation import control
    from latent_reenact.systems.plan import output_folder

    start = control.QUICK if quick else control.ControlConfig()
    config = replace(start, **{name: value for name, value in sizes.items() if value is not None})
    with output_folder(out), progress_bar() as progress:
        report = control.evaluate(
            model, out, sample_identity, judges=judges, mesh=mesh, config=config, device=device, progress=progress
        )
    return _reported(report, out)


def _reported(report: Report, out: Path) -> Answer:
    missed = [f"missed or not measured: {row.text}" for row in report.missed]
    return Answer("\n".join([report.table(), *missed, str(out / "report.md")]), report.as_dict())


def _clips(model: str, out: Path, sizes: dict[str, Any], options: dict[str, Any]) -> Answer:
    from latent_reenact.evaluation import entry
    from latent_reenact.evaluation.protocols import ProtocolConfig
    from latent_reenact.systems.plan import output_folder

    config = ProtocolConfig(**{name: value for name, value in sizes.items() if value is not None})
    with output_folder(out), progress_bar() as progress:
        comparison = entry.evaluate(model, out, config=config, progress=progress, **options)
    skipped = [f"{name}: {len(pairs)} pairs skipped; see report.md" for name, pairs in comparison.skipped.items()]
    text = "\n".join([comparison.markdown_table(), str(out / "report.md")])
    return Answer(text, comparison.as_dict(), warnings=skipped)
