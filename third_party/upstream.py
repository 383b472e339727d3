"""What a reader of upstream files gives: networks of ours, by name, with the tensors that fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Network:
    """One network for our model folder.

    kind: name of its class in `latent_reenact.models`.
    config: the fields of that class's Config that differ from the defaults.
    state: its tensors, under our names.
    """

    kind: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
