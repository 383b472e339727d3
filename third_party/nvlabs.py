"""Names of tensors in NVIDIA's StyleGAN2-ADA networks (`G_ema` of a stylegan2-ada-pytorch pickle)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_LEAVES = {
    "weight": "conv.weight",
    "affine.weight": "conv.affine.weight",
    "affine.bias": "conv.affine.bias",
    "bias": "bias",
    "noise_strength": "noise_strength",
    "noise_const": "noise_const",
}
_UNITS = {"conv0": "up_conv", "conv1": "conv", "torgb": "to_rgb"}


def generator_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """G_ema's tensors under the names of `StyleGAN2Generator`; FIR kernels, which are constants, are left out."""
    ours = {}
    for name, tensor in state.items():
        if not name.endswith("resample_filter"):
            ours[_rename(name)] = tensor
    return ours


def _rename(name: str) -> str:
    if match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name):
        return f"mapping.layers.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.+)", name):
        block = int(match[1]).bit_length() - 3  # 4 -> 0, 8 -> 1, ...
        return f"synthesis.blocks.{block}.{_UNITS[match[2]]}.{_LEAVES[match[3]]}"
    return "synthesis.const" if name == "synthesis.b4.const" else name
