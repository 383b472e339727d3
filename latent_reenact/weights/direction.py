"""Editing directions as values: a step in W or W+ that changes one thing about a face."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.weights.folder import write_tensors

_MAX_BYTES = 64 << 20
_NAME = "direction"


@dataclass(frozen=True, eq=False)
class Direction:
    """A step in the latent space.

    values: float32 [D], the same for every style, or [L, D].
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.ndim not in (1, 2) or not np.isfinite(self.values).all():
            raise CorruptFileError(f"a direction of shape {self.values.shape}; expected finite numbers [D] or [L, D]")
        frozen = np.array(self.values, dtype=np.float32, order="C")
        frozen.flags.writeable = False
        object.__setattr__(self, "values", frozen)

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` file, whole or not at all."""
        import torch

        write_tensors(Path(path), {_NAME: torch.from_numpy(np.array(self.values))})

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read what `save` wrote.

        Raises:
            CorruptFileError: missing, unreadable, or no direction.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            if Path(path).stat().st_size > _MAX_BYTES:
                raise LimitExceededError(f"{path} is over {_MAX_BYTES >> 20} MB; expected a direction")
            arrays = load(Path(path).read_bytes())
        except OSError as error:
            raise CorruptFileError(f"cannot read the direction {path}: {error.strerror}") from None
        except (SafetensorError, ValueError, KeyError, RecursionError, json.JSONDecodeError):
            raise CorruptFileError(f"{path} is not a safetensors file; make one with latent-reenact convert") from None
        if set(arrays) != {_NAME}:
            raise CorruptFileError(f"{path} holds {sorted(arrays)[:5]}, expected a direction; make one with convert")
        return cls(arrays[_NAME])
