"""Which models are here: those inside the package and those in the user's own folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from latent_reenact.errors import LatentReenactError, WeightsNotFoundError
from latent_reenact.weights.folder import ModelFolder

PACKAGED = Path(__file__).parent


@dataclass(frozen=True)
class ModelInfo:
    """What `models list` shows of a model."""

    name: str
    path: Path
    resolution: int
    bytes: int
    licence: str
    description: str


def models_home() -> Path:
    """Where fetched and converted models live: $LATENT_REENACT_HOME, or ~/.cache/latent_reenact/models."""
    home = os.environ.get("LATENT_REENACT_HOME")
    return Path(home) if home else Path.home() / ".cache" / "latent_reenact" / "models"


def list_models() -> list[ModelInfo]:
    """Every readable model folder of the package and of `models_home()`, by name."""
    infos = []
    for root in (PACKAGED, models_home()):
        for config in sorted(root.glob("*/config.json")) if root.is_dir() else ():
            try:
                infos.append(_describe(ModelFolder(config.parent)))
            except LatentReenactError:  # a broken folder is reported when it is asked for by name
                continue
    return infos


def resolve(model: str | Path) -> Path:
    """The folder of a model given by name or by path.

    Raises:
        WeightsNotFoundError: neither a name nor a model folder; lists what is here.
    """
    if "\0" in str(model):
        raise WeightsNotFoundError(f"no model {str(model)!r}: a name cannot hold a NUL; see latent-reenact models list")
    for root in (PACKAGED, models_home()):
        named = root / str(model)
        if Path(str(model)).name == str(model) and (named / "config.json").is_file():
            return named
    if (Path(model) / "config.json").is_file():
        return Path(model)
    names = ", ".join(info.name for info in list_models()) or "none"
    raise WeightsNotFoundError(
        f"no model {str(model)!r}: expected a model folder or one of the models here ({names}); "
        "see latent-reenact models list"
    )


def verify_model(model: str | Path) -> Path:
    """Check a model's files against its manifest and return its folder.

    Raises:
        WeightsNotFoundError, CorruptFileError.
    """
    folder = resolve(model)
    ModelFolder(folder).verify()
    return folder


def _describe(folder: ModelFolder) -> ModelInfo:
    generator = folder.networks.get("generator", {}).get("config", {})
    return ModelInfo(
        name=folder.name,
        path=folder.path,
        resolution=int(generator.get("resolution", 0)),
        bytes=sum(f.stat().st_size for f in folder.path.iterdir() if f.is_file()),
        licence=str(folder.config.get("licence", "unknown")),
        description=str(folder.config.get("description", "")),
    )
