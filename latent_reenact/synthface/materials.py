"""What each material looks like at one point of a surface, compiled with numba.

A material function fills a scratch array `s` (see the indices below) from the parameter vector `p` and the
interpolated attributes: for the head x, y, z are coordinates of the resting mesh, so that patterns stick to the skin;
`lip` and `lid` are signed distances in centimetres, thresholded per pixel for crisp edges.

All is inlined into `shading.shade`, since counting references to arrays on every call would cost a third of the time.
Numba caches `shade` by the age of shading.py alone: touch that file after a change in this one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from latent_reenact.synthface.noise import noise2, noise3, smooth
from latent_reenact.synthface.parameters import OFFSET, STRIPES_PER_CM

# Scratch: albedo, specular strength and exponent, wrap of diffuse light per channel, ambient occlusion,
# light through thin skin, normal, and two noises that hair's highlights need again
RED, GREEN, BLUE, SPECULAR, GLOSS, WRAP, OCCLUSION, TRANSLUCENCY, NORMAL, NOISE = 0, 1, 2, 3, 4, 5, 8, 9, 10, 13
SCRATCH_SIZE = 15

_SKIN, _LIPS, _LIP_STRENGTH, _SEED = OFFSET["skin"], OFFSET["lips"], OFFSET["lip_strength"], OFFSET["noise_seed"]
_BLUSH, _FRECKLES, _REDNESS, _EYE_RINGS = OFFSET["blush"], OFFSET["freckles"], OFFSET["redness"], OFFSET["eye_rings"]
_ROUGHNESS, _SHINE, _SCALP_PAINT = OFFSET["roughness"], OFFSET["shine"], OFFSET["scalp_paint"]
_BROW, _BROW_THICKNESS = OFFSET["brow"], OFFSET["brow_thickness"]
_BROW_DENSITY, _BROW_HEIGHT = OFFSET["brow_density"], OFFSET["brow_height"]
_BEARD, _BEARD_STYLE, _BEARD_COLOUR = OFFSET["beard"], OFFSET["beard_style"], OFFSET["beard_colour"]
_LINER, _EYESHADOW, _EYESHADOW_STRENGTH = OFFSET["liner"], OFFSET["eyeshadow"], OFFSET["eyeshadow_strength"]
_IRIS, _IRIS_INNER, _PUPIL = OFFSET["iris"], OFFSET["iris_inner"], OFFSET["pupil"]
_GAZE, _SCLERA, _TEETH, _MOUTH_DEPTH = OFFSET["gaze"], OFFSET["sclera"], OFFSET["teeth"], OFFSET["mouth_depth"]
_HAIR, _STREAKS, _STREAK_STRENGTH = OFFSET["hair"], OFFSET["streaks"], OFFSET["streak_strength"]
_FREQUENCY, _ISOTROPIC = OFFSET["strand_frequency"], OFFSET["isotropic_hair"]
_CLOTH, _CLOTH_SECOND, _PATTERN = OFFSET["cloth"], OFFSET["cloth_second"], OFFSET["cloth_pattern"]
_HAT, _PLAIN_HAT, _GLASSES = OFFSET["hat"], OFFSET["plain_hat"], OFFSET["glasses"]

_BROW_X = np.array([0.95, 2.3, 3.7, 4.95, 5.9])
_BROW_Y = np.array([5.45, 5.8, 5.95, 5.62, 4.95])
_IRIS_ANGLE = 0.425  # radius of the iris seen from the eye's centre, radians


@njit(inline="always")
def _set(s, red, green, blue):
    s[RED], s[GREEN], s[BLUE] = red, green, blue


@njit(inline="always")
def _multiply(s, red, green, blue):
    s[RED] *= red
    s[GREEN] *= green
    s[BLUE] *= blue


@njit(inline="always")
def _blend(s, red, green, blue, amount):
    s[RED] += (red - s[RED]) * amount
    s[GREEN] += (green - s[GREEN]) * amount
    s[BLUE] += (blue - s[BLUE]) * amount


@njit(inline="always")
def _blend_to(s, p, colour, amount):
    _blend(s, p[colour], p[colour + 1], p[colour + 2], amount)


@njit(inline="always")
def _wrap(s, red, green, blue):
    s[WRAP], s[WRAP + 1], s[WRAP + 2] = red, green, blue


@njit(inline="always")
def _bend_normal(s, dx, dy, dz):
    nx, ny, nz = s[NORMAL] + dx, s[NORMAL + 1] + dy, s[NORMAL + 2] + dz
    inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
    s[NORMAL], s[NORMAL + 1], s[NORMAL + 2] = nx * inverse, ny * inverse, nz * inverse


# ---------------------------------------------------------------- skin


@njit(fastmath=True, forceinline=True)
def skin(s, p, x, y, z, lip, lid, scalp, ear):
    seed = int(p[_SEED])
    away = abs(x)
    blotches = noise3(x * 0.55, y * 0.55, z * 0.55, seed + 1)
    mottle = noise3(x * 2.1, y * 2.1, z * 2.1, seed + 2)
    pores = noise3(x * 7, y * 7, z * 7, seed + 3)
    k = 1.0 + 0.10 * (blotches - 0.5) + 0.07 * (mottle - 0.5) + 0.07 * (pores - 0.5)
    _set(s, p[_SKIN] * k, p[_SKIN + 1] * k, p[_SKIN + 2] * k)
    front = smooth(2.0, 6.0, z)
    cheek = math.exp(-((away - 4.5) ** 2 / 3.2 + (y + 0.3) ** 2 / 3.5)) * front
    nose = math.exp(-(x * x / 2.0 + (y - 0.2) ** 2 / 1.6)) * front
    chin = math.exp(-(x * x / 3.0 + (y + 6.6) ** 2 / 1.5)) * front
    red = 0.55 * cheek + 0.55 * nose + 0.3 * chin + 0.7 * ear + 0.25 * (blotches - 0.4) * front
    red += 0.35 * smooth(0.5, 0.0, lid) * smooth(0.0, 0.05, lid)
    red = p[_REDNESS] * red + p[_BLUSH] * cheek
    _multiply(s, 1.0 - 0.06 * red, 1.0 - 0.34 * red, 1.0 - 0.30 * red)
    ring = math.exp(-((away - 3.1) ** 2 / 2.2 + (y - 1.9) ** 2 / 0.35)) * front * p[_EYE_RINGS]
    _multiply(s, 1 - 0.10 * ring, 1 - 0.12 * ring, 1 - 0.07 * ring)
    if p[_FRECKLES] > 0.01:
        f = smooth(0.66, 0.82, noise3(x * 3.4, y * 3.4, z * 3.4, seed + 7)) * (0.3 * mottle + 0.7)
        f *= p[_FRECKLES] * front * (math.exp(-((away - 2.6) ** 2 / 6.0 + (y - 0.3) ** 2 / 3.0)) + 0.25)
        _multiply(s, 1 - 0.28 * f, 1 - 0.42 * f, 1 - 0.50 * f)
    lips = smooth(-0.10, 0.22, lip) * p[_LIP_STRENGTH]
    cracks = noise2(x * 6.0, y * 1.0, seed + 5)
    k = 1.0 - 0.10 * cracks
    _blend(s, p[_LIPS] * k, p[_LIPS + 1] * k, p[_LIPS + 2] * k, lips)
    if z > 5.0 and lid < 2.2 and y > 2.0:
        _eyelid(s, p, y, lid)
    brow = _brow(x, y, p) * smooth(4.0, 6.0, z)
    if brow > 0:
        _blend_to(s, p, _BROW, brow)
    hairy = _beard(s, p, x, y, z, lip, seed) if p[_BEARD] > 0.01 else 0.0
    if p[_SCALP_PAINT] > 0.01 and scalp > -0.2 and ear < 0.5:
        hairy = max(hairy, _scalp(s, p, x, y, z, scalp, ear, mottle, seed))
    _wrap(s, 0.42, 0.24, 0.18)
    oil = 0.6 + 0.6 * nose + 0.35 * math.exp(-(x * x / 6 + (y - 8) ** 2 / 5)) + 0.25 * cheek
    s[SPECULAR] = p[_SHINE] * oil * (0.6 + 0.8 * pores) * (1 - 0.75 * hairy)
    s[GLOSS] = p[_ROUGHNESS]
    if lips > 0.02:
        s[SPECULAR] += 0.22 * lips * (0.5 + cracks)
        s[GLOSS] += lips * 22
    s[TRANSLUCENCY] = 0.10 * ear
    bump = 0.05 * (pores - 0.5) + 0.03 * (mottle - 0.5)
    _bend_normal(s, bump, bump * 0.7, 0.0)


@njit(fastmath=True, forceinline=True)
def _eyelid(s, p, y, lid):
    upper = smooth(3.2, 3.9, y)
    _blend_to(s, p, _EYESHADOW, smooth(1.45, 0.25, lid) * upper * p[_EYESHADOW_STRENGTH])
    line = smooth(0.24, 0.08, lid) * (0.25 + 0.75 * smooth(3.0, 3.8, y)) * p[_LINER]
    _multiply(s, 1 - 0.85 * line, 1 - 0.88 * line, 1 - 0.88 * line)
    crease = math.exp(-(((lid - 0.85) / 0.16) ** 2)) * upper
    _multiply(s, 1 - 0.13 * crease, 1 - 0.17 * crease, 1 - 0.17 * crease)


@njit(inline="always")
def _brow_line(x):
    """Height of the brow's middle at a distance from the face's middle."""
    if x <= _BROW_X[0]:
        return _BROW_Y[0]
    for i in range(4):
        if x < _BROW_X[i + 1]:
            t = (x - _BROW_X[i]) / (_BROW_X[i + 1] - _BROW_X[i])
            return _BROW_Y[i] + (_BROW_Y[i + 1] - _BROW_Y[i]) * t
    return _BROW_Y[4]


@njit(fastmath=True, forceinline=True)
def _brow(x, y, p):
    away = abs(x)
    if away < 0.5 or away > 6.6:
        return 0.0
    above = y - (_brow_line(away) + p[_BROW_HEIGHT])
    t = (away - 0.95) / 4.95
    thickness = p[_BROW_THICKNESS] * (0.50 * smooth(-0.10, 0.12, t) * (1 - 0.80 * smooth(0.45, 1.05, t)))
    if thickness < 0.01:
        return 0.0
    strands = noise2(away * 5.0 + above * (2.5 - 5 * t), above * 1.5 - away * 1.0, 3 if x < 0 else 4)
    edge = 1.0 - abs(above / thickness) - 0.45 * (strands - 0.3)
    ends = smooth(1.04, 0.86, t) * smooth(-0.12, 0.12, t)
    return smooth(0.0, 0.55, edge) * ends * p[_BROW_DENSITY] * (0.72 + 0.4 * strands)


@njit(fastmath=True, forceinline=True)
def _beard_area(x, y, z, lip, style):
    away = abs(x)
    if z < -1.5 or y > 3.0:
        return 0.0
    if away < 2.9:
        top = -2.0
    elif away < 5.0:
        top = -2.0 - 1.25 * math.sin((away - 2.9) / 2.1 * 1.57)
    elif away < 6.6:
        top = -3.25 + 3.6 * ((away - 5.0) / 1.6) ** 2
    else:
        top = 0.35 + 3.5 * (away - 6.6)
    if away < 1.9:
        top = min(top, -1.55 - 0.25 * (away / 1.9))
    area = smooth(0.25, -0.55, y - top) * smooth(-10.0, -8.4, y - 0.35 * (10.5 - z)) * smooth(-1.0, 1.5, z)
    if style == 1:  # moustache
        area *= smooth(3.3, 2.6, away) * smooth(-4.3, -3.3, y)
    elif style == 2:  # goatee
        area *= smooth(3.2, 2.4, away)
    area *= smooth(0.02, -0.22, lip)
    beside_soul_patch = smooth(0.4, 1.2, away) * smooth(2.3, 1.4, away) * smooth(-5.9, -5.1, y) * smooth(-3.7, -4.6, y)
    return area * (1.0 - 0.5 * beside_soul_patch)


@njit(fastmath=True, forceinline=True)
def _beard(s, p, x, y, z, lip, seed):
    """Paint the beard; how much it covers."""
    area = _beard_area(x, y, z, lip, int(p[_BEARD_STYLE]))
    if area <= 0:
        return 0.0
    fine = noise3(x * 11, y * 5, z * 11, seed + 10)
    strands = noise2(x * 12.0 + y * 1.0, y * 3.2 + z * 1.6, seed + 9)
    density = p[_BEARD] * area
    cover = (0.25 + 0.45 * density) * smooth(0.0, 0.9, area + 0.5 * (strands - 0.5))
    hairs = smooth(1 - density * 1.2 - 0.2, 1 - density * 1.2 + 0.4, strands * 0.55 + fine * 0.45)
    cover = min(0.96, cover + 0.55 * hairs * smooth(0.0, 0.35, area + 0.3 * (fine - 0.5)) * density)
    k = 0.6 + 0.65 * fine
    colour = _BEARD_COLOUR
    _blend(s, p[colour] * k * 0.9, p[colour + 1] * k * 0.85, p[colour + 2] * k * 0.85, cover)
    return cover


@njit(fastmath=True, forceinline=True)
def _scalp(s, p, x, y, z, scalp, ear, mottle, seed):
    """Paint stubble under the hair; how much it covers."""
    stubble = noise3(x * 9, y * 9, z * 9, seed + 12)
    cover = smooth(-0.07, 0.10, scalp + 0.05 * (mottle - 0.5) + 0.03 * (stubble - 0.5)) * p[_SCALP_PAINT]
    cover = min(cover * (0.85 + 0.3 * (stubble - 0.5)) * (1 - smooth(0.0, 0.4, ear)), 0.97)
    _blend(s, p[_HAIR] * 0.75, p[_HAIR + 1] * 0.75, p[_HAIR + 2] * 0.75, cover)
    return cover


# ---------------------------------------------------------------- mouth and eyes


@njit(fastmath=True, forceinline=True)
def mouth_cavity(s, p, z):
    d = smooth(-6.0, -0.5, z - p[_MOUTH_DEPTH])
    _set(s, 0.30 * d * d + 0.02, 0.07 * d * d + 0.006, 0.07 * d * d + 0.006)
    s[OCCLUSION] *= 0.5 * d + 0.1


@njit(fastmath=True, forceinline=True)
def gums(s, p, z):
    d = smooth(-5.0, 0.2, z - p[_MOUTH_DEPTH])
    _set(s, 0.55 * d, 0.20 * d, 0.21 * d)
    s[SPECULAR], s[GLOSS], s[OCCLUSION] = 0.25 * d, 40.0, 0.25 + 0.5 * d


@njit(fastmath=True, forceinline=True)
def teeth(s, p, z):
    d = 0.22 + 0.78 * smooth(-5.2, -0.2, z - p[_MOUTH_DEPTH])
    _set(s, p[_TEETH] * d, p[_TEETH + 1] * d, p[_TEETH + 2] * d)
    s[SPECULAR], s[GLOSS], s[OCCLUSION] = 0.22 * d, 60.0, 0.60 * d + 0.15


@njit(fastmath=True, forceinline=True)
def eye(s, p, x, y, z, which):
    """x, y, z: direction from the eye's centre; iris and pupil are drawn round the gaze."""
    seed = int(p[_SEED])
    q = _GAZE + (0 if which < 0.5 else 3)
    inverse = 1.0 / math.sqrt(x * x + y * y + z * z)
    dx, dy, dz = x * inverse, y * inverse, z * inverse
    cosine = dx * p[q] + dy * p[q + 1] + dz * p[q + 2]
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    iris = smooth(_IRIS_ANGLE + 0.015, _IRIS_ANGLE - 0.02, angle)
    tx, ty = dx - cosine * p[q], dy - cosine * p[q + 1]
    turn, r = math.atan2(ty, tx), angle / _IRIS_ANGLE
    vein = noise2(turn * 9 + r * 1.3, r * 2.0, seed + 20)
    red = 0.10 * smooth(1.2, 2.4, r) + 0.05 * vein * smooth(1.3, 2.2, r)
    _set(s, 0.86 * p[_SCLERA], (0.83 - red) * p[_SCLERA], (0.82 - red) * p[_SCLERA])
    if iris > 0:
        coarse = noise2(turn * 14.0 / 3.14159, r * 1.2, seed + 21)
        fibres = coarse * 0.6 + noise2(turn * 40.0 / 3.14159, r * 2.5, seed + 22) * 0.4
        mix = smooth(0.30, 0.75, r + 0.25 * (fibres - 0.5))
        k = (0.70 + 0.65 * fibres) * (1.0 + 0.55 * (-ty / (_IRIS_ANGLE * 0.9)) * 0.9)  # light gathers below
        k *= (1 - 0.72 * smooth(0.76, 1.0, r)) * (1 - 0.96 * smooth(p[_PUPIL] + 0.05, p[_PUPIL] - 0.03, r))
        a, b = _IRIS, _IRIS_INNER
        _blend(
            s,
            (p[b] + (p[a] - p[b]) * mix) * k,
            (p[b + 1] + (p[a + 1] - p[b + 1]) * mix) * k,
            (p[b + 2] + (p[a + 2] - p[b + 2]) * mix) * k,
            iris,
        )
    lids = smooth(0.36, 0.0, dy) * (0.6 + 0.4 * smooth(-0.55, -0.1, dy)) * smooth(0.90, 0.30, abs(dx))
    lids = 0.34 + 0.66 * lids
    _multiply(s, lids, lids, lids)
    s[OCCLUSION] = 1.0
    _wrap(s, 0.5, 0.5, 0.5)


