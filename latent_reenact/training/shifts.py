"""What each slider does to w, for a model whose generator was trained from the factors of synthetic portraits.

The mapping from factors gives the exact w of any person with any sliders, so that the shifts of `models/control.py` are
a least-squares fit: w of people with random sliders, less w of the same people at rest. The mapper's face at rest is
not quite one; how far it is off is averaged over people whose rendered portraits were inverted as users' are. What w
shows of the sliders is a least-squares fit too, over portraits as the world draws them.

Legend: P people, S settings of the sliders, K sliders, D w_dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    ControlShiftsConfig,
    FactorMapping,
    MotionControl,
    load_networks,
    save_networks,
)
from latent_reenact.synthface import Factors, Mesh, Renderer, conditioning, load_mesh, sample
from latent_reenact.synthface.controls import CONTROL_RANGES, control_columns, motion_of
from latent_reenact.synthface.factors import Motion
from latent_reenact.systems import LatentReenactor
from latent_reenact.systems.loading import latent
from latent_reenact.training.shards.motion import motion_vector
from latent_reenact.training.targets import least_squares
from latent_reenact.weights import ModelFolder, resolve

_RIDGE = 1e-4
_MOST_AT_ONCE = 0.4  # share of the sliders that a setting moves, at most


@dataclass(frozen=True, kw_only=True)
class ShiftsFitConfig:
    """How much the fit looks at."""

    seed: int = 1  # of the people: those that the model was trained on
    people: int = 300
    settings: int = 40  # of the sliders, for each of them; people × settings portraits tell what w shows
    inverted: int = 96  # people whose inversions are compared with the truth

    def __post_init__(self) -> None:
        for name in ("people", "settings", "inverted"):
            if getattr(self, name) < 1:
                raise ConfigError(f"shifts: {name}: got {getattr(self, name)}, expected at least 1")


@dataclass(frozen=True, kw_only=True)
class ShiftsConfig:
    """The recipe: a model with factors and sliders in, the same model with shifts out."""

    recipe: Literal["shifts"] = "shifts"
    folder: str
    model: str  # name or folder of a model with `factors` and `control`
    mesh: str
    fit: ShiftsFitConfig = ShiftsFitConfig()


def run_shifts(config: ShiftsConfig) -> Path:
    """Run the recipe; the finished model folder.

    Raises:
        ConfigError: a model without the networks that it takes. WeightsNotFoundError, CorruptFileError, OutputError.
    """
    add_shifts(config.model, config.folder, load_mesh(config.mesh), config.fit)
    return Path(config.folder)


def add_shifts(
    model: str | Path, out: str | Path, mesh: Mesh, config: ShiftsFitConfig, more: Mapping[str, Any] | None = None
) -> None:
    """Write the model, its sliders fitted, into the folder `out`, which may be its own. Errors as `run_shifts`.

    more: what the folder's config says from now on.
    """
    source = ModelFolder(resolve(model))
    networks = load_networks(source.path)
    factors, control = networks.get("factors"), networks.get("control")
    if not (
        source.config.get("system") == "latent"
        and isinstance(factors, FactorMapping)
        and isinstance(control, MotionControl)
    ):
        raise ConfigError(f"{model}: got networks {', '.join(networks)}; shifts need a latent model's factors, control")
    plain = latent(source, networks, source.name, has_table=False)  # it is fitted here
    linear, square = fit_curves(factors, control, mesh, config)
    rest, drawn = fit_rest(plain, factors, mesh, config), fit_drawn(factors, control, mesh, config)
    networks["control"] = with_shifts(control, ControlShiftsConfig.of(rest, linear, square, drawn))
    about = {name: value for name, value in source.config.items() if name not in ("format", "networks")}
    save_networks(out, networks, about | dict(more or {}))


def with_shifts(control: MotionControl, shifts: ControlShiftsConfig) -> MotionControl:
    """The same sliders with other shifts."""
    fitted = MotionControl(replace(control.config, shifts=shifts))
    fitted.load_state_dict(control.state_dict())
    return fitted


@torch.no_grad()
def fit_curves(
    factors: FactorMapping, control: MotionControl, mesh: Mesh, config: ShiftsFitConfig
) -> tuple[Tensor, Tensor]:
    """(linear, square), float32 [K, D] each."""
    names, people = control.config.controls, _people(config, config.people)
    settings = random_settings(names, (config.people, config.settings), config.seed)  # [P, S, K]
    moved = [
        [replace(one, motion=motion_of(dict(zip(names, row, strict=True)))) for row in rows]
        for one, rows in zip(people, settings.tolist(), strict=True)
    ]
    rest = exact_w(factors, mesh, [at_rest(one) for one in people])  # [P, D]
    w = exact_w(factors, mesh, [one for row in moved for one in row]).unflatten(0, settings.shape[:2])
    x = torch.tensor(settings).float() / control.scale.cpu()
    curves = least_squares(torch.cat([x, x.square()], -1).flatten(0, 1), (w - rest[:, None]).flatten(0, 1), _RIDGE)
    return curves[: len(names)], curves[len(names) :]


@torch.no_grad()
def fit_rest(reenactor: LatentReenactor, factors: FactorMapping, mesh: Mesh, config: ShiftsFitConfig) -> Tensor:
    """From the mapper's face at rest to the true one, averaged over people: [L, D]."""
    renderer, networks = Renderer(mesh), reenactor.networks
    people = _people(config, config.inverted)
    codes = [reenactor.identity(renderer.render(one, reenactor.resolution).image, aligned=True) for one in people]
    control = networks.control
    assert control is not None
    still = control.encode(torch.zeros(1, len(control.config.controls)))
    drawn = networks.mapper(torch.tensor(np.stack([code.w_plus for code in codes])), still)  # [P, L, D]
    return (exact_w(factors, mesh, [at_rest(one) for one in people])[:, None] - drawn).mean(0)


