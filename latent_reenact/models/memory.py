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
    is zeroed by the system page by page. Threads that start later share the first one's memory: what a thread's own
    arena frees goes back whatever these settings say.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, KEPT) and mallopt(_ARENA_MAX, 1))
