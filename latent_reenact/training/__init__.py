"""Training: recipes of stages, one loop for all of them, and the data that they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["train"]

if TYPE_CHECKING:
    from latent_reenact.training.entry import train


def __getattr__(name: str) -> Any:
    if name == "train":
        from latent_reenact.training.entry import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
