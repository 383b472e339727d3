"""Which of the estimators a file holds, at toy size: names, what older and other programs write, what does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from meta_tensors import meta_state
from torch import Tensor, nn

import latent_reenact as lr
from latent_reenact.errors import CorruptFileError, UsageError
from latent_reenact.models import (
    LPIPS,
    ActionUnitConfig,
    ActionUnitDetector,
    HopeNet,
    HopeNetConfig,
    IdentityEmbedder,
    IdentityEmbedderConfig,
    LPIPSConfig,
    PerceptualFeatures,
    ResNet,
    ResNetConfig,
)
from latent_reenact.models.convert import convert
from latent_reenact.third_party import estimators
from toy_upstream import BODY, save

BACKBONE = ResNetConfig(block="basic", depths=(1, 1, 1, 1), num_classes=None)
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def arcface() -> IdentityEmbedder:
    return IdentityEmbedder(IdentityEmbedderConfig(input_size=32, embedding=6, body=BODY)).eval()


def opengraphau(stage: int) -> ActionUnitDetector:
    return ActionUnitDetector(ActionUnitConfig(stage=stage, width=8, backbone=BACKBONE)).eval()


def without_counts(network: nn.Module) -> dict[str, Tensor]:
    return {n: t for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}


def converted(folder: Path, tree: object) -> nn.Module:
    save(folder / "file.pth", tree)
    convert([folder / "file.pth"], folder / "model")
    return lr.load_network(folder / "model")


def assert_same(found: nn.Module, network: nn.Module, *inputs: Tensor) -> None:
    """The same tensors, and the same output but for what the place of tensors in memory does to sums."""
    state = found.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(found(*inputs), network(*inputs))


@pytest.mark.parametrize(
    ("case", "name", "kind"),
    [
        ("arcface_irse50", "identity_embedder", "IdentityEmbedder"),
        ("hopenet", "head_pose", "HopeNet"),
        ("lpips_alex", "trunk", "PerceptualFeatures"),
        ("lpips_vgg", "trunk", "PerceptualFeatures"),
        ("opengraphau_stage1", "action_units", "ActionUnitDetector"),
        ("opengraphau_stage2", "action_units", "ActionUnitDetector"),
    ],
)
def test_smoke(case, name, kind) -> None:
    """Each published file is told from the others by names and shapes."""
    networks = estimators.networks(meta_state(case), "file.pth")
    assert networks is not None
    assert {n: network.kind for n, network in networks.items()} == {name: kind}


def test_feature_encoders_are_not_estimators() -> None:
    """They hold ArcFace's body, and are other networks."""
    for case in ("psp_ffhq_1024", "e4e_ffhq_1024", "restyle_psp_resnet34_256", "jahoda_1024", "rosinality_64"):
        assert estimators.networks(meta_state(case), "file.pth") is None


@torch.no_grad()
@pytest.mark.parametrize("build", [arcface, lambda: HopeNet(HopeNetConfig(backbone=BACKBONE)).eval()])
def test_feature_files_that_do_not_count_batches(tmp_path, build) -> None:
    """PyTorch 0.4.0, which model_ir_se50.pth and HopeNet were made with, had no `num_batches_tracked`."""
    network = build()
    assert_same(converted(tmp_path, without_counts(network)), network, IMAGES)


