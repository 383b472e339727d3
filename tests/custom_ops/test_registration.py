"""The operators as PyTorch knows them: gradients of any order, shapes for the compiler, autocast, several processes."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.library import opcheck
from torch.nn.parallel import DistributedDataParallel

from latent_reenact.custom_ops import ACTIVATIONS, fused_bias_act, registration, setup_filter, upfirdn2d
from latent_reenact.custom_ops.derivatives import derivative
from latent_reenact.custom_ops.dispatch import BACKENDS

GPU = torch.cuda.is_available()
CONTIGUOUS, LAST = torch.contiguous_format, torch.channels_last


def works(name: str) -> bool:
    return name == "reference" or not BACKENDS[name].missing()


each_backend = pytest.mark.parametrize(
    ("name", "device"),
    [
        pytest.param(n, d, marks=pytest.mark.skipif(not works(n) or (d == "cuda" and not GPU), reason="not here"))
        for n, d in (("reference", "cpu"), ("cpu", "cpu"), ("cuda", "cuda"), ("triton", "cuda"))
    ],
)


def how(name: str, act: str = "swish", clamp: float = 1.0) -> tuple:
    """dim, act, alpha, gain, clamp, backend."""
    return 1, act, 0.2, 1.4, clamp, name


def resampling(name: str) -> tuple:
    """up, down, padding, flip_filter, gain, backend."""
    return [2, 1], [1, 2], [1, 2, -1, 3], False, 1.5, name


def picture(device: str, dtype: torch.dtype = torch.float32, layout: torch.memory_format = CONTIGUOUS) -> torch.Tensor:
    x = torch.randn(2, 3, 7, 6, device=device, dtype=dtype)
    return x.contiguous(memory_format=layout).requires_grad_()


@each_backend
@pytest.mark.parametrize("layout", [CONTIGUOUS, LAST])
def test_feature_opcheck(name: str, device: str, layout: torch.memory_format) -> None:
    x, f = picture(device, layout=layout), torch.randn(3, 2, device=device)
    b = torch.randn(3, device=device, requires_grad=True)
    opcheck(registration.upfirdn2d, (x, f, *resampling(name)))
    for bias in (b, None):
        opcheck(registration.fused_bias_act, (x, bias, *how(name)))
    opcheck(registration.fused_bias_act_grad, (torch.randn_like(x).requires_grad_(), x, b, 1, *how(name)))


@each_backend
def test_gradcheck_upfirdn2d(name: str, device: str) -> None:
    if name == "triton":
        pytest.skip("has no double precision")
    x, f = picture(device, torch.float64), torch.randn(3, 2, device=device, dtype=torch.float64)

    def resample(x):
        return registration.upfirdn2d(x, f, *resampling(name))

    assert torch.autograd.gradcheck(resample, x)
    assert torch.autograd.gradgradcheck(resample, x)


@each_backend
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_gradcheck_fused_bias_act(name: str, device: str, act: str) -> None:
    if name == "triton":
        pytest.skip("has no double precision")
    x = torch.randn(2, 3, 2, 2, device=device, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, device=device, dtype=torch.float64, requires_grad=True)
    grad = torch.randn_like(x).requires_grad_()

    def activate(x, b):
        return registration.fused_bias_act(x, b, *how(name, act))

    def slope(grad, x, b):
        return registration.fused_bias_act_grad(grad, x, b, 1, *how(name, act, -1.0))

    assert torch.autograd.gradcheck(activate, (x, b))
    assert torch.autograd.gradgradcheck(activate, (x, b))
    assert torch.autograd.gradgradcheck(slope, (grad, x, b))  # third derivatives


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_feature_closed_forms_are_the_derivatives(act: str) -> None:
    x = torch.linspace(-4, 4, 40, dtype=torch.float64, requires_grad=True)  # without 0
    y = ACTIVATIONS[act][0](x, 0.2)
    for order in range(1, 5):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)
        y = y if y.requires_grad else y + 0 * x
        torch.testing.assert_close(derivative(x, act, 0.2, order), y, msg=f"order {order}")


@each_backend
def test_feature_compiles_without_a_graph_break(name: str, device: str) -> None:
    f, b = setup_filter([1, 3, 3, 1], device=device), torch.randn(3, device=device, requires_grad=True)

    def layer(x, b):
        x = upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), gain=4, backend=name)
        return fused_bias_act(x, b, act="lrelu", clamp=1.0, backend=name)

    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = picture(device)
    results = []
    for function in (layer, compiled):
        y = function(x, b)
        results.append([y, *torch.autograd.grad(y.square().sum(), (x, b))])
    torch.testing.assert_close(results[0], results[1])


@each_backend
def test_feature_type_and_gradients_under_autocast(name: str, device: str) -> None:
    x, f = picture(device), torch.randn(3, 2, device=device)
    b = torch.randn(3, device=device, requires_grad=True)
    with torch.autocast(device, torch.bfloat16):
        y = registration.fused_bias_act(registration.upfirdn2d(x, f, *resampling(name)), b, *how(name))
        assert y.dtype == torch.float32
        low = fused_bias_act(torch.nn.functional.conv2d(x, x[:, :, :1, :1].detach()), b[:2], act="lrelu", backend=name)
        assert low.dtype == torch.bfloat16
    dx, db = torch.autograd.grad(y.sum() + low.float().sum(), (x, b))
    assert dx.dtype == db.dtype == torch.float32


def test_feature_no_gradient_is_kept_where_none_is_wanted() -> None:
    x = picture("cpu")
    with torch.no_grad():
        assert not registration.fused_bias_act(x, None, *how("reference")).requires_grad
    with torch.inference_mode():
        assert registration.upfirdn2d(x, torch.ones(2, 2), *resampling("reference")).is_inference()


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bias = nn.Conv2d(3, 3, 3, bias=False), nn.Parameter(torch.randn(3))

    def forward(self, x):
        x = registration.upfirdn2d(self.conv(x), torch.ones(3, 2), *resampling("reference"))
        return registration.fused_bias_act(x, self.bias, *how("reference"))


def test_feature_distributed_data_parallel(tmp_path) -> None:
    layer, x = Layer(), torch.randn(2, 3, 9, 9)
    layer(x).sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        DistributedDataParallel(layer)(x).sum().backward()
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close([p.grad for p in layer.parameters()], expected)
