"""NVIDIA's StyleGAN2 networks: `G_ema` in the pickles of stylegan2-ada-pytorch and of the stylegan3 repository.

A pickle holds objects of `torch_utils.persistence`: a class by its name, the source text of its module (never run
here) and its state: `_parameters`, `_buffers`, `_modules` as in any PyTorch module, and the sizes as attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from latent_reenact.errors import CorruptFileError
from latent_reenact.third_party.globals import PersistentObject
from latent_reenact.third_party.upstream import Network

_MAX_DEPTH = 12

_LEAVES = {
    "weight": "conv.weight",
    "affine.weight": "conv.affine.weight",
    "affine.bias": "conv.affine.bias",
    "bias": "bias",
    "noise_strength": "noise_strength",
    "noise_const": "noise_const",
}
_UNITS = {"conv0": "up_conv", "conv1": "conv", "torgb": "to_rgb"}


def networks(tree: Mapping[str, Any], where: str) -> dict[str, Network]:
    """The averaged generator of a training snapshot.

    Raises:
        CorruptFileError: not a StyleGAN2 generator of the published form; says what is different.
    """
    generator = tree.get("G_ema")
    if not isinstance(generator, PersistentObject):
        raise CorruptFileError(f"{where} has no G_ema, expected a StyleGAN2 snapshot; choose a file that holds one")
    state = tensors(generator)
    if not any(name.startswith("synthesis.b4.") for name in state):
        raise CorruptFileError(
            f"{where} holds a {generator.class_name} that is not StyleGAN2's (StyleGAN3?); choose a StyleGAN2 network"
        )
    config = generator_config(state)
    config["conv_clamp"] = _same(generator, "conv_clamp", where)
    if (architecture := _same(generator, "architecture", where, default="skip")) != "skip":
        raise CorruptFileError(f"{where} is of architecture {architecture!r}, expected 'skip' (StyleGAN2 config F)")
    lr_multiplier = _attribute(generator, ("mapping", "fc0"), "bias_gain")
    if isinstance(lr_multiplier, float):
        config["mapping_lr_multiplier"] = lr_multiplier
    return {"generator": Network("StyleGAN2Generator", config, generator_state(state))}


def tensors(module: PersistentObject, depth: int = 0) -> dict[str, Tensor]:
    """A module's parameters and buffers by their dotted names."""
    found: dict[str, Tensor] = {}
    for part in ("_parameters", "_buffers"):
        entries = module.state.get(part) or {}
        found |= {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    for name, child in (module.state.get("_modules") or {}).items():
        if isinstance(child, PersistentObject) and depth < _MAX_DEPTH:
            found |= {f"{name}.{inner}": value for inner, value in tensors(child, depth + 1).items()}
    return found


def _attribute(module: PersistentObject, path: tuple[str, ...], name: str) -> Any:
    for step in path:
        child = (module.state.get("_modules") or {}).get(step)
        if not isinstance(child, PersistentObject):
            return None
        module = child
    return module.state.get(name)


def _same(module: PersistentObject, name: str, where: str, default: Any = None) -> Any:
    """An attribute that all layers which have it agree on."""
    values: list[Any] = []

    def visit(part: PersistentObject, depth: int) -> None:
        if name in part.state and part.state[name] not in values:
            values.append(part.state[name])
        for child in (part.state.get("_modules") or {}).values():
            if isinstance(child, PersistentObject) and depth < _MAX_DEPTH:
                visit(child, depth + 1)

    visit(module, 0)
    if len(values) > 1:
        raise CorruptFileError(f"{where}: its layers differ in {name} ({values[:3]}), expected one value")
    value = values[0] if values else default
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def generator_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of the generator, read off its tensors."""
    layers = [name for name in state if re.fullmatch(r"mapping\.fc\d+\.weight", name)]
    channels = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name):
            channels[int(match[1])] = tensor.shape[0]
    w_dim, n_in = state[f"mapping.fc{len(layers) - 1}.weight"].shape[0], state["mapping.fc0.weight"].shape[1]
    embed = state.get("mapping.embed.weight")
    return {
        "resolution": max(channels),
        "z_dim": n_in - (0 if embed is None else embed.shape[0]),
        "w_dim": w_dim,
        "label_dim": 0 if embed is None else embed.shape[1],
        "mapping_layers": len(layers),
        "channels": dict(sorted(channels.items())),
        "scaled_demodulation": False,
    }


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
