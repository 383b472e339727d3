"""Talking clips: one person with smooth head motion, speech-like mouth, blinks, brows and a smile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from latent_reenact.errors import UsageError
from latent_reenact.synthface.factors import EXPRESSION_INDEX, EXPRESSION_NAMES, Factors, Motion
from latent_reenact.synthface.mesh import smoothstep
from latent_reenact.synthface.sampling import sample

VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "ah": {"jawOpen": 0.55, "mouthLowerDown_L": 0.2, "mouthLowerDown_R": 0.2},
    "eh": {"jawOpen": 0.32, "mouthStretch_L": 0.25, "mouthStretch_R": 0.25},
    "ee": {
        "jawOpen": 0.14,
        "mouthStretch_L": 0.4,
        "mouthStretch_R": 0.4,
        "mouthUpperUp_L": 0.25,
        "mouthUpperUp_R": 0.25,
    },
    "oh": {"jawOpen": 0.32, "mouthFunnel": 0.6},
    "oo": {"jawOpen": 0.08, "mouthPucker": 0.7},
    "mm": {"mouthPress_L": 0.45, "mouthPress_R": 0.45},
    "ff": {"jawOpen": 0.1, "mouthRollLower": 0.5, "mouthUpperUp_L": 0.15, "mouthUpperUp_R": 0.15},
}
_SYLLABLE_S = (0.10, 0.22)  # shortest and longest time from one viseme to the next
_PAUSE_PROBABILITY = 0.12
_BLINK_EVERY_S, _BLINK_S = (1.8, 4.5), 0.30
_SMILE = {"mouthSmile": 0.75, "cheekSquint": 0.45, "eyeSquint": 0.15}
_BROWS = {"browInnerUp": 0.7, "browOuterUp": 0.6}


def talking_clip(seed: int, i: int, frames: int, fps: float = 25.0) -> Iterator[Factors]:
    """Clip i of a seed: the factors of each frame, all of one person in one scene.

    The head moves smoothly: yaw within about ±25 degrees, pitch -12 .. +15, roll ±6. Frame k shows time k / fps of the
    same motion whatever `fps` is; the whole depends on (seed, i) alone. Raises UsageError for frames < 1 or fps <= 0.
    """
    if frames < 1 or not fps > 0:
        raise UsageError(f"got {frames} frames at {fps} frames/s; expected at least one frame and a positive rate")
    person = sample(seed, i)
    motion = _TalkingMotion(np.random.default_rng((seed, i, 1)), duration_s=frames / fps)
    return (replace(person, motion=motion.at(k / fps)) for k in range(frames))


class _TalkingMotion:
    """A continuous motion over time."""

    def __init__(self, rng: np.random.Generator, duration_s: float) -> None:
        streams = rng.spawn(5)  # one each, so that a longer clip begins like a shorter one
        self._yaw, self._pitch, self._roll, self._gaze_yaw, self._gaze_pitch = (_Sway(streams[0]) for _ in range(5))
        self._speech = _speech(streams[1], duration_s)
        self._blinks = _events(streams[2], duration_s, *_BLINK_EVERY_S)
        self._smiles = _events(streams[3], duration_s, 2.5, 6.0)
        self._raises = _events(streams[4], duration_s, 1.5, 4.0)

    def at(self, t: float) -> Motion:
        weights = _viseme_at(self._speech, t)
        smile = max((_bump(t - start, 0.35, 1.6) for start in self._smiles), default=0.0)
        brows = max((_bump(t - start, 0.2, 0.8) for start in self._raises), default=0.0)
        blink = max((_bump(t - start, _BLINK_S / 2, _BLINK_S) for start in self._blinks), default=0.0)
        weights *= 1 - 0.5 * smile  # a smiling mouth opens and rounds less
        expression = dict(zip(EXPRESSION_NAMES, weights.tolist(), strict=True))
        for name, amount in [(n, a * smile) for n, a in _SMILE.items()] + [(n, a * brows) for n, a in _BROWS.items()]:
            for side in "LR":
                expression[f"{name}_{side}"] += amount
        expression["eyeBlink_L"] = expression["eyeBlink_R"] = blink
        return Motion(
            yaw_deg=24 * self._yaw.at(t),
            pitch_deg=1.5 + 13 * self._pitch.at(t),
            roll_deg=6 * self._roll.at(t),
            gaze_yaw_deg=8 * self._gaze_yaw.at(t) - 8 * self._yaw.at(t),  # the eyes stay with the listener, in part
            gaze_pitch_deg=(4 * self._gaze_pitch.at(t) - 4 * self._pitch.at(t)) * (1 - 0.9 * blink),
            expression={name: min(value, 1.0) for name, value in expression.items() if value > 0},
        )


class _Sway:
    """A slow, smooth signal in -1 .. 1: three sines of random phase and rate."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rates = rng.uniform((0.10, 0.22, 0.45), (0.20, 0.40, 0.70))  # hertz
        self._phases = rng.uniform(0, 2 * np.pi, 3)

    def at(self, t: float) -> float:
        return float(np.array([0.6, 0.28, 0.12]) @ np.sin(2 * np.pi * self._rates * t + self._phases))


def _speech(rng: np.random.Generator, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Times [N] and blendshape weights [N, 53] of the visemes."""
    names = list(VISEMES)
    times, weights = [0.0], [np.zeros(len(EXPRESSION_NAMES))]
    while times[-1] <= duration_s:
        step, loudness, pause, viseme = (
            rng.uniform(*_SYLLABLE_S),
            rng.uniform(0.6, 1.1),
            rng.random(),
            rng.integers(1, len(names)),
        )
        shape = np.zeros(len(EXPRESSION_NAMES))
        if pause >= _PAUSE_PROBABILITY:
            for name, amount in VISEMES[names[viseme]].items():
                shape[EXPRESSION_INDEX[name]] = amount * loudness
        times.append(times[-1] + step)
        weights.append(shape)
    return np.array(times), np.array(weights)


def _viseme_at(speech: tuple[np.ndarray, np.ndarray], t: float) -> np.ndarray:
    times, weights = speech
    k = int(np.searchsorted(times, t, side="right")) - 1
    if k >= len(times) - 1:
        return weights[-1].copy()
    share = smoothstep(times[k], times[k + 1], t)
    return weights[k] * (1 - share) + weights[k + 1] * share


def _events(rng: np.random.Generator, duration_s: float, shortest_s: float, longest_s: float) -> list[float]:
    """Start times of something that happens every `shortest_s` to `longest_s` seconds."""
    starts = [rng.uniform(0.3, longest_s)]
    while starts[-1] < duration_s:
        starts.append(starts[-1] + rng.uniform(shortest_s, longest_s))
    return starts


def _bump(t: float, rise_s: float, length_s: float) -> float:
    """0 before 0 and after `length_s`, 1 between the rise and the fall."""
    return float(min(smoothstep(0, rise_s, t), smoothstep(length_s, length_s - rise_s, t)))
