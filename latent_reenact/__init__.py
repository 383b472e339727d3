"""latent_reenact: one portrait, someone else's pose and expression, drawn by StyleGAN2.

    import latent_reenact as lr

    reenactor = lr.load("builtin")
    identity = reenactor.identity("portrait.jpg")
    reenactor(identity, driving="smile.png").save("out.png")

Importing the package is free of PyTorch: names load on first use (PEP 562).
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a bare checkout the two top-level folders `custom_ops` and `third_party` are not yet mapped
# into the package (pyproject.toml does that on installation): look for them in the repository root.
if importlib.util.find_spec("latent_reenact.custom_ops") is None:
    __path__.append(str(Path(__file__).resolve().parent.parent))

_EXPORTS = {
    "load": "latent_reenact.systems",
    "load_network": "latent_reenact.models",
    "sample_identity": "latent_reenact.editing",
    "Identity": "latent_reenact.systems",
    "Result": "latent_reenact.systems",
    "VideoWriter": "latent_reenact.media",
    "LatentReenactError": "latent_reenact.errors",
}

__all__ = [
    "Identity",
    "LatentReenactError",
    "Result",
    "VideoWriter",
    "__version__",
    "load",
    "load_network",
    "sample_identity",
]

if TYPE_CHECKING:
    from latent_reenact.editing import sample_identity
    from latent_reenact.errors import LatentReenactError
    from latent_reenact.media import VideoWriter
    from latent_reenact.models import load_network
    from latent_reenact.systems import Identity, Result, load


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'latent_reenact' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
