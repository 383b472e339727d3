"""Settings of the sliders under a name: some that come with the program, and files of one's own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.media import atomic_write_json

FORMAT = "latent_reenact preset"
_MAX_BYTES = 64 << 10

PRESETS: dict[str, dict[str, float]] = {
    "Smile": {"smile": 0.8, "squint": 0.25},
    "Laugh": {"smile": 0.9, "jaw_open": 0.45, "squint": 0.5, "pitch_deg": 4.0},
    "Surprise": {"brows_up": 0.9, "jaw_open": 0.5, "eyes_wide": 0.8, "smile": 0.0},
    "Doubt": {"brows_down": 0.6, "frown": 0.45, "smile": 0.0, "roll_deg": 6.0, "yaw_deg": -8.0},
    "Sad": {"frown": 0.8, "brows_up": 0.35, "smile": 0.0, "pitch_deg": -7.0, "gaze_pitch_deg": -8.0},
    "Kiss": {"pucker": 0.9, "smile": 0.0, "jaw_open": 0.05, "blink_left": 0.85, "blink_right": 0.85},
    "Wink": {"blink_left": 1.0, "smile": 0.5},
    "Asleep": {"blink_left": 1.0, "blink_right": 1.0, "jaw_open": 0.1, "pitch_deg": -8.0, "roll_deg": 8.0},
    "Look left": {"yaw_deg": -20.0, "gaze_yaw_deg": -8.0},
    "Look right": {"yaw_deg": 20.0, "gaze_yaw_deg": 8.0},
    "At rest": {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "smile": 0.0, "jaw_open": 0.0, "brows_up": 0.0},
}
"""Name -> controls in degrees or 0..1; those not named stay as they are in the person's own picture."""


def save_preset(path: str | Path, settings: Mapping[str, float]) -> None:
    """Write settings as a small JSON file. Raises OutputError."""
    rounded = {name: round(float(value), 4) for name, value in settings.items()}
    atomic_write_json(path, {"format": FORMAT, "version": 1, "settings": rounded})


def load_preset(path: str | Path, known: Iterable[str]) -> dict[str, float]:
    """Read what `save_preset` wrote; controls that this model does not have are left out.

    Raises:
        LimitExceededError: larger than any preset. CorruptFileError: not one, or without a control of this model.
    """
    expected = "a preset: a .json file saved with Save preset"
    try:
        if Path(path).stat().st_size > _MAX_BYTES:
            raise LimitExceededError(f"{path} is over {_MAX_BYTES >> 10} KB; expected {expected}")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        is_preset = isinstance(content, dict) and content.get("format") == FORMAT
        settings = content["settings"].items() if is_preset else ()
    except OSError as error:
        raise CorruptFileError(f"cannot read {path}: {error.strerror}; expected {expected}") from None
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise CorruptFileError(f"{path} is damaged; expected {expected}") from None
    names = set(known)
    found = {name: float(value) for name, value in settings if name in names and _is_number(value)}
    if not found:
        raise CorruptFileError(f"{path} holds no control of this model; expected {expected}")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6 and math.isfinite(value)
