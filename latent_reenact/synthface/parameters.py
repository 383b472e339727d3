"""Factors -> the flat parameter vector of the shader: colours, strengths, lights.

The layout is part of `conditioning`, so its order is fixed; `reserved` slots stay zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from latent_reenact.synthface.factors import (
    BEARD_STYLES,
    CLOTH_COLOURS,
    EYESHADOW_COLOURS,
    GLASSES_COLOURS,
    HAIR_COLOURS,
    HAT_COLOURS,
    IRIS_COLOURS,
    LIPSTICK_COLOURS,
    SKIN_COLOURS,
    Factors,
    Hair,
    Light,
    Motion,
)
from latent_reenact.synthface.hair_styles import HAIR_STYLE_TABLE

_SIZES = {
    **{"skin": 3, "lips": 3, "lip_strength": 1, "blush": 1, "freckles": 1, "redness": 1, "roughness": 1, "shine": 1},
    **{"hair": 3, "brow": 3, "brow_thickness": 1, "brow_density": 1, "brow_height": 1, "beard": 1, "beard_style": 1},
    **{"scalp_paint": 1, "iris": 3, "iris_inner": 3, "pupil": 1, "gaze": 6, "sclera": 1, "liner": 1},
    **{"eyeshadow": 3, "eyeshadow_strength": 1, "key": 3, "key_direction": 3, "fill": 3, "fill_direction": 3},
    **{"rim": 3, "rim_direction": 3, "sky": 3, "ground": 3, "cloth": 3, "cloth_second": 3, "cloth_pattern": 1},
    **{"glasses": 3, "strand_frequency": 1, "hair_gloss": 1, "reserved_0": 1, "hat": 3, "noise_seed": 1},
    **{"eye_rings": 1, "teeth": 3, "shadow": 1, "mouth_depth": 1, "reserved_1": 1, "streaks": 3},
    **{"streak_strength": 1, "reserved_2": 4, "isotropic_hair": 1, "plain_hat": 1, "beard_colour": 3},
}


def _slices() -> dict[str, slice]:
    start, slices = 0, {}
    for name, size in _SIZES.items():
        slices[name] = slice(start, start + size)
        start += size
    return slices


SLICES = _slices()
"""Name -> slice of the parameter vector."""

OFFSET = {name: piece.start for name, piece in SLICES.items()}
N_PARAMETERS = sum(_SIZES.values())
COLOURS = (
    *("skin", "lips", "hair", "brow", "iris", "iris_inner", "eyeshadow", "key", "fill", "rim", "sky", "ground"),
    *("cloth", "cloth_second", "glasses", "hat", "streaks", "beard_colour"),
)
"""The parameters that are linear RGB colours."""

NOISE_SEED = 3  # pores, fibres and knit are the same for everybody: the picture stays a function of the factors
STRIPES_PER_CM = 3.2  # radians of the stripes' sine a centimetre
_PATTERN_CODES = {"plain": 0, "stripes": 1, "collar": 4}
_LIGHT_HAIR = ("platinum", "silver", "grey", "blond")
_FUN_HAIR = ("pink", "teal", "violet")


def shader_parameters(factors: Factors) -> np.ndarray:
    """float32 [N_PARAMETERS]. `mouth_depth` and the shade inside the mouth depend on the geometry: see `Renderer`."""
    identity, scene = factors.identity, factors.scene
    skin = _skin_colour(identity.skin.tone)
    values: dict[str, Any] = {
        "gaze": _gaze_directions(factors.motion),
        "noise_seed": NOISE_SEED,
        "cloth": CLOTH_COLOURS[scene.clothes.colour],
        "cloth_second": CLOTH_COLOURS[scene.clothes.second_colour],
        "cloth_pattern": _PATTERN_CODES[scene.clothes.pattern],
        "glasses": GLASSES_COLOURS[identity.glasses.colour],
        "teeth": np.array([1, 0.97, 0.90]) * identity.mouth.teeth,
        **_skin_values(factors, skin),
        **_hair_values(identity.hair),
        **_eye_values(factors),
        **_light_values(scene.light, skin),
    }
    parameters = np.zeros(N_PARAMETERS, np.float32)
    for name, value in values.items():
        parameters[SLICES[name]] = value
    return parameters


def _gaze_directions(motion: Motion) -> np.ndarray:
    """float64 [6]: unit gaze of both eyes in the head's frame, converging slightly."""
    yaw, pitch = math.radians(motion.gaze_yaw_deg), math.radians(motion.gaze_pitch_deg)
    convergence = math.radians(1.5)
    return np.array(
        [
            (math.sin(turn) * math.cos(pitch), math.sin(pitch), math.cos(turn) * math.cos(pitch))
            for turn in (yaw - convergence, yaw + convergence)
        ]
    ).ravel()


