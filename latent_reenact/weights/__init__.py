"""Models on disk: safetensors folders with hashes, found by name or path."""

from latent_reenact.weights.catalog import ModelInfo, list_models, models_home, resolve, verify_model
from latent_reenact.weights.direction import Direction
from latent_reenact.weights.folder import ModelFolder, all_finite, sha256, write_model

__all__ = [
    "Direction",
    "ModelFolder",
    "ModelInfo",
    "all_finite",
    "list_models",
    "models_home",
    "resolve",
    "sha256",
    "verify_model",
    "write_model",
]
