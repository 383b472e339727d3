"""Networks that losses and metrics read pictures with: ArcFace, HopeNet, OpenGraphAU, LPIPS and torchvision's trunks.

Their tensors keep upstream's names; what is here says which file is which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latent_reenact.errors import CorruptFileError
from latent_reenact.third_party import restyle
from latent_reenact.third_party.upstream import Network

HEADS = "lin0.model.1.weight"


def networks(tensors: Mapping[str, Tensor], where: str) -> dict[str, Network] | None:
    """The network that a flat state dict belongs to, under the name that it gets in a model folder; None: unknown."""
    for recognises, read in _READERS:
        if recognises(tensors):
            return read(tensors, where)
    return None


def _is_arcface(t: Mapping[str, Any]) -> bool:
    """IR-SE of TreB1eN's InsightFace_Pytorch (`model_ir_se50.pth`), which asks for PyTorch 0.4.0."""
    return {"input_layer.0.weight", "output_layer.3.weight", "body.0.res_layer.5.fc1.weight"} <= t.keys()


def _arcface(t: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    body = restyle.body_config(t, "irse", where)
    last = t["output_layer.3.weight"]
    side = round((last.shape[1] / body["widths"][-1]) ** 0.5)
    config = {"input_size": side * 2 ** len(body["widths"]), "embedding": last.shape[0], "body": body}
    return {"identity_embedder": Network("IdentityEmbedder", config, _with_batch_counts(t))}


def _is_hopenet(t: Mapping[str, Any]) -> bool:
    """deep-head-pose's `hopenet_*.pkl`."""
    return {"fc_yaw.weight", "fc_pitch.weight", "fc_roll.weight", "conv1.weight"} <= t.keys()


def _hopenet(t: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    config = {"bins": t["fc_yaw.weight"].shape[0], "backbone": _resnet_config(t, where, classes=False)}
    return {"head_pose": Network("HopeNet", config, _with_batch_counts(t))}


def _is_opengraphau(t: Mapping[str, Any]) -> bool:
    """OpenGraphAU's `OpenGprahAU-ResNet50_*_stage.pth`."""
    return {"head.main_sc", "head.sub_sc", "global_linear.fc.weight"} <= t.keys()


def _opengraphau(t: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    if "backbone.conv1.weight" not in t:
        raise CorruptFileError(f"{where}: its backbone is no residual network, expected OpenGraphAU with ResNet-50")
    config: dict[str, Any] = {
        "stage": 2 if "head.edge_extractor.bn.weight" in t else 1,
        "width": t["global_linear.fc.weight"].shape[0],
        "backbone": _resnet_config(restyle.part(t, "backbone"), where, classes=False),
    }
    dropped = {"backbone.fc.weight", "backbone.fc.bias"}
    return {"action_units": Network("ActionUnitDetector", config, {n: v for n, v in t.items() if n not in dropped})}


def _is_lpips(t: Mapping[str, Any]) -> bool:
    """A whole lpips network: heads and a trunk under lpips' own names (`net.slice<k>.<i>`)."""
    return HEADS in t and any(name.startswith("net.slice") for name in t)


def _lpips(t: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    trunk = {re.sub(r"net\.slice\d+\.", "features.", n): v for n, v in t.items() if n.startswith("net.slice")}
    return join_lpips(trunk, t, where)


def join_lpips(trunk: Mapping[str, Tensor], heads: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    """LPIPS from a trunk (`features.<i>`) and the heads. Raises CorruptFileError where they do not fit."""
    state = {name: value for name, value in trunk.items() if name.startswith("features.")}
    # each head is stored twice in whole lpips networks (by name and in a list)
    state |= {name: value for name, value in heads.items() if re.fullmatch(r"lin\d\.model\.1\.weight", name)}
    return {"lpips": Network("LPIPS", {"trunk": _trunk(state, where)}, state)}


def _is_features(t: Mapping[str, Any]) -> bool:
    """torchvision's AlexNet or VGG-16."""
    return {"features.0.weight", "features.0.bias"} <= t.keys()


def _features(t: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    state = {name: value for name, value in t.items() if name.startswith("features.")}
    return {"trunk": Network("PerceptualFeatures", {"trunk": _trunk(state, where)}, state)}


def _trunk(state: Mapping[str, Tensor], where: str) -> str:
    convs = len([name for name in state if re.fullmatch(r"features\.\d+\.weight", name)])
    if convs == 5 and state["features.0.weight"].shape[-1] == 11:
        return "alex"
    if convs == 13 and state["features.0.weight"].shape[-1] == 3:
        return "vgg"
    raise CorruptFileError(f"{where} has a trunk of {convs} convolutions, expected AlexNet (5) or VGG-16 (13)")


def _is_resnet(t: Mapping[str, Any]) -> bool:
    """torchvision's residual networks."""
    return {"conv1.weight", "bn1.weight", "layer4.0.conv1.weight"} <= t.keys()


def _resnet(t: Mapping[str, Tensor], where: str) -> dict[str, Network]:
    return {"trunk": Network("ResNet", _resnet_config(t, where, classes=True), _with_batch_counts(t))}


def _resnet_config(t: Mapping[str, Tensor], where: str, *, classes: bool) -> dict[str, Any]:
    depths = [len({n.split(".")[1] for n in t if n.startswith(f"layer{i}.")}) for i in range(1, 5)]
    if "conv1.weight" not in t or min(depths) < 1:
        raise CorruptFileError(f"{where} lacks stages of its residual network; get the file again")
    fc = t.get("fc.weight") if classes else None
    return {
        "block": "bottleneck" if "layer1.0.conv3.weight" in t else "basic",
        "depths": depths,
        "input_channels": t["conv1.weight"].shape[1],
        "num_classes": None if fc is None else fc.shape[0],
    }


def _with_batch_counts(t: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Files older than PyTorch 0.4.1 do not count batches."""
    state = dict(t)
    for name in t:
        if name.endswith("running_mean"):
            state.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return state


_READERS = (
    (_is_arcface, _arcface),
    (_is_hopenet, _hopenet),
    (_is_opengraphau, _opengraphau),
    (_is_lpips, _lpips),
    (_is_features, _features),
    (_is_resnet, _resnet),
)
