"""`convert`: the only verb that reads other programs' checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from latent_reenact.cli.command import Answer, Device, Json, Out, command

if TYPE_CHECKING:
    from latent_reenact.models.convert import ConvertReport


def register(group: typer.Typer) -> None:
    command(group, "convert", convert)


def convert(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Checkpoints that belong together.")],
    out: Out,
    kind: Annotated[
        Literal["auto", "model", "identity", "direction"], typer.Option("--as", help="What the file holds.")
    ] = "auto",
    model: Annotated[str | None, typer.Option("--model", help="Whose latents they are, for identities.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The model's own name; by default its folder's.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> Answer:
    """Convert other programs' checkpoints, latents and directions.

    Their code is not run, and nothing that they name is imported.
    """
    from latent_reenact.systems.conversion import LatentsReport
    from latent_reenact.systems.conversion import convert as run

    report = run(files, out, kind=kind, model=model, name=name, device=device)
    text = "\n".join(report.outputs) if isinstance(report, LatentsReport) else _summary(report)
    return Answer(text, report.as_dict())


def _summary(report: ConvertReport) -> str:
    lines = [f"{path}: {form}" for path, form in report.formats.items()]
    lines += [f"  {name}: {kind}" for name, kind in report.networks.items()]
    for path, entries in report.left_out.items():
        more = f" and {len(entries) - 8} more" if len(entries) > 8 else ""
        lines.append(f"  not used of {Path(path).name}: {', '.join(entries[:8])}{more}")
    lines += [f"  {note}" for note in report.notes]
    use = "latent-reenact reenact ... --model" if report.system else "networks alone: open them with lr.load_network of"
    return "\n".join([*lines, f"{report.folder} is ready ({use} {report.folder})"])
