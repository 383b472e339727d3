"""Z-buffer rasterisers and vertex normals, compiled with numba.

Screen points are float32 [V, 3]: x, y in pixels (pixel centres at +0.5) and depth, larger is farther. Visible
triangles wind clockwise on the screen. Lashes and hair are cut into strands where their attributes say so.
"""

from __future__ import annotations

import math

from numba import njit

from latent_reenact.synthface.mesh import CLOTH, FRAME, HAIR, HAT, LASH, MOUTH
from latent_reenact.synthface.noise import JIT, noise2

STRANDS_PER_TURN = 260.0  # of hair around the head, for the ragged ends
LASHES_PER_CM = 7.5


@njit(inline="always")
def _bounds(a, b, c, size):
    """First and last pixel whose centre lies between three coordinates."""
    first = math.ceil(min(a, b, c) - 0.5)
    last = math.floor(max(a, b, c) - 0.5)
    return max(first, 0), min(last, size - 1)


@njit(inline="always")
def _two_sided(material):
    return material in (LASH, HAIR, FRAME, MOUTH, CLOTH, HAT)


@njit(inline="always")
def _hair_gap(u, v, coverage, ragged):
    """Between two strands? `u` around the head, `v` from root to tip; `coverage` > 0 marks the loose outer layer."""
    if v > 1.0 - ragged:
        n = (
            noise2(u * STRANDS_PER_TURN * 0.45, v * 1.3, 11) * 0.6
            + noise2(u * STRANDS_PER_TURN * 1.4, v * 2.0, 12) * 0.4
        )
        if v > 1.0 - ragged * n:
            return True
    if coverage > 0.0:
        n = noise2(u * STRANDS_PER_TURN * 0.30, v * 1.2, 13)
        if n < coverage + (0.6 * (v - 0.5) if v > 0.5 else 0.0) or v < 0.08:
            return True
    return False


@njit(inline="always")
def _lash_gap(u, v):
    f = u * LASHES_PER_CM
    f = abs(f - math.floor(f) - 0.5) * 2
    return f > 0.75 - 1.7 * v


@njit(**JIT)
def rasterise(points, triangles, materials, attributes, depth, winner, ragged):
    """Fill `depth` [H, W] (start at a large value) and `winner` [H, W] (index of the visible triangle, start at -1)."""
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if -1e-9 < area < 1e-9:
            continue
        material = materials[t]
        if area > 0 and not _two_sided(material):
            continue
        left, right = _bounds(x0, x1, x2, width)
        top, bottom = _bounds(y0, y1, y2, height)
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
                w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * inverse
                w0 = 1 - w1 - w2
                if w0 < -1e-6 or w1 < -1e-6 or w2 < -1e-6:
                    continue
                z = w0 * points[a, 2] + w1 * points[b, 2] + w2 * points[c, 2]
                if z >= depth[y, x]:
                    continue
                if material in (HAIR, LASH):
                    u = w0 * attributes[a, 0] + w1 * attributes[b, 0] + w2 * attributes[c, 0]
                    v = w0 * attributes[a, 1] + w1 * attributes[b, 1] + w2 * attributes[c, 1]
                    if material == HAIR:
                        if _hair_gap(u, v, attributes[a, 6], ragged):
                            continue
                    elif _lash_gap(u, v):
                        continue
                depth[y, x] = z
                winner[y, x] = t


@njit(**JIT)
def rasterise_depth(points, triangles, depth):
    """Depth only, both sides of all triangles, into `depth` [H, W]."""
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if -1e-9 < area < 1e-9:
            continue
        left, right = _bounds(x0, x1, x2, width)
        top, bottom = _bounds(y0, y1, y2, height)
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
                w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * inverse
                w0 = 1 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = w0 * points[a, 2] + w1 * points[b, 2] + w2 * points[c, 2]
                if z < depth[y, x]:
                    depth[y, x] = z


@njit(**JIT)
def vertex_normals(vertices, triangles, normals):
    """Unit normals into `normals` [V, 3]: the mean of the touching triangles' normals, weighted by their areas."""
    normals[:] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        e0, e1, e2 = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        f0, f1, f2 = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        x, y, z = e1 * f2 - e2 * f1, e2 * f0 - e0 * f2, e0 * f1 - e1 * f0
        for corner in (a, b, c):
            normals[corner, 0] += x
            normals[corner, 1] += y
            normals[corner, 2] += z
    for i in range(normals.shape[0]):
        length = math.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        normals[i, 0] /= length
        normals[i, 1] /= length
        normals[i, 2] /= length
