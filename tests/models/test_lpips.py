"""LPIPS as a distance; `test_golden.py` compares whole files, from conversion on, with upstream's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from meta_tensors import meta_state
from torch import nn

from golden_set import ROOT, Case, assert_close, img
from latent_reenact.models import LPIPS, LPIPSConfig, PerceptualFeatures
from latent_reenact.models.build import describe_differences
from latent_reenact.models.lpips import TAPS, WIDTHS

TRUNKS = ["alex", "vgg"]


@pytest.fixture(scope="module")
def distance() -> LPIPS:
    """AlexNet's trunk with random weights under the published heads."""
    torch.manual_seed(0)
    network = LPIPS().eval().requires_grad_(False)
    with np.load(ROOT / "lpips_alex" / "lin_weights.npz") as heads:
        network.load_state_dict({n: torch.from_numpy(heads[n]) for n in heads.files}, strict=False)
    return network


def pictures(*, seed: int = 0, size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("trunk", TRUNKS)
def test_published_names(trunk) -> None:
    with torch.device("meta"):
        network, features = LPIPS(LPIPSConfig(trunk=trunk)), PerceptualFeatures(LPIPSConfig(trunk=trunk))
    torchvision = meta_state(f"lpips_{trunk}")
    assert describe_differences(features, torchvision) == []
    with np.load(ROOT / f"lpips_{trunk}" / "lin_weights.npz") as heads:
        assert describe_differences(network, torchvision | {n: torch.from_numpy(heads[n]) for n in heads.files}) == []


@pytest.mark.parametrize("trunk", TRUNKS)
def test_feature_layers_are_read_behind_relus(trunk) -> None:
    with torch.device("meta"):
        features = PerceptualFeatures(LPIPSConfig(trunk=trunk)).features
    assert all(isinstance(features[i], nn.ReLU) for i in TAPS[trunk])
    assert tuple(features[i - 1].out_channels for i in TAPS[trunk]) == WIDTHS[trunk]


@torch.no_grad()
def test_shapes(distance) -> None:
    a, b = pictures(), pictures(seed=1)
    assert distance(a, b).shape == (2,)
    assert distance.layers(a, b).shape == (2, 5)
    torch.testing.assert_close(distance.layers(a, b).sum(1), distance(a, b))
    assert [f.shape[1] for f in PerceptualFeatures().eval()(a)] == [64, 192, 384, 256, 256]


@torch.no_grad()
def test_feature_a_distance(distance) -> None:
    """Zero to itself, symmetric, positive, growing with noise, one picture at a time."""
    a, noise = pictures(), pictures(seed=1)
    assert not distance(a, a).any()
    torch.testing.assert_close(distance(a, noise), distance(noise, a))
    grown = torch.stack([distance(a, a + s * noise) for s in (0.05, 0.2, 0.8)])
    assert (grown > 0).all()
    assert (grown.diff(dim=0) > 0).all()
    torch.testing.assert_close(distance(a, noise)[1:], distance(a[1:], noise[1:]))


def test_feature_gradients_are_finite(distance) -> None:
    """Also where a place has no feature at all, whose norm has no slope."""
    a = torch.zeros(1, 3, 64, 64)
    a[..., 32:] = 1
    a.requires_grad_(True)
    dead = LPIPS().eval()
    dead.load_state_dict({n: torch.full_like(t, -1) if "bias" in n else t for n, t in distance.state_dict().items()})
    with torch.no_grad():
        norms = PerceptualFeatures.forward(dead, a)[-1].norm(dim=1)
    assert (norms == 0).any()
    for network in (distance, dead):
        (gradient,) = torch.autograd.grad(network(a, pictures()[:1]).sum(), a)
        assert gradient.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("trunk", TRUNKS)
def test_golden_pictures_in_0_to_1(trunk) -> None:
    """Upstream's `normalize=True` is the change of range that our callers make."""
    case = Case(f"lpips_{trunk}")
    network = LPIPS(LPIPSConfig(trunk=trunk)).eval()
    with np.load(case.folder / "lin_weights.npz") as heads:
        network.load_state_dict(case.state() | {n: torch.from_numpy(heads[n]) for n in heads.files})
    shapes = {entry["name"]: entry["shape"] for entry in case.info["inputs"]}
    a, b = ((img(name, shapes[name]) + 1) / 2 for name in (f"lpips_{trunk}/a0", f"lpips_{trunk}/b0"))
    assert_close(network(2 * a - 1, 2 * b - 1), case["d0_normalize"], rel_l2=1e-5)
