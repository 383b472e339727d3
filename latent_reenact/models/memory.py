"""Memory that is freed and asked for again, without the system in between."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of <malloc.h>, there with M_ before their names
KEPT = 1 << 30  # bytes


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to a gigabyte of what it frees, where its C library is GNU's; whether it does.

    Blocks beyond 32 MB, such as the activations of a 1024² network, are otherwise returned at once, and every new one
    is zeroed by the system page by page. What threads free in arenas of their own is returned all the same: those that
    start later get none.
    """
    return share_memory() and _set(_MMAP_MAX, 0) and _set(_TRIM_THRESHOLD, KEPT)


@cache
def share_memory() -> bool:
    """Threads that start later take memory from one place, where the C library is GNU's; whether they do.

    With an arena for each, up to eight a core, a server with a thread for every job grows until all are filled.
    """
    return _set(_ARENA_MAX, 1)


def _set(setting: int, value: int) -> bool:
    """Whether there is GNU's `mallopt`, and it agrees."""
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(setting, value))
    except AttributeError:
        return False
