"""What an evaluation keeps, so that it can go on where it stopped: each pair's pictures and readings, in files.

folder/
  settings.json                        what was asked; another evaluation in the same folder is refused
  pairs.json                           who drives whom
  outputs/latent-1a2b3c4d/0007.png     frames of pair 7, in rows; the name ends in the weights' fingerprint
  readings/dlib-5e6f7a8b/latent-1a2b3c4d/0007.npz
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.evaluation.estimators import FaceReading
from latent_reenact.media import Provenance, atomic_write_bytes, atomic_write_json, read_image, write_image

_ACROSS = 16  # frames in a row; a last one that is not full is black at its end


class Store:
    """Files below one folder, whole or absent.

    Raises:
        ConfigError: the folder holds an evaluation with other settings.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        path = folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if path.is_file():
            known = _read_json(path)
            changed = [f"{k} {known.get(k)}, now {v}" for k, v in wanted.items() if known.get(k) != v]
            if changed:
                raise ConfigError(
                    f"{folder} holds another evaluation ({'; '.join(changed)}); choose another folder, or remove it"
                )
        else:
            atomic_write_json(path, wanted)

    # -- pictures

    def has_frames(self, system: str, pair: int) -> bool:
        return self._frames(system, pair).is_file()

    def frames(self, system: str, pair: int, count: int) -> np.ndarray:
        """uint8 [count, R, R, 3]."""
        path = self._frames(system, pair)
        sheet = read_image(path)
        side = sheet.shape[1] // _ACROSS
        cells = sheet.reshape(-1, side, _ACROSS, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        if len(cells) < count:
            raise CorruptFileError(f"{path} holds {len(cells)} frames, expected {count}; remove it and run again")
        return cells[:count]

    def keep_frames(self, system: str, pair: int, frames: np.ndarray) -> None:
        """frames: uint8 [T, R, R, 3]."""
        count, side = frames.shape[:2]
        empty = np.zeros((-count % _ACROSS, *frames.shape[1:]), np.uint8)
        cells = np.concatenate([frames, empty]).reshape(-1, _ACROSS, side, side, 3)
        path = self._frames(system, pair)
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet = cells.swapaxes(1, 2).reshape(-1, _ACROSS * side, 3)
        write_image(path, sheet, marks=Provenance(model=system, operation="evaluate: reenact"))

    def note(self, system: str, facts: Mapping[str, Any]) -> None:
        """What is known of a system once it has run."""
        path = self.folder / "outputs" / system / "system.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(path, dict(facts))

    def noted(self, system: str) -> dict[str, Any]:
        path = self.folder / "outputs" / system / "system.json"
        return _read_json(path) if path.is_file() else {}

    # -- readings and values

    def reading(self, reader: str, of: str, index: int) -> FaceReading | None:
        """None where there is none yet."""
        path = self._reading(reader, of, index)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                return FaceReading(**dict(arrays))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise CorruptFileError(f"{path} cannot be read ({error}); remove it and run again") from None

    def keep_reading(self, reader: str, of: str, index: int, reading: FaceReading) -> None:
        path = self._reading(reader, of, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **reading.arrays())  # type: ignore[arg-type]
        atomic_write_bytes(path, buffer.getvalue())

    def values(self, what: str, of: str, index: int) -> dict[str, float] | None:
        path = self._reading(what, of, index).with_suffix(".json")
        return _read_json(path) if path.is_file() else None

    def keep_values(self, what: str, of: str, index: int, values: Mapping[str, float]) -> None:
        path = self._reading(what, of, index).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(path, dict(values))

    def _frames(self, system: str, pair: int) -> Path:
        return self.folder / "outputs" / system / f"{pair:04d}.png"

    def _reading(self, reader: str, of: str, index: int) -> Path:
        return self.folder / "readings" / reader / of / f"{index:04d}.npz"


def slug(name: str) -> str:
    """A name as part of a file's name: `HopeNet (hopenet)` -> `hopenet-hopenet`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def marked(name: str, fingerprint: str) -> str:
    """The slug of a name, and eight digits that change with what is behind it."""
    return f"{slug(name)}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:8]}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read ({error}); remove it and run again") from None
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path} holds {type(value).__name__}, expected an object; remove it and run again")
    return value
