"""Sizes of rosinality's generators, from names and shapes."""

from __future__ import annotations

import pytest
import torch
from meta_tensors import meta_state

from latent_reenact.config import from_dict
from latent_reenact.errors import CorruptFileError
from latent_reenact.models import GeneratorConfig, StyleGAN2Generator
from latent_reenact.models.build import describe_differences
from latent_reenact.third_party import rosinality


@pytest.mark.parametrize(
    ("case", "prefix", "resolution"),
    [
        ("rosinality_64", "", 64),
        ("rosinality_1024", "", 1024),
        ("psp_ffhq_1024", "decoder.", 1024),
        ("restyle_psp_resnet34_256", "decoder.", 256),
        ("jahoda_1024", "decoder.", 1024),
    ],
)
def test_feature_sizes_are_read_off_the_tensors(case, prefix, resolution) -> None:
    network = rosinality.generator(meta_state(case, prefix), torch.ones(18, 512), "file")
    expected = GeneratorConfig(resolution=resolution)
    config = from_dict(GeneratorConfig, network.config)
    assert (config.resolution, config.z_dim, config.w_dim, config.mapping_layers) == (resolution, 512, 512, 8)
    assert config.channels == {r: expected.width(r) for r in expected.resolutions}
    with torch.device("meta"):
        assert describe_differences(StyleGAN2Generator(config), network.state) == []


def test_exception_no_generator() -> None:
    with pytest.raises(CorruptFileError, match="lacks the tensors"):
        rosinality.generator({"style.1.weight": torch.zeros(2, 2)}, None, "file")
