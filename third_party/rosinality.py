"""rosinality's StyleGAN2 (`g_ema`; also the `decoder.` of pSp, e4e, ReStyle and the method)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latent_reenact.errors import CorruptFileError
from latent_reenact.third_party.upstream import Network

_LEAVES = {
    "conv.weight": "conv.weight",
    "conv.modulation.weight": "conv.affine.weight",
    "conv.modulation.bias": "conv.affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}


def recognises(tensors: Mapping[str, Any]) -> bool:
    """Whether this is the state of a generator."""
    return {"input.input", "conv1.conv.weight", "style.1.weight"} <= tensors.keys()


def generator(tensors: Mapping[str, Tensor], latent_avg: Tensor | None, where: str) -> Network:
    """The generator; its average w is zero where the file has no `latent_avg` ([D] or [L, D])."""
    if not recognises(tensors):
        raise CorruptFileError(f"{where} lacks the tensors of a StyleGAN2 generator; get the file again")
    config = generator_config(tensors)
    state = generator_state(tensors)
    average = torch.zeros(config["w_dim"]) if latent_avg is None else latent_avg
    state["mapping.w_avg"] = average[0] if average.ndim == 2 else average
    return Network("StyleGAN2Generator", config, state)


def generator_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of the generator, read off its tensors."""
    layers = [name for name in state if re.fullmatch(r"style\.\d+\.weight", name)]
    channels = {4: state["conv1.conv.weight"].shape[1]}
    for name, tensor in state.items():
        if (match := re.fullmatch(r"convs\.(\d+)\.conv\.weight", name)) and int(match[1]) % 2:
            channels[2 ** (int(match[1]) // 2 + 3)] = tensor.shape[1]
    return {
        "resolution": max(channels),
        "z_dim": state["style.1.weight"].shape[1],
        "w_dim": state[f"style.{len(layers)}.weight"].shape[0],
        "mapping_layers": len(layers),
        "channels": dict(sorted(channels.items())),
    }


def generator_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """g_ema's tensors under the names and shapes of `StyleGAN2Generator`; constant FIR kernels are left out."""
    ours = {}
    for name, tensor in state.items():
        if not name.endswith(".kernel"):
            ours[_rename(name)] = _reshape(name, tensor)
    return ours


def _rename(name: str) -> str:
    if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return f"mapping.layers.{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"noises\.noise_(\d+)", name):
        return f"{_conv(int(match[1]))}.noise_const"
    if match := re.fullmatch(r"(conv1|convs\.\d+|to_rgb1|to_rgbs\.\d+)\.(.+)", name):
        return f"{_unit(match[1])}.{_LEAVES[match[2]]}"
    return "synthesis.const" if name == "input.input" else name


def _unit(name: str) -> str:
    kind, _, index = name.partition(".")
    if kind == "conv1":
        return _conv(0)
    if kind == "convs":
        return _conv(int(index) + 1)
    return f"synthesis.blocks.{0 if kind == 'to_rgb1' else int(index) + 1}.to_rgb"


def _conv(k: int) -> str:
    """k-th styled convolution: 0 at 4², then (up-sampling, plain) at each resolution."""
    return f"synthesis.blocks.{(k + 1) // 2}.{'up_conv' if k % 2 else 'conv'}"


def _reshape(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("conv.weight") or name == "input.input":
        return tensor[0]  # a batch axis of one
    if name.endswith("noise.weight"):
        return tensor.reshape([])
    if name.startswith("noises."):
        return tensor[0, 0]
    return tensor.reshape(3) if re.match(r"to_rgbs?\d*(\.\d+)?\.bias", name) else tensor
