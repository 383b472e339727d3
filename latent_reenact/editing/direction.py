"""A direction as a value: a step in W or W+, where it came from, and what a slider along it means.

Legend: L n_styles, D w_dim, K points of a calibration.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.errors import CorruptFileError, LimitExceededError, UsageError
from latent_reenact.media import atomic_path

_MAX_BYTES = 64 << 20
_OTHER_SCALE = 3.0  # a ratio of standard deviations that no two encodings of one kind have


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """What steps along a direction do to one measure, on average over faces.

    measure: its name ("yaw_deg", "smile"). steps: [K], increasing, 0 among them. changes: [K], increasing, in the
    measure's own unit. deviation: how much single faces deviate from the average at the ends, in that unit.
    """

    measure: str
    steps: np.ndarray
    changes: np.ndarray
    deviation: float

    def __post_init__(self) -> None:
        steps, changes = np.asarray(self.steps, np.float64), np.asarray(self.changes, np.float64)
        increasing = steps.ndim == 1 and steps.shape == changes.shape and len(steps) > 1
        if not (increasing and (np.diff(steps) > 0).all() and (np.diff(changes) > 0).all()):
            raise CorruptFileError(f"calibration of {self.measure!r}: expected steps and changes that both increase")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "changes", changes)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest change that a slider can ask for."""
        return float(self.changes[0]), float(self.changes[-1])

    def steps_for(self, change: float) -> float:
        """How many steps give this change.

        Raises:
            UsageError: further than was measured.
        """
        low, high = self.range
        if not low <= change <= high:
            raise UsageError(f"{self.measure}: got a change of {change:g}, expected {low:.3g} to {high:.3g}")
        return float(np.interp(change, self.changes, self.steps))


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentDirection:
    """A step that changes one thing about a face.

    values: float32 [D], the same for every style, or [L, D]. styles: (first, past the last) style that it moves, or
    None for all. latent_std: standard deviation of the entries of the latents that it was found among, or None where
    nobody knows. calibration: what a slider means; without it, a slider counts steps.
    """

    name: str
    values: np.ndarray
    styles: tuple[int, int] | None = None
    latent_std: float | None = None
    calibration: Calibration | None = field(default=None)

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float32, order="C")
        if values.ndim not in (1, 2) or not values.size or not np.isfinite(values).all() or not values.any():
            raise CorruptFileError(
                f"direction {self.name!r} of shape {list(values.shape)}: expected finite numbers [D] or [L, D], not 0"
            )
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def at(self, n_styles: int, w_dim: int) -> np.ndarray:
        """One step in W+, float32 [n_styles, w_dim].

        Raises:
            UsageError: a direction for another generator.
        """
        shape = (n_styles, w_dim)
        if self.values.shape not in ((w_dim,), shape):
            raise UsageError(
                f"direction {self.name!r} has shape {list(self.values.shape)}, expected [{w_dim}] or {list(shape)} for "
                "these latents; take one that was found for this generator"
            )
        step = np.array(np.broadcast_to(self.values, shape))
        if self.styles is not None:
            first, end = self.styles
            step[:first] = step[end:] = 0
        return step

    def apply(self, w_plus: np.ndarray, amount: float) -> np.ndarray:
        """w_plus [..., L, D] moved, float32.

        Args:
            amount: a change in the measure's unit where the direction is calibrated, else a number of steps.

        Raises:
            UsageError: another generator's direction, or further than the calibration goes.

        Warns:
            where the latents are of quite another scale than those that the direction was found among.
        """
        self.check_scale(w_plus)
        steps = amount if self.calibration is None else self.calibration.steps_for(amount)
        return self.move(w_plus, steps)

    def move(self, w_plus: np.ndarray, steps: float) -> np.ndarray:
        """w_plus [..., L, D] moved by a number of steps, whatever they mean."""
        w_plus = np.asarray(w_plus, np.float32)
        return w_plus + np.float32(steps) * self.at(*w_plus.shape[-2:])

    def check_scale(self, w_plus: np.ndarray) -> None:
        """Warn where latents [..., L, D] have another scale than the direction's.

        Codes of pSp-style ReStyle have a standard deviation near 9.5, those of e4e, like W itself, 0.5: a step in one
        is next to nothing, or far too much, in the other.
        """
        std = float(np.std(w_plus))
        if self.latent_std is None or not std > 0:
            return
        ratio = std / self.latent_std
        if max(ratio, 1 / ratio) > _OTHER_SCALE:
            warnings.warn(
                f"direction {self.name!r} was found among latents of standard deviation {self.latent_std:.2g}, and "
                f"these have {std:.2g}: its steps are {'too small' if ratio > 1 else 'too large'} by about "
                f"{max(ratio, 1 / ratio):.0f} times; calibrate it on latents of this kind",
                stacklevel=3,
            )

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` file, whole or not at all. Raises OutputError."""
        from safetensors.numpy import save

        arrays = {"direction": np.array(self.values)}
        about: dict[str, Any] = {"name": self.name, "styles": self.styles, "latent_std": self.latent_std}
        if self.calibration is not None:
            arrays |= {"steps": self.calibration.steps, "changes": self.calibration.changes}
            about |= {"measure": self.calibration.measure, "deviation": self.calibration.deviation}
        data = save(arrays, metadata={"about": json.dumps(about)})
        with atomic_path(path, needed_bytes=len(data)) as temporary:
            temporary.write_bytes(data)

    @classmethod
    def load(cls, path: str | Path) -> LatentDirection:
        """Read what `save` wrote, or the bare direction that `latent-reenact convert` writes.

        Raises:
            CorruptFileError: missing, unreadable, or no direction.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = Path(path)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise LimitExceededError(f"{path} is over {_MAX_BYTES >> 20} MB; expected a direction")
            data = path.read_bytes()
            arrays = load(data)
            return _from_file(arrays, _about(data), path.stem)
        except OSError as error:
            raise CorruptFileError(f"cannot read the direction {path}: {error.strerror}") from None
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise CorruptFileError(
                f"{path} is not a direction; expected what directions or latent-reenact convert saves"
            ) from None


def _about(data: bytes) -> dict[str, Any]:
    """What the header's metadata say (the header was checked by the loader)."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size]).get("__metadata__", {}).get("about", "{}"))


def _from_file(arrays: dict[str, np.ndarray], about: dict[str, Any], stem: str) -> LatentDirection:
    calibration = None
    if "steps" in arrays:
        calibration = Calibration(
            measure=str(about["measure"]),
            steps=arrays["steps"],
            changes=arrays["changes"],
            deviation=float(about["deviation"]),
        )
    styles, std = about.get("styles"), about.get("latent_std")
    return LatentDirection(
        name=str(about.get("name", stem)),
        values=arrays["direction"],
        styles=None if styles is None else (int(styles[0]), int(styles[1])),
        latent_std=None if std is None else float(std),
        calibration=calibration,
    )
