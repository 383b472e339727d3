"""Names of tensors in pSp, e4e and ReStyle checkpoints: `encoder.*`, `decoder.*` and a separate `latent_avg`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from latent_reenact.third_party import rosinality


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
