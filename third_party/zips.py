"""The directory of a zip archive as torch writes it: stored members only, every number checked against the file.

Source: PKWARE's APPNOTE 6.3 (end of central directory, its 64-bit form, central and local headers).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import NoReturn

from latent_reenact.errors import CorruptFileError, LimitExceededError, UnsafeCheckpointError

ZIP_MAGIC = b"PK\x03\x04"
_END, _END64, _LOCATOR64, _CENTRAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_MAX_COMMENT = 65_535
_MAX_MEMBERS = 50_000
_MAX_DIRECTORY_BYTES = 16 << 20


@dataclass(frozen=True)
class Member:
    """A stored member: its bytes are a slice of the file."""

    name: str
    data: memoryview
    crc: int
    start: int
    where: str

    def read(self) -> memoryview:
        """The bytes, after comparing them with their checksum. Raises CorruptFileError."""
        if zlib.crc32(self.data) != self.crc:
            raise CorruptFileError(f"{self.where}: {self.name} is not what was written (checksum); get the file again")
        return self.data


def read_directory(data: memoryview, where: str) -> dict[str, Member]:
    """Member name -> member.

    Raises:
        UnsafeCheckpointError: a compressed or encrypted member, or a name twice: torch writes none.
        CorruptFileError, LimitExceededError.
    """
    try:
        count, size, start = _end(data, where)
        if count > _MAX_MEMBERS or size > _MAX_DIRECTORY_BYTES:
            raise LimitExceededError(f"{where}: {count} members, expected {_MAX_MEMBERS} at most")
        members: dict[str, Member] = {}
        at = start
        for _ in range(count):
            member, at = _member(data, at, where)
            if member.name in members:
                raise UnsafeCheckpointError(
                    f"{where}: member {member.name!r} is there twice; expected a torch checkpoint"
                )
            members[member.name] = member
    except (struct.error, IndexError):
        _corrupt(where, "its directory is cut")
    if at != start + size:
        _corrupt(where, "its directory is of another size")
    end = 0
    for member in sorted(members.values(), key=lambda m: m.start):
        if member.start < end:
            _corrupt(where, f"member {member.name[:100]!r} lies inside another")
        end = member.start + len(member.data)
    return members


def _end(data: memoryview, where: str) -> tuple[int, int, int]:
    """(members, bytes of the directory, where it starts)."""
    tail_start = max(0, len(data) - _MAX_COMMENT - 22)
    at = bytes(data[tail_start:]).rfind(_END)
    if at < 0:
        _corrupt(where, "it has no directory (a download that was cut?)")
    at += tail_start
    _, _, _, count, size, start, comment = struct.unpack("<4H2IH", data[at + 4 : at + 22])
    if at + 22 + comment != len(data):
        _corrupt(where, "bytes follow its end")
    if at >= 20 and data[at - 20 : at - 16] == _LOCATOR64:
        (end64,) = struct.unpack("<Q", data[at - 12 : at - 4])
        if data[end64 : end64 + 4] != _END64:
            _corrupt(where, "its directory is not where it says")
        count, size, start = struct.unpack("<3Q", data[end64 + 32 : end64 + 56])
    if start + size > len(data):
        _corrupt(where, "its directory lies outside")
    return count, size, start


def _member(data: memoryview, at: int, where: str) -> tuple[Member, int]:
    """The member whose central header is at `at`, and where the next one is."""
    if data[at : at + 4] != _CENTRAL:
        _corrupt(where, "its directory is damaged")
    flags, method = struct.unpack("<2H", data[at + 8 : at + 12])
    crc, packed, size, n_name, n_extra, n_comment = struct.unpack("<3I3H", data[at + 16 : at + 34])
    (local,) = struct.unpack("<I", data[at + 42 : at + 46])
    name = bytes(data[at + 46 : at + 46 + n_name]).decode("utf-8", "replace")
    extra = data[at + 46 + n_name : at + 46 + n_name + n_extra]
    size, packed, local = _wide(extra, size, packed, local)
    if method != 0 or flags & 1 or packed != size:
        raise UnsafeCheckpointError(
            f"{where}: member {name[:100]!r} is compressed or encrypted, which torch never writes; it was not unpacked"
        )
    if local + 30 > len(data) or data[local : local + 4] != ZIP_MAGIC:
        _corrupt(where, f"member {name[:100]!r} is not where the directory says")
    n_local_name, n_local_extra = struct.unpack("<2H", data[local + 26 : local + 30])
    start = local + 30 + n_local_name + n_local_extra
    if bytes(data[local + 30 : local + 30 + n_local_name]) != bytes(data[at + 46 : at + 46 + n_name]):
        _corrupt(where, f"member {name[:100]!r} has two names")
    if start + size > len(data):
        _corrupt(where, f"member {name[:100]!r} lies outside")
    return Member(name, data[start : start + size], crc, start, where), at + 46 + n_name + n_extra + n_comment


def _wide(extra: memoryview, size: int, packed: int, local: int) -> tuple[int, int, int]:
    """The three numbers, from the 64-bit extra field where the 32-bit ones are full."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            wide = iter(struct.unpack(f"<{length // 8}Q", extra[at + 4 : at + 4 + length // 8 * 8]))
            full = 0xFFFFFFFF
            size = next(wide, size) if size == full else size
            packed = next(wide, packed) if packed == full else packed
            local = next(wide, local) if local == full else local
        at += 4 + length
    return size, packed, local


def _corrupt(where: str, why: str) -> NoReturn:
    raise CorruptFileError(f"{where} is not a whole zip archive: {why}; get the file again")
