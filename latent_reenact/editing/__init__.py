"""People who do not exist, directions along which faces change, and frames that look alike."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    **dict.fromkeys(["calibrate", "measure_latents"], "calibration"),
    **dict.fromkeys(["Calibration", "LatentDirection"], "direction"),
    "read_directions": "direction_files",
    **dict.fromkeys(["Boundary", "cosines", "latent_difference", "orthogonal"], "directions"),
    **dict.fromkeys(["principal_directions", "sample_w", "svm_boundary"], "directions"),
    **dict.fromkeys(["MEASURES", "generator_draw", "reader_estimator"], "measures"),
    "sample_identity": "random_identity",
    **dict.fromkeys(["by_expression", "by_motion", "by_ratios", "by_units"], "retrieval"),
    **dict.fromkeys(["Found", "describe", "nearest", "retrieval_sheet"], "retrieval"),
}

__all__ = [
    "MEASURES",
    "Boundary",
    "Calibration",
    "Found",
    "LatentDirection",
    "by_expression",
    "by_motion",
    "by_ratios",
    "by_units",
    "calibrate",
    "cosines",
    "describe",
    "generator_draw",
    "latent_difference",
    "measure_latents",
    "nearest",
    "orthogonal",
    "principal_directions",
    "read_directions",
    "reader_estimator",
    "retrieval_sheet",
    "sample_identity",
    "sample_w",
    "svm_boundary",
]

if TYPE_CHECKING:
    from latent_reenact.editing.calibration import calibrate, measure_latents
    from latent_reenact.editing.direction import Calibration, LatentDirection
    from latent_reenact.editing.direction_files import read_directions
    from latent_reenact.editing.directions import (
        Boundary,
        cosines,
        latent_difference,
        orthogonal,
        principal_directions,
        sample_w,
        svm_boundary,
    )
    from latent_reenact.editing.measures import MEASURES, generator_draw, reader_estimator
    from latent_reenact.editing.random_identity import sample_identity
    from latent_reenact.editing.retrieval import (
        Found,
        by_expression,
        by_motion,
        by_ratios,
        by_units,
        describe,
        nearest,
        retrieval_sheet,
    )


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
