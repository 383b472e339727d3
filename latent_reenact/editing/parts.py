"""Where a person's sliders stand, and which of them are pose and which expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import torch

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.systems import Identity, LatentReenactor, Reenactor
from latent_reenact.systems.protocol import Part
from latent_reenact.systems.sliders import POSE_CONTROLS


def read_settings(reenactor: Reenactor, identity: Identity) -> dict[str, float]:
    """Where every slider of the model stands for a person as pictured; empty for a model without sliders."""
    if not reenactor.controls:
        return {}
    if not isinstance(reenactor, LatentReenactor):
        raise ConfigError(f"model {reenactor.name} has no sliders to read; use a latent model, such as builtin")
    reenactor.inverter.check(identity)
    return reenactor.sliders.read(torch.tensor(identity.motion, device=reenactor.device)[None])


def of_part(settings: Mapping[str, float], part: Part) -> dict[str, float]:
    """Those settings that belong to a part."""
    if part not in get_args(Part):
        raise UsageError(f"part: got {part!r}, expected one of {', '.join(get_args(Part))}")
    wanted = {"both": (True, False), "pose": (True,), "expression": (False,)}[part]
    return {name: value for name, value in settings.items() if (name in POSE_CONTROLS) in wanted}
