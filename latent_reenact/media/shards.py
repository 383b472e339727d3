"""Tar files of samples, as webdataset reads them, each with an index beside it.

A sample is the members of one key, `key.png` and `key.json` say. `00000.json` beside `00000.tar` lists its keys and
where each begins. It is written last: a shard with an index that fits is a finished one. The same samples give the same
bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from latent_reenact.errors import ConfigError
from latent_reenact.media.atomic import atomic_path, atomic_write_json

_MODE = 0o644


class ShardFile:
    """Writes one shard and its index, whole or not at all.

    with ShardFile(path, unit=digest) as shard:
        shard.write("000007", {"png": picture, "json": label})

    unit: a digest of all that decides the content, kept in the index, by which a later run knows its own work.

    Raises OutputError where the shard cannot be written, ConfigError for a key that is already in it.
    """

    def __init__(self, path: Path, *, unit: str = "") -> None:
        self.path, self.unit = path, unit
        self._keys: dict[str, int] = {}  # key -> offset
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> ShardFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._stack.enter_context(atomic_path(self.path))
        self._tar = self._stack.enter_context(tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT))
        return self

    def write(self, key: str, members: Mapping[str, bytes]) -> None:
        """Add one sample: suffix -> content."""
        if key in self._keys:
            raise ConfigError(f"{self.path}: got two samples {key!r}, expected every key once")
        self._keys[key] = self._tar.offset
        for suffix, content in members.items():
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size, info.mode = len(content), _MODE
            self._tar.addfile(info, io.BytesIO(content))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = self._tar.offset
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            atomic_write_json(index_path(self.path), self._index(end))

    def about(self) -> dict[str, Any]:
        """Further entries of the index."""
        return {}

    def _index(self, end: int) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "bytes": self.path.stat().st_size,
            "samples": len(self._keys),
            **self.about(),
            "keys": list(self._keys),
            "offsets": [*self._keys.values(), end],
        }


def index_path(shard: Path) -> Path:
    return shard.with_suffix(".json")


def load_index_file(shard: Path) -> dict[str, Any] | None:
    """What the file beside a shard says, if it is there and speaks of the shard as it is."""
    try:
        index = json.loads(index_path(shard).read_text(encoding="utf-8"))
        fits = index["bytes"] == shard.stat().st_size and len(index["offsets"]) == len(index["keys"]) + 1
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if fits else None


def shard_files(folder: Path) -> list[Path]:
    """The shards in a folder, in order; not those that are being written."""
    return sorted(folder.glob("[!.]*.tar"))
