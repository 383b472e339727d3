"""Networks that a file will fill: the right shapes, and no time spent on numbers that nobody reads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from latent_reenact.models import BodyConfig, GeneratorConfig, MotionEncoder, MotionEncoderConfig, StyleGAN2Generator
from latent_reenact.models.layers import EqualLinear
from latent_reenact.models.unfilled import unfilled

BODY = BodyConfig(widths=(4, 4, 8), depths=(1, 1, 1), se_reduction=2)
MAKERS = {
    "generator": lambda: StyleGAN2Generator(GeneratorConfig(resolution=16, z_dim=8, w_dim=8, channel_base=64)),
    "motion_encoder": lambda: MotionEncoder(MotionEncoderConfig(input_size=32, bottleneck=8, body=BODY)),
    "norm": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Linear(3, 2), nn.PReLU(3)),
}


def state(network: nn.Module) -> dict[str, tuple]:
    return {name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()}


@pytest.mark.parametrize("name", MAKERS)
def test_smoke_same_shapes(name: str) -> None:
    with unfilled():
        empty = MAKERS[name]()
    assert state(empty) == state(MAKERS[name]())
    assert all(t.is_meta for t in empty.state_dict().values())


def test_feature_no_random_numbers() -> None:
    before = torch.get_rng_state()
    with unfilled():
        EqualLinear(4, 4, lr_multiplier=0.01)
    assert torch.equal(torch.get_rng_state(), before)
    assert EqualLinear(4, 4).weight.std() > 0


def test_feature_unknown_arithmetic_keeps_its_shape() -> None:
    with unfilled():
        assert (torch.zeros(3, 1) * torch.zeros(4)).shape == (3, 4)
        assert torch.full((2,), 1.0).shape == (2,)


def test_feature_no_compiler_is_imported() -> None:
    """`reenact` on one picture would wait for it: PyTorch's compiler and sympy took half of its start."""
    code = """
import sys
import numpy as np
from latent_reenact import systems
reenactor, picture = systems.load("builtin", device="cpu"), np.zeros((64, 64, 3), np.uint8)
reenactor(reenactor.identity(picture, aligned=True), picture, aligned=True)
print(*[name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
