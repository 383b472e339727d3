"""`verify`: whether a file says that it was made by AI, and by what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_reenact.cli.command import Answer, Json, command

if TYPE_CHECKING:
    from latent_reenact.media import Provenance


def register(group: typer.Typer) -> None:
    command(group, "verify", verify)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or video.")], as_json: Json = False
) -> Answer:
    """Read the mark that FILE was made by AI.

    The exit code is 1 where there is none.
    """
    from latent_reenact.config import to_dict
    from latent_reenact.media import read_provenance

    mark = read_provenance(file)
    data: dict[str, Any] = {"file": str(file), "marked": mark is not None}
    if mark is None:
        missing = f"{file} carries no mark; expected one as latent-reenact writes it: keep the file as it was written"
        return Answer("", data, errors=[missing], exit_code=1)
    return Answer(_sentence(file, mark), data | to_dict(mark))


def _sentence(file: Path, mark: Provenance) -> str:
    facts = {"tool": mark.tool, "model": mark.model, "operation": mark.operation, "created": mark.created}
    known = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"{file} is marked as {mark.source_type}" + (f" ({known})" if known else "")
