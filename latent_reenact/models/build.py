"""From a model folder to networks, and back: classes by name, sizes from the folder's config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latent_reenact.config import from_dict, to_dict
from latent_reenact.errors import ConfigError, CorruptFileError, WeightsNotFoundError
from latent_reenact.models.action_units import ActionUnitDetector
from latent_reenact.models.control import MotionControl
from latent_reenact.models.encoders import EncoderConfig, StyleEncoder
from latent_reenact.models.face_reader import FaceReader
from latent_reenact.models.factors import FactorMapping
from latent_reenact.models.head_pose import HopeNet
from latent_reenact.models.identity import IdentityEmbedder
from latent_reenact.models.lpips import LPIPS, PerceptualFeatures
from latent_reenact.models.motion import MotionEncoder, MotionMapper, UnitMotionEncoder
from latent_reenact.models.resnet import ResNet
from latent_reenact.models.restyle import ReStyleEncoder
from latent_reenact.models.stylegan2 import StyleGAN2Generator
from latent_reenact.models.unfilled import unfilled
from latent_reenact.weights import ModelFolder, resolve, write_model

_SIMPLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        StyleGAN2Generator,
        StyleEncoder,
        MotionEncoder,
        UnitMotionEncoder,
        MotionMapper,
        MotionControl,
        FactorMapping,
        IdentityEmbedder,
        FaceReader,
        HopeNet,
        ActionUnitDetector,
        LPIPS,
        PerceptualFeatures,
        ResNet,
    )
}


def load_networks(model: str | Path, *, device: str | torch.device = "cpu") -> dict[str, nn.Module]:
    """Every network of a model, in evaluation mode, frozen, in float32.

    Args:
        model: a name (`builtin`) or a model folder.

    Raises:
        WeightsNotFoundError, CorruptFileError, ConfigError.
    """
    folder = ModelFolder(resolve(model))
    networks: dict[str, nn.Module] = {}
    for name, entry in folder.networks.items():
        with unfilled():  # every tensor comes from the file
            network = build_network(name, entry, networks, where=f"{folder.name}/{name}: ")
        _load(network, folder.tensors(name), f"{folder.name}/{name}")
        networks[name] = network.to(device).eval().requires_grad_(False)
    return networks


def load_network(model: str | Path, network: str = "generator", *, device: str | torch.device = "cpu") -> nn.Module:
    """One network of a model, by its name in the model's config: by default the generator, or the only one."""
    networks = load_networks(model, device=device)
    if network == "generator" and len(networks) == 1:
        return next(iter(networks.values()))
    if network not in networks:
        raise WeightsNotFoundError(f"model {model} has no network {network!r}; it has {', '.join(networks)}")
    return networks[network]


def save_networks(path: str | Path, networks: Mapping[str, nn.Module], about: Mapping[str, Any]) -> None:
    """Write networks as a model folder in half precision; `about` holds name, system, licence and the like."""
    described = {name: {"class": type(n).__name__, "config": _describe(n, networks)} for name, n in networks.items()}
    states = {name: network.state_dict() for name, network in networks.items()}
    write_model(path, {**about, "networks": described}, states)


def build_network(name: str, entry: Mapping[str, Any], built: Mapping[str, nn.Module], *, where: str = "") -> nn.Module:
    """A network by its entry {"class": ..., "config": ...}, unfilled; `built` holds those it may need.

    Raises:
        ConfigError: unknown class, or a config that is not the class's.
    """
    kind, config = entry.get("class"), entry.get("config", {})
    where = where or f"{name}: "
    if kind == ReStyleEncoder.__name__:
        generator = built.get(config.get("generator", "generator"))  # the one it was trained with
        if not isinstance(generator, StyleGAN2Generator):
            raise ConfigError(f"{where}a {kind} needs its generator listed before it")
        encoder = StyleEncoder(from_dict(EncoderConfig, config["encoder"], where=where))
        return ReStyleEncoder(encoder, generator, steps=config["steps"])
    if kind not in _SIMPLE:
        raise ConfigError(f"{where}unknown class {kind!r}; known: {', '.join([*_SIMPLE, ReStyleEncoder.__name__])}")
    cls = _SIMPLE[kind]
    return cls(from_dict(cls.Config, config, where=where))


def _describe(network: nn.Module, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    if isinstance(network, ReStyleEncoder):
        config = {"encoder": to_dict(network.encoder.config), "steps": network.steps}
        beside = [name for name, other in networks.items() if other is network.generator and name != "generator"]
        return {**config, "generator": beside[0]} if beside else config
    return to_dict(network.config)


def describe_differences(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unexpected, or of another shape in `state`; empty where it fills the network."""
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    got = {name: tuple(t.shape) for name, t in state.items()}
    problems = [f"missing {n}" for n in expected if n not in got]
    problems += [f"unexpected {n}" for n in got if n not in expected]
    problems += [f"{n} is {got[n]}, expected {expected[n]}" for n in got if n in expected and got[n] != expected[n]]
    return problems


def _load(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Strict: every tensor there, none left over, all of the right shape."""
    if problems := describe_differences(network, state):
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise CorruptFileError(f"{where}: the tensors are not those of its config: {shown}")
    wide = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    network.load_state_dict(wide, assign=True)  # float32 stays in the file's memory map until it is used
