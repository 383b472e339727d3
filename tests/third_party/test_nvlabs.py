"""Sizes of NVIDIA's generators, from names and shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from meta_tensors import meta_state

from latent_reenact.config import from_dict
from latent_reenact.models import GeneratorConfig, StyleGAN2Generator
from latent_reenact.models.build import describe_differences
from latent_reenact.third_party import nvlabs

PUBLISHED = GeneratorConfig(scaled_demodulation=False)
EXPECTED = {
    "ada_g64": replace(PUBLISHED, resolution=64, channel_base=2048, channel_max=64),
    "ada_g1024": PUBLISHED,
    "ada_pkl": replace(
        PUBLISHED, resolution=64, z_dim=64, w_dim=64, mapping_layers=2, channel_base=512, channel_max=16
    ),
}


def read(state: dict[str, torch.Tensor]) -> GeneratorConfig:
    config = from_dict(GeneratorConfig, nvlabs.generator_config(state))
    with torch.device("meta"):
        assert describe_differences(StyleGAN2Generator(config), nvlabs.generator_state(state)) == []
    return config


@pytest.mark.parametrize("case", EXPECTED)
def test_feature_sizes_are_read_off_the_tensors(case) -> None:
    expected = EXPECTED[case]
    channels = {r: expected.width(r) for r in expected.resolutions}
    base = replace(expected, channel_base=PUBLISHED.channel_base, channel_max=PUBLISHED.channel_max)
    config = read(meta_state(case, "G_ema." if case == "ada_pkl" else ""))
    assert config == replace(base, channels=channels)


def test_feature_conditional_sizes() -> None:
    """Labels of 10 classes, embedded in w's 64 numbers, join z's 64."""
    state = meta_state("ada_pkl", "G_ema.")
    state["mapping.embed.weight"] = torch.empty(64, 10, device="meta")
    state["mapping.embed.bias"] = torch.empty(64, device="meta")
    state["mapping.fc0.weight"] = torch.empty(64, 128, device="meta")
    config = read(state)
    assert (config.label_dim, config.z_dim, config.w_dim) == (10, 64, 64)
