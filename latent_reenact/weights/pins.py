"""Is this file what it was published as? Hashes known beforehand, or trusted on first use and checked ever after.

`hashes.json`, beside the files, remembers what was trusted: {name: {"sha256": ..., "bytes": ..., "from": ...}}.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_reenact.errors import CorruptFileError, DownloadError, OutputError
from latent_reenact.weights.folder import MAX_JSON_BYTES, sha256

HASHES = "hashes.json"
_WEB_PAGE = re.compile(rb"\s*(<!doctype\s+html|<html|<head|<\?xml[^>]*>\s*<!doctype\s+html)", re.IGNORECASE)
_LOOK_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a file before it is here. A prefix begins its SHA-256: torchvision's names hold one."""

    bytes: int | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None

    @property
    def is_sure(self) -> bool:
        """Whether a changed file would be noticed for certain."""
        return self.sha256 is not None

    def matches(self, size: int, digest: str) -> bool:
        """Whether a file of this size and SHA-256 is the one."""
        return (
            self.bytes in (None, size)
            and self.sha256 in (None, digest)
            and (self.sha256_prefix is None or digest.startswith(self.sha256_prefix))
        )

    def __str__(self) -> str:
        digest = self.sha256 or (f"{self.sha256_prefix}..." if self.sha256_prefix else "of any value")
        return f"{'any number of' if self.bytes is None else f'{self.bytes:,}'} bytes, SHA-256 {digest}"


def expected_of(path: Path, given: Expected) -> Expected:
    """What is expected at `path`: as given, and where no hash is given, as found when it was first used.

    Raises:
        CorruptFileError: `hashes.json` is not one.
    """
    entry = {} if given.is_sure else _read(path.parent).get(path.name, {})
    if not entry:
        return given
    return Expected(bytes=entry["bytes"], sha256=entry["sha256"], sha256_prefix=given.sha256_prefix)


def check_file(path: Path, given: Expected, *, held: Path | None = None) -> str:
    """Compare a file with what is expected under its name; return its SHA-256.

    Args:
        path: the name it goes by.
        held: where its bytes are, if not there yet.

    Raises:
        DownloadError: it is a web page. CorruptFileError: it is not what is expected.
    """
    held = held or path
    with open(held, "rb") as file:
        refuse_web_page(file.read(_LOOK_BYTES), path.name)
    expected, size, digest = expected_of(path, given), held.stat().st_size, sha256(held)
    if expected.matches(size, digest):
        return digest
    what = f"{path}: got {size:,} bytes, SHA-256 {digest}, expected {expected}"
    if given.is_sure or not given.matches(size, digest):
        raise CorruptFileError(f"{what}, as published; remove the file if it is there and get it again")
    raise CorruptFileError(
        f"{what}, as it was when it was first used here; remove the file and get it again, or, if its authors have "
        f"replaced it and you trust the new one, remove {path.name!r} from {path.parent / HASHES}"
    )


def trust_file(path: Path, given: Expected, *, origin: str) -> None:
    """Check a file and remember it: see `check_file` and `remember`."""
    remember(path, given, check_file(path, given), origin=origin)


def remember(path: Path, given: Expected, digest: str, *, origin: str) -> None:
    """Where a file's hash was not known beforehand, let later ones of its name be compared with this one's.

    What is remembered already stays; a folder that cannot be written remembers nothing. Raises OutputError.
    """
    if given.is_sure or path.name in _read(path.parent) or not os.access(path.parent, os.W_OK):
        return
    target = path.parent / HASHES
    temporary = target.with_name(f".tmp-{os.getpid()}-{HASHES}")
    with locked(target):
        known = {**_read(path.parent), path.name: {"sha256": digest, "bytes": path.stat().st_size, "from": origin}}
        try:
            temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            os.replace(temporary, target)
        except OSError as error:
            raise write_error(error, target) from None
        finally:
            temporary.unlink(missing_ok=True)


def refuse_web_page(start: bytes, name: str) -> None:
    """Raise DownloadError where a file begins as HTML does: a consent, log-in or error page under the file's name."""
    if _WEB_PAGE.match(start):
        raise DownloadError(f"{name} is a web page, not the file; open its home in a browser and download it there")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time for `path`; others wait. Raises OutputError where the folder cannot be written."""
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path.with_name(f".lock-{path.name}"), "wb")  # noqa: SIM115
    except OSError as error:
        raise write_error(error, path) from None
    with file:  # closing lets go
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_error(error: OSError, path: Path, needed_bytes: int | None = None) -> OutputError:
    """The one-line message for an `OSError` met while writing `path`; `needed_bytes` are those still to come."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        need = f"{needed_bytes:,} bytes needed, " if needed_bytes is not None else ""
        return OutputError(f"cannot write {path}: disk full ({need}{free:,} bytes free); free some space, then go on")
    return OutputError(f"cannot write {path}: {error.strerror or error}; choose another folder in LATENT_REENACT_HOME")


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / HASHES
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too long")
        known = json.loads(path.read_text(encoding="utf-8"))
        if all(len(e["sha256"]) == 64 and isinstance(e["bytes"], int) for e in known.values()):
            return known
        raise ValueError("an entry is no hash")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptFileError(
            f"{path} cannot be read ({error}); restore it, or remove it to trust the files that are here"
        ) from None