@torch.no_grad()
@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_feature_opengraphau(tmp_path, stage, prefix) -> None:
    """As upstream saves it in training: with the optimiser, and behind DataParallel."""
    network = opengraphau(stage)
    state = {prefix + n: t for n, t in network.state_dict().items()}
    save(tmp_path / "file.pth", {"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}})
    report = convert([tmp_path / "file.pth"], tmp_path / "model")
    assert report.left_out == {str(tmp_path / "file.pth"): ("epoch", "optimizer")}
    found = lr.load_network(tmp_path / "model")
    assert found.config == network.config
    assert_same(found, network, IMAGES)


def lpips_file(network: LPIPS) -> dict[str, Tensor]:
    """By the lpips package's own names: the trunk in five slices, each head twice, the constants beside."""
    state = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    ends = {"alex": (2, 5, 8, 10, 12), "vgg": (4, 9, 16, 23, 30)}[network.config.trunk]
    for name, tensor in network.state_dict().items():
        if match := re.match(r"features\.(\d+)\.(.*)", name):
            k = 1 + sum(int(match[1]) >= end for end in ends)
            state[f"net.slice{k}.{match[1]}.{match[2]}"] = tensor
        else:
            state |= {name: tensor, name.replace("lin", "lins."): tensor.clone()}  # codespell:ignore lins
    return state


@torch.no_grad()
@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_feature_whole_lpips_files(tmp_path, trunk) -> None:
    network = LPIPS(LPIPSConfig(trunk=trunk)).eval()
    save(tmp_path / "lpips.pth", lpips_file(network))
    report = convert([tmp_path / "lpips.pth"], tmp_path / "model")
    assert report.networks == {"lpips": "LPIPS"}
    twice = tuple(f"lins.{i}.model.1.weight" for i in range(5))  # codespell:ignore lins
    assert report.left_out == {str(tmp_path / "lpips.pth"): (*twice, "scaling_layer.scale", "scaling_layer.shift")}
    assert_same(lr.load_network(tmp_path / "model"), network, IMAGES, IMAGES.flip(3))


def heads_and_trunk(folder: Path, heads: str, trunk: str, order: int = 1) -> list[Path]:
    lpips, features = LPIPS(LPIPSConfig(trunk=heads)), PerceptualFeatures(LPIPSConfig(trunk=trunk))
    lin = {n: t for n, t in lpips.state_dict().items() if n.startswith("lin")}
    files = [save(folder / "heads.pth", lin), save(folder / "trunk.pth", features.state_dict())]
    return files[::order]


@pytest.mark.parametrize("order", [1, -1])
def test_feature_heads_and_trunk_in_either_order(tmp_path, order) -> None:
    report = convert(heads_and_trunk(tmp_path, "alex", "alex", order), tmp_path / "model")
    assert report.networks == {"lpips": "LPIPS"}


def test_feature_trunk_alone(tmp_path) -> None:
    """torchvision's file: the classifier is left out, and said."""
    state = PerceptualFeatures().state_dict() | {
        "classifier.1.weight": torch.zeros(1),
        "classifier.1.bias": torch.zeros(1),
    }
    save(tmp_path / "alexnet.pth", state)
    report = convert([tmp_path / "alexnet.pth"], tmp_path / "model")
    assert report.networks == {"trunk": "PerceptualFeatures"}
    assert report.left_out == {str(tmp_path / "alexnet.pth"): ("classifier.1.bias", "classifier.1.weight")}


def test_exception_heads_of_another_trunk(tmp_path) -> None:
    with pytest.raises(
        CorruptFileError, match=r"lin1\.model\.1\.weight is \(1, 128, 1, 1\), expected \(1, 192, 1, 1\)"
    ):
        convert(heads_and_trunk(tmp_path, "vgg", "alex"), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_exception_heads_with_a_residual_network(tmp_path) -> None:
    heads = heads_and_trunk(tmp_path, "alex", "alex")[0]
    save(tmp_path / "resnet.pth", ResNet(BACKBONE).state_dict())
    with pytest.raises(UsageError, match="alexnet or vgg16"):
        convert([heads, tmp_path / "resnet.pth"], tmp_path / "model")


@pytest.mark.parametrize("convolutions", [4, 16])
def test_exception_another_trunk(tmp_path, convolutions) -> None:
    """VGG-19, or AlexNet with a hole."""
    state = {f"features.{2 * i}.weight": torch.zeros(1, 1, 3, 3) for i in range(convolutions)}
    state |= {name.replace("weight", "bias"): torch.zeros(1) for name in state}
    save(tmp_path / "vgg19.pth", state)
    with pytest.raises(
        CorruptFileError, match=rf"{convolutions} convolutions, expected AlexNet \(5\) or VGG-16 \(13\)"
    ):
        convert([tmp_path / "vgg19.pth"], tmp_path / "model")


def test_exception_opengraphau_with_a_transformer(tmp_path) -> None:
    state = {n: t for n, t in opengraphau(1).state_dict().items() if not n.startswith("backbone.")}
    save(tmp_path / "swin.pth", state | {"backbone.patch_embed.proj.weight": torch.zeros(1)})
    with pytest.raises(CorruptFileError, match="expected OpenGraphAU with ResNet-50"):
        convert([tmp_path / "swin.pth"], tmp_path / "model")


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (arcface, "body.2.res_layer.3.weight"),
        (lambda: opengraphau(1), "head.gnn.U.weight"),
        (lambda: opengraphau(2), "head.gnn.graph_layers.1.E.weight"),
    ],
)
@pytest.mark.parametrize("change", ["missing", "unexpected", "expected"])
def test_exception_tensors_that_do_not_fit(tmp_path, build, name, change) -> None:
    """Nothing is filled up, dropped or bent silently."""
    state = build().state_dict()
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        state[f"{name}_orig"] = torch.zeros(1)
    else:
        state[name] = state[name][1:]
    save(tmp_path / "file.pth", state)
    with pytest.raises(CorruptFileError, match=f"{change}.*get the file again") as caught:
        convert([tmp_path / "file.pth"], tmp_path / "model")
    assert name in str(caught.value)
    assert not (tmp_path / "model").exists()
