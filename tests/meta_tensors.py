"""Upstream's checkpoints as names and shapes alone (the meta device holds no numbers), from the golden manifests."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from golden_set import ROOT


def meta_state(case: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a case whose names start with `prefix`, without it."""
    tensors = json.loads((ROOT / case / "manifest.json").read_text())["tensors"]
    return {
        name.removeprefix(prefix): torch.empty(entry["shape"], device="meta")
        for name, entry in tensors.items()
        if name.startswith(prefix)
    }