@njit(fastmath=True, forceinline=True)
def lash(s):
    _set(s, 0.035, 0.025, 0.022)
    s[OCCLUSION] = 0.9


# ---------------------------------------------------------------- hair, cloth and accessories


@njit(fastmath=True, forceinline=True)
def hair(s, p, u, v, lock, vx, vy, vz, inside):
    """u around the head, v from root to tip, `lock` the phase of the lock; `inside`: the back of the shell."""
    seed, frequency = int(p[_SEED]), p[_FREQUENCY]
    n1, n2 = noise2(u * frequency, v * 1.6 + lock, seed + 30), noise2(u * frequency * 3.1, v * 2.6 + lock, seed + 31)
    n3 = noise2(u * frequency * 0.22, v * 1.1, seed + 32)
    k = 0.42 + 0.46 * n1 + 0.34 * n2 + 0.55 * (n3 - 0.5)
    if p[_ISOTROPIC] > 0.5:
        n1, n2 = noise3(vx * 1.5, vy * 1.5, vz * 1.5, seed + 35), noise3(vx * 3.6, vy * 3.6, vz * 3.6, seed + 36)
        k = 0.18 + 0.75 * n1 + 0.55 * n2
    k *= (0.50 + 0.50 * smooth(0.0, 0.35, v)) * (0.70 + 0.45 * smooth(0.3, 1.0, s[OCCLUSION]))
    k += smooth(0.55, 1.0, v) * 0.125
    _set(s, p[_HAIR], p[_HAIR + 1], p[_HAIR + 2])
    if p[_STREAK_STRENGTH] > 0.01:
        streak = smooth(0.55, 0.7, noise2(u * frequency * 0.35, v * 0.7, seed + 33))
        _blend_to(s, p, _STREAKS, streak * p[_STREAK_STRENGTH])
    _multiply(s, k, k, k)
    s[OCCLUSION] = 0.35 + 0.65 * s[OCCLUSION]
    if inside:
        s[OCCLUSION] *= 0.45
        _multiply(s, 0.6, 0.58, 0.58)
    s[NOISE], s[NOISE + 1] = n1, n2


