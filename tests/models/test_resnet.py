"""Residual networks under torchvision's names."""

from __future__ import annotations

import pytest
import torch
from meta_tensors import meta_state

import latent_reenact as lr
from latent_reenact.errors import ConfigError
from latent_reenact.models import ResNet, ResNetConfig
from latent_reenact.models.build import describe_differences
from latent_reenact.models.convert import convert
from latent_reenact.models.resnet import RESNET18, RESNET34, RESNET50


def meta(config: ResNetConfig) -> ResNet:
    with torch.device("meta"):
        return ResNet(config)


@pytest.mark.parametrize(
    ("config", "parameters"), [(RESNET18, 11_689_512), (RESNET34, 21_797_672), (RESNET50, 25_557_032)]
)
def test_published_sizes(config, parameters) -> None:
    """As many parameters as torchvision documents."""
    assert sum(p.numel() for p in meta(config).parameters()) == parameters


def test_published_names() -> None:
    """HopeNet's ResNet-50 and ReStyle's ResNet-34 blocks carry torchvision's names."""
    hopenet = {n: t for n, t in meta_state("hopenet").items() if not n.startswith("fc_")}
    assert describe_differences(meta(ResNetConfig(num_classes=None)), hopenet) == []
    blocks = {n.partition(".")[2]: t for n, t in meta_state("restyle_psp_resnet34_256", "encoder.body.").items()}
    ours = {n.split(".", 2)[2] for n in meta(RESNET34).state_dict() if n.startswith("layer")}
    assert ours == blocks.keys()


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("num_classes", [None, 5])
def test_shapes(block, num_classes) -> None:
    config = ResNetConfig(block=block, depths=(1, 1, 1, 1), num_classes=num_classes)
    network = ResNet(config).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert network.features(images).shape == (2, config.features, 2, 3)
        assert network(images).shape == (2, num_classes or config.features)


@pytest.mark.parametrize("counted", [True, False])
def test_feature_torchvision_files(tmp_path, counted) -> None:
    """With and without `num_batches_tracked`, which torchvision's older files lack."""
    network = ResNet(ResNetConfig(block="basic", depths=(1, 1, 1, 1), num_classes=5)).eval()
    state = {n: t for n, t in network.state_dict().items() if counted or not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "resnet.pth")
    report = convert([tmp_path / "resnet.pth"], tmp_path / "model")
    assert report.networks == {"trunk": "ResNet"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(lr.load_network(tmp_path / "model")(images), network(images))


def test_exception_depths() -> None:
    with pytest.raises(ConfigError, match="4 positive numbers"):
        ResNetConfig(depths=(3, 4, 6))
