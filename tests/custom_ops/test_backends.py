"""Every back end that can run here against the definition in double precision, and against scipy."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from latent_reenact.custom_ops import ACTIVATIONS, fused_bias_act, upfirdn2d
from latent_reenact.custom_ops.dispatch import BACKENDS
from latent_reenact.errors import BackendError

GPU = torch.cuda.is_available()
# Of values around 1: what rounding once may cost, with a margin for sums in another order.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
PAIRS = [(name, dtype) for name, backend in BACKENDS.items() for dtype in sorted(backend.dtypes, key=str)]
each_backend = pytest.mark.parametrize(("backend", "dtype"), PAIRS, ids=lambda v: str(v).removeprefix("torch."))


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch) -> None:
    """Where there is no GPU, Triton's kernels run in Python."""
    if not GPU:
        monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1")


def device_of(backend: str) -> str:
    """Where that back end runs; skips the test where it cannot."""
    reason = BACKENDS[backend].missing()
    if reason:
        pytest.skip(f"{backend}: {reason}")
    return BACKENDS[backend].device if GPU else "cpu"


@dataclass
class Resampling:
    """One random call of `upfirdn2d`."""

    x: Tensor
    f: Tensor  # [k], or [kh, kw] = outer(ky, kx)
    kx: Tensor
    ky: Tensor
    options: dict

    @classmethod
    def drawn(cls, seed: int, dtype: torch.dtype, channels: Sequence[int]) -> Resampling:
        draw = random.Random(seed)
        torch.manual_seed(seed)
        x = torch.randn(draw.choice([1, 2]), draw.choice(channels), draw.randint(3, 13), draw.randint(3, 13))
        kx, ky = (torch.rand(draw.randint(1, 5), dtype=torch.float64) - 0.3 for _ in range(2))
        kx, ky = kx / kx.abs().sum(), ky / ky.abs().sum()
        separable = draw.random() < 0.25
        if draw.random() < 0.5:
            x = x.contiguous(memory_format=torch.channels_last)
        common = draw.choice([(1, 1), (2, 1), (1, 2), None])  # what networks use, or anything
        up, down = (
            (draw.randint(1, 4), draw.randint(1, 4)) if common is None else (common[i], common[i]) for i in range(2)
        )
        return cls(
            x=x.to(dtype),
            f=kx if separable else torch.outer(ky, kx),
            kx=kx,
            ky=kx if separable else ky,
            options={
                "up": up,
                "down": down,
                "padding": tuple(draw.randint(-1, 6) for _ in range(4)),
                "flip_filter": draw.random() < 0.5,
                "gain": draw.choice([1.0, 4.0, 0.7]),
            },
        )

    @property
    def room(self) -> bool:
        """Enough pixels for the filter."""
        (up_x, up_y), (left, right, top, bottom) = self.options["up"], self.options["padding"]
        h, w = self.x.shape[2] * up_y + top + bottom, self.x.shape[3] * up_x + left + right
        return h >= len(self.ky) and w >= len(self.kx)

    def by_scipy(self) -> np.ndarray:
        x, padding, o = self.x.detach().double().numpy(), self.options["padding"], self.options
        for axis, taps, start in ((3, self.kx, 0), (2, self.ky, 2)):
            k = taps.numpy()[:: -1 if o["flip_filter"] else 1]
            up, down = o["up"][3 - axis], o["down"][3 - axis]
            size = (x.shape[axis] * up + padding[start] + padding[start + 1] - len(k)) // down + 1
            full = scipy.signal.upfirdn(k, x, up, 1, axis=axis)
            places = np.arange(size) * down + len(k) - 1 - padding[start]
            inside = (places >= 0) & (places < full.shape[axis])
            x = np.take(full, np.where(inside, places, 0), axis) * np.expand_dims(inside, [*range(1, 4 - axis)])
        return x * o["gain"]


@each_backend
def test_feature_200_random_resamplings(backend: str, dtype: torch.dtype) -> None:
    device, done = device_of(backend), 0
    slow = backend == "triton" and device == "cpu"
    for seed in range(200 if dtype == torch.float32 else 20 if slow else 70):
        case = Resampling.drawn(seed, dtype, [1, 2] if slow else [1, 3, 4, 8, 17])
        if not case.room:
            continue
        x = case.x.to(device).detach().requires_grad_()
        exact = case.x.detach().double().requires_grad_()
        y = upfirdn2d(x, case.f.to(device), **case.options, backend=backend)
        expected = upfirdn2d(exact, case.f.double(), **case.options, backend="reference")
        grad = torch.randn_like(expected).to(dtype)
        (dx,) = torch.autograd.grad(y, x, grad.to(device))
        (expected_dx,) = torch.autograd.grad(expected, exact, grad.double())
        assert y.dtype == dx.dtype == dtype
        assert dx.shape == x.shape
        for name, actual, right in (("y", y, expected), ("dx", dx, expected_dx), ("scipy", y, case.by_scipy())):
            right = torch.as_tensor(right)
            message = f"{name} of case {seed}: {tuple(case.x.shape)}, f {tuple(case.f.shape)}, {case.options}"
            assert actual.shape == right.shape, message
            error = (actual.detach().cpu().double() - right.detach()).abs().max().item()
            assert error <= TOLERANCE[dtype] * (1 + right.abs().max().item()), f"{message}: off by {error}"
        done += 1
    assert done >= 15


