"""Upstream's networks at toy size (16 px, w of 8), by upstream's names, filled by name as golden cases are."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden_set import vec
from latent_reenact.models import BodyConfig, EncoderConfig, MotionEncoder, MotionEncoderConfig, StyleEncoder

L, D = 6, 8
CHANNELS = {4: 8, 8: 8, 16: 4}
BODY = BodyConfig(widths=(4, 8, 12, 16), depths=(1, 1, 1, 1), se_reduction=2)


def save(path: Path, tree: Any, *, legacy: bool = False) -> Path:
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    return path


def ada_state(seed: str = "toy") -> dict[str, Tensor]:
    """G_ema of a 16 px network."""
    shapes: dict[str, tuple[int, ...]] = {"mapping.w_avg": (D,), "synthesis.b4.const": (CHANNELS[4], 4, 4)}
    for i in range(2):
        shapes |= {f"mapping.fc{i}.weight": (D, D), f"mapping.fc{i}.bias": (D,)}
    for r, width in CHANNELS.items():
        before = CHANNELS.get(r // 2, width)
        layers = {"conv1": (width, width, 3, 3), "torgb": (3, width, 1, 1)}
        layers |= {"conv0": (width, before, 3, 3)} if r > 4 else {}
        for layer, shape in layers.items():
            name = f"synthesis.b{r}.{layer}"
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
            shapes |= {f"{name}.affine.weight": (shape[1], D), f"{name}.affine.bias": shape[1:2]}
            if layer != "torgb":
                shapes |= {f"{name}.noise_strength": (), f"{name}.noise_const": (r, r)}
    state = {name: vec(f"{seed}/{name}", shape) for name, shape in shapes.items()}
    return {name: 1 + 0.1 * t if name.endswith("affine.bias") else t for name, t in state.items()}


def rosinality_state(seed: str = "toy") -> dict[str, Tensor]:
    """The same network by rosinality's names (FILL.md has the table)."""
    state, leaves = {}, {"weight": "conv.weight", "bias": "activate.bias", "noise_strength": "noise.weight"}
    for name, tensor in ada_state(seed).items():
        parts = name.split(".")
        if parts[0] == "mapping" and parts[1].startswith("fc"):
            state[f"style.{int(parts[1][2:]) + 1}.{parts[2]}"] = tensor
        elif parts[-1] == "const":
            state["input.input"] = tensor[None]
        elif parts[0] == "synthesis":
            j = int(parts[1][1:]).bit_length() - 4  # 8 -> 0, 16 -> 1
            unit, leaf = parts[2], ".".join(parts[3:])
            if leaf == "noise_const":
                k = 0 if j < 0 else 2 * j + (1 if unit == "conv0" else 2)
                state[f"noises.noise_{k}"] = tensor[None, None]
                continue
            if unit == "torgb":
                place = "to_rgb1" if j < 0 else f"to_rgbs.{j}"
            else:
                place = "conv1" if j < 0 else f"convs.{2 * j + (unit == 'conv1')}"
            if leaf.startswith("affine"):
                state[f"{place}.{leaf.replace('affine', 'conv.modulation')}"] = tensor
            elif unit == "torgb" and leaf == "bias":
                state[f"{place}.bias"] = tensor.reshape(1, 3, 1, 1)
            else:
                value = tensor[None] if leaf == "weight" else tensor.reshape(1) if leaf == "noise_strength" else tensor
                state[f"{place}.{leaves[leaf]}"] = value
    return state


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def _encoder(channels: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    config = EncoderConfig(input_channels=channels, input_size=32, n_styles=L, w_dim=D, body=BODY)
    return StyleEncoder(config).state_dict()


def restyle_file(path: Path, *, encoder_type: str = "BackboneEncoder", channels: int = 6, legacy: bool = False) -> Path:
    """A ReStyle (or, of three channels, pSp) checkpoint."""
    state = OrderedDict({**_prefixed("encoder", _encoder(channels)), **_prefixed("decoder", rosinality_state())})
    opts = {"encoder_type": encoder_type, "input_nc": channels, "output_size": 16, "start_from_latent_avg": True}
    average = ada_state()["mapping.w_avg"].expand(L, D).clone()
    return save(path, {"state_dict": state, "latent_avg": average, "opts": opts}, legacy=legacy)


def jahoda_file(path: Path, *, seed: str = "toy") -> Path:
    """The method's network."""
    torch.manual_seed(1)
    config = MotionEncoderConfig(input_size=32, n_styles=L, motion_dim=D, bottleneck=16, body=BODY)
    state = _prefixed("encoder", MotionEncoder(config).state_dict())
    state |= {
        "mapping_net.linear_relu.0.weight": 0.1 * vec("mapper/w", (L * D, 2 * L * D)),
        "mapping_net.linear_relu.0.bias": vec("mapper/b", (L * D,)),
    }
    state |= _prefixed("decoder", rosinality_state(seed))
    return save(path, {"state_dict": state, "opts": {"output_size": 16}})
