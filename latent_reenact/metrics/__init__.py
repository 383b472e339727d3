# ruff: noqa: F401
"""The measures of the literature as plain functions on arrays. Names load on first use (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "GaussianFit": "frechet",
    "frechet_distance": "frechet",
    "frechet_of_pictures": "frechet",
    "laplacian_energy": "sharpness",
    "RATIO_NAMES": "faces",
    "aspect_ratios": "faces",
    "cosine_similarity": "faces",
    "fl_correlation": "faces",
    "nmse_landmarks": "faces",
    "pearson": "faces",
    "pose_mae": "faces",
    "prmse": "faces",
    "perceptual_distance": "pictures",
    "psnr": "pictures",
    "ssim": "pictures",
    "au_correlation": "units",
    "aucon": "units",
    "csim": "people",
    "id_percent": "people",
    "stranger_threshold": "people",
}

__all__ = [*_EXPORTS]

if TYPE_CHECKING:  # what __getattr__ serves, for readers and type checkers
    from latent_reenact.metrics.faces import (
        RATIO_NAMES,
        aspect_ratios,
        cosine_similarity,
        fl_correlation,
        nmse_landmarks,
        pearson,
        pose_mae,
        prmse,
    )
    from latent_reenact.metrics.frechet import GaussianFit, frechet_distance
    from latent_reenact.metrics.people import csim, id_percent, stranger_threshold
    from latent_reenact.metrics.pictures import perceptual_distance, psnr, ssim
    from latent_reenact.metrics.sharpness import laplacian_energy
    from latent_reenact.metrics.units import au_correlation, aucon


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