@njit(fastmath=True, forceinline=True)
def cloth(s, p, u, v, hem, vx, vy, vz):
    seed, pattern = int(p[_SEED]), int(p[_PATTERN])
    _set(s, p[_CLOTH], p[_CLOTH + 1], p[_CLOTH + 2])
    if pattern == 1:
        _blend_to(s, p, _CLOTH_SECOND, smooth(0.46, 0.54, 0.5 + 0.5 * math.sin(vy * STRIPES_PER_CM)))
    elif pattern == 4 and hem > 0.5:
        _blend_to(s, p, _CLOTH_SECOND, 1.0)
    k = 0.88 + 0.2 * noise2(u * 14, v * 14, seed + 40)
    _multiply(s, k, k, k)
    s[SPECULAR], s[GLOSS] = 0.02, 8.0
    _wrap(s, 0.2, 0.2, 0.2)
    fold = 0.25 * (noise3(vx * 0.45, vy * 0.30, vz * 0.45, seed + 42) - 0.5)
    _bend_normal(s, fold * 1.6, 0.0, fold)


@njit(fastmath=True, forceinline=True)
def glasses_frame(s, p):
    _set(s, p[_GLASSES], p[_GLASSES + 1], p[_GLASSES + 2])
    s[SPECULAR], s[GLOSS] = 0.5, 50.0


@njit(fastmath=True, forceinline=True)
def hat(s, p, u, v, rim):
    seed = int(p[_SEED])
    knit = math.sin(u * 150) * 0.5 + 0.5
    if p[_PLAIN_HAT] > 0.5:
        knit = 0.7 + 0.6 * (noise2(u * 30, v * 6, seed) - 0.5)
        v = 0.0
    ribs = 0.15 * (math.sin(u * 260) * 0.5 + 0.5) if rim > 0.5 else 0.0
    k = 0.72 + 0.28 * knit * (0.6 + 0.4 * math.sin(v * 130)) - ribs + 0.1 * noise2(u * 200, v * 90, seed)
    _set(s, p[_HAT] * k, p[_HAT + 1] * k, p[_HAT + 2] * k)
    s[SPECULAR], s[GLOSS], s[OCCLUSION] = 0.02, 6.0, 0.5 + 0.5 * s[OCCLUSION]