@each_backend
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_feature_bias_and_activation_with_two_derivatives(backend: str, dtype: torch.dtype, act: str) -> None:
    device = device_of(backend)
    layouts = [((2, 5, 3, 7), 1, True), ((2, 5, 3, 7), 1, False), ((1, 8, 4, 4), 2, True), ((9, 6), -1, False)]
    options = [{}, {"clamp": 0.7, "gain": 1.3}, {"alpha": 0.1, "clamp": 256.0}]
    for (shape, dim, last), option, biased in itertools.product(layouts, options, [True, False]):
        x = (2 * torch.randn(shape)).to(dtype)
        b = torch.randn(shape[dim]).to(dtype) if biased else None
        x[fused_bias_act(x.double(), b, dim) == 0] = 1.5  # at the kink there is no derivative to agree on
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        inputs = (x, b, torch.randn(shape).to(dtype), torch.randn(shape).to(dtype))
        actual = derivatives(inputs, dim, act, option, device, dtype, backend)
        right = derivatives(inputs, dim, act, option, "cpu", torch.float64, "reference")
        assert actual["y"].is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        for name in right:
            scale = right[name].abs().max().item() + 1
            error = (actual[name].detach().cpu().double() - right[name].detach()).abs().max().item()
            assert error <= 3 * TOLERANCE[dtype] * scale, f"{name}, {shape}, {dim}, {option}: off by {error}"


def derivatives(inputs, dim, act, option, device, dtype, backend) -> dict[str, Tensor]:
    """The result, its gradients, and the gradients of one of them."""
    x, b, grad, v = (None if t is None else t.detach().to(device, dtype) for t in inputs)
    wanted = {"x": x, "b": b} if b is not None else {"x": x}
    for t in (*wanted.values(), grad):
        t.requires_grad_()
    y = fused_bias_act(x, b, dim, act, **option, backend=backend)
    first = dict(zip(wanted, torch.autograd.grad(y, [*wanted.values()], grad, create_graph=True), strict=True))
    second = torch.autograd.grad((first["x"] * v).sum(), [grad, x], allow_unused=True, materialize_grads=True)
    return {"y": y, **{f"d{k}": v for k, v in first.items()}, "d grad": second[0], "ddx": second[1]}


@each_backend
def test_feature_memory_format_follows(backend: str, dtype: torch.dtype) -> None:
    device = device_of(backend)
    x = torch.randn(2, 3, 6, 6, device=device).to(dtype)
    f = torch.ones(4, 4, device=device) / 16
    for layout in (torch.contiguous_format, torch.channels_last):
        y = upfirdn2d(x.contiguous(memory_format=layout), f, up=2, padding=2, backend=backend)
        assert y.is_contiguous(memory_format=layout)
    slanted = x.permute(2, 3, 0, 1)  # neither of the two
    expected = upfirdn2d(slanted.double(), f.double(), down=2, padding=2, backend="reference")
    actual = upfirdn2d(slanted, f, down=2, padding=2, backend=backend)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=TOLERANCE[dtype])


@each_backend
def test_feature_nothing_in_nothing_out_and_nan_stays(backend: str, dtype: torch.dtype) -> None:
    device = device_of(backend)
    nothing = torch.empty(0, 3, 4, 4, device=device, dtype=dtype)
    f = torch.ones(2, 2, device=device)
    assert upfirdn2d(nothing, f, up=2, padding=1, backend=backend).shape == (0, 3, 9, 9)
    assert fused_bias_act(nothing, act="relu", backend=backend).shape == nothing.shape
    x = torch.full((1, 1, 4, 4), torch.nan, device=device, dtype=dtype)
    assert upfirdn2d(x, f, backend=backend).isnan().all()
    for act in ACTIVATIONS:
        assert fused_bias_act(x, act=act, clamp=1.0, backend=backend).isnan().all(), act


@each_backend
def test_exception_too_few_pixels(backend: str, dtype: torch.dtype) -> None:
    x = torch.ones(1, 1, 2, 2, device=device_of(backend), dtype=dtype)
    with pytest.raises(RuntimeError, match="pad more"):
        upfirdn2d(x, torch.ones(4, 4, device=x.device), backend=backend)


def test_exception_type_that_a_back_end_does_not_take() -> None:
    device = device_of("triton")
    with pytest.raises(BackendError, match=r"do not take torch\.float64"):
        fused_bias_act(torch.ones(2, 2, device=device, dtype=torch.float64), backend="triton")
