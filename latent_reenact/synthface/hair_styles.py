"""The table of hair styles and headgear: how `hair` builds each of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HairStyle:
    """How a style is built; lengths in centimetres."""

    pole_deg: tuple[float, float] = (0, -25)  # sideways (towards `Hair.side`), forwards
    thickness: float = 1.0
    edge: float = 0.25  # thickness at the hairline
    sides: float = 1.0  # thickness above the ears, relative
    quiff: float = 0.0  # extra height behind the front hairline
    fringe_deg: float = 0.0  # how far below the hairline the fringe reaches
    uneven_fringe: bool = False
    hanging: float = 0.0  # length below the hairline
    flare: float = 0.0
    wavy: bool = False
    ragged: float = 0.12  # part of a strand's length over which ends differ
    curl: float = 0.0
    isotropic: bool = False  # curls shine without a strand direction
    hat: bool = False
    hood: bool = False

    @property
    def headgear(self) -> bool:
        return self.hat or self.hood


HAIR_STYLE_TABLE = {
    "bald": HairStyle(),
    "buzz": HairStyle(),
    "short_swept": HairStyle(pole_deg=(-14, 44), thickness=1.25, edge=0.35, sides=0.35, ragged=0.25, quiff=0.3),
    "quiff": HairStyle(pole_deg=(0, 54), thickness=1.5, quiff=1.3, sides=0.25, edge=0.4, ragged=0.2),
    "caesar": HairStyle(pole_deg=(10, -30), thickness=1.1, fringe_deg=13, sides=0.4, ragged=0.25, uneven_fringe=True),
    "side_part": HairStyle(pole_deg=(-28, 46), thickness=1.5, sides=0.45, quiff=0.6, ragged=0.15),
    "pixie": HairStyle(pole_deg=(-30, 16), thickness=1.6, fringe_deg=16, sides=0.8, ragged=0.25, uneven_fringe=True),
    "bob": HairStyle(pole_deg=(-14, 50), thickness=2.0, hanging=10, ragged=0.08, flare=0.10, edge=0.4),
    "bob_fringe": HairStyle(pole_deg=(0, -12), thickness=1.8, hanging=10, fringe_deg=19, ragged=0.10, flare=0.05),
    "long_centre": HairStyle(pole_deg=(0, 54), thickness=1.9, hanging=20, ragged=0.2, flare=0.08, edge=0.4),
    "long_side": HairStyle(pole_deg=(-24, 50), thickness=2.0, hanging=20, ragged=0.2, flare=0.10, edge=0.4),
    "long_fringe": HairStyle(pole_deg=(0, -10), thickness=1.8, hanging=20, fringe_deg=19, ragged=0.12, flare=0.08),
    "wavy_long": HairStyle(pole_deg=(-16, 50), thickness=2.3, hanging=18, ragged=0.3, flare=0.16, wavy=True, edge=0.5),
    "curly_short": HairStyle(
        pole_deg=(5, -10), thickness=2.2, sides=0.8, curl=0.55, isotropic=True, ragged=0.2, fringe_deg=3, edge=0.7
    ),
    "afro": HairStyle(pole_deg=(0, 0), thickness=4.2, sides=1.1, curl=0.5, isotropic=True, ragged=0.15, edge=1.3),
    "ponytail": HairStyle(pole_deg=(0, 58), thickness=0.9, sides=0.8, ragged=0.08),
    "bun": HairStyle(pole_deg=(0, 58), thickness=0.9, sides=0.8, ragged=0.08),
    "hood": HairStyle(pole_deg=(0, -82), hood=True, edge=0.55, ragged=0.0),
    "beanie": HairStyle(pole_deg=(0, -18), thickness=1.1, hat=True, edge=0.9, ragged=0.0),
}