@torch.no_grad()
def fit_drawn(factors: FactorMapping, control: MotionControl, mesh: Mesh, config: ShiftsFitConfig) -> Tensor:
    """The table `drawn` of `ControlShiftsConfig`, float32 [K, D + 1]."""
    portraits = _people(config, config.people * config.settings)
    w = torch.cat([exact_w(factors, mesh, portraits[i : i + 1000]) for i in range(0, len(portraits), 1000)])  # [P S, D]
    done = torch.tensor(np.stack([motion_vector(one) for one in portraits])).float()
    columns = [control_columns(name) for name in control.config.controls]
    x = torch.stack([done[:, column].mean(1) for column in columns], 1) / control.scale.cpu()  # [P S, K]
    table = least_squares(w - w.mean(0), x - x.mean(0), _RIDGE).T  # [K, D]
    return torch.cat([table, (x.mean(0) - table @ w.mean(0))[:, None]], dim=1)


def random_settings(names: Sequence[str], shape: tuple[int, int], seed: int) -> np.ndarray:
    """Sliders anywhere in their ranges, from one alone to a good part of them; the others at 0. float64 [P, S, K]."""
    for name in names:
        control_columns(name)  # known to the world
    random = np.random.default_rng((seed, len(names)))
    low, high = np.array([CONTROL_RANGES[name] for name in names]).T
    values = random.uniform(low, high, (*shape, len(names)))
    share = random.uniform(1 / len(names), _MOST_AT_ONCE, (*shape, 1))
    return np.where(random.random(values.shape) < share, values, 0.0)


def exact_w(factors: FactorMapping, mesh: Mesh, portraits: Sequence[Factors]) -> Tensor:
    """w of portraits, [N, D]."""
    return factors(torch.tensor(np.stack([conditioning(one, mesh) for one in portraits])))


def at_rest(factors: Factors) -> Factors:
    """The same person and scene, frontal, without expression."""
    return replace(factors, motion=Motion())


def _people(config: ShiftsFitConfig, count: int) -> list[Factors]:
    return [sample(config.seed, i) for i in range(count)]
