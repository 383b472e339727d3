"""`train`: a config file names its recipe, and the recipe does the rest."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from latent_reenact.config import load_yaml, read_yaml
from latent_reenact.errors import ConfigError, MissingDependencyError, UsageError

# recipe -> module, config class, class or function that runs it and returns the model folder
RECIPES = {
    "builtin": ("recipe", "RecipeConfig", "run_recipe"),
    "generator": ("generator", "GeneratorTrainingConfig", "train_gan"),
    "inversion": ("restyle", "ReStyleTrainingConfig", "train_restyle"),
    "estimators": ("estimators", "EstimatorsRecipeConfig", "run_estimators"),
    "reenactment": ("reenactment", "ReenactmentRecipeConfig", "train_reenactment"),
    "smaller": ("smaller", "SmallerConfig", "train_smaller"),
    "shifts": ("shifts", "ShiftsConfig", "run_shifts"),
}
_NEEDED = ("lightning_fabric", "numba", "tensorboard", "webdataset")


def train(
    config_path: str | Path,
    overrides: Sequence[str] = (),
    resume: str = "auto",
    init_from: str | Path | None = None,
) -> Path:
    """Run or continue a recipe and return the finished model folder.

    Several processes: start it under `torchrun --nproc-per-node N`, or set `run.devices=N`.

    Args:
        overrides: `key.subkey=value` words.
        resume: "auto" continues where the folder stands; "never" refuses a folder with a run in it.
        init_from: name or folder of a model whose networks are where training begins.

    Raises:
        ConfigError, WeightsNotFoundError, CorruptFileError, InterruptedRunError, DivergedError,
        MissingDependencyError: the extra `train` is not installed.
    """
    if resume not in ("auto", "never"):
        raise UsageError(f"resume: got {resume!r}, expected auto or never")
    module, config_name, run_name = RECIPES[recipe_of(config_path)]
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}; install the extra: pip install 'latent-reenact[train]'"
        )
    recipe = importlib.import_module(f"latent_reenact.training.{module}")
    config = load_yaml(getattr(recipe, config_name), config_path, overrides)
    if resume == "never" and Path(config.folder).exists():
        raise UsageError(f"{config.folder} already holds a run; give another folder, or resume it with --resume auto")
    run = getattr(recipe, run_name)
    if init_from is None:
        return run(config)
    if config.recipe != "builtin":
        raise UsageError(f"--init-from: the recipe {config.recipe!r} takes its networks from the config's `model`")
    return run(config, init_from=init_from)


def recipe_of(path: str | Path) -> str:
    """The name under the key `recipe` of a config file. Raises ConfigError where it is missing or unknown."""
    values = read_yaml(path)
    name = values.get("recipe") if isinstance(values, dict) else None
    if name not in RECIPES:
        raise ConfigError(f"{path}: recipe: got {name!r}, expected one of {', '.join(RECIPES)}")
    return name
