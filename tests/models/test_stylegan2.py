"""The generator against upstream's numbers on procedural weights, and its own promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from golden_set import Case, assert_close, assert_summary_close, summary, vec
from latent_reenact.errors import ConfigError
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator
from latent_reenact.third_party import nvlabs, rosinality

ADA, ROSINALITY, GRADIENTS = Case("ada_g64"), Case("rosinality_64"), Case("generator_grads")
TOLERANCE = {"rel_l2": 1e-5, "max_abs_over_std": 1e-3}
TINY = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels={4: 8, 8: 8, 16: 4})


def load(config: GeneratorConfig, state: dict[str, torch.Tensor]) -> StyleGAN2Generator:
    generator = StyleGAN2Generator(config).eval()
    generator.load_state_dict(state)
    return generator


@pytest.fixture(scope="module")
def ada() -> StyleGAN2Generator:
    config = GeneratorConfig(
        resolution=64, channel_base=2048, channel_max=64, conv_clamp=256.0, scaled_demodulation=False
    )
    return load(config, nvlabs.generator_state(ADA.state()))


@pytest.fixture(scope="module")
def rosinality64() -> StyleGAN2Generator:
    state = ROSINALITY.state()
    latent_avg = state.pop("latent_avg", None)
    state = rosinality.generator_state(state)
    state["mapping.w_avg"] = torch.zeros(512) if latent_avg is None else latent_avg
    return load(GeneratorConfig(resolution=64), state)


@torch.no_grad()
def test_golden_ada_mapping(ada) -> None:
    z = vec("ada_g64/z", (2, 512))
    assert_close(ada.mapping(z), ADA["w_psi1"], **TOLERANCE)
    assert_close(ada.mapping(z, truncation_psi=0.7), ADA["w_psi07"], **TOLERANCE)
    cut = ada.map_to_w_plus(z, truncation_psi=0.7, truncation_cutoff=4)[:, [0, 3, 4, 9]]
    assert_close(cut, ADA["ws_psi07_cutoff4"], **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_golden_ada_images(ada, noise_mode) -> None:
    z, w_plus = vec("ada_g64/z", (2, 512)), vec("ada_g64/wplus", (2, 10, 512))
    assert_close(ada(z, truncation_psi=0.7, noise_mode=noise_mode), ADA[f"img_z_psi07_{noise_mode}"], **TOLERANCE)
    image = ada.synthesis(w_plus, noise_mode=noise_mode)
    assert_summary_close(image, ADA, f"img_wplus_{noise_mode}", **TOLERANCE)
    if noise_mode == "const":
        assert_close(image[:1], ADA["img_wplus_const_b0"].reshape(1, 3, 64, 64), **TOLERANCE)


@torch.no_grad()
def test_golden_ada_clamps(ada) -> None:
    image = ada.synthesis(100 * vec("ada_g64/wplus", (2, 10, 512))[:1])
    assert_summary_close(image, ADA, "img_wplus_x100_const_clamped", **TOLERANCE)


@torch.no_grad()
def test_golden_rosinality(rosinality64) -> None:
    z, w_plus = vec("rosinality_64/z", (2, 512)), vec("rosinality_64/wplus", (2, 10, 512))
    assert_close(rosinality64.mapping(z), ROSINALITY["w"], **TOLERANCE)
    image = rosinality64.synthesis(w_plus)
    assert_summary_close(image, ROSINALITY, "img_wplus", **TOLERANCE)
    assert_close(image[0], ROSINALITY["img_wplus_b0"].reshape(3, 64, 64), **TOLERANCE)
    assert_summary_close(rosinality64(z, truncation_psi=0.7), ROSINALITY, "img_z_trunc07", **TOLERANCE)
    assert_close(rosinality64.map_to_w_plus(z, truncation_psi=0.7)[:, 0], ROSINALITY["latent_z_trunc07"], **TOLERANCE)


@torch.no_grad()
def test_golden_rosinality_styles(rosinality64) -> None:
    """One w for every layer, and the first three layers of one with the rest of another."""
    w_plus = vec("rosinality_64/wplus", (2, 10, 512))
    one, other = (rosinality64.broadcast(w_plus[:, i]) for i in range(2))
    mixed = torch.cat([one[:, :3], other[:, 3:]], dim=1)
    for styles, key in ((one, "img_w512"), (mixed, "img_mix3")):
        assert_close(summary(rosinality64.synthesis(styles))["grid"], ROSINALITY[key], **TOLERANCE)


@pytest.mark.parametrize("name", ["ada_g64", "rosinality_64"])
def test_golden_gradients(name, ada, rosinality64) -> None:
    generator = {"ada_g64": ada, "rosinality_64": rosinality64}[name]
    # A few pre-activations of rosinality's lie within rounding of zero, where leaky ReLU's slope jumps: upstream's own
    # order of operations (kernel per sample) lands on the same side of them where sums are rounded as they were there,
    # in AVX-512; in AVX2 it was off by 7e-4.
    generator.set_modulation("weights")
    w_plus = vec(f"{name}/wplus", (2, 10, 512)).requires_grad_()
    gy = vec(f"grads/{name}/gy", (2, 3, 64, 64))
    (gradient,) = torch.autograd.grad((generator.synthesis(w_plus) * gy).sum(), w_plus)
    generator.set_modulation("activations")
    as_upstream = name == "ada_g64" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    assert_close(gradient, GRADIENTS[f"{name}.dwplus"], rel_l2=2e-5 if as_upstream else 2e-3)


def test_shapes() -> None:
    generator = StyleGAN2Generator(TINY)
    assert TINY.n_styles == 6
    assert generator.map_to_w_plus(torch.randn(3, 8)).shape == (3, 6, 8)
    assert generator(torch.randn(3, 8)).shape == (3, 3, 16, 16)


def test_feature_noise_modes() -> None:
    generator = StyleGAN2Generator(TINY)
    for block in generator.synthesis.blocks:
        torch.nn.init.ones_(block.conv.noise_strength)
    w_plus = torch.randn(1, 6, 8)
    const, again = generator.synthesis(w_plus), generator.synthesis(w_plus)
    assert torch.equal(const, again)
    assert not torch.equal(const, generator.synthesis(w_plus, noise_mode="none"))
    random = [generator.synthesis(w_plus, noise_mode="random") for _ in range(2)]
    assert not torch.equal(*random)


def test_feature_batch_and_memory_format_do_not_matter() -> None:
    generator = StyleGAN2Generator(TINY).eval()
    w_plus = torch.randn(8, 6, 8)
    whole = generator.synthesis(w_plus)
    one_by_one = torch.cat([generator.synthesis(w[None]) for w in w_plus])
    torch.testing.assert_close(whole, one_by_one, atol=1e-5, rtol=1e-5)
    generator = generator.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator.synthesis(w_plus), whole, atol=1e-5, rtol=1e-5)


def test_feature_both_modulations_agree() -> None:
    generator = StyleGAN2Generator(TINY).eval().double()
    w_plus = torch.randn(2, 6, 8, dtype=torch.float64)
    activations = generator.synthesis(w_plus)
    generator.set_modulation("weights")
    torch.testing.assert_close(generator.synthesis(w_plus), activations, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_feature_conditional_mapping_follows_the_definition() -> None:
    """w = MLP([z / rms(z), embed(c) / rms(embed(c))]), written out in float64."""
    generator = StyleGAN2Generator(replace(TINY, label_dim=3)).double()
    z, labels = torch.randn(2, 8, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[:2]
    embed = generator.mapping.embed
    embedded = labels @ embed.weight.T / 3**0.5 + embed.bias
    x = torch.cat([z / z.square().mean(1, keepdim=True).sqrt(), embedded / embedded.square().mean(1, True).sqrt()], 1)
    for layer in generator.mapping.layers:
        x = x @ (0.01 * layer.weight).T / x.shape[1] ** 0.5 + 0.01 * layer.bias
        x = 2**0.5 * torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(generator.mapping(z, labels=labels), x, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("label_dim", "labels"), [(3, None), (3, torch.zeros(2, 4)), (3, torch.zeros(1, 3)), (0, torch.zeros(2, 3))]
)
def test_exception_labels(label_dim, labels) -> None:
    generator = StyleGAN2Generator(replace(TINY, label_dim=label_dim))
    with pytest.raises(ConfigError, match="labels: got"):
        generator(torch.randn(2, 8), labels=labels)


def test_exception_resolution() -> None:
    with pytest.raises(ConfigError, match="power of two"):
        GeneratorConfig(resolution=100)


def test_exception_w_plus_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \[B, 6, 8\]"):
        StyleGAN2Generator(TINY).synthesis(torch.zeros(1, 18, 512))
