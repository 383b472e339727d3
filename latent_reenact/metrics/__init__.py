# ruff: noqa: F401
"""The measures of the literature as plain functions on arrays. Names load on first use (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "GaussianFit": "frechet",
    "frechet_distance": "frechet",
    "laplacian_energy": "sharpness",
    "RATIO_NAMES": "faces",
    "aspect_ratios": "faces",
    "cosine_similarity": "faces",
    "fl_correlation": "faces",
    "nmse_landmarks": "faces",
    "pearson": "faces",
    "pose_mae": "faces",
    "prmse": "faces",
    "psnr": "pictures",
    "ssim": "pictures",
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
    from latent_reenact.metrics.pictures import psnr, ssim
    from latent_reenact.metrics.sharpness import laplacian_energy


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
