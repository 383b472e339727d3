"""Download one file: resumed after cuts, checked before it is put in place, never half there.

What arrives is kept in `.part-NAME` beside the target, with a note of which version of the file it is; a cut, a
killed process or a full disk costs only what was not yet written. Two processes at once: the second waits.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_reenact.errors import CorruptFileError, DownloadError, LimitExceededError
from latent_reenact.weights.connection import check_url, one_line, opener, version_of
from latent_reenact.weights.part import Part
from latent_reenact.weights.pins import (
    Expected,
    check_file,
    expected_of,
    locked,
    refuse_web_page,
    remember,
    trust_file,
    write_error,
)

OFFLINE = "LATENT_REENACT_OFFLINE"
MAX_BYTES = 8 << 30
Progress = Callable[[float, "float | None", str], None]  # done, in all, unit

_CHUNK_BYTES = 1 << 18
_FAILURES = 5  # connections in a row that bring nothing new
_CONNECTIONS = 100  # in all
_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.5, 8.0
_SLOWEST_BYTES_S = 1000  # anything slower, for as long as the time-out, is a stall
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers that may be better next time


class _CutError(Exception):
    """A connection ended before the file did; the next may go on."""


class _ChangedError(_CutError):
    """What is here is not the beginning of what the server has now."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One download: from where to where, what is given and what is expected of it, and its limits."""

    url: str
    path: Path
    given: Expected
    expected: Expected
    progress: Progress | None
    timeout_s: float
    limit_bytes: int


def is_offline(offline: bool = False) -> bool:
    """Whether connections are forbidden: by the argument, or by LATENT_REENACT_OFFLINE=1 in the environment."""
    return offline or os.environ.get(OFFLINE, "0") not in ("", "0")


def download(
    url: str,
    path: str | Path,
    *,
    expected_bytes: int | None = None,
    sha256: str | None = None,
    sha256_prefix: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    timeout_s: float = 30,
    limit_bytes: int = MAX_BYTES,
) -> Path:
    """Have the file of `url` at `path`, whole and checked; one that is there already is only checked.

    A hash that is not given is the one that was found when a file of that name was first used.

    Args:
        url: https, or http of this very machine.
        expected_bytes, sha256, sha256_prefix: what is known beforehand.
        offline: make no connection.
        progress: called with megabytes done and in all.
        timeout_s: how long a server may be silent, or slower than a kilobyte a second.

    Raises:
        DownloadError: the server does not give the file, or `offline` and it is not here.
        CorruptFileError: it is not what is expected; nothing of it is put in place.
        LimitExceededError, OutputError.
    """
    path = Path(path)
    given = Expected(bytes=expected_bytes, sha256=sha256, sha256_prefix=sha256_prefix)
    if not path.is_file():
        if is_offline(offline):
            raise DownloadError(f"offline, and {path.name} is not here; put it into {path.parent} (its home: {url})")
        check_url(url)
        with locked(path):
            if not path.is_file():  # or another process was faster
                job = _Job(
                    url=url,
                    path=path,
                    given=given,
                    expected=expected_of(path, given),
                    progress=progress,
                    timeout_s=timeout_s,
                    limit_bytes=limit_bytes,
                )
                try:
                    digest = _receive_checked(job)
                except OSError as error:
                    raise write_error(error, path) from None
                remember(path, given, digest, origin=url)
                return path
    trust_file(path, given, origin=url)
    return path


def _receive_checked(job: _Job) -> str:
    """Download, check, put in place; return the SHA-256."""
    part = Part(job.path, job.url)
    in_pieces = part.size > 0
    if _receive(job, part) > 1 or in_pieces:
        with contextlib.suppress(CorruptFileError):
            return _put_in_place(job, part)
        _receive(job, part)  # pieces of two files, perhaps: once more, from the beginning
    return _put_in_place(job, part)


def _put_in_place(job: _Job, part: Part) -> str:
    try:
        digest = check_file(job.path, job.given, held=part.data)
        os.replace(part.data, job.path)
        return digest
    finally:
        part.discard()


def _receive(job: _Job, part: Part) -> int:
    """Connect until the part is whole; return how often. Raises DownloadError when that does not come about."""
    furthest, failures, reason = part.size, 0, ""
    for connections in range(_CONNECTIONS):
        if part.is_whole:
            return connections
        try:
            if _continue(job, part):
                return connections + 1
            reason = "the connection was cut"
        except _CutError as error:
            reason = str(error)
            if isinstance(error, _ChangedError):
                part.discard()
        failures = 0 if part.size > furthest else failures + 1
        furthest = max(furthest, part.size)
        if failures == _FAILURES:
            break
        time.sleep(min(_BACK_OFF_S * 2**failures, _LONGEST_BACK_OFF_S))
    raise DownloadError(
        f"cannot download {job.url}: {reason}, time and again; {part.size:,} bytes are kept: do the same again later "
        "to go on from there"
    )


