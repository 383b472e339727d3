"""The half-precision synthesis draws what the network draws, stays finite, and can be a graph on a GPU."""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import replace
from typing import Any

import gpu_on_cpu
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latent_reenact.errors import BackendError, ConfigError
from latent_reenact.models.graphs import Graphed
from latent_reenact.models.half_synthesis import HalfSynthesis
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator, SynthesisNetwork

SMALL = GeneratorConfig(
    resolution=32, z_dim=8, w_dim=16, mapping_layers=2, channels={4: 48, 8: 40, 16: 32, 32: 20}, conv_clamp=3.0
)
MIDDLE = GeneratorConfig(resolution=128, channel_base=4096, channel_max=128, mapping_layers=1, w_dim=64)
GREY = 2 / 255  # one grey level of a picture in [-1, 1]


def network(config: GeneratorConfig = SMALL) -> SynthesisNetwork:
    """Random, with noise and biases that matter."""
    torch.manual_seed(0)
    synthesis = StyleGAN2Generator(config).eval().requires_grad_(False).synthesis
    for name, parameter in synthesis.named_parameters():
        if name.endswith(("noise_strength", ".bias")) and "affine" not in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return synthesis


def codes(synthesis: SynthesisNetwork, batch: int = 2) -> Tensor:
    return torch.randn(batch, synthesis.config.n_styles, synthesis.config.w_dim)


def psnr(image: Tensor, truth: Tensor) -> float:
    """In dB, of pictures that fill [-1, 1] within two standard deviations."""
    error = (image - truth) / (2 * truth.std())
    return 10 * math.log10(4 / error.square().mean().item())


def scaled(synthesis: SynthesisNetwork, factor: float, *parts: str) -> SynthesisNetwork:
    """The parameters whose names end so, but for those of the skips to RGB, which nothing brings back to size."""
    for name, parameter in synthesis.named_parameters():
        if name.endswith(parts) and "rgb" not in name:
            parameter.mul_(factor)
    return synthesis


def test_smoke() -> None:
    synthesis = network()
    image = HalfSynthesis(synthesis)(codes(synthesis, 1))
    assert image.shape == (1, 3, 32, 32)
    assert image.dtype == torch.float32
    assert image.is_contiguous()


