"""Which upstream a file comes from, and what of ours it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import CorruptFileError, UnsafeCheckpointError
from latent_reenact.third_party import estimators, jahoda, nvlabs, restyle, rosinality
from latent_reenact.third_party.containers import read_checkpoint
from latent_reenact.third_party.globals import PersistentObject
from latent_reenact.third_party.upstream import Network

KNOWN = (
    "StyleGAN2 pickles of NVIDIA, rosinality's StyleGAN2, pSp, e4e, ReStyle, the method's best_model.pt, ArcFace "
    "(model_ir_se50.pth), HopeNet, LPIPS heads with torchvision's AlexNet or VGG-16, torchvision's ResNets, OpenGraphAU"
)


@dataclass(frozen=True)
class Upstream:
    """What one file holds.

    format: which upstream wrote it. networks: ours by name. left_out: entries of the file that are not used.
    heads: LPIPS heads that wait for a trunk, where that is all there is.
    arrays: name -> latents or directions, where it holds no network.
    """

    format: str
    networks: Mapping[str, Network] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    heads: Mapping[str, Tensor] | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def read_upstream(path: str | Path) -> Upstream:
    """Read a file of any known upstream; see `containers.read_checkpoint` for how.

    Raises:
        UnsafeCheckpointError, CorruptFileError, LimitExceededError.
    """
    where = str(path)
    try:
        tree = read_checkpoint(path)
    except UnsafeCheckpointError as error:
        if "dnnlib.tflib" in str(error):
            raise UnsafeCheckpointError(
                f"{where} is a TensorFlow network; convert it to PyTorch first with legacy.py of stylegan2-ada-pytorch"
            ) from None
        raise
    try:
        return _recognise(tree, where)
    except (KeyError, IndexError, AttributeError, ZeroDivisionError, ValueError, TypeError) as error:
        raise CorruptFileError(
            f"{where} looks like a known network but lacks some of its tensors ({error}); get the file again"
        ) from None


def _recognise(tree: Any, where: str) -> Upstream:
    if isinstance(tree, PersistentObject):
        tree = {"G_ema": tree}
    if isinstance(tree, Mapping):
        if any(isinstance(value, PersistentObject) for value in tree.values()):
            return Upstream("NVIDIA StyleGAN2 pickle", nvlabs.networks(tree, where), _rest(tree, "G_ema"))
        for name in ("g_ema", "g"):
            if isinstance(tree.get(name), Mapping) and rosinality.recognises(tree[name]):
                network = rosinality.generator(tree[name], tree.get("latent_avg"), where)
                return Upstream("rosinality StyleGAN2", {"generator": network}, _rest(tree, name, "latent_avg"))
        found = _networks_of(tree, where)
        if found is not None:
            return found
    arrays = _arrays(tree)
    if arrays:
        return Upstream("latents", arrays=arrays)
    raise CorruptFileError(f"{where} holds none of the networks known here; expected one of: {KNOWN}")


def _networks_of(tree: Mapping[str, Any], where: str) -> Upstream | None:
    """Files of one state dict, bare or beside other things."""
    inner = next((k for k in ("state_dict", "model", "net") if isinstance(tree.get(k), Mapping)), None)
    tensors = _flat(tree if inner is None else tree[inner])
    rest = () if inner is None else _rest(tree, inner, "opts", "latent_avg")
    if jahoda.recognises(tensors):
        return Upstream("the method's network", jahoda.networks(tensors, where), rest)
    if restyle.recognises(tensors):
        return Upstream("pSp, e4e or ReStyle", restyle.networks(tree, tensors, where), rest)
    if rosinality.recognises(tensors):
        network = rosinality.generator(tensors, None, where)
        return Upstream("rosinality StyleGAN2", {"generator": network}, rest)
    if estimators.HEADS in tensors and not any(name.startswith("net.slice") for name in tensors):
        return Upstream("LPIPS heads", heads=tensors)
    networks = estimators.networks(tensors, where)
    if networks is None:
        return None
    used = {id(tensor) for network in networks.values() for tensor in network.state.values()}  # some are renamed
    unused = sorted(name for name, tensor in tensors.items() if id(tensor) not in used)
    return Upstream(next(iter(networks.values())).kind, networks, (*rest, *unused))


def _flat(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by name, without the `module.` of DataParallel."""
    return {str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def _rest(tree: Mapping[str, Any], *used: str) -> tuple[str, ...]:
    return tuple(str(name) for name in tree if name not in used)


def _arrays(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """Latents or directions: an array, names with arrays, or with those of successive steps (the last counts)."""
    if isinstance(tree, Tensor) and tree.is_floating_point():
        tree = tree.detach().to(torch.float32).numpy()
    if isinstance(tree, np.ndarray) and tree.dtype.kind == "f" and tree.ndim in (1, 2, 3):
        return {name: np.asarray(tree, dtype=np.float32)}
    if isinstance(tree, list | tuple) and tree:
        return _arrays(tree[-1], name)
    found: dict[str, np.ndarray] = {}
    if isinstance(tree, Mapping) and not name:
        for key, value in tree.items():
            found |= _arrays(value, str(key))
    return found
