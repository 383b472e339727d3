"""Whole files or none: write beside the target, then rename.

A reader never sees half a file, whatever kills the writer and whenever: until `os.replace` the old
file stands, after it the new one. A killed writer leaves a `.tmp-<pid>-...` file, swept up by the
next one that writes in the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latent_reenact.errors import OutputError

_LEFTOVER = re.compile(r"\.tmp-(\d+)-[0-9a-f]{8}-")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_MAX_NAME_BYTES = 255
_swept: set[Path] = set()


@contextlib.contextmanager
def atomic_path(path: str | Path, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it becomes `path`, on failure it goes.

    The temporary file exists, empty, when the block starts, so a target that cannot be written is
    found out before any work is done. A link at `path` keeps pointing where it did.

    Args:
        needed_bytes: the size to come, where known, for the message when the disk is full.

    Raises:
        OutputError: no such folder, no permission, read-only, disk full, or `path` is not a file's place.
    """
    target = _resolve(path)
    if target.parent not in _swept:
        clean_leftovers(target.parent)
        _swept.add(target.parent)
    temp = _temp_path(target)
    try:
        with open(temp, "xb"):
            pass
        yield temp
        _sync(temp)
        os.replace(temp, target)
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            _sync(target.parent)
    except OSError as error:
        raise output_error(error, target, needed_bytes=needed_bytes) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises OutputError."""
    with atomic_path(path, needed_bytes=len(data)) as temp:
        temp.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all. Raises OutputError."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, value: Any) -> None:
    """Write `value` as readable JSON to `path`, whole or not at all. Raises OutputError."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def clean_leftovers(folder: str | Path) -> list[Path]:
    """Remove the temporary files that dead processes left in `folder`; return what was removed.

    Files of living processes (any user's) stay. A folder that cannot be read is left alone.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _LEFTOVER.match(entry.name)
            if match and entry.is_file(follow_symlinks=False) and not _alive(int(match[1])):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed


def output_error(error: OSError, target: str | Path, *, needed_bytes: int | None = None) -> OutputError:
    """The one-line message for an `OSError` met while writing `target`."""
    if error.errno in _FULL:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(Path(target).parent).free
            need = f"{needed_bytes:,} bytes needed, " if needed_bytes is not None else ""
            where = "over the file size limit" if error.errno == errno.EFBIG else "disk full"
            size = f"({need}{free:,} bytes free)"
            return OutputError(f"cannot write {target}: {where} {size}; free some space or choose another place")
    hint = "choose a folder you may write to" if error.errno in _FORBIDDEN else "check the path"
    return OutputError(f"cannot write {target}: {error.strerror or error}; {hint}")


def _resolve(path: str | Path) -> Path:
    """The real place of `path`, checked: the folder exists and nothing but a regular file is there."""
    try:
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {target.parent}; create it first")
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {str(path)!r}: {error}; choose another name") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise OutputError(f"cannot write {path}: it is {kind}; give the name of a file")
    return target


def _temp_path(target: Path) -> Path:
    """`.tmp-<pid>-<random>-<name>`, the name's front cut where the whole would be too long for a file system."""
    prefix = f".tmp-{os.getpid()}-{secrets.token_hex(4)}-"
    name = os.fsencode(target.name)[-(_MAX_NAME_BYTES - len(prefix)) :]
    return target.with_name(prefix + name.decode("utf-8", "ignore"))


def _alive(pid: int) -> bool:
    if os.name == "nt":  # signal 0 does not mean "just ask" there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync(path: Path) -> None:
    """Have the disk hold what was written to this file, or the names in this folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
