"""Pose from one picture, expression from whatever drives: a reenactor like any other, so that jobs run with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.media import read_image
from latent_reenact.systems import Identity, LatentReenactor, Reenactor, Result


class PoseFrom:
    """Draws with the yaw, pitch and roll of one picture, and with the expression of each driving picture or frame.

    Args:
        picture: whose pose; the largest face in it. aligned: it is already cut as the model wants it.

    Raises:
        ConfigError: the model has no sliders, which tell pose from expression. CorruptFileError, LimitExceededError.
    """

    def __init__(self, reenactor: Reenactor, picture: str | Path, *, aligned: bool = False) -> None:
        if not isinstance(reenactor, LatentReenactor) or not reenactor.controls:
            raise ConfigError(
                f"model {reenactor.name} cannot tell pose from expression: it has no sliders; use another, as builtin"
            )
        self._reenactor, self._picture, self._aligned = reenactor, read_image(picture), aligned
        self._pose: Result | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reenactor, name)

    def __call__(self, identity: Identity, driving: Any, *, relative: bool = False, **options: Any) -> Result:
        if relative:
            raise UsageError(
                "pose from a picture: a driving picture cannot be relative to it; leave out one of the two"
            )
        return self._combined(identity, self._reenactor(identity, driving, **options))

    def stream(self, identity: Identity, driving: Any, **options: Any) -> Iterator[Result]:
        results = self._reenactor.stream(identity, driving, **options)
        try:
            for result in results:
                yield self._combined(identity, result)
        finally:
            results.close()  # type: ignore[attr-defined]

    def _combined(self, identity: Identity, whole: Result) -> Result:
        if self._pose is None:
            # drawn for its motion, which is the picture's whoever is drawn
            self._pose = self._reenactor(identity, self._picture, aligned=self._aligned)
        drawn = self._reenactor.combine(identity, pose=self._pose, expression=whole)
        return replace(drawn, driving_face=whole.driving_face, operation=whole.operation)
