"""The part of a download that is here already."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from latent_reenact.weights.connection import is_sendable


class Part:
    """What came so far of a file, and beside it a note: its URL, what the server calls this version, its length."""

    def __init__(self, target: Path, url: str) -> None:
        self.data = target.with_name(f".part-{target.name}")
        self._note = target.with_name(f".part-{target.name}.json")
        self.url = url
        self.version, self.total = self._read()
        if self.total is None or self.size > self.total:
            self.discard()

    @property
    def size(self) -> int:
        return self.data.stat().st_size if self.data.is_file() else 0

    @property
    def is_whole(self) -> bool:
        return self.size == self.total

    def begin(self, version: str | None, total: int | None) -> None:
        """Forget what is here and wait for this version."""
        self.discard()
        self.version, self.total = version, total
        self._note.write_text(json.dumps({"url": self.url, "version": version, "total": total}), encoding="utf-8")

    def discard(self) -> None:
        self.data.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.version = self.total = None

    def _read(self) -> tuple[str | None, int | None]:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            version, total = note["version"], note["total"]
            sendable = version is None or (isinstance(version, str) and is_sendable(version))
            if sendable and note["url"] == self.url and isinstance(total, int):
                return version, total
        return None, None
