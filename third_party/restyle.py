"""pSp, e4e and ReStyle checkpoints: {"state_dict": encoder.*, decoder.*; "latent_avg": [L, D]; "opts": {...}}."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from latent_reenact.errors import CorruptFileError
from latent_reenact.third_party import rosinality
from latent_reenact.third_party.upstream import Network

# upstream's class -> (our kind, trunk)
_ENCODERS = {
    "GradualStyleEncoder": ("gradual", "irse"),
    "BackboneEncoder": ("backbone", "irse"),
    "ResNetBackboneEncoder": ("backbone", "resnet"),
    "ResNetGradualStyleEncoder": ("gradual", "resnet"),
    "Encoder4Editing": ("progressive_gradual", "irse"),
    "ProgressiveBackboneEncoder": ("progressive_backbone", "irse"),
    "ResNetProgressiveBackboneEncoder": ("progressive_backbone", "resnet"),
}
_PICTURE, _PICTURE_AND_ESTIMATE = 3, 6  # channels that an encoder takes
_STEPS = 5  # of ReStyle, in its paper and programs


def recognises(tensors: Mapping[str, Any]) -> bool:
    """Whether this is an encoder with its generator."""
    return "encoder.styles.0.linear.weight" in tensors and "decoder.input.input" in tensors


def networks(tree: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    """The generator and the inversion. Raises CorruptFileError."""
    average = tree.get("latent_avg")
    opts = tree.get("opts")
    opts = opts if isinstance(opts, Mapping) else {}
    generator = rosinality.generator(part(tensors, "decoder"), average, where)
    config = encoder_config(encoder_state(tensors), opts, where)
    n_styles, w_dim = config["n_styles"], config["w_dim"]
    if config["input_channels"] == _PICTURE and not opts.get("start_from_latent_avg", True):
        average = torch.zeros(w_dim)  # pSp can be trained to give the whole latent; ReStyle always adds
    if average is None:
        raise CorruptFileError(f"{where} has no latent_avg, which its encoder starts from; get the whole file")
    state = {f"encoder.{name}": tensor for name, tensor in encoder_state(tensors).items()}
    state["latent_avg"] = average.expand(n_styles, w_dim) if average.ndim == 1 else average
    inversion = {"encoder": config, "steps": 1 if config["input_channels"] == _PICTURE else _STEPS}
    return {"generator": generator, "inversion": Network("ReStyleEncoder", inversion, state)}


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix.`, without it."""
    return {name.removeprefix(prefix + "."): t for name, t in state.items() if name.startswith(prefix + ".")}


def encoder_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `StyleEncoder`, whose names are upstream's."""
    return part(state, "encoder")


def generator_state(state: Mapping[str, Tensor], latent_avg: Tensor) -> dict[str, Tensor]:
    """Tensors of `StyleGAN2Generator`; its average w is the first row of `latent_avg` [L, D]."""
    ours = rosinality.generator_state(part(state, "decoder"))
    return ours | {"mapping.w_avg": latent_avg[0] if latent_avg.ndim == 2 else latent_avg}


def encoder_config(state: Mapping[str, Tensor], opts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Sizes of the encoder, read off its tensors; whether it is progressive (e4e's way) only `opts` can say.

    Raises:
        CorruptFileError: `opts` name no encoder, an unknown one, or another than the tensors are of.
    """
    trunk = "resnet" if "conv1.weight" in state else "irse"
    kind = _kind(opts, trunk, "latlayer1.weight" in state, where)
    stem = state["conv1.weight" if trunk == "resnet" else "input_layer.0.weight"]
    if stem.shape[1] not in (_PICTURE, _PICTURE_AND_ESTIMATE):
        raise CorruptFileError(
            f"{where}: its encoder takes {stem.shape[1]} channels (masks or sketches?), expected {_PICTURE} or "
            f"{_PICTURE_AND_ESTIMATE}; choose an encoder of portraits"
        )
    heads = [name for name in state if re.fullmatch(r"styles\.\d+\.linear\.weight", name)]
    head = state["styles.0.linear.weight"]
    halvings = len([name for name in state if re.fullmatch(r"styles\.0\.convs\.\d+\.weight", name)])
    sizes = body_config(state, trunk, where)
    return {
        "kind": kind,
        "trunk": trunk,
        "input_channels": stem.shape[1],
        "input_size": 2 ** (halvings + len(sizes["widths"])),
        "n_styles": len(heads),
        "w_dim": head.shape[0],
        "head_width": head.shape[1],
        "body": sizes,
    }


def _kind(opts: Mapping[str, Any], trunk: str, is_pyramid: bool, where: str) -> str:
    """The encoder's kind by the name in `opts`, which must fit the tensors."""
    known = ", ".join(_ENCODERS)
    if "encoder_type" not in opts:
        raise CorruptFileError(
            f"{where} lacks opts['encoder_type'], which alone tells pSp's encoders from e4e's; expected one of {known}"
        )
    name = str(opts["encoder_type"])
    if name not in _ENCODERS:
        raise CorruptFileError(f"{where}: opts name the encoder {name[:60]!r}, expected one of {known}")
    kind, named_trunk = _ENCODERS[name]
    if (trunk, is_pyramid) != (named_trunk, kind.endswith("gradual")):
        form = f"{trunk} trunk {'with' if is_pyramid else 'without'} a pyramid"
        raise CorruptFileError(f"{where}: opts name the encoder {name}, but its tensors are of a {form}; get it again")
    return kind


def body_config(state: Mapping[str, Tensor], trunk: str, where: str) -> dict[str, Any]:
    """Widths and depths of an encoder's body, read off its tensors."""
    pattern = r"body\.(\d+)\.res_layer\.1\.weight" if trunk == "irse" else r"body\.(\d+)\.conv1\.weight"
    units = {int(match[1]): t.shape[0] for name, t in state.items() if (match := re.fullmatch(pattern, name))}
    stages = [(width, len(list(group))) for width, group in groupby(units[i] for i in sorted(units))]
    sizes: dict[str, Any] = {"widths": [w for w, _ in stages], "depths": [n for _, n in stages]}
    if trunk == "irse":
        squeeze = state.get("body.0.res_layer.5.fc1.weight")
        if squeeze is None or not stages:
            raise CorruptFileError(f"{where}: its encoder has no squeeze-and-excitation (mode 'ir'), expected 'ir_se'")
        sizes["se_reduction"] = squeeze.shape[1] // squeeze.shape[0]
    return sizes
