"""HopeNet's own promises; its numbers are compared with upstream's in `test_golden.py`."""

from __future__ import annotations

import pytest
import torch
from meta_tensors import meta_state

from latent_reenact.models import HopeNet, HopeNetConfig, ResNetConfig
from latent_reenact.models.build import describe_differences

TINY = HopeNetConfig(input_size=32, backbone=ResNetConfig(block="basic", depths=(1, 1, 1, 1), num_classes=None))


def test_published_names() -> None:
    with torch.device("meta"):
        network = HopeNet()
    assert describe_differences(network, meta_state("hopenet")) == []


def test_shapes() -> None:
    network = HopeNet(TINY).eval()
    images = torch.rand(2, 3, 48, 40) * 2 - 1
    assert [tuple(logits.shape) for logits in network.logits(images)] == [(2, 66)] * 3
    assert network(images).shape == (2, 3)


@torch.no_grad()
@pytest.mark.parametrize(("bin_index", "angle"), [(0, -99.0), (33, 0.0), (65, 96.0)])
def test_feature_bins_are_three_degrees_wide(bin_index, angle) -> None:
    """A network that is sure of one bin names its angle, here in the order yaw, pitch, roll."""
    network = HopeNet(TINY).eval()
    for i, head in enumerate((network.fc_yaw, network.fc_pitch, network.fc_roll)):
        head.weight.zero_()
        head.bias.fill_(-1e4)
        head.bias[bin_index if i == 1 else 33] = 0
    angles = network(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(angles, torch.tensor([[0.0, angle, 0.0]]))
