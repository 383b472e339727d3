"""`models list` and `models verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latent_reenact.cli.command import Answer, Json, command

if TYPE_CHECKING:
    from latent_reenact.weights import ModelInfo

HELP = "The models that are here."


def register(group: typer.Typer) -> None:
    command(group, "list", list_models)
    command(group, "verify", verify_model)


def list_models(as_json: Json = False) -> Answer:
    """List the models that can be used by name."""
    from latent_reenact.config import to_dict
    from latent_reenact.weights import list_models, models_home

    infos = list_models()
    text = "\n".join(map(_line, infos)) or f"no models here; put model folders into {models_home()}"
    return Answer(text, {"models": [to_dict(info) for info in infos]})


def verify_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or folder of the model.")],
    as_json: Json = False,
) -> Answer:
    """Compare a model's files with the hashes in its manifest."""
    from latent_reenact.weights import verify_model

    folder = verify_model(name)
    return Answer(f"{name}: all files are as written ({folder})", {"model": name, "path": str(folder), "ok": True})


def _line(info: ModelInfo) -> str:
    size = f"{info.resolution} x {info.resolution}, {info.bytes / 1e6:.1f} MB"
    return f"{info.name}  {size}, {info.licence}  {info.description}".rstrip()
