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
    **dict.fromkeys(["film", "in_between"], "keyframes"),
    **dict.fromkeys(["of_part", "read_settings"], "parts"),
    **dict.fromkeys(["PRESETS", "load_preset", "save_preset"], "presets"),
    **dict.fromkeys(["draw_portrait", "sample_identity"], "random_identity"),
    "sample_shards": "sampling",
    "SamplingConfig": "sampling_plan",
    **dict.fromkeys(["by_expression", "by_motion", "by_ratios", "by_units"], "retrieval"),
    **dict.fromkeys(["Found", "describe", "nearest", "retrieval_sheet"], "retrieval"),
}

__all__ = [
    "MEASURES",
    "PRESETS",
    "Boundary",
    "Calibration",
    "Found",
    "LatentDirection",
    "SamplingConfig",
    "by_expression",
    "by_motion",
    "by_ratios",
    "by_units",
    "calibrate",
    "cosines",
    "describe",
    "draw_portrait",
    "film",
    "generator_draw",
    "in_between",
    "latent_difference",
    "load_preset",
    "measure_latents",
    "nearest",
    "of_part",
    "orthogonal",
    "principal_directions",
    "read_directions",
    "read_settings",
    "reader_estimator",
    "retrieval_sheet",
    "sample_identity",
    "sample_shards",
    "sample_w",
    "save_preset",
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
    from latent_reenact.editing.keyframes import film, in_between
    from latent_reenact.editing.measures import MEASURES, generator_draw, reader_estimator
    from latent_reenact.editing.parts import of_part, read_settings
    from latent_reenact.editing.presets import PRESETS, load_preset, save_preset
    from latent_reenact.editing.random_identity import draw_portrait, sample_identity
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
    from latent_reenact.editing.sampling import sample_shards
    from latent_reenact.editing.sampling_plan import SamplingConfig


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
