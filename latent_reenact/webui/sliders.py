"""The sliders as people see them: their words, ranges and groups. Which ones there are, the model says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Slider:
    """name: the model's control. label, group: words. low, high, step: in degrees, or in 0..1 for expressions."""

    name: str
    label: str
    group: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.01

    def shown(self, value: float) -> float:
        """The value as the slider can show it."""
        steps = round((min(max(value, self.low), self.high) - self.low) / self.step)
        return round(self.low + steps * self.step, 4)


HEAD, EYES, BROWS, MOUTH, OTHER = "Head", "Eyes", "Brows", "Mouth", "More"
GROUPS = (HEAD, MOUTH, EYES, BROWS, OTHER)
_KNOWN = (
    Slider("yaw_deg", "Turn left / right (°)", HEAD, -35, 35, 0.5),
    Slider("pitch_deg", "Look down / up (°)", HEAD, -20, 20, 0.5),
    Slider("roll_deg", "Tilt (°)", HEAD, -15, 15, 0.5),
    Slider("gaze_yaw_deg", "Gaze left / right (°)", EYES, -20, 20, 0.5),
    Slider("gaze_pitch_deg", "Gaze down / up (°)", EYES, -15, 15, 0.5),
    Slider("blink_left", "Close left eye", EYES),
    Slider("blink_right", "Close right eye", EYES),
    Slider("eyes_wide", "Widen", EYES),
    Slider("squint", "Squint", EYES),
    Slider("brows_up", "Raise", BROWS),
    Slider("brows_down", "Lower", BROWS),
    Slider("smile", "Smile", MOUTH),
    Slider("jaw_open", "Open", MOUTH),
    Slider("pucker", "Pucker", MOUTH),
    Slider("frown", "Frown", MOUTH),
    Slider("sneer", "Sneer", MOUTH),
)


def sliders_of(controls: Iterable[str]) -> list[Slider]:
    """One for each control, in the order of the groups; a control nobody thought of gets a plain one."""
    by_name = {slider.name: slider for slider in _KNOWN}
    found = [by_name.get(name) or _plain(name) for name in controls]
    order = {slider.name: i for i, slider in enumerate(_KNOWN)}
    return sorted(found, key=lambda slider: (GROUPS.index(slider.group), order.get(slider.name, len(order))))


def changed(sliders: Iterable[Slider], own: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """Those values that were moved away from where the person's own picture has them."""
    return {s.name: values[s.name] for s in sliders if abs(values[s.name] - s.shown(own[s.name])) > s.step / 2}


def _plain(name: str) -> Slider:
    words = name.removesuffix("_deg").replace("_", " ").capitalize()
    return Slider(name, f"{words} (°)", OTHER, -30, 30, 0.5) if name.endswith("_deg") else Slider(name, words, OTHER)
