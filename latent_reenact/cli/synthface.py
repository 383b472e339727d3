"""`synthface build-mesh` and `synthface render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_reenact.cli.command import Answer, Json, Out, command, progress_bar

if TYPE_CHECKING:
    from latent_reenact.synthface import Portrait

HELP = "The synthetic portraits that models are trained on."
_SOURCE_TYPE = "algorithmicMedia"  # IPTC: made by a program that no data trained


def register(group: typer.Typer) -> None:
    command(group, "build-mesh", build_mesh)
    command(group, "render", render)


def build_mesh(
    folder: Annotated[Path, typer.Argument(metavar="OBJ_DIR", help="ICT-FaceKit's OBJ files.")],
    out: Out,
    as_json: Json = False,
) -> Answer:
    """Make the mesh archive (.npz) from the official release of ICT-FaceKit."""
    from latent_reenact.synthface import build_mesh

    build_mesh(folder, out)
    return Answer(str(out), {"outputs": [str(out)]})


def render(
    out: Out,
    mesh: Annotated[Path, typer.Option("--mesh", help="The archive that build-mesh made.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many portraits.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Portrait i depends on the seed and i alone.")] = 0,
    size: Annotated[int, typer.Option("--size", min=8, max=2048, help="Side in pixels.")] = 256,
    as_json: Json = False,
) -> Answer:
    """Render random portraits, each with its ground truth as JSON, into a folder."""
    from latent_reenact.media import Provenance, atomic_write_json, write_image
    from latent_reenact.synthface import Renderer, load_mesh, sample
    from latent_reenact.systems.plan import output_folder

    marks = Provenance(operation="synthface render", source_type=_SOURCE_TYPE)
    renderer = Renderer(load_mesh(mesh))
    outputs = []
    with output_folder(out), progress_bar() as progress:
        for i in range(count):
            portrait = renderer.render(sample(seed, i), size)
            picture = out / f"portrait-{seed}-{i:05d}.png"
            write_image(picture, portrait.image, marks=marks)
            atomic_write_json(picture.with_suffix(".json"), _truth(portrait))
            outputs.append(str(picture))
            progress(i + 1, count, "portraits")
    return Answer("\n".join(outputs), {"outputs": outputs})


def _truth(portrait: Portrait) -> dict[str, Any]:
    return {
        "identity_id": portrait.identity_id,
        "yaw_deg": portrait.yaw_deg,
        "pitch_deg": portrait.pitch_deg,
        "roll_deg": portrait.roll_deg,
        "expression": dict(portrait.expression),
        "landmarks": portrait.landmarks.tolist(),
    }