@pytest.mark.parametrize("noise_mode", ["const", "none"])
@pytest.mark.parametrize("demodulation", [True, False])
@pytest.mark.parametrize("clamp", [None, 3.0, 0.5])
def test_feature_same_picture_in_float32(noise_mode, demodulation: bool, clamp: float | None) -> None:
    synthesis = network(replace(SMALL, scaled_demodulation=demodulation, conv_clamp=clamp))
    for w_plus in (codes(synthesis, 1), codes(synthesis, 3), 20 * codes(synthesis)):
        expected = synthesis(w_plus, noise_mode)
        image = HalfSynthesis(synthesis, torch.float32)(w_plus, noise_mode)
        assert (image - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize(("dtype", "least_db"), [(torch.float16, 70), (torch.bfloat16, 52)])
@pytest.mark.parametrize("config", [SMALL, MIDDLE], ids=["32", "128"])
def test_feature_half_precision_is_near(config: GeneratorConfig, dtype: torch.dtype, least_db: float) -> None:
    synthesis = network(config)
    w_plus = codes(synthesis)
    assert psnr(HalfSynthesis(synthesis, dtype)(w_plus), synthesis(w_plus)) > least_db


def test_feature_within_a_grey_level() -> None:
    """Of pictures whose contrast is that of photographs."""
    synthesis = network(MIDDLE)
    w_plus = codes(synthesis)
    expected, image = synthesis(w_plus), HalfSynthesis(synthesis)(w_plus)
    assert (image - expected).abs().max() / (2 * expected.std()) < GREY


@pytest.mark.parametrize("demodulation", [True, False])
@pytest.mark.parametrize("factor", [1e3, 1e4, 1e-4])
@pytest.mark.parametrize("part", ["conv.weight", "affine.weight", "const"])
def test_feature_finite_in_float16_whatever_the_scale(part: str, factor: float, demodulation: bool) -> None:
    """Of weights, of styles and of the constant: the picture stays as near."""
    synthesis = scaled(network(replace(SMALL, scaled_demodulation=demodulation, conv_clamp=None)), factor, part)
    w_plus = codes(synthesis)
    image = HalfSynthesis(synthesis)(w_plus)
    assert image.isfinite().all()
    assert psnr(image, synthesis(w_plus)) > 65


@pytest.mark.parametrize("part", ["conv.weight", "affine.weight"])
def test_feature_plain_float16_is_not(part: str) -> None:
    """What the scales are for: without them the same networks overflow."""
    synthesis = scaled(network(replace(SMALL, scaled_demodulation=False, conv_clamp=None)), 1e4, part)
    with torch.autocast("cpu", torch.float16):
        assert not synthesis(codes(synthesis)).isfinite().all()


def test_feature_activations_beyond_float16_are_limited() -> None:
    """A network that really draws numbers like 1e6: wrong, yet finite."""
    synthesis = scaled(network(replace(SMALL, conv_clamp=None)), 1e6, ".bias", "noise_strength")
    image = HalfSynthesis(synthesis)(codes(synthesis))
    assert image.isfinite().all()


def test_feature_zero_styles_and_weights() -> None:
    synthesis = network()
    for name, parameter in synthesis.named_parameters():
        if name in ("blocks.1.conv.conv.weight", "blocks.2.conv.conv.affine.weight", "blocks.2.conv.conv.affine.bias"):
            parameter.zero_()
    w_plus = codes(synthesis)
    assert psnr(HalfSynthesis(synthesis)(w_plus), synthesis(w_plus)) > 65


def test_feature_random_noise() -> None:
    """Drawn anew each time and for each sample, and of the right strength."""
    synthesis = network()
    w_plus = codes(synthesis, 1).expand(64, -1, -1)
    images, expected = HalfSynthesis(synthesis)(w_plus, "random"), synthesis(w_plus, "random")
    assert not torch.equal(images[0], images[1])
    assert images.std(0).mean() == pytest.approx(float(expected.std(0).mean()), rel=0.05)


def test_feature_weights_are_those_of_the_moment() -> None:
    synthesis = network()
    half, w_plus = HalfSynthesis(synthesis), codes(synthesis)
    before = half(w_plus)
    for parameter in synthesis.parameters():
        parameter.zero_()
    assert torch.equal(half(w_plus), before)


def test_feature_can_be_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_on_cpu.install(monkeypatch)
    synthesis = network()
    half = HalfSynthesis(synthesis)
    graphed = Graphed(lambda w_plus: (half(w_plus),))
    for batch in (3, 1, 2):
        w_plus = codes(synthesis, batch)
        torch.testing.assert_close(graphed(w_plus)[0], half(w_plus), rtol=0, atol=1e-5)
    assert list(graphed._graphs) == [3]


class OneDevice(TorchDispatchMode):
    """Refuses operators that take or make tensors of other devices than "meta"."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        results = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, results)):
            assert not isinstance(leaf, Tensor) or leaf.device.type == "meta", function
        return results


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
def test_feature_stays_on_its_device(noise_mode) -> None:
    """Rehearsed where there is no GPU, on a device whose tensors hold nothing."""
    half = HalfSynthesis(network().to("meta"))
    with OneDevice():
        image = half(torch.randn(2, 8, 16, device="meta"), noise_mode)
        assert (image.device.type, image.dtype, image.shape) == ("meta", torch.float32, (2, 3, 32, 32))
    with OneDevice(), pytest.raises(AssertionError):
        half(torch.randn(2, 8, 16))


@pytest.mark.parametrize(("dtype", "least_db"), [(torch.float32, 100), (torch.float16, 60)])
def test_feature_whole_picture_with_triton(dtype, least_db: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1")
    synthesis = network(replace(SMALL, resolution=8, channels={4: 6, 8: 4}, conv_clamp=1.0)).to(device)
    w_plus = codes(synthesis).to(device)
    assert psnr(HalfSynthesis(synthesis, dtype, backend="triton")(w_plus), synthesis(w_plus)) > least_db


def test_exception_dtype() -> None:
    with pytest.raises(ConfigError, match=r"dtype: got torch.float64, expected torch.float16, bfloat16 or float32"):
        HalfSynthesis(network(), torch.float64)


def test_exception_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \[B, 8, 16\]"):
        HalfSynthesis(network())(torch.randn(1, 7, 16))


def test_exception_no_triton() -> None:
    if torch.cuda.is_available() or importlib.util.find_spec("triton") is not None:
        pytest.skip("it may be there")
    with pytest.raises(BackendError, match="triton operators cannot be used"):
        HalfSynthesis(network(), backend="triton")
