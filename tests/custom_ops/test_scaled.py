"""Demodulation, noise, bias and leaky ReLU in one pass, against the same in steps, with both gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latent_reenact.custom_ops import auto_compiles_on_cpu, build, dispatch, scaled_bias_act, use_backend
from latent_reenact.errors import BackendError
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator

compiled = pytest.mark.skipif(bool(build.missing("cpu")), reason=build.missing("cpu"))
LAST = torch.channels_last
SHAPES = [(2, 32, 9, 11), (3, 20, 5, 7), (1, 3, 70, 1)]  # whole vectors of channels, a rest, a rest alone
NOISES = {"none": None, "one map": lambda b, h, w: (h, w), "a map each": lambda b, h, w: (b, 1, h, w)}


def numbers(shape: tuple[int, ...], noise: str, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    """x, scale, bias, noise."""
    random = torch.Generator().manual_seed(0)
    b, c, h, w = shape
    sizes = [shape, (b, c), (c,), NOISES[noise](b, h, w) if NOISES[noise] else None]
    x, *rest = [None if size is None else torch.randn(size, generator=random) for size in sizes]
    return [x.to(dtype).contiguous(memory_format=LAST), *rest]


def with_gradients(inputs: list[Tensor | None], act: str, backend: str, grad: Tensor) -> list[Tensor]:
    """The result, and the gradients of all that is there."""
    inputs = [None if t is None else t.detach().requires_grad_() for t in inputs]
    y = scaled_bias_act(*inputs, act=act, backend=backend)
    return [y, *torch.autograd.grad(y, [t for t in inputs if t is not None], grad.to(y.dtype))]


def test_smoke() -> None:
    x = torch.tensor([[[[2.0]], [[-1.0]]]])
    y = scaled_bias_act(x, torch.tensor([[3.0, 2.0]]), torch.tensor([1.0, 0.0]), act="lrelu")
    torch.testing.assert_close(y.flatten(), torch.tensor([7.0, -0.4]) * 2**0.5)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("act", ["linear", "lrelu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_feature_one_pass_is_the_steps_in_double(
    shape: tuple[int, ...], act: str, noise: str, dtype: torch.dtype
) -> None:
    inputs = numbers(shape, noise, dtype)
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    exact = [None if t is None else t.double() for t in inputs]
    near = 1e-5 if dtype == torch.float32 else 1e-2
    for got, expected in zip(
        with_gradients(inputs, act, "cpu", grad), with_gradients(exact, act, "reference", grad), strict=True
    ):
        assert (got.double() - expected).norm() <= near * expected.norm()


@compiled
def test_feature_result_keeps_type_and_layout() -> None:
    inputs = numbers(SHAPES[0], "one map", torch.bfloat16)
    y = scaled_bias_act(*inputs, act="lrelu", backend="cpu")
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=LAST)


@compiled
def test_feature_gradient_of_the_gradient() -> None:
    """What path length regularisation differentiates."""
    results = []
    for backend in ("cpu", "reference"):
        x, scale, bias, noise = (t.detach().requires_grad_() for t in numbers(SHAPES[1], "one map"))
        y = scaled_bias_act(x, scale, bias, noise, act="lrelu", backend=backend)
        (first,) = torch.autograd.grad(y.square().sum(), [scale], create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), [x, scale, bias, noise]))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)


@compiled
def test_feature_threads_do_not_change_the_result() -> None:
    inputs, grad = numbers((5, 32, 16, 16), "one map"), torch.randn(5, 32, 16, 16)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(with_gradients(inputs, "lrelu", "cpu", grad))
    finally:
        torch.set_num_threads(before)
    assert all(a.equal(b) for a, b in zip(*results, strict=True))


@compiled
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_feature_generator_has_the_same_gradients(noise_mode: str) -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 20, 8: 16, 16: 12})
    synthesis = StyleGAN2Generator(config).synthesis.to(memory_format=LAST)
    for name, parameter in synthesis.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    w_plus, results = torch.randn(3, config.n_styles, 8), []
    weight = torch.randn(3, 3, 16, 16)
    parameters = [p for n, p in synthesis.named_parameters() if noise_mode == "const" or "noise" not in n]
    for backend in ("cpu", "reference"):
        with use_backend(backend):
            image = synthesis(w_plus, noise_mode=noise_mode)
            results.append([image, *torch.autograd.grad((image * weight).sum(), parameters)])
    for got, expected in zip(*results, strict=True):
        assert (got - expected).norm() <= 1e-4 * expected.norm()


@compiled
def test_feature_auto_compiles_inside_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    with use_backend(None):
        with auto_compiles_on_cpu():
            assert dispatch.choose("cpu", torch.float32) == "cpu"
        assert dispatch.choose("cpu", torch.float32) == "reference"


def test_feature_clamp_and_no_scale_go_step_by_step() -> None:
    x = torch.tensor([3.0, -3.0]).reshape(1, 2, 1, 1).contiguous(memory_format=LAST)
    with auto_compiles_on_cpu():
        clamped = scaled_bias_act(x, torch.ones(1, 2), act="lrelu", clamp=1.0)
        unscaled = scaled_bias_act(x, None, torch.tensor([1.0, 0.0]))
    assert clamped.flatten().tolist() == pytest.approx([1.0, -0.6 * 2**0.5])
    assert unscaled.flatten().tolist() == [4.0, -3.0]


@compiled
def test_exception_auto_falls_back_where_the_pass_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise BackendError("the compiler said no")

    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    for memory in ("_loaded", "_failed"):
        monkeypatch.setattr(dispatch, memory, {})
    monkeypatch.setattr(dispatch, "_warned", set())
    monkeypatch.setattr(build, "load", broken)
    x, scale = torch.randn(1, 2, 3, 3).contiguous(memory_format=LAST), torch.randn(1, 2)
    with auto_compiles_on_cpu(), pytest.warns(UserWarning, match="plain PyTorch is used"):
        y = scaled_bias_act(x, scale)
    assert y.equal(x * scale[:, :, None, None])
    with pytest.raises(BackendError, match="'auto' uses what works here"):
        scaled_bias_act(x, scale, backend="cpu")


def test_exception_unknown_activation() -> None:
    with pytest.raises(ValueError, match="expected linear or lrelu"):
        scaled_bias_act(torch.ones(1, 1, 1, 1), torch.ones(1, 1), act="relu")


def test_exception_forced_on_the_wrong_device() -> None:
    with pytest.raises(BackendError, match="'auto'"):
        scaled_bias_act(torch.ones(1, 1, 1, 1), torch.ones(1, 1), backend="cuda")


def test_feature_what_one_pass_does_not_take() -> None:
    """Doubles, and pictures that lie plane by plane, go step by step; so does nothing at all."""
    for x in (torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4), torch.randn(0, 3, 4, 4)):
        scale, bias = torch.randn(len(x), 3), torch.randn(3)
        with auto_compiles_on_cpu():
            y = scaled_bias_act(x, scale, bias, act="lrelu")
        torch.testing.assert_close(y, scaled_bias_act(x, scale, bias, act="lrelu", backend="reference"))
