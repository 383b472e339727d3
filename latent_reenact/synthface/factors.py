"""The factors of a synthetic portrait: everything that changes a pixel, in three groups that can be swapped.

    Factors(identity=who, motion=pose, gaze and expression, scene=light, background and clothes)

`dataclasses.replace(a, motion=b.motion)` is person a doing what person b does. All values are plain Python
numbers, names and tuples, so factors compare, hash (but for `Motion`), print and pickle without surprises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from latent_reenact.errors import ConfigError

IDENTITY_MODES = 40  # of 100: they keep 98.9 % of the norm of a face

EXPRESSION_NAMES = (
    *("browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R"),
    *("cheekPuff_L", "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R"),
    *("eyeLookDown_L", "eyeLookDown_R", "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R"),
    *("eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L", "eyeSquint_R", "eyeWide_L", "eyeWide_R"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimple_L", "mouthDimple_R"),
    *("mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft", "mouthLowerDown_L", "mouthLowerDown_R"),
    *("mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R", "mouthStretch_L", "mouthStretch_R"),
    *("mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R"),
)
"""The 53 ARKit-style blendshapes of ICT-FaceKit, in the order of the mesh archive and of every vector."""

EXPRESSION_INDEX = {name: i for i, name in enumerate(EXPRESSION_NAMES)}
EXPRESSION_SLIDERS = {
    "smile": ("mouthSmile_L", "mouthSmile_R"),
    "jaw_open": ("jawOpen",),
    "pucker": ("mouthPucker",),
    "frown": ("mouthFrown_L", "mouthFrown_R"),
    "sneer": ("noseSneer_L", "noseSneer_R"),
    "brows_up": ("browInnerUp_L", "browInnerUp_R"),
    "brows_down": ("browDown_L", "browDown_R"),
    "blink_left": ("eyeBlink_L",),
    "blink_right": ("eyeBlink_R",),
    "eyes_wide": ("eyeWide_L", "eyeWide_R"),
    "squint": ("eyeSquint_L", "eyeSquint_R"),
}
"""Slider -> the blendshapes whose mean it is."""

HAIR_STYLES = (
    *("bald", "buzz", "short_swept", "quiff", "caesar", "side_part", "bob", "bob_fringe", "long_centre", "long_side"),
    *("long_fringe", "wavy_long", "curly_short", "afro", "ponytail", "bun", "beanie", "pixie", "hood"),
)
COLLARS = ("crew", "v_neck", "turtle_neck", "hoodie")
PATTERNS = ("plain", "stripes", "collar")
GLASSES_STYLES = ("none", "round", "rectangular", "wide")
BEARD_STYLES = ("full", "moustache", "goatee")


def linear(srgb: object) -> np.ndarray:
    """sRGB 0..255 to linear light 0..1 with a plain 2.2 gamma, any shape."""
    return (np.asarray(srgb, float) / 255.0) ** 2.2


SKIN_COLOURS = linear(
    (
        *((255, 226, 208), (250, 212, 188), (238, 194, 164), (223, 177, 147)),
        *((199, 150, 119), (164, 114, 87), (122, 80, 59), (86, 55, 42)),
    )
)
HAIR_COLOURS = {
    "black": linear([30, 25, 26]),
    "espresso": linear([52, 36, 30]),
    "brown": linear([88, 58, 40]),
    "chestnut": linear([124, 76, 46]),
    "auburn": linear([136, 62, 36]),
    "copper": linear([190, 98, 46]),
    "darkblond": linear([164, 124, 76]),
    "blond": linear([214, 176, 116]),
    "platinum": linear([236, 220, 190]),
    "grey": linear([160, 158, 158]),
    "silver": linear([208, 208, 212]),
    "pink": linear([226, 128, 160]),
    "teal": linear([60, 140, 150]),
    "violet": linear([120, 84, 160]),
}
IRIS_COLOURS = {  # outer ring, inner ring
    "brown": linear([[92, 56, 30], [52, 28, 14]]),
    "hazel": linear([[146, 108, 52], [96, 72, 36]]),
    "green": linear([[112, 140, 84], [120, 104, 50]]),
    "blue": linear([[108, 154, 196], [150, 176, 190]]),
    "grey": linear([[140, 156, 166], [110, 120, 124]]),
    "dark": linear([[56, 34, 22], [34, 20, 14]]),
    "amber": linear([[178, 118, 48], [120, 70, 26]]),
}
LIPSTICK_COLOURS = linear([[186, 60, 70], [160, 40, 52], [206, 96, 100], [140, 60, 66]])
EYESHADOW_COLOURS = linear([[120, 80, 70], [90, 70, 110], [150, 90, 80], [70, 60, 56]])
GLASSES_COLOURS = linear([[24, 22, 24], [90, 50, 30], [170, 140, 90], [120, 30, 40], [40, 60, 110]])
CLOTH_COLOURS = linear(
    (
        *((40, 52, 84), (150, 44, 48), (236, 232, 222), (46, 46, 50), (86, 112, 92), (196, 150, 64), (120, 150, 180)),
        *((180, 120, 130), (92, 70, 60), (220, 200, 180), (64, 120, 130), (110, 84, 140), (222, 110, 80)),
    )
)
HAT_COLOURS = linear(
    [[170, 50, 50], [50, 70, 110], [70, 100, 80], [200, 160, 70], [60, 60, 64], [210, 200, 190], [150, 90, 130]]
)
BACKGROUND_COLOURS = (
    *((70, 90, 120), (150, 140, 130), (60, 70, 60), (190, 170, 150), (120, 100, 120), (200, 210, 215)),
    *((90, 60, 50), (40, 44, 56), (160, 180, 160), (220, 190, 170), (110, 140, 170), (168, 110, 90)),
)

Colour = tuple[float, float, float]


def _check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ConfigError(f"unknown {what} {value!r}; choose from {', '.join(choices)}")


def _check_index(what: str, value: int, size: int) -> None:
    if not 0 <= value < size:
        raise ConfigError(f"{what} is {value}; expected an index from 0 to {size - 1}")


@dataclass(frozen=True, kw_only=True)
class Skin:
    tone: float = 0.2  # 0 lightest .. 1 darkest, along SKIN_COLOURS
    redness: float = 0.6  # cheeks, nose, ears; 0.35 .. 1
    shine: float = 0.16  # specular strength
    roughness: float = 15.0  # specular exponent: larger is glossier
    blush: float = 0.1  # extra red of the cheeks, 0 ..
    freckles: float = 0.0  # 0 .. 1
    eye_rings: float = 0.4  # darkness under the eyes, 0 .. 1


@dataclass(frozen=True, kw_only=True)
class Hair:
    style: str = "short_swept"
    colour: str = "brown"
    tint: Colour = (0.0, 0.0, 0.0)  # relative change of the colour per channel
    volume: float = 1.0
    length: float = 1.0
    side: float = 1.0  # the parting: +1 or -1
    wave: float = 0.0  # above 0.5 hanging hair is wavy
    streaks: float = 0.0  # 0 or 1: lighter strands
    hat_colour: int = 0

    def __post_init__(self) -> None:
        _check_choice("hair style", self.style, HAIR_STYLES)
        _check_choice("hair colour", self.colour, HAIR_COLOURS)
        _check_index("hat_colour", self.hat_colour, len(HAT_COLOURS))


@dataclass(frozen=True, kw_only=True)
class FacialHair:
    brow_thickness: float = 1.0
    brow_density: float = 0.8
    brow_height: float = 0.0  # centimetres up
    beard: float = 0.0  # 0 .. 1
    beard_style: str = "full"

    def __post_init__(self) -> None:
        _check_choice("beard style", self.beard_style, BEARD_STYLES)


@dataclass(frozen=True, kw_only=True)
class Eyes:
    iris: str = "brown"
    pupil: float = 0.44  # of the radius of the iris
    lashes: bool = True
    liner: float = 0.4
    shadow: float = 0.0
    shadow_colour: int = 0

    def __post_init__(self) -> None:
        _check_choice("iris colour", self.iris, IRIS_COLOURS)
        _check_index("shadow_colour", self.shadow_colour, len(EYESHADOW_COLOURS))


@dataclass(frozen=True, kw_only=True)
class Mouth:
    lip_strength: float = 0.6  # how far the lips are from the skin colour, 0 .. 1
    lip_colour: int = 0  # 0 natural, 1 .. 4 LIPSTICK_COLOURS
    teeth: float = 0.86  # brightness

    def __post_init__(self) -> None:
        _check_index("lip_colour", self.lip_colour, len(LIPSTICK_COLOURS) + 1)


@dataclass(frozen=True, kw_only=True)
class Glasses:
    style: str = "none"
    colour: int = 0

    def __post_init__(self) -> None:
        _check_choice("glasses", self.style, GLASSES_STYLES)
        _check_index("glasses colour", self.colour, len(GLASSES_COLOURS))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who: the shape of the head (`IDENTITY_MODES` numbers, about -2.2 .. 2.2) and all that stays with a person."""

    shape: tuple[float, ...] = (0.0,) * IDENTITY_MODES
    feminine: bool = False
    skin: Skin = Skin()
    hair: Hair = Hair()
    facial_hair: FacialHair = FacialHair()
    eyes: Eyes = Eyes()
    mouth: Mouth = Mouth()
    glasses: Glasses = Glasses()

    def __post_init__(self) -> None:
        if len(self.shape) != IDENTITY_MODES:
            raise ConfigError(f"identity shape has {len(self.shape)} coefficients; expected {IDENTITY_MODES}")

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name this person, the same in every run."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the person does: head pose, gaze and expression (a sparse mapping of ARKit names to 0 .. 1)."""

    yaw_deg: float = 0.0  # > 0 turns the face to the viewer's right
    pitch_deg: float = 0.0  # > 0 looks up
    roll_deg: float = 0.0  # > 0 tilts the top of the head to the viewer's left
    gaze_yaw_deg: float = 0.0  # relative to the head, > 0 to the viewer's right
    gaze_pitch_deg: float = 0.0  # > 0 up
    expression: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.expression:
            if name not in EXPRESSION_INDEX:
                raise ConfigError(
                    f"unknown expression {name!r}; expected ARKit names such as 'jawOpen', 'mouthSmile_L'"
                )

    def expression_vector(self) -> np.ndarray:
        """float64 [53] in the order of `EXPRESSION_NAMES`."""
        vector = np.zeros(len(EXPRESSION_NAMES))
        for name, value in self.expression.items():
            vector[EXPRESSION_INDEX[name]] = value
        return vector


