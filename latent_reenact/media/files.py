"""What a path is before anything decodes it: a local regular file, and a picture or a video by its first bytes."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from latent_reenact.errors import CorruptFileError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"})

# The four bytes at offset 4 of a QuickTime or MP4 file name its first box.
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
_HEAD_BYTES = 16


def require_file(path: str | Path, expected: str) -> Path:
    """`path` as a local regular file (a link to one is fine).

    Nothing but `stat` touches it: URLs, pipes, devices and folders are refused unopened.

    Raises:
        CorruptFileError: nothing there, not readable, or not a regular file; says `expected`.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if re.match(r"[A-Za-z][\w+.-]+:", str(path)):
            reason = "only local files are opened, without a prefix or address; download it first"
        raise CorruptFileError(f"cannot read {str(path)!r}: {reason}; expected {expected}") from None
    if stat.S_ISDIR(mode):
        raise CorruptFileError(f"{path} is a folder; expected {expected}")
    if not stat.S_ISREG(mode):
        raise CorruptFileError(f"{path} is a pipe or device; expected {expected}")
    return Path(path)


def video_format(path: Path) -> str | None:
    """The one demuxer that may read this file ("mov", "matroska", "avi", "gif"), by its first bytes."""
    head = _head(path)
    if head[4:8] in _MOV_BOXES and head[8:12] not in _STILL_BRANDS:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    return "gif" if head.startswith((b"GIF87a", b"GIF89a")) else None


def is_video_path(path: str | Path) -> bool:
    """Whether `path` holds a video: by its first bytes where the file exists, else by its suffix."""
    return _kind(Path(path)) == "video"


def is_image_path(path: str | Path) -> bool:
    """Whether `path` holds a picture: by its first bytes where the file exists, else by its suffix."""
    return _kind(Path(path)) == "image"


def _kind(path: Path) -> str | None:
    try:
        regular = path.is_file()
        if regular and video_format(path):
            return "video"
        if regular and _has_image_magic(_head(path)):
            return "image"
        if path.is_dir():
            return None
    except (OSError, ValueError):
        pass  # not readable: the name is all there is to go by
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None


def _has_image_magic(head: bytes) -> bool:
    known = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
    return head.startswith(known) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)
