"""The operators against upstream's numbers, against scipy, and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden_set import Case, vec
from latent_reenact import custom_ops
from latent_reenact.custom_ops import conv2d_resample, fused_bias_act, setup_filter, upfirdn2d

UPFIRDN, BIAS_ACT = Case("ops_upfirdn2d"), Case("ops_bias_act")


def close(actual, expected, case: Case) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(np.asarray(expected)), **case.info["tolerance"])


@pytest.mark.parametrize("entry", UPFIRDN.info["cases"], ids=lambda e: f"{e['index']}-{e['api']}")
def test_golden_upfirdn2d(entry) -> None:
    i = entry["index"]
    f = setup_filter(entry["filter_arg"], **entry["setup_filter_kwargs"])
    x = vec(f"ops/upfirdn2d/{i}/x", (2, 2, 9, 11)).requires_grad_()
    y = getattr(custom_ops, entry["api"])(x, f, **entry["kwargs"])
    gy = vec(f"ops/upfirdn2d/{i}/gy", y.shape).requires_grad_()
    (dx,) = torch.autograd.grad((y * gy).sum(), x, create_graph=True)
    (ggy,) = torch.autograd.grad((dx * vec(f"ops/upfirdn2d/{i}/v", x.shape)).sum(), gy)
    for key, value in {"y": y, "dx": dx, "ggy": ggy}.items():
        close(value, UPFIRDN[f"{i}.{key}"], UPFIRDN)
    if f is not None:
        close(f, UPFIRDN[f"{i}.f"], UPFIRDN)


@pytest.mark.parametrize("entry", UPFIRDN.info["resample_cases"], ids=lambda e: str(e["index"]))
def test_golden_conv2d_resample(entry) -> None:
    name, k = f"ops/conv2d_resample/{entry['index']}", entry["kernel"]
    x = vec(f"{name}/x", (2, 6, 12, 10)).requires_grad_()
    w = (vec(f"{name}/w", (4, 6, k, k)) * entry["w_scale"]).requires_grad_()
    arguments = {key: entry[key] for key in ("up", "down", "padding", "flip_weight")}
    y = conv2d_resample(x, w, setup_filter([1, 3, 3, 1]), **arguments)
    dx, dw = torch.autograd.grad((y * vec(f"{name}/gy", y.shape)).sum(), (x, w))
    for key, value in {"y": y, "dx": dx, "dw": dw}.items():
        close(value, UPFIRDN[f"resample{entry['index']}.{key}"], UPFIRDN)


@pytest.mark.parametrize("entry", BIAS_ACT.info["cases"], ids=lambda e: f"{e['index']}-{e['kwargs']['act']}")
def test_golden_fused_bias_act(entry) -> None:
    i, kwargs = entry["index"], entry["kwargs"]
    name, shape = f"ops/bias_act/{i}", entry["shape"]
    x = (1.5 * vec(f"{name}/x", shape)).requires_grad_()
    b = None if entry["no_bias"] else (0.5 * vec(f"{name}/b", (shape[kwargs.get("dim", 1)],))).requires_grad_()
    gy = vec(f"{name}/gy", shape).requires_grad_()
    y = fused_bias_act(x, b, **kwargs)
    inputs = [x] if b is None else [x, b]
    first = torch.autograd.grad((y * gy).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(
        (first[0] * vec(f"{name}/v", shape)).sum(), [gy, *inputs], allow_unused=True, materialize_grads=True
    )
    values = {"y": y, **dict(zip(["dx", "db"], first, strict=False))}
    values |= dict(zip(["ggy", "ggx", "ggb"], second, strict=False))
    for key, value in values.items():
        if f"{i}.{key}" in BIAS_ACT.outputs:
            close(value, BIAS_ACT[f"{i}.{key}"], BIAS_ACT)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_feature_upfirdn2d_is_scipys_upfirdn_along_both_axes(data) -> None:
    up, down = (data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    h, w = data.draw(st.integers(3, 9)), data.draw(st.integers(3, 9))
    kx, ky = (np.array(data.draw(st.lists(st.floats(-2, 2), min_size=1, max_size=5))) for _ in range(2))
    x = np.random.default_rng(h * 10 + w).standard_normal((h, w))
    expected = scipy.signal.upfirdn(ky, scipy.signal.upfirdn(kx, x, up[0], down[0], axis=1), up[1], down[1], axis=0)
    f = torch.from_numpy(np.outer(ky, kx))
    padding = (len(kx) - 1, len(kx) - up[0], len(ky) - 1, len(ky) - up[1])  # scipy's full convolution
    y = upfirdn2d(torch.from_numpy(x)[None, None], f, up=up, down=down, padding=padding)[0, 0]
    np.testing.assert_allclose(y.numpy(), expected[: y.shape[0], : y.shape[1]], atol=1e-10)
    assert expected.shape == y.shape


def test_gradcheck() -> None:
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)
    f = torch.randn(3, 4, dtype=torch.float64)

    def resample(x):
        return upfirdn2d(x, f, up=2, down=(1, 2), padding=(2, 1, -1, 3), gain=1.5)

    def swish(x, b):
        return fused_bias_act(x, b, act="swish")

    assert torch.autograd.gradcheck(resample, x)
    assert torch.autograd.gradgradcheck(resample, x)
    assert torch.autograd.gradcheck(swish, (x, b))
    assert torch.autograd.gradgradcheck(swish, (x, b))


def test_exception_empty_filter() -> None:
    with pytest.raises(ValueError, match="at least one tap"):
        setup_filter([])