@dataclass(frozen=True, kw_only=True)
class Light:
    """Key, fill and rim lights and a two-colour sky; colours are linear RGB before automatic exposure."""

    direction: Colour = (-0.45, 0.5, 0.74)  # unit vector from the head to the key light
    key: Colour = (1.0, 1.0, 1.0)
    fill: Colour = (0.2, 0.2, 0.2)
    rim: Colour = (0.4, 0.4, 0.4)
    sky: Colour = (0.38, 0.4, 0.42)
    ground: Colour = (0.25, 0.235, 0.22)
    shadow: float = 0.6  # darkness of cast shadows


@dataclass(frozen=True, kw_only=True)
class Background:
    """A vignetted gradient between two sRGB colours (0..255)."""

    colours: tuple[Colour, Colour] = ((110, 140, 170), (200, 210, 215))
    angle_deg: float = 90.0


@dataclass(frozen=True, kw_only=True)
class Clothes:
    colour: int = 0
    second_colour: int = 2
    pattern: str = "plain"
    collar: str = "crew"

    def __post_init__(self) -> None:
        _check_choice("pattern", self.pattern, PATTERNS)
        _check_choice("collar", self.collar, COLLARS)
        _check_index("cloth colour", self.colour, len(CLOTH_COLOURS))
        _check_index("second cloth colour", self.second_colour, len(CLOTH_COLOURS))


@dataclass(frozen=True, kw_only=True)
class Scene:
    light: Light = Light()
    background: Background = Background()
    clothes: Clothes = Clothes()


@dataclass(frozen=True, kw_only=True)
class Factors:
    """One portrait: `identity`, `motion`, `scene`."""

    identity: Identity = Identity()
    motion: Motion = Motion()
    scene: Scene = Scene()
