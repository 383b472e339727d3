"""Value noise from integer hashes, compiled with numba: the same everywhere, no tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

JIT: dict[str, Any] = {"cache": True, "fastmath": True, "nogil": True}


@njit(inline="always")
def _hash(n):
    n = np.uint32(n)
    n = (n ^ np.uint32(61)) ^ (n >> np.uint32(16))
    n = np.uint32(n * np.uint32(9))
    n = n ^ (n >> np.uint32(4))
    n = np.uint32(n * np.uint32(0x27D4EB2D))
    n = n ^ (n >> np.uint32(15))
    return np.float32(n & np.uint32(0xFFFFFF)) / np.float32(16777216.0)


@njit(inline="always")
def _hash2(i, j, seed):
    return _hash(i * 73856093 ^ j * 19349663 ^ seed * 83492791)


@njit(inline="always")
def _hash3(i, j, k, seed):
    return _hash(i * 73856093 ^ j * 19349663 ^ k * 83492791 ^ seed * 2654435)


@njit(inline="always")
def smooth(low, high, x):
    """0 at `low`, 1 at `high` (in either order), smooth between."""
    t = (x - low) / (high - low)
    t = 0.0 if t < 0 else (1.0 if t > 1 else t)
    return t * t * (3 - 2 * t)


@njit(inline="always")
def _bilinear(a, b, c, d, u, v):
    return (a + (b - a) * u) * (1 - v) + (c + (d - c) * u) * v


@njit(**JIT)
def noise2(x, y, seed):
    """Smooth noise in 0..1 over the plane, one knot per unit."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    return _bilinear(
        _hash2(i, j, seed), _hash2(i + 1, j, seed), _hash2(i, j + 1, seed), _hash2(i + 1, j + 1, seed), u, v
    )


@njit(**JIT)
def noise3(x, y, z, seed):
    """Smooth noise in 0..1 over space, one knot per unit."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    near = _bilinear(
        _hash3(i, j, k, seed), _hash3(i + 1, j, k, seed), _hash3(i, j + 1, k, seed), _hash3(i + 1, j + 1, k, seed), u, v
    )
    k += 1
    far = _bilinear(
        _hash3(i, j, k, seed), _hash3(i + 1, j, k, seed), _hash3(i, j + 1, k, seed), _hash3(i + 1, j + 1, k, seed), u, v
    )
    return near + (far - near) * w
