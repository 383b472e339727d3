"""`models list`, `models fetch` and `models verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from latent_reenact.cli.command import Answer, Json, command, progress_bar, say

if TYPE_CHECKING:
    from latent_reenact.models.fetch import FetchReport
    from latent_reenact.third_party.registry import PublishedFile, Registry
    from latent_reenact.weights import ModelInfo

HELP = "The models that are here."


def register(group: typer.Typer) -> None:
    command(group, "list", list_models)
    command(group, "fetch", fetch_model)
    command(group, "verify", verify_model)


def list_models(
    published: Annotated[bool, typer.Option("--published", help="What can be fetched instead.")] = False,
    as_json: Json = False,
) -> Answer:
    """List the models that can be used by name."""
    from latent_reenact.config import to_dict
    from latent_reenact.third_party.registry import load_registry
    from latent_reenact.weights import list_models, models_home

    if published:
        registry = load_registry()
        return Answer("\n".join(_published_lines(registry)), to_dict(registry))
    infos = list_models()
    text = "\n".join(map(_line, infos)) or f"no models here; put model folders into {models_home()}"
    return Answer(text, {"models": [to_dict(info) for info in infos]})


def fetch_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of models list --published, or one of their files.")],
    offline: Annotated[bool, typer.Option("--offline", help="Make no connection; use what is here.")] = False,
    as_json: Json = False,
) -> Answer:
    """Download a published model's files and convert them.

    Where only a browser gets a file, tell what to download, and where to put it.
    """
    from latent_reenact.models.fetch import fetch

    with progress_bar() as progress:
        report = fetch(name, offline=offline, progress=progress, tell=say)
    return Answer(
        _fetched(report), {**report.as_dict(), "ready": report.is_ready}, exit_code=0 if report.is_ready else 1
    )


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


def _published_lines(registry: Registry) -> Iterator[str]:
    """Each model over its files, then the files that are used alone."""
    alone = {file.name: file for file in registry.files}
    for model in registry.models:
        yield f"{model.name}  {model.description}"
        for file in registry.files_of(model):
            alone.pop(file.name, None)
            yield f"    {_file_line(file)}"
    for file in alone.values():
        yield f"{_file_line(file)}  {file.purpose}"


def _file_line(file: PublishedFile) -> str:
    return f"{file.name}  {file.size}, {'by browser' if file.needs_browser else 'direct'}, {file.licence}"


def _fetched(report: FetchReport) -> str:
    if report.steps:
        return "\n".join(report.steps)
    if report.folder is not None:
        return f"{report.name} is ready ({report.folder})"
    return "\n".join(report.files)
