"""The sliders of a latent model: settings by name to w_plus, and pose and expression apart.

Legend: B pictures, K controls, N, D as in `models/motion.py`, L its rows, one more where a model reads faces twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.models import MotionControl, MotionMapper
from latent_reenact.models.second_reading import CorrectedMapper

POSE_CONTROLS = ("yaw_deg", "pitch_deg", "roll_deg")
"""The controls that turn the head; all others are expression, the eyes' direction included."""


class Sliders:
    """Names and numbers for `MotionControl`. Holds nothing of any user; threads may share it.

    Args:
        control: None for a model without sliders, of which everything but `names` raises ConfigError.
        mapper: the method's M.
        model: its name, for people.
    """

    def __init__(self, control: MotionControl | None, mapper: MotionMapper | CorrectedMapper, model: str) -> None:
        self._maybe_control, self._mapper, self._model = control, mapper, model
        is_pose = torch.tensor([name in POSE_CONTROLS for name in self.names])
        self._is_pose = is_pose if control is None else is_pose.to(control.scale.device)  # [K]

    @property
    def names(self) -> tuple[str, ...]:
        return () if self._maybe_control is None else self._maybe_control.config.controls

    @property
    def _control(self) -> MotionControl:
        return self.require()

    def require(self) -> MotionControl:
        """Raises ConfigError for a model without sliders."""
        if self._maybe_control is None:
            raise ConfigError(
                f"model {self._model} has no sliders, which tell pose from expression too: use a driving picture or "
                "video instead, whole, or another model, such as builtin"
            )
        return self._maybe_control

    def check(self, settings: Mapping[str, float]) -> None:
        """Raises ConfigError for a control that the model does not have, UsageError for a value that no face takes."""
        config = self._control.config
        for name, value in settings.items():
            if name not in self.names:
                raise ConfigError(f"unknown control {name!r}; expected some of {', '.join(self.names)}")
            low, high = config.limits(name)
            if not low <= value <= high:
                raise UsageError(f"{name}: got {value:g}, expected a number from {low:g} to {high:g}")

    @torch.inference_mode()
    def read(self, motion: Tensor) -> dict[str, float]:
        """motion [1, L, N] -> where every slider stands."""
        return dict(zip(self.names, self._control.decode(motion)[0].tolist(), strict=True))

    def whole(self, motion: Tensor) -> Tensor:
        """motion [1, L, N], read by an earlier version of the model perhaps -> with the row of a second reading."""
        if self._maybe_control is None:
            return motion
        return F.pad(motion, (0, 0, 0, max(self._maybe_control.rows - motion.shape[1], 0)))

    def neutral(self) -> Tensor:
        """Motion of a frontal face at rest, [1, L, N]."""
        return self._control.encode(self._zeros())

    def moved(
        self, person: Tensor, motion: Tensor, settings: Sequence[Mapping[str, float]], *, at_rest: bool
    ) -> tuple[Tensor, Tensor]:
        """A person with sliders set.

        Args:
            person: w_plus [1, L, D]. motion: the person's own [1, L, N].
            settings: B of them; what one does not name stays as in `motion`, or with `at_rest` is 0.

        Returns:
            w_plus [B, L, D], and the motion [B or 1, L, N] that the mapper was given.
        """
        control = self._control
        current = self._zeros() if at_rest else control.decode(motion)
        wanted = current.repeat(len(settings), 1)  # [B, K]
        for row, one in zip(wanted, settings, strict=True):
            self.check(one)
            for name, value in one.items():
                row[self.names.index(name)] = float(value)
        if at_rest:
            return control.from_rest(self._mapper, person, wanted)
        return control.moved(self._mapper, person, motion, current, wanted)

    def halves(self, person: Tensor, pose: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """A person w_plus [1, L, D] with the pose of one motion and the expression of another, [B or 1, L, N] each.

        Returns:
            w_plus [B, L, D], and the motion [B, L, N] that the mapper was given.
        """
        control, count = self._control, max(len(pose), len(expression))
        current, turned = control.decode(expression), control.decode(pose)
        wanted = torch.where(self._is_pose, turned, current)
        w_plus, motion = control.moved(self._mapper, person, expression, current, wanted)
        return w_plus.expand(count, -1, -1), motion.expand(count, -1, -1)

    def _zeros(self) -> Tensor:
        return torch.zeros(1, len(self.names), device=self._control.scale.device)
