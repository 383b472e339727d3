"""The synthetic world as a function of a Gaussian vector: z [LATENT_DIM] -> `Factors`.

Every named draw owns its slot of z. The slot's standard normal goes through the Gaussian CDF to a uniform number,
and from there to the draw's own distribution, so that sampling z samples the world and the truth of every z is known.
Sample i of a seed depends on (seed, i) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from latent_reenact.errors import UsageError
from latent_reenact.synthface.factors import (
    BACKGROUND_COLOURS,
    BEARD_STYLES,
    CLOTH_COLOURS,
    COLLARS,
    GLASSES_COLOURS,
    GLASSES_STYLES,
    HAIR_COLOURS,
    HAT_COLOURS,
    IDENTITY_MODES,
    IRIS_COLOURS,
    PATTERNS,
    Background,
    Clothes,
    Eyes,
    FacialHair,
    Factors,
    Glasses,
    Hair,
    Identity,
    Light,
    Motion,
    Mouth,
    Scene,
    Skin,
)

T = TypeVar("T")

_SLOT_SIZES = {
    # identity
    "shape": IDENTITY_MODES,
    **dict.fromkeys(("feminine", "tone", "redness", "shine", "roughness", "blush", "freckles", "eye_rings"), 1),
    **dict.fromkeys(("hair_style", "hair_colour"), 1),
    "hair_tint": 4,  # common, then per channel
    **dict.fromkeys(("hair_volume", "hair_length", "hair_side", "hair_wave", "hair_streaks", "hat_colour"), 1),
    **dict.fromkeys(("brow_thickness", "brow_density", "brow_height", "has_beard", "beard", "beard_style"), 1),
    **dict.fromkeys(("iris", "pupil", "lashes", "liner", "makeup", "shadow", "shadow_colour"), 1),
    **dict.fromkeys(("lip_strength", "lip_colour", "teeth", "has_glasses", "glasses", "glasses_colour"), 1),
    # motion
    **dict.fromkeys(("yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch"), 1),
    **dict.fromkeys(("mouth_kind", "mouth_amount", "mouth_second", "mouth_third", "mouth_more", "jaw"), 1),
    **dict.fromkeys(("mouth_side", "mouth_pair"), 1),
    "mouth_asymmetry": 10,  # left and right of up to five pairs of blendshapes
    **dict.fromkeys(("brow_kind", "brow_inner", "brow_outer", "brow_side"), 1),
    "brow_asymmetry": 4,
    **dict.fromkeys(("eye_kind", "eye_amount", "eye_side"), 1),
    "eye_asymmetry": 2,
    # scene
    **dict.fromkeys(("light_azimuth", "light_elevation", "light_warmth", "exposure", "key", "fill", "rim"), 1),
    **dict.fromkeys(("sky", "ground", "shadow_depth", "background_first", "background_second", "background_angle"), 1),
    **dict.fromkeys(("cloth_colour", "cloth_second_colour", "pattern", "collar"), 1),
}


def _slices(sizes: dict[str, int]) -> dict[str, slice]:
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


LATENT_SLOTS = _slices(_SLOT_SIZES)
"""Name of each draw -> its slice of z."""

LATENT_DIM = sum(_SLOT_SIZES.values())


def sample_latent(seed: int, i: int) -> np.ndarray:
    """Sample i of a seed: float64 [LATENT_DIM], standard normal, a function of (seed, i) alone."""
    return np.random.default_rng((seed, i)).standard_normal(LATENT_DIM)


def sample(seed: int, i: int) -> Factors:
    """Sample i of a seed: a random portrait."""
    return factors_from_latent(sample_latent(seed, i))


def factors_from_latent(z: np.ndarray) -> Factors:
    """The portrait of a Gaussian vector z [LATENT_DIM]. Raises UsageError for another length or values not finite."""
    z = np.asarray(z, np.float64)
    if z.shape != (LATENT_DIM,):
        raise UsageError(f"got a latent of shape {z.shape}; expected ({LATENT_DIM},), as sample_latent returns")
    if not np.isfinite(z).all():
        raise UsageError("the latent holds values that are not finite; expected standard normal numbers")
    draws = _Draws(z)
    return Factors(identity=_identity(draws), motion=_motion(draws), scene=_scene(draws))


class _Draws:
    """Named draws from the slots of one z."""

    def __init__(self, z: np.ndarray) -> None:
        self._z = z
        self._u = np.clip(ndtr(z), 1e-12, 1 - 1e-12)

    def slot(self, name: str) -> np.ndarray:
        return self._z[LATENT_SLOTS[name]]

    def unit(self, name: str) -> float:
        return float(self._u[LATENT_SLOTS[name].start])

    def uniform(self, name: str, low: float, high: float) -> float:
        return low + (high - low) * self.unit(name)

    def normal(self, name: str, mean: float, std: float, limit: float = np.inf) -> float:
        """Normal, its tails piled up at mean ± limit."""
        return float(np.clip(mean + std * self.slot(name)[0], mean - limit, mean + limit))

    def truncated(self, name: str, limit: float) -> np.ndarray:
        """Standard normal without the tails beyond ±limit, by the inverse CDF."""
        low = ndtr(-limit)
        return ndtri(low + self._u[LATENT_SLOTS[name]] * (1 - 2 * low))

    def flag(self, name: str, probability: float) -> bool:
        return self.unit(name) < probability

    def choice(self, name: str, options: Sequence[T], weights: Sequence[float] | np.ndarray | None = None) -> T:
        if weights is None:
            return options[int(self.unit(name) * len(options))]
        edges = np.cumsum(weights)
        return options[int(np.searchsorted(edges, self.unit(name) * edges[-1], side="right"))]

    def index(self, name: str, size: int) -> int:
        return int(self.unit(name) * size)


# ---------------------------------------------------------------- identity

_MASCULINE_STYLES = {
    **{"bald": 0.05, "buzz": 0.1, "short_swept": 0.2, "quiff": 0.16, "caesar": 0.1, "side_part": 0.14},
    **{"curly_short": 0.09, "afro": 0.05, "beanie": 0.05, "pixie": 0.03, "long_side": 0.03},
}
_FEMININE_STYLES = {
    **{"hood": 0.05, "bob": 0.1, "bob_fringe": 0.07, "long_centre": 0.14, "long_side": 0.14, "long_fringe": 0.12},
    **{"wavy_long": 0.13, "afro": 0.05, "ponytail": 0.06, "bun": 0.05, "pixie": 0.04, "curly_short": 0.03},
    "beanie": 0.02,
}
_HAIR_WEIGHTS = np.array([0.2, 0.17, 0.15, 0.1, 0.07, 0.06, 0.07, 0.08, 0.03, 0.03, 0.02, 0.01, 0.005, 0.005])
_HAIR_WEIGHTS_DARK_SKIN = _HAIR_WEIGHTS * [3, 2, 0.8, 0.3, 0.1, 0.03, 0.03, 0.03, 0.05, 0.6, 0.4, 0.4, 0.4, 0.4]
_IRIS_WEIGHTS = (0.3, 0.13, 0.11, 0.17, 0.09, 0.15, 0.05)
_IRIS_WEIGHTS_DARK_SKIN = (0.35, 0.06, 0.03, 0.02, 0.02, 0.5, 0.02)
_SHAPE_STD = np.where(np.arange(IDENTITY_MODES) < 20, 0.95, 0.85)
_FEMININE_MODES = {0: 1.0, 2: -0.7, 4: -0.6, 5: 0.6}  # modes that tell women from men, and their mean


def _identity(d: _Draws) -> Identity:
    feminine = d.flag("feminine", 0.5)
    makeup = feminine and d.flag("makeup", 0.45)
    tone = float(betaincinv(1.4, 1.7, d.unit("tone")))
    return Identity(
        shape=_shape(d, feminine),
        feminine=feminine,
        skin=_skin(d, tone),
        hair=_hair(d, tone, feminine),
        facial_hair=_facial_hair(d, feminine),
        eyes=Eyes(
            iris=d.choice("iris", tuple(IRIS_COLOURS), _IRIS_WEIGHTS if tone < 0.6 else _IRIS_WEIGHTS_DARK_SKIN),
            pupil=d.uniform("pupil", 0.36, 0.52),
            lashes=feminine or d.flag("lashes", 0.4),
            liner=d.uniform("liner", 0.5, 0.95) if feminine else d.uniform("liner", 0.25, 0.5),
            shadow=d.uniform("shadow", 0.2, 0.6) if makeup else 0.0,
            shadow_colour=d.index("shadow_colour", 4),
        ),
        mouth=Mouth(
            lip_strength=d.uniform("lip_strength", 0.7, 0.95) if makeup else d.uniform("lip_strength", 0.35, 0.75),
            lip_colour=d.index("lip_colour", 5) if makeup else 0,
            teeth=d.uniform("teeth", 0.78, 0.95),
        ),
        glasses=Glasses(
            style=d.choice("glasses", GLASSES_STYLES[1:]) if d.flag("has_glasses", 0.16) else "none",
            colour=d.index("glasses_colour", len(GLASSES_COLOURS)),
        ),
    )


def _shape(d: _Draws, feminine: bool) -> tuple[float, ...]:
    shape = d.truncated("shape", 2.0) * _SHAPE_STD
    for mode, mean in _FEMININE_MODES.items():
        shape[mode] = 0.8 * shape[mode] + (mean if feminine else -0.45 * mean)
    return tuple(np.clip(shape, -2.2, 2.2).tolist())


def _skin(d: _Draws, tone: float) -> Skin:
    return Skin(
        tone=tone,
        redness=d.uniform("redness", 0.35, 1.0),
        shine=d.uniform("shine", 0.10, 0.26),
        roughness=d.uniform("roughness", 10, 22),
        blush=max(0.0, d.normal("blush", 0.15, 0.3)),
        freckles=max(0.0, d.uniform("freckles", -1.6, 1)) * (1 - tone),
        eye_rings=d.uniform("eye_rings", 0.2, 1),
    )


def _hair(d: _Draws, tone: float, feminine: bool) -> Hair:
    styles = _FEMININE_STYLES if feminine else _MASCULINE_STYLES
    weights = _HAIR_WEIGHTS if tone <= 0.62 else _HAIR_WEIGHTS_DARK_SKIN
    common, *channels = d.slot("hair_tint").tolist()
    red, green, blue = (0.07 * common + 0.025 * channel for channel in channels)
    return Hair(
        style=d.choice("hair_style", tuple(styles), tuple(styles.values())),
        colour=d.choice("hair_colour", tuple(HAIR_COLOURS), weights),
        tint=(red, green, blue),
        volume=d.uniform("hair_volume", 0.8, 1.25),
        length=d.uniform("hair_length", 0.8, 1.2),
        side=d.choice("hair_side", (-1.0, 1.0)),
        wave=d.uniform("hair_wave", 0, 1),
        streaks=float(d.flag("hair_streaks", 0.15)),
        hat_colour=d.index("hat_colour", len(HAT_COLOURS)),
    )


def _facial_hair(d: _Draws, feminine: bool) -> FacialHair:
    bearded = not feminine and d.flag("has_beard", 0.5)
    return FacialHair(
        brow_thickness=d.uniform("brow_thickness", 0.75, 1.2) if feminine else d.uniform("brow_thickness", 1.0, 1.5),
        brow_density=d.uniform("brow_density", 0.65, 0.95),
        brow_height=d.normal("brow_height", 0, 0.12),
        beard=d.uniform("beard", 0.25, 1.0) if bearded else 0.0,
        beard_style=d.choice("beard_style", BEARD_STYLES),
    )


# ---------------------------------------------------------------- motion


def _motion(d: _Draws) -> Motion:
    expression = _expression(d)
    blink = max(expression.get("eyeBlink_L", 0.0), expression.get("eyeBlink_R", 0.0))
    return Motion(
        yaw_deg=d.normal("yaw", 0, 15, limit=42),
        pitch_deg=d.normal("pitch", 0, 8, limit=22),
        roll_deg=d.normal("roll", 0, 4, limit=12),
        gaze_yaw_deg=d.normal("gaze_yaw", 0, 9, limit=24),
        gaze_pitch_deg=d.normal("gaze_pitch", 0, 6, limit=16) * (1 - 0.9 * blink),  # shut eyes look ahead
        expression=expression,
    )


class _Pairs(dict[str, float]):
    """Expression weights; `pair` sets a left and a right blendshape with a little asymmetry."""

    def pair(self, name: str, amount: float, asymmetry: np.ndarray) -> None:
        for side, deviation in zip("LR", asymmetry, strict=True):
            self[f"{name}_{side}"] = float(np.clip(amount * (1 + 0.12 * deviation), 0, 1))


def _expression(d: _Draws) -> dict[str, float]:
    weights = _Pairs()
    _mouth(d, weights)
    _brows(d, weights)
    _eyes(d, weights)
    return dict(weights)


_MOUTH_KINDS = {
    **{"faint_smile": 0.18, "smile": 0.38, "open": 0.10, "pucker": 0.05, "frown": 0.05},
    **{"sneer": 0.05, "aside": 0.04, "half_smile": 0.05, "mixed": 0.10},
}
_MIXED_MOUTH = ("mouthStretch", "mouthDimple", "mouthPress", "cheekPuff", "mouthUpperUp", "mouthLowerDown")


def _mouth(d: _Draws, e: _Pairs) -> None:
    kind = d.choice("mouth_kind", tuple(_MOUTH_KINDS), tuple(_MOUTH_KINDS.values()))
    uneven = d.slot("mouth_asymmetry").reshape(5, 2)
    if kind == "faint_smile":
        e.pair("mouthSmile", d.uniform("mouth_amount", 0, 0.3), uneven[0])
    elif kind == "smile":
        _smile(d, e, uneven)
    elif kind == "open":
        e["jawOpen"] = d.uniform("jaw", 0.1, 0.7)
        if d.flag("mouth_more", 0.5):
            e["mouthFunnel"] = d.uniform("mouth_amount", 0, 0.6)
    elif kind == "pucker":
        e["mouthPucker"] = d.uniform("mouth_amount", 0.3, 1)
    elif kind == "frown":
        e.pair("mouthFrown", d.uniform("mouth_amount", 0.2, 0.8), uneven[0])
        e["mouthShrugLower"] = d.uniform("mouth_second", 0, 0.6)
    elif kind == "sneer":
        e.pair("noseSneer", d.uniform("mouth_amount", 0.3, 1), uneven[0])
        e.pair("mouthUpperUp", d.uniform("mouth_second", 0.1, 0.6), uneven[1])
    elif kind == "aside":
        e[d.choice("mouth_side", ("mouthLeft", "mouthRight"))] = d.uniform("mouth_amount", 0.3, 0.9)
    elif kind == "half_smile":
        e[d.choice("mouth_side", ("mouthSmile_L", "mouthSmile_R"))] = d.uniform("mouth_amount", 0.4, 1)
    else:
        first, second = d.choice("mouth_pair", tuple(combinations(_MIXED_MOUTH, 2)))
        e.pair(first, d.uniform("mouth_amount", 0.2, 0.8), uneven[0])
        e.pair(second, d.uniform("mouth_second", 0.2, 0.8), uneven[1])
        e["jawOpen"] = d.uniform("jaw", 0, 0.3)


def _smile(d: _Draws, e: _Pairs, uneven: np.ndarray) -> None:
    amount = d.uniform("mouth_amount", 0.25, 1)
    e.pair("mouthSmile", amount, uneven[0])
    e.pair("cheekSquint", 0.6 * amount, uneven[1])
    e.pair("eyeSquint", 0.25 * amount, uneven[2])
    if d.flag("mouth_more", 0.6):  # showing teeth
        e.pair("mouthUpperUp", amount * d.uniform("mouth_second", 0.1, 0.5), uneven[3])
        e.pair("mouthLowerDown", amount * d.uniform("mouth_third", 0, 0.5), uneven[4])
        e["jawOpen"] = d.uniform("jaw", 0, 0.25)


def _brows(d: _Draws, e: _Pairs) -> None:
    kind = d.choice("brow_kind", ("up", "down", "worried", "one_up", "still"), (0.2, 0.15, 0.07, 0.05, 0.53))
    uneven = d.slot("brow_asymmetry").reshape(2, 2)
    if kind == "up":
        e.pair("browInnerUp", d.uniform("brow_inner", 0.3, 1), uneven[0])
        e.pair("browOuterUp", d.uniform("brow_outer", 0.2, 1), uneven[1])
    elif kind == "down":
        e.pair("browDown", d.uniform("brow_inner", 0.3, 1), uneven[0])
    elif kind == "worried":
        e.pair("browInnerUp", d.uniform("brow_inner", 0.4, 1), uneven[0])
    elif kind == "one_up":
        e[d.choice("brow_side", ("browOuterUp_L", "browOuterUp_R"))] = d.uniform("brow_outer", 0.5, 1)


_EYE_KINDS = {"shut": 0.06, "half_shut": 0.10, "wink": 0.05, "wide": 0.11, "squint": 0.10, "still": 0.58}


def _eyes(d: _Draws, e: _Pairs) -> None:
    kind = d.choice("eye_kind", tuple(_EYE_KINDS), tuple(_EYE_KINDS.values()))
    uneven = d.slot("eye_asymmetry")
    if kind == "shut":
        e["eyeBlink_L"] = e["eyeBlink_R"] = d.uniform("eye_amount", 0.8, 1)
    elif kind == "half_shut":
        e["eyeBlink_L"] = e["eyeBlink_R"] = d.uniform("eye_amount", 0.15, 0.8)
    elif kind == "wink":
        e[d.choice("eye_side", ("eyeBlink_L", "eyeBlink_R"))] = d.uniform("eye_amount", 0.8, 1)
    elif kind == "wide":
        e.pair("eyeWide", d.uniform("eye_amount", 0.3, 1), uneven)
    elif kind == "squint":
        e.pair("eyeSquint", d.uniform("eye_amount", 0.3, 0.9), uneven)


# ---------------------------------------------------------------- scene


def _scene(d: _Draws) -> Scene:
    first, second = d.choice("background_first", BACKGROUND_COLOURS), d.choice("background_second", BACKGROUND_COLOURS)
    return Scene(
        light=_light(d),
        background=Background(colours=(first, second), angle_deg=d.uniform("background_angle", 0, 360)),
        clothes=Clothes(
            colour=d.index("cloth_colour", len(CLOTH_COLOURS)),
            second_colour=d.index("cloth_second_colour", len(CLOTH_COLOURS)),
            pattern=d.choice("pattern", PATTERNS, (0.6, 0.2, 0.2)),
            collar=d.choice("collar", COLLARS, (0.4, 0.2, 0.25, 0.15)),
        ),
    )


def _light(d: _Draws) -> Light:
    azimuth, elevation = np.radians([d.uniform("light_azimuth", -65, 65), d.uniform("light_elevation", 15, 60)])
    direction = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    warmth, exposure = d.normal("light_warmth", 0, 0.5), d.uniform("exposure", 0.85, 1.15)

    def tinted(name: str, low: float, high: float, red: float, green: float, blue: float) -> tuple[float, float, float]:
        strength = d.uniform(name, low, high) * exposure
        return red * strength, green * strength, blue * strength

    x, y, z = direction.tolist()
    return Light(
        direction=(x, y, z),
        key=tinted("key", 0.75, 1.25, 1 + 0.09 * warmth, 1, 1 - 0.12 * warmth),
        fill=tinted("fill", 0.10, 0.30, 1 - 0.06 * warmth, 1, 1 + 0.10 * warmth),
        rim=tinted("rim", 0.10, 0.90, 1, 1, 1),
        sky=tinted("sky", 0.30, 0.50, 0.95, 1, 1.06),
        ground=tinted("ground", 0.18, 0.30, 1.05, 0.98, 0.92),
        shadow=d.uniform("shadow_depth", 0.45, 0.85),
    )
