"""The residual units that encoders and readers are made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latent_reenact.models.irse import NarrowPointwise, ResidualUnit


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_feature_narrow_shortcuts_are_convolutions(memory_format: torch.memory_format) -> None:
    """The same numbers and gradients as PyTorch's own, which is right where pictures lie contiguously."""
    torch.manual_seed(0)
    ours, theirs, x = NarrowPointwise(4, 8, 1, 2), nn.Conv2d(4, 8, 1, 2), torch.randn(3, 4, 9, 8)
    theirs.load_state_dict(ours.state_dict())
    y, expected = ours(x.contiguous(memory_format=memory_format)), theirs(x)
    torch.testing.assert_close(y, expected)
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((y * weight).sum(), list(ours.parameters()))
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weight).sum(), list(theirs.parameters())))


def test_feature_wide_shortcuts_are_pytorchs() -> None:
    for c_in, kind in ((4, NarrowPointwise), (8, nn.Conv2d)):
        assert type(ResidualUnit(c_in, 16, 2, 4).shortcut_layer[0]) is kind
