"""From a model's name or folder to the system that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from torch import nn

from latent_reenact.config import from_dict
from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.models import (
    FaceReader,
    MotionControl,
    MotionEncoder,
    MotionMapper,
    ReStyleEncoder,
    UnitMotion,
    UnitMotionEncoder,
    devices,
    load_network,
    load_networks,
)
from latent_reenact.models.action_units import MAIN_UNITS
from latent_reenact.models.refinement import RefinementConfig
from latent_reenact.models.second_reading import SecondReadingConfig, read_twice
from latent_reenact.models.unit_readers import OfficialUnits, OwnUnits
from latent_reenact.systems.inverting import LatentNetworks
from latent_reenact.systems.latent import LatentReenactor
from latent_reenact.systems.linear import LinearReenactor
from latent_reenact.systems.names import System, named
from latent_reenact.systems.protocol import Reenactor
from latent_reenact.weights import ModelFolder

Networks = Mapping[str, nn.Module]


def load(model: str | Path = "builtin", *, device: str = "auto", system: System | None = None) -> Reenactor:
    """Load a model ready to reenact.

    Args:
        model: `builtin`, the name of an installed model, or a model folder; `linear-builtin` is the linear baseline
            with the generator and the inversion of `builtin`, and so for any model.
        device: "auto" (a GPU where there is one), "cpu", "cuda", ...
        system: how to reenact with its networks; by default as its folder says.

    Raises:
        WeightsNotFoundError: no such model; lists those that are here.
        CorruptFileError: its files are not what its manifest says.
        ConfigError: it has no system, an unknown one, or not the networks of the system.
        BackendError: the device is not there.
    """
    found = named(model, system)
    folder, chosen = found.folder, found.system
    if chosen is None:
        raise ConfigError(
            f"{folder.path} holds {', '.join(sorted(folder.networks))} and no system to reenact with: open it with "
            "load_network, run its inversion as the linear baseline with system='linear', or convert the method's "
            "network together with its ReStyle file"
        )
    if chosen not in _SYSTEMS:
        raise ConfigError(f"{folder.path}: got system {chosen!r}, expected {' or '.join(map(repr, get_args(System)))}")
    networks = load_networks(folder.path, device=devices.usable(device))
    return _SYSTEMS[chosen](folder, networks, found.name)


def latent(folder: ModelFolder, networks: Networks, name: str, *, has_table: bool = True) -> LatentReenactor:
    """The method with the networks of a folder. Errors as `load`.

    has_table: False leaves out what wants the sliders' table `drawn`: a second reading, expressions held.
    """
    used = {name: networks[name] for name in networks if name in LatentNetworks.__dataclass_fields__}
    try:
        parts = LatentNetworks(**used)  # type: ignore[arg-type]
    except TypeError:
        raise _other_networks(folder, networks, "latent") from None
    if has_table and "second_reading" in folder.config:
        parts = _with_second_reading(folder, networks, parts)
    refinement = from_dict(RefinementConfig, folder.config.get("refinement", {"steps": 0}), where="refinement: ")
    if not has_table:
        refinement = replace(refinement, hold_expressions=False)
    return LatentReenactor(parts, name=name, framing=_framing(folder), refinement=refinement)


def _with_second_reading(folder: ModelFolder, networks: Networks, parts: LatentNetworks) -> LatentNetworks:
    config = from_dict(SecondReadingConfig, folder.config["second_reading"], where="second_reading: ")
    reader, encoder, mapper, control = networks.get("face_reader"), parts.motion_encoder, parts.mapper, parts.control
    if not (
        isinstance(reader, FaceReader)
        and isinstance(encoder, MotionEncoder)
        and isinstance(mapper, MotionMapper)
        and isinstance(control, MotionControl)
    ):
        wanted = "face_reader (FaceReader), motion_encoder (MotionEncoder), mapper and control"
        got = ", ".join(f"{name} ({type(network).__name__})" for name, network in networks.items())
        raise ConfigError(
            f"{folder.path}: a second reading needs {wanted}, got {got}; take second_reading out of its config.json, "
            "or put the missing network there"
        )
    encoder, mapper, control = read_twice(encoder, mapper, control, reader, parts.generator.mapping.w_avg, config)
    return replace(parts, motion_encoder=encoder, mapper=mapper, control=control)


def _latent_units(folder: ModelFolder, networks: Networks, name: str) -> LatentReenactor:
    """The variant FAU: its motion comes from what a reader of faces sees."""
    encoder = networks.get("motion_encoder")
    if not isinstance(encoder, UnitMotionEncoder):
        raise _other_networks(folder, networks, "latent-units")
    reader = _unit_reader(folder, networks, encoder).to(next(encoder.parameters()).device)
    motion = UnitMotion(reader, encoder).eval().requires_grad_(False)
    return latent(folder, {**networks, "motion_encoder": motion}, name)


def _unit_reader(folder: ModelFolder, networks: Networks, encoder: UnitMotionEncoder) -> OwnUnits | OfficialUnits:
    """The folder's own face reader; else the published networks that it names; else whichever reads as many units."""
    names: dict[str, Any] = {"units": "opengraphau-resnet50-stage1", "pose": "hopenet"}
    if "face_reader" in networks:
        return OwnUnits(networks["face_reader"])  # type: ignore[arg-type]
    if "readers" not in folder.config and encoder.config.n_units != len(MAIN_UNITS):
        return OwnUnits(load_network("builtin", "face_reader"))  # type: ignore[arg-type]
    names |= folder.config.get("readers", {})
    try:
        return OfficialUnits(load_network(names["units"]), load_network(names["pose"]))  # type: ignore[arg-type]
    except WeightsNotFoundError as error:
        raise WeightsNotFoundError(
            f"{error}; {folder.name} reads faces with {names['units']} and {names['pose']}: get them with "
            "latent-reenact models fetch NAME"
        ) from None


def _linear(folder: ModelFolder, networks: Networks, name: str) -> LinearReenactor:
    inversion = networks.get("inversion")
    if not isinstance(inversion, ReStyleEncoder):
        raise _other_networks(folder, networks, "linear")
    return LinearReenactor(inversion, name=name, framing=_framing(folder))


_SYSTEMS: dict[str, Callable[[ModelFolder, Networks, str], Reenactor]] = {
    "latent": latent,
    "latent-units": _latent_units,
    "linear": _linear,
}


def _framing(folder: ModelFolder) -> float:
    return float(folder.config.get("framing", 1.0))


def _other_networks(folder: ModelFolder, networks: Networks, system: str) -> ConfigError:
    return ConfigError(f"{folder.path}: got networks {sorted(networks)}, not those of the {system} system")
