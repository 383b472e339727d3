"""Ways to reenact, behind one protocol; `load` finds the right one for a model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "Identity": "identity",
    "LatentNetworks": "inverting",
    "LatentReenactor": "latent",
    "LinearReenactor": "linear",
    "Reenactor": "protocol",
    "Result": "protocol",
    "load": "loading",
}

__all__ = ["Identity", "LatentNetworks", "LatentReenactor", "LinearReenactor", "Reenactor", "Result", "load"]

if TYPE_CHECKING:
    from latent_reenact.systems.identity import Identity
    from latent_reenact.systems.inverting import LatentNetworks
    from latent_reenact.systems.latent import LatentReenactor
    from latent_reenact.systems.linear import LinearReenactor
    from latent_reenact.systems.loading import load
    from latent_reenact.systems.protocol import Reenactor, Result


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
