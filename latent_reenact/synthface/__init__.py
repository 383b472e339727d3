"""The synthetic portrait world: parametric people with exact ground truth (extra `train`: needs numba).

    from latent_reenact.synthface import Renderer, load_mesh, sample

    portrait = Renderer(load_mesh("ict_facekit.npz")).render(sample(seed=1, i=0), size=256)

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from latent_reenact.errors import MissingDependencyError

_EXPORTS = {
    "Factors": "factors",
    "Mesh": "mesh",
    "load_mesh": "mesh",
    "Renderer": "renderer",
    "Portrait": "renderer",
    "render_sample": "renderer",
    "sample": "sampling",
    "sample_latent": "sampling",
    "factors_from_latent": "sampling",
    "LATENT_DIM": "sampling",
    "LATENT_SLOTS": "sampling",
    "conditioning": "condition",
    "conditioning_names": "condition",
    "talking_clip": "clips",
    "eye_mouth_mask": "landmarks",
    "build_mesh": "release",
    "tiny_mesh": "tiny",
}

__all__ = [
    "LATENT_DIM",
    "LATENT_SLOTS",
    "Factors",
    "Mesh",
    "Portrait",
    "Renderer",
    "build_mesh",
    "conditioning",
    "conditioning_names",
    "eye_mouth_mask",
    "factors_from_latent",
    "load_mesh",
    "render_sample",
    "sample",
    "sample_latent",
    "talking_clip",
    "tiny_mesh",
]

if TYPE_CHECKING:
    from latent_reenact.synthface.clips import talking_clip
    from latent_reenact.synthface.condition import conditioning, conditioning_names
    from latent_reenact.synthface.factors import Factors
    from latent_reenact.synthface.landmarks import eye_mouth_mask
    from latent_reenact.synthface.mesh import Mesh, load_mesh
    from latent_reenact.synthface.release import build_mesh
    from latent_reenact.synthface.renderer import Portrait, Renderer, render_sample
    from latent_reenact.synthface.sampling import LATENT_DIM, LATENT_SLOTS, factors_from_latent, sample, sample_latent
    from latent_reenact.synthface.tiny import tiny_mesh


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        try:
            return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "numba":
                raise
            raise MissingDependencyError(
                "synthetic portraits need numba, which is not installed; pip install 'latent-reenact[train]'"
            ) from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
