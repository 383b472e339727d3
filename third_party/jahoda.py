"""The method's published network, `best_model.pt` (arXiv 2504.13021): encoder.*, mapping_net.*, decoder.*."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from latent_reenact.third_party import restyle, rosinality
from latent_reenact.third_party.upstream import Network

_MAPPER = "mapping_net.linear_relu.0"


def recognises(tensors: Mapping[str, Any]) -> bool:
    """Whether this is the method's network."""
    return f"{_MAPPER}.weight" in tensors and "encoder.output_layer_2.3.weight" in tensors


def networks(tensors: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    """The generator, the motion encoder and the mapper. Raises CorruptFileError."""
    generator = rosinality.generator(restyle.part(tensors, "decoder"), None, where)
    encoder = restyle.encoder_state(tensors)
    n_styles = 2 * int(math.log2(generator.config["resolution"])) - 2
    w_dim = generator.config["w_dim"]
    body = restyle.body_config(encoder, "irse", where)
    pooled, bottleneck = encoder["output_layer_2.3.weight"].shape[1], encoder["output_layer_2.3.weight"].shape[0]
    motion_dim = encoder["linear.weight"].shape[0] // n_styles
    side = math.isqrt(pooled // body["widths"][-1])
    stride = 2 ** len(body["widths"])
    motion_encoder = {
        "input_size": 256 if side == 7 else side * stride,  # 7: a larger map, pooled
        "n_styles": n_styles,
        "motion_dim": motion_dim,
        "bottleneck": bottleneck,
        "body": body,
    }
    mapper = {"n_styles": n_styles, "w_dim": w_dim, "motion_dim": motion_dim}
    mapper_state = {f"linear.{leaf}": tensors[f"{_MAPPER}.{leaf}"] for leaf in ("weight", "bias")}
    return {
        "generator": generator,
        "motion_encoder": Network("MotionEncoder", motion_encoder, encoder),
        "mapper": Network("MotionMapper", mapper, mapper_state),
    }
