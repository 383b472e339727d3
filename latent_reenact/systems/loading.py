"""From a model's name or folder to the system that runs it."""

from __future__ import annotations

from pathlib import Path

import torch

from latent_reenact.config import from_dict
from latent_reenact.errors import BackendError, ConfigError
from latent_reenact.models import load_networks
from latent_reenact.models.refinement import RefinementConfig
from latent_reenact.systems.latent import LatentNetworks, LatentReenactor
from latent_reenact.weights import ModelFolder, resolve


def load(model: str | Path = "builtin", *, device: str = "auto") -> LatentReenactor:
    """Load a model ready to reenact.

    Args:
        model: `builtin`, the name of an installed model, or a model folder.
        device: "auto" (a GPU where there is one), "cpu", "cuda", ...

    Raises:
        WeightsNotFoundError: no such model; lists those that are here.
        CorruptFileError: its files are not what its manifest says.
        BackendError: the device is not there.
    """
    folder = ModelFolder(resolve(model))
    system = folder.config.get("system")
    if system is None:
        raise ConfigError(
            f"{folder.path} holds {', '.join(sorted(folder.networks))} and no system to reenact with: open it with "
            "load_network, or convert the method's network together with its ReStyle file"
        )
    if system != "latent":
        raise ConfigError(f"{folder.path}: got system {system!r}, expected 'latent'")
    networks = load_networks(folder.path, device=_device(device))
    framing = float(folder.config.get("framing", 1.0))
    try:
        used = {name: networks[name] for name in networks if name in LatentNetworks.__dataclass_fields__}
        parts = LatentNetworks(**used)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"{folder.path}: got networks {sorted(networks)}, not those of the latent system") from None
    refinement = from_dict(RefinementConfig, folder.config.get("refinement", {"steps": 0}), where="refinement: ")
    return LatentReenactor(parts, name=folder.name, framing=framing, refinement=refinement)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise BackendError(f"device {name!r} cannot be used here: {reason}; use --device auto or cpu") from None
    return device
