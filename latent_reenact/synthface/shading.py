"""The deferred shader: for every visible pixel its material, then three lights, sky and highlights (numba).

Diffuse light wraps round the form, farther in red than in blue, as it does in skin (d'Eon & Luebke 2007, GPU Gems 3,
ch. 14); skin, teeth and cloth have a Blinn-Phong highlight with Schlick's Fresnel term; hair two highlights along its
strands (Kajiya & Kay 1989). The key light casts shadows through a depth map.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from latent_reenact.synthface import materials
from latent_reenact.synthface.materials import (
    BLUE,
    GLOSS,
    GREEN,
    NOISE,
    NORMAL,
    OCCLUSION,
    RED,
    SCRATCH_SIZE,
    SPECULAR,
    TRANSLUCENCY,
    WRAP,
)
from latent_reenact.synthface.mesh import CLOTH, EYE, FRAME, GUMS, HAIR, HAT, LASH, MOUTH, SKIN, TEETH
from latent_reenact.synthface.noise import JIT, smooth
from latent_reenact.synthface.parameters import OFFSET

_KEY, _KEY_DIRECTION, _FILL, _FILL_DIRECTION = (
    OFFSET["key"],
    OFFSET["key_direction"],
    OFFSET["fill"],
    OFFSET["fill_direction"],
)
_RIM, _RIM_DIRECTION, _SKY, _GROUND = OFFSET["rim"], OFFSET["rim_direction"], OFFSET["sky"], OFFSET["ground"]
_SHADOW, _HAIR, _HAIR_GLOSS = OFFSET["shadow"], OFFSET["hair"], OFFSET["hair_gloss"]
_FRESNEL = 0.04


@njit(inline="always")
def _unit(x, y, z):
    inverse = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-12)
    return x * inverse, y * inverse, z * inverse


@njit(inline="always")
def _mix3(w0, w1, w2, table, a, b, c, column):
    return w0 * table[a, column] + w1 * table[b, column] + w2 * table[c, column]


@njit(inline="always")
def _row(matrix, i, x, y, z):
    return matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] * z + matrix[i, 3]


@njit(fastmath=True, forceinline=True)
def _lit(shadow_map, to_light, x, y, z, bias):
    """Share of the key light that arrives, 0..1: four bilinear look-ups into the shadow map."""
    size = shadow_map.shape[0]
    u, v, depth = _row(to_light, 0, x, y, z), _row(to_light, 1, x, y, z), _row(to_light, 2, x, y, z)
    total = 0.0
    for j in range(2):
        for i in range(2):
            fx, fy = u + (i - 0.5) * 1.9 - 0.5, v + (j - 0.5) * 1.9 - 0.5
            ix, iy = int(fx), int(fy)
            if ix < 0 or iy < 0 or ix >= size - 1 or iy >= size - 1:
                total += 1.0
                continue
            tx, ty = fx - ix, fy - iy
            for jj in range(2):
                for ii in range(2):
                    weight = (tx if ii else 1 - tx) * (ty if jj else 1 - ty)
                    behind = depth - shadow_map[iy + jj, ix + ii] - bias
                    total += weight * (1.0 if behind < 0 else (0.0 if behind > 0.25 else 1 - behind / 0.25))
    return total / 4


@njit(fastmath=True, forceinline=True)
def _apply_material(s, p, material, w0, w1, w2, attributes, a, b, c, vx, vy, vz, back):
    x = _mix3(w0, w1, w2, attributes, a, b, c, 0)
    y = _mix3(w0, w1, w2, attributes, a, b, c, 1)
    z = _mix3(w0, w1, w2, attributes, a, b, c, 2)
    fourth = _mix3(w0, w1, w2, attributes, a, b, c, 4)
    if material == SKIN:
        lid, scalp = _mix3(w0, w1, w2, attributes, a, b, c, 5), _mix3(w0, w1, w2, attributes, a, b, c, 6)
        materials.skin(s, p, x, y, z, fourth, lid, scalp, _mix3(w0, w1, w2, attributes, a, b, c, 7))
    elif material == MOUTH:
        materials.mouth_cavity(s, p, z)
    elif material == GUMS:
        materials.gums(s, p, z)
    elif material == TEETH:
        materials.teeth(s, p, z)
    elif material == EYE:
        materials.eye(s, p, x, y, z, fourth)
    elif material == LASH:
        materials.lash(s)
    elif material == HAIR:
        materials.hair(s, p, x, y, fourth, vx, vy, vz, back and attributes[a, 6] == 0.0)
    elif material == CLOTH:
        materials.cloth(s, p, x, y, z, vx, vy, vz)
    elif material == FRAME:
        materials.glasses_frame(s, p)
    elif material == HAT:
        materials.hat(s, p, x, y, z)


@njit(inline="always")
def _add(light, p, colour, red, green, blue):
    light[0] += p[colour] * red
    light[1] += p[colour + 1] * green
    light[2] += p[colour + 2] * blue


@njit(fastmath=True, forceinline=True)
def _light_hair(s, p, colour, lx, ly, lz, hx, hy, hz, share, tangent, diffuse, glint):
    nx, ny, nz = s[NORMAL], s[NORMAL + 1], s[NORMAL + 2]
    shift = (s[NOISE] - 0.5) * 0.55 + (s[NOISE + 1] - 0.5) * 0.35
    tx, ty, tz = _unit(tangent[0] + nx * shift, tangent[1] + ny * shift, tangent[2] + nz * shift)
    facing = nx * lx + ny * ly + nz * lz
    along_light, along_half = tx * lx + ty * ly + tz * lz, tx * hx + ty * hy + tz * hz
    amount = max(0.0, (facing + 0.35) / 1.35) * (0.45 + 0.55 * math.sqrt(max(0.0, 1 - along_light**2))) * share
    _add(diffuse, p, colour, amount, amount, amount)
    sine = max(0.0, 1 - along_half**2)
    seen = smooth(-0.2, 0.5, facing) * share * (0.35 + 0.65 * s[OCCLUSION]) * p[_HAIR_GLOSS]
    white = math.pow(sine, 40.0) * 0.07 * seen * (0.2 + 1.4 * s[NOISE + 1])
    tinted = math.pow(sine, 8.0) * 0.55 * seen * (0.3 + s[NOISE])
    _add(glint, p, colour, white + tinted * p[_HAIR], white + tinted * p[_HAIR + 1], white + tinted * p[_HAIR + 2])


@njit(fastmath=True, forceinline=True)
def _light_surface(s, p, colour, lx, ly, lz, hx, hy, hz, share, eye_dot_half, diffuse, glint):
    facing = s[NORMAL] * lx + s[NORMAL + 1] * ly + s[NORMAL + 2] * lz
    _add(
        diffuse,
        p,
        colour,
        max(0.0, (facing + s[WRAP]) / (1 + s[WRAP])) * share,
        max(0.0, (facing + s[WRAP + 1]) / (1 + s[WRAP + 1])) * share,
        max(0.0, (facing + s[WRAP + 2]) / (1 + s[WRAP + 2])) * share,
    )
    half = s[NORMAL] * hx + s[NORMAL + 1] * hy + s[NORMAL + 2] * hz
    if s[SPECULAR] > 0 and half > 0 and facing > -0.1:
        fresnel = _FRESNEL + (1 - _FRESNEL) * math.pow(1 - max(0.0, eye_dot_half), 5.0)
        amount = s[SPECULAR] * math.pow(half, s[GLOSS]) * (s[GLOSS] + 8) / 25.0 * fresnel * 6.0
        amount *= smooth(-0.1, 0.25, facing) * share
        _add(glint, p, colour, amount, amount, amount)


@njit(fastmath=True, forceinline=True)
def _eye_glints(s, p, ex, ey, ez, glint):
    """A sharp catch-light near the key light and a soft one on the other side."""
    k, nx, ny, nz = _KEY_DIRECTION, s[NORMAL], s[NORMAL + 1], s[NORMAL + 2]
    hx, hy, hz = _unit(ex + 0.30 * p[k], ey + 0.30 * p[k + 1] + 0.05, ez + 0.30 * p[k + 2])
    amount = smooth(0.9915, 0.9952, nx * hx + ny * hy + nz * hz) * 0.95
    hx, hy, hz = _unit(ex - 0.30 * p[k], ey - 0.16, ez)
    amount += smooth(0.982, 0.999, nx * hx + ny * hy + nz * hz) * 0.10
    glint[0] += 0.015 + amount
    glint[1] += 0.017 + amount
    glint[2] += 0.02 + amount


@njit(fastmath=True, forceinline=True)
def _light(s, p, material, ex, ey, ez, lit, tangent, diffuse, glint):
    occlusion = s[OCCLUSION]
    up = 0.5 + 0.5 * s[NORMAL + 1]
    for i in range(3):
        diffuse[i] = (p[_SKY + i] * up + p[_GROUND + i] * (1 - up)) * occlusion
        glint[i] = 0.0
    if material == SKIN:
        diffuse[0] *= 1 + (1 - occlusion) * 0.25  # light between folds of skin is redder
    for i in range(3):
        if i == 0:
            colour, direction, share = _KEY, _KEY_DIRECTION, lit
        elif i == 1:
            colour, direction, share = _FILL, _FILL_DIRECTION, 0.35 + 0.65 * occlusion
        else:
            colour, direction, share = _RIM, _RIM_DIRECTION, 0.25 + 0.75 * occlusion
        lx, ly, lz = p[direction], p[direction + 1], p[direction + 2]
        hx, hy, hz = _unit(lx + ex, ly + ey, lz + ez)
        if material == HAIR:
            _light_hair(s, p, colour, lx, ly, lz, hx, hy, hz, share, tangent, diffuse, glint)
        else:
            eye_dot_half = ex * hx + ey * hy + ez * hz
            _light_surface(s, p, colour, lx, ly, lz, hx, hy, hz, share, eye_dot_half, diffuse, glint)
    if s[TRANSLUCENCY] > 0:
        diffuse[0] += s[TRANSLUCENCY] * (0.4 + 0.6 * lit)


@njit(**JIT)
def shade(
    points,
    vertices,
    normals,
    tangents,
    triangles,
    materials_,
    attributes,
    winner,
    p,
    to_light,
    shadow_map,
    camera,
    image,
):
    """Overwrite the covered pixels of `image` [H, W, 3] (float32, linear light).

    points: screen [V, 3]; vertices, normals, tangents: [V, 3] in space; winner: visible triangle per pixel or -1;
    p: the parameter vector; to_light: [3, 4] space to shadow map; camera: [3].
    """
    s, tangent = np.zeros(SCRATCH_SIZE), np.zeros(3)
    diffuse, glint = np.zeros(3), np.zeros(3)
    for y in range(winner.shape[0]):
        for x in range(winner.shape[1]):
            t = winner[y, x]
            if t < 0:
                continue
            a, b, c, material = triangles[t, 0], triangles[t, 1], triangles[t, 2], materials_[t]
            x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
            inverse = 1.0 / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
            px, py = x + 0.5, y + 0.5
            w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
            w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * inverse
            w0 = 1 - w1 - w2
            vx = _mix3(w0, w1, w2, vertices, a, b, c, 0)
            vy = _mix3(w0, w1, w2, vertices, a, b, c, 1)
            vz = _mix3(w0, w1, w2, vertices, a, b, c, 2)
            nx, ny, nz = _unit(
                _mix3(w0, w1, w2, normals, a, b, c, 0),
                _mix3(w0, w1, w2, normals, a, b, c, 1),
                _mix3(w0, w1, w2, normals, a, b, c, 2),
            )
            ex, ey, ez = _unit(camera[0] - vx, camera[1] - vy, camera[2] - vz)
            facing = nx * ex + ny * ey + nz * ez
            back = facing < 0
            if back:
                nx, ny, nz, facing = -nx, -ny, -nz, -facing
            s[:] = 0.0
            s[RED], s[GREEN], s[BLUE] = 0.5, 0.5, 0.5
            s[GLOSS], s[WRAP], s[WRAP + 1], s[WRAP + 2] = 20.0, 0.30, 0.20, 0.15
            s[NORMAL], s[NORMAL + 1], s[NORMAL + 2] = nx, ny, nz
            s[OCCLUSION] = _mix3(w0, w1, w2, attributes, a, b, c, 3)
            _apply_material(s, p, material, w0, w1, w2, attributes, a, b, c, vx, vy, vz, back)
            nx, ny, nz = s[NORMAL] * 0.25, s[NORMAL + 1] * 0.25, s[NORMAL + 2] * 0.25
            bias = 1.1 if material in (HAIR, HAT) else 0.28
            lit = 1 - p[_SHADOW] * (1 - _lit(shadow_map, to_light, vx + nx, vy + ny, vz + nz, bias))
            for i in range(3):
                tangent[i] = _mix3(w0, w1, w2, tangents, a, b, c, i)
            _light(s, p, material, ex, ey, ez, lit, tangent, diffuse, glint)
            if material == SKIN:
                sheen = 0.10 * math.pow(1 - facing, 4.0) * s[OCCLUSION]
                _add(glint, p, _SKY, sheen, sheen, sheen)
            elif material == EYE:
                _eye_glints(s, p, ex, ey, ez, glint)
            for i in range(3):
                image[y, x, i] = s[RED + i] * diffuse[i] + glint[i]