def _continue(job: _Job, part: Part) -> bool:
    """One connection: ask for what is missing, take what comes. True where the file is whole now."""
    headers = {"User-Agent": "latent-reenact", "Accept-Encoding": "identity"}
    if part.version is None and not job.expected.is_sure:
        part.discard()  # nothing would tell whether the server still has the same file
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.version is not None:
            headers["If-Range"] = part.version
    try:
        response = opener(job.url).open(urllib.request.Request(job.url, headers=headers), timeout=job.timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {one_line(error.reason)}"
        if error.code == 416 and part.size:
            raise _ChangedError(answer) from None
        if error.code in _AGAIN:
            raise _CutError(answer) from None
        raise DownloadError(f"cannot download {job.url}: {answer}; look for the file at its home") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a redirect to what is no URL
        raise _CutError(_why(error)) from None
    with response:
        _place(job, part, response)
        return _take(job, part, response)


def _place(job: _Job, part: Part, response: Any) -> None:
    """Check what the server is about to send, and where it belongs."""
    headers = response.headers
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise DownloadError(
            f"{job.url} gives a web page, not the file; open it in a browser, download {job.path.name} there and "
            f"put it into {job.path.parent}"
        )
    if headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"cannot download {job.url}: it comes compressed, expected the file as it is")
    version, length = version_of(headers), headers.get("Content-Length", "")
    total = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    if response.status == 206:
        match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", headers.get("Content-Range", ""))
        if match is None or (int(match[1]), int(match[2])) != (part.size, part.total):
            raise _ChangedError("the server sends another part than it was asked for")
        if version is not None and part.version not in (None, version):
            raise _ChangedError("the server has another version than before")
        total = part.total
    _check_total(job, total, chunked=headers.get("Transfer-Encoding", "").lower() == "chunked")
    if response.status != 206:
        part.begin(version, total)
    if total is not None and total - part.size > shutil.disk_usage(job.path.parent).free:
        raise write_error(OSError(errno.ENOSPC, "disk full"), job.path, total - part.size)


def _check_total(job: _Job, total: int | None, *, chunked: bool) -> None:
    """Refuse a length that cannot be right before anything is written."""
    if total is None and not chunked:
        raise DownloadError(f"cannot download {job.url}: the server does not say how long it is, so no cut would show")
    if total == 0:
        raise DownloadError(f"cannot download {job.url}: the server sends an empty file; look for it at its home")
    if total is not None and total > job.limit_bytes:
        raise LimitExceededError(f"{job.url}: got {total:,} bytes, expected {job.limit_bytes:,} at most")
    if total is not None and job.expected.bytes not in (None, total):
        raise CorruptFileError(
            f"{job.url}: got a file of {total:,} bytes, expected {job.expected}; its home has another file now"
        )


def _take(job: _Job, part: Part, response: Any) -> bool:
    """Write what comes. True where it came to its end."""
    have, total = part.size, part.total
    since, had = time.monotonic(), have
    with open(part.data, "ab") as file:
        while total is None or have < total:
            chunk = _read(response, _CHUNK_BYTES if total is None else min(_CHUNK_BYTES, total - have))
            if not chunk:
                break
            if have == 0:
                refuse_web_page(chunk, job.url)
            have += len(chunk)
            if have > job.limit_bytes:
                part.discard()
                raise LimitExceededError(f"{job.url}: got over {job.limit_bytes:,} bytes, the most that is allowed")
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise write_error(error, job.path, None if total is None else total - have) from None
            if job.progress is not None:
                job.progress(round(have / 1e6, 1), None if total is None else round(total / 1e6, 1), "MB")
            if (seconds := time.monotonic() - since) > job.timeout_s:
                if have - had < _SLOWEST_BYTES_S * seconds:
                    raise _CutError("the server hardly sends anything")
                since, had = time.monotonic(), have
        os.fsync(file.fileno())
    return total in (None, have)


def _read(response: Any, size: int) -> bytes:
    try:
        return response.read1(size)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(_why(error)) from None


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "the server is silent"
    return one_line(reason) or type(reason).__name__
