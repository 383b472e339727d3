"""Memory that is freed and asked for again, without the system in between."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
KEPT = 1 << 30  # bytes


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to a gigabyte of what it frees, where its C library is GNU's; whether it does.

    Blocks beyond 32 MB, such as the activations of a 1024² network, are otherwise returned at once, and every new one
    is zeroed by the system page by page.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, KEPT))
