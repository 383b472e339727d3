"""A person, read from one picture once: a value that the caller owns and can save."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.media import atomic_path

_ARRAYS = ("w_plus", "motion", "picture", "reconstruction")
_DIMENSIONS = (2, 2, 3, 3)
_MAX_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Identity:
    """Who is drawn. Immutable: safe to share between threads.

    w_plus: float32 [L, D], the inverted latent.
    motion: float32 [L, N], the picture's own pose and expression as a motion code; [L + 1, N] in a model that reads
        faces twice (`models/second_reading.py`).
    picture: uint8 [R, R, 3], the aligned input.
    reconstruction: uint8 [R, R, 3], what the generator draws for `w_plus`.
    model: name of the model whose latent this is.
    """

    w_plus: np.ndarray
    motion: np.ndarray
    picture: np.ndarray
    reconstruction: np.ndarray
    model: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                frozen = np.array(value, order="C")  # a copy of its own, as safetensors wants it laid out
                frozen.flags.writeable = False
                object.__setattr__(self, field.name, frozen)

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` file, whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        from safetensors.numpy import save

        data = save({name: getattr(self, name) for name in _ARRAYS}, metadata={"model": self.model})
        with atomic_path(path, needed_bytes=len(data)) as temporary:
            temporary.write_bytes(data)

    @classmethod
    def load(cls, path: str | Path) -> Identity:
        """Read what `save` wrote.

        Raises:
            CorruptFileError: missing, unreadable, or not an identity.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            if Path(path).stat().st_size > _MAX_BYTES:
                raise LimitExceededError(f"{path} is over {_MAX_BYTES >> 20} MB; expected an identity file")
            data = Path(path).read_bytes()
            arrays = load(data)
            model = _metadata(data).get("model", "")
        except OSError as error:
            raise CorruptFileError(f"cannot read the identity {path}: {error.strerror}") from None
        except (SafetensorError, ValueError, KeyError, RecursionError):
            raise CorruptFileError(f"{path} is not a safetensors file; make one with latent-reenact invert") from None
        if {name: array.ndim for name, array in arrays.items()} != dict(zip(_ARRAYS, _DIMENSIONS, strict=True)):
            raise CorruptFileError(f"{path} holds {sorted(arrays)}, expected an identity with {sorted(_ARRAYS)}")
        if not all(np.isfinite(arrays[name]).all() for name in ("w_plus", "motion")):
            raise CorruptFileError(f"{path} holds values that are not finite numbers")
        return cls(**arrays, model=model)


def _metadata(data: bytes) -> dict[str, str]:
    """The header's `__metadata__` (the header was checked by the loader)."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]).get("__metadata__", {})