def _skin_colour(tone: float) -> np.ndarray:
    position = tone * (len(SKIN_COLOURS) - 1)
    i = min(int(position), len(SKIN_COLOURS) - 2)
    mixed = SKIN_COLOURS[i] * (1 - (position - i)) + SKIN_COLOURS[i + 1] * (position - i)
    return mixed * np.array([0.80, 0.78, 0.77])


def _skin_values(factors: Factors, skin: np.ndarray) -> dict[str, Any]:
    identity = factors.identity
    tone, hair = identity.skin.tone, identity.facial_hair
    natural = skin * np.array([0.86, 0.52, 0.52]) + np.array([0.05, 0, 0.005])
    lips = LIPSTICK_COLOURS[identity.mouth.lip_colour - 1] if identity.mouth.lip_colour else natural
    return {
        "skin": skin,
        "lips": lips * (1 - 0.35 * tone),
        "lip_strength": identity.mouth.lip_strength,
        "blush": identity.skin.blush,
        "freckles": identity.skin.freckles,
        "redness": identity.skin.redness * (1 - 0.55 * tone),
        "roughness": identity.skin.roughness,
        "shine": identity.skin.shine * (1 + 0.6 * tone),
        "eye_rings": identity.skin.eye_rings,
        "brow_thickness": hair.brow_thickness,
        "brow_density": hair.brow_density,
        "brow_height": hair.brow_height,
        "beard": hair.beard,
        "beard_style": BEARD_STYLES.index(hair.beard_style),
    }


def _hair_values(hair: Hair) -> dict[str, Any]:
    style = HAIR_STYLE_TABLE[hair.style]
    colour = HAIR_COLOURS[hair.colour] * (1 + np.clip(hair.tint, -0.2, 0.2))
    natural = HAIR_COLOURS["brown"] if hair.colour in _FUN_HAIR else colour  # brows and beards are not dyed
    brow = natural * 0.6 if hair.colour in _FUN_HAIR else natural
    brow = brow * 0.33 if hair.colour in _LIGHT_HAIR else np.minimum(brow * 0.55, 0.22) * 0.9
    return {
        "hair": colour,
        "brow": brow,
        "beard_colour": natural,
        "scalp_paint": {"bald": 0, "hood": 0, "buzz": 0.8, "beanie": 0.35}.get(hair.style, 0.93),
        "strand_frequency": 95 if style.isotropic else 150,
        "hair_gloss": 0.3 if style.isotropic else 0.9,
        "isotropic_hair": style.isotropic,
        "streaks": np.minimum(colour * 2.2 + 0.05, 0.9),
        "streak_strength": hair.streaks * 0.6,
        "hat": HAT_COLOURS[hair.hat_colour],
        "plain_hat": style.hood,
    }


def _eye_values(factors: Factors) -> dict[str, Any]:
    eyes, tone = factors.identity.eyes, factors.identity.skin.tone
    outer, inner = IRIS_COLOURS[eyes.iris]
    return {
        "iris": outer,
        "iris_inner": inner,
        "pupil": eyes.pupil,
        "sclera": 0.86 - 0.10 * tone,
        "liner": eyes.liner,
        "eyeshadow": EYESHADOW_COLOURS[eyes.shadow_colour] * (1 - 0.4 * tone),
        "eyeshadow_strength": eyes.shadow,
    }


def _light_values(light: Light, skin: np.ndarray) -> dict[str, Any]:
    """Lights after automatic exposure, which evens out the skin's brightness in part."""
    key, fill, rim, sky, ground = (np.array(c) for c in (light.key, light.fill, light.rim, light.sky, light.ground))
    albedo = float(skin @ np.array([0.25, 0.6, 0.15]))
    received = 1.25 * key.mean() * 0.8 + 0.5 * sky.mean() + 0.5 * ground.mean() + 0.2 * fill.mean()
    exposure = np.clip((0.57 * (albedo / 0.45) ** 0.62) / (albedo * received), 0.62, 1.25)
    x = light.direction[0]
    fill_direction, rim_direction = np.array([-1.2 * x, 0.15, 0.8]), np.array([-0.75 * np.sign(x + 1e-6), 0.45, -0.6])
    return {
        "key": key * exposure * 1.25,
        "key_direction": light.direction,
        "fill": fill * exposure,
        "fill_direction": fill_direction / np.linalg.norm(fill_direction),
        "rim": rim * exposure,
        "rim_direction": rim_direction / np.linalg.norm(rim_direction),
        "sky": sky * exposure,
        "ground": ground * exposure,
        "shadow": light.shadow,
    }
