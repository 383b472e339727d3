"""Pose without expression, expression without pose: what the sliders read of a person, and a half of what drives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.systems import Identity, LatentReenactor, Reenactor, Result

Part = Literal["both", "pose", "expression"]
POSE = ("yaw_deg", "pitch_deg", "roll_deg")
"""The controls that turn the head; all others are expression, the eyes' direction included."""


def read_settings(reenactor: Reenactor, identity: Identity) -> dict[str, float]:
    """Where every slider of the model stands for a person as pictured; empty for a model without sliders."""
    return _decoded(reenactor, identity.motion) if reenactor.controls else {}


def of_part(settings: Mapping[str, float], part: Part) -> dict[str, float]:
    """Those settings that belong to a part."""
    if part not in get_args(Part):
        raise UsageError(f"part: got {part!r}, expected one of {', '.join(get_args(Part))}")
    return {name: value for name, value in settings.items() if part == "both" or (name in POSE) == (part == "pose")}


class PartReenactor:
    """A reenactor that takes only a part of what drives: the rest stays as in the identity's own picture.

    It is a `Reenactor` itself, so that whole jobs run with it.

    Raises:
        ConfigError: the model has no sliders, which tell the two parts apart.
    """

    def __init__(self, reenactor: Reenactor, part: Part) -> None:
        of_part({}, part)
        if not reenactor.controls:
            raise ConfigError(
                f"model {reenactor.name} cannot tell pose from expression: it has no sliders; take both, or use builtin"
            )
        self._reenactor, self._part = reenactor, part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reenactor, name)

    def __call__(self, identity: Identity, driving: Any, **options: Any) -> Result:
        return self._only(identity, self._reenactor(identity, driving, **options))

    def stream(self, identity: Identity, driving: Any, **options: Any) -> Iterator[Result]:
        results = self._reenactor.stream(identity, driving, **options)
        try:
            for result in results:
                yield self._only(identity, result)
        finally:
            if hasattr(results, "close"):
                results.close()

    def _only(self, identity: Identity, whole: Result) -> Result:
        if self._part == "both":
            return whole
        wanted = of_part(_decoded(self._reenactor, whole.motion), self._part)
        drawn = self._reenactor.pose(identity, **wanted)
        return replace(drawn, driving_face=whole.driving_face, operation=whole.operation)


def _decoded(reenactor: Reenactor, motion: Any) -> dict[str, float]:
    """motion [L, N] -> control -> value."""
    if not isinstance(reenactor, LatentReenactor) or reenactor.networks.control is None:
        raise ConfigError(f"model {reenactor.name} has no sliders to read; use a latent model, such as builtin")
    with torch.inference_mode():
        values = reenactor.networks.control.decode(torch.tensor(motion, device=reenactor.device)[None])[0]
    return dict(zip(reenactor.controls, values.cpu().tolist(), strict=True))
