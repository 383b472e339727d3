"""The fast synthesis draws what the network draws; the pass between convolutions does what its definition says."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latent_reenact.custom_ops import build, styled
from latent_reenact.custom_ops.styled import ToColours, styled_activation
from latent_reenact.errors import BackendError, ConfigError
from latent_reenact.models.fast_synthesis import FastSynthesis, has_bf16
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator

pytestmark = pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")

SMALL = GeneratorConfig(
    resolution=32, z_dim=8, w_dim=16, mapping_layers=2, channels={4: 48, 8: 40, 16: 32, 32: 20}, conv_clamp=3.0
)
TAPS = torch.tensor([0.25, 0.8, 0.7, 0.3])  # lopsided: a mirrored filter shows


def generator(config: GeneratorConfig = SMALL) -> StyleGAN2Generator:
    """Random, with noise and biases that matter."""
    torch.manual_seed(0)
    network = StyleGAN2Generator(config).eval().requires_grad_(False)
    for name, parameter in network.synthesis.named_parameters():
        if name.endswith(("noise_strength", ".bias")) and "affine" not in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return network


def psnr(image: Tensor, truth: Tensor) -> float:
    """In dB, of pictures that fill [-1, 1] within two standard deviations."""
    error = (image - truth) / (2 * truth.std())
    return 10 * math.log10(4 / error.square().mean().item())


def test_smoke() -> None:
    network = generator()
    image = FastSynthesis(network.synthesis)(torch.randn(1, 8, 16))
    assert image.shape == (1, 3, 32, 32)
    assert image.dtype == torch.float32
    assert image.is_contiguous()


@pytest.mark.parametrize("noise_mode", ["const", "none"])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("clamp", [None, 3.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_feature_same_picture_in_float32(noise_mode, scaled: bool, clamp: float | None, batch: int) -> None:
    synthesis = generator(replace(SMALL, scaled_demodulation=scaled, conv_clamp=clamp)).synthesis
    w_plus = torch.randn(batch, 8, 16)
    expected = synthesis(w_plus, noise_mode)
    image = FastSynthesis(synthesis, "fp32")(w_plus, noise_mode)
    assert (image - expected).norm() <= 1e-5 * expected.norm()
    assert (image - expected).abs().max() <= 1e-4 * expected.std()


def test_feature_clamps() -> None:
    """A style that drives every layer into its limit."""
    synthesis = generator(replace(SMALL, conv_clamp=0.5)).synthesis
    w_plus = 20 * torch.randn(1, 8, 16)
    expected = synthesis(w_plus)
    assert torch.allclose(FastSynthesis(synthesis, "fp32")(w_plus), expected, atol=1e-4 * float(expected.std()))


def test_feature_bfloat16_is_near() -> None:
    synthesis = generator().synthesis
    w_plus = torch.randn(2, 8, 16)
    fast = FastSynthesis(synthesis, "bf16")
    assert fast.dtype == torch.bfloat16
    assert psnr(fast(w_plus), synthesis(w_plus)) > 45


def test_feature_auto_asks_the_processor() -> None:
    fast = FastSynthesis(generator().synthesis)
    assert fast.dtype == (torch.bfloat16 if has_bf16() else torch.float32)


def test_feature_random_noise() -> None:
    """Drawn anew each time and for each sample, and of the right strength."""
    synthesis = generator().synthesis
    fast = FastSynthesis(synthesis, "fp32")
    w_plus = torch.randn(1, 8, 16).expand(64, -1, -1)
    images, expected = fast(w_plus, "random"), synthesis(w_plus, "random")
    assert not torch.equal(images[0], images[1])
    assert images.std(0).mean() == pytest.approx(float(expected.std(0).mean()), rel=0.05)


def test_feature_weights_are_those_of_the_moment() -> None:
    synthesis = generator().synthesis
    fast, w_plus = FastSynthesis(synthesis, "fp32"), torch.randn(1, 8, 16)
    before = fast(w_plus)
    for parameter in synthesis.parameters():
        parameter.zero_()
    assert torch.equal(fast(w_plus), before)


def test_exception_precision() -> None:
    with pytest.raises(ConfigError, match="precision: got 'fp8', expected auto, bf16 or fp32"):
        FastSynthesis(generator().synthesis, "fp8")  # type: ignore[arg-type]


def test_exception_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \[B, 8, 16\]"):
        FastSynthesis(generator().synthesis)(torch.randn(1, 7, 16))


def test_exception_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    styled.load.cache_clear()
    monkeypatch.setattr(build, "cxx", lambda: None)
    with pytest.raises(BackendError, match="no C\\+\\+ compiler"):
        FastSynthesis(generator().synthesis)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch", "channels", "h", "w"), [(1, 32, 8, 8), (2, 20, 6, 8), (2, 56, 16, 4), (1, 4, 4, 4)])
def test_feature_pass_equals_its_definition(dtype: torch.dtype, batch: int, channels: int, h: int, w: int) -> None:
    """With and without each of its parts."""
    torch.manual_seed(1)
    for filtered, noises, clamp, doubled in itertools.product((False, True), (0, 1, batch), (None, 1.5), (False, True)):
        extra = int(filtered)
        x = torch.randn(batch, channels, h + extra, w + extra, dtype=dtype).to(memory_format=torch.channels_last)
        vectors = torch.randn(batch, channels), torch.randn(channels), torch.randn(batch, channels)
        how: dict = {"noise": torch.randn(noises, h, w) if noises else None, "clamp": clamp}
        if filtered:
            how["taps"] = TAPS
        else:
            before = torch.randn(batch, 3, h // 2, w // 2) if doubled else None
            weight = torch.randn(batch, 3, channels)
            how["colours"] = ToColours(weight=weight, bias=torch.randn(3), before=before, taps=TAPS)
        y, picture = styled_activation(x.clone(), *vectors, **how)
        expected, expected_picture = styled_activation(x.clone(), *vectors, **how, backend="reference")
        assert y is not None
        assert expected is not None
        tolerance = 8e-3 if dtype == torch.bfloat16 else 1e-5
        assert torch.allclose(y.float(), expected.float(), rtol=tolerance, atol=tolerance)
        assert y.is_contiguous(memory_format=torch.channels_last)
        if picture is not None:
            assert torch.allclose(picture, expected_picture, rtol=1e-5, atol=2e-5)


def test_feature_only_colours() -> None:
    """The last convolution's activations are not written."""
    x = torch.randn(1, 16, 4, 4).to(memory_format=torch.channels_last)
    kept = x.clone()
    colours = ToColours(weight=torch.randn(1, 3, 16), bias=torch.zeros(3), before=None, taps=TAPS)
    y, picture = styled_activation(x, torch.ones(1, 16), torch.zeros(16), None, colours=colours)
    assert y is None
    assert picture is not None
    assert torch.equal(x, kept)


# 100 MiB, 25,600 pages, again and again: how many pages the system had to give, at the least. By a process of its own:
# what others of this one left in its memory would decide.
_FAULTS = """
import resource, threading, torch
from latent_reenact.models.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(100 << 20, dtype=torch.uint8).zero_()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def least():
    print(min(faults() for _ in range(8)))
print(int(keep_freed_memory()))
least()
thread = threading.Thread(target=least)
thread.start()
thread.join()
"""


def test_feature_freed_memory_is_kept() -> None:
    """Large blocks cost no page faults after a while, in any thread: the C library still has earlier ones."""
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kept, in_main, in_thread = map(int, done.stdout.split())
    if not kept:
        pytest.skip("not glibc")
    assert in_main < 1000
    assert in_thread < 1000
