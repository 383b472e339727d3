"""What a model's name asks for: a folder, and a way to reenact with its networks. Nothing is loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latent_reenact.errors import WeightsNotFoundError
from latent_reenact.weights import ModelFolder, resolve

System = Literal["latent", "latent-units", "linear"]
_LINEAR = "linear-"


@dataclass(frozen=True)
class Named:
    """folder: the model's. system: how to reenact, None where nothing says so. name: what the system is called."""

    folder: ModelFolder
    system: str | None
    name: str


def named(model: str | Path, system: System | None = None) -> Named:
    """The folder and the system of a model.

    Args:
        model: a name or a folder; `linear-NAME` is the linear baseline with the networks of the model NAME.
        system: instead of the one that the folder names.

    Raises:
        WeightsNotFoundError: no such model. CorruptFileError: a damaged folder.
    """
    try:
        folder = ModelFolder(resolve(model))
    except WeightsNotFoundError:
        if not str(model).startswith(_LINEAR):
            raise
        folder, system = ModelFolder(resolve(str(model).removeprefix(_LINEAR))), "linear"
    own = folder.config.get("system")
    chosen = system or own
    return Named(folder, chosen, folder.name if chosen == own else f"{chosen}-{folder.name}")


def reads_clips(model: str | Path) -> bool:
    """Whether a model reads a person from a clip, not from a picture. Raises as `named` does."""
    return named(model).system == "linear"
