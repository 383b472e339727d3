"""Who computes: the argument, use_backend, LATENT_REENACT_OPS, or what works."""

from __future__ import annotations

import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from latent_reenact.custom_ops import (
    available_backends,
    backend_report,
    conv2d_resample,
    dispatch,
    downsample2d,
    filter2d,
    fused_bias_act,
    reference,
    setup_filter,
    upfirdn2d,
    upsample2d,
    use_backend,
)
from latent_reenact.errors import BackendError

X, F = torch.randn(1, 2, 6, 6), setup_filter([1, 3, 3, 1])


class Counting:
    """A back end that works, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def upfirdn2d(self, x, f, ux, uy, dx, dy, left, right, top, bottom, flip_filter, gain):
        self.calls += 1
        return reference.upfirdn2d(x, f, (ux, uy), (dx, dy), (left, right, top, bottom), flip_filter, gain)

    def bias_act(self, x, bias, grad, order, dim, act, alpha, gain, clamp):
        self.calls += 1
        return reference.fused_bias_act(x, bias, dim, list(reference.ACTIVATIONS)[act], alpha, gain, None)


@pytest.fixture
def fresh(monkeypatch):
    """Nothing loaded, nothing said, nobody's preference."""
    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    for name in ("_loaded", "_failed"):
        monkeypatch.setattr(dispatch, name, {})
    monkeypatch.setattr(dispatch, "_warned", set())
    monkeypatch.setattr(dispatch, "_preferred", None)
    return monkeypatch


@pytest.fixture
def counting(fresh):
    """The C++ back end replaced by one that counts."""
    raw = Counting()
    dtypes = frozenset({torch.float32})
    fresh.setitem(dispatch.BACKENDS, "cpu", dispatch.Backend("cpu", dtypes, lambda: "", lambda: raw))
    return raw


@pytest.fixture
def broken(fresh):
    """The C++ back end replaced by one whose compiler fails."""
    raw = SimpleNamespace(tried=0)

    def load():
        raw.tried += 1
        raise BackendError("the compiler said no")

    fresh.setitem(dispatch.BACKENDS, "cpu", dispatch.Backend("cpu", frozenset({torch.float32}), lambda: "", load))
    return raw


def test_smoke(fresh) -> None:
    assert "reference" in available_backends()
    assert available_backends()[-1] == "reference"
    assert list(backend_report()) == [*dispatch.BACKENDS, "reference"]


def test_feature_reference_is_bit_for_bit_the_definition(fresh) -> None:
    for backend in ("reference", *(["auto", None] if not dispatch.AUTO["cpu"] else [])):
        assert upfirdn2d(X, F, up=2, backend=backend).equal(reference.upfirdn2d(X, F, up=2))
        assert fused_bias_act(X, act="swish", backend=backend).equal(reference.fused_bias_act(X, act="swish"))


def test_feature_argument_then_preference_then_environment(counting, fresh) -> None:
    fresh.setenv("LATENT_REENACT_OPS", "cpu")
    assert dispatch.choose("cpu", torch.float32) == "cpu"
    with use_backend("reference"):
        assert dispatch.choose("cpu", torch.float32) == "reference"
        assert dispatch.choose("cpu", torch.float32, "cpu") == "cpu"
        with use_backend("cpu"):
            assert dispatch.choose("cpu", torch.float32) == "cpu"
        assert dispatch.choose("cpu", torch.float32) == "reference"
    assert dispatch.choose("cpu", torch.float32) == "cpu"
    use_backend("reference")  # for good
    assert dispatch.choose("cpu", torch.float32) == "reference"
    use_backend(None)
    assert dispatch.choose("cpu", torch.float32) == "cpu"


def test_shapes_of_meta_tensors(counting) -> None:
    assert upsample2d(X.to("meta"), F.to("meta"), backend="cpu").shape == (1, 2, 12, 12)
    assert counting.calls == 0


def test_feature_compositions_use_the_back_end(counting) -> None:
    weight = torch.randn(3, 2, 3, 3)
    calls = [
        lambda **k: filter2d(X, F, **k),
        lambda **k: upsample2d(X, F, **k),
        lambda **k: downsample2d(X, F, **k),
        lambda **k: conv2d_resample(X, weight, F, up=2, padding=1, **k),
        lambda **k: conv2d_resample(X, weight, F, down=2, padding=1, **k),
        lambda **k: upfirdn2d(X, torch.rand(3), padding=1, **k),
        lambda **k: upfirdn2d(X, None, up=2, **k),
        lambda **k: fused_bias_act(X, torch.rand(2), act="lrelu", clamp=100.0, **k),
    ]
    for i, call in enumerate(calls):
        before = counting.calls
        torch.manual_seed(0)
        y = call(backend="cpu")
        assert counting.calls > before, i
        torch.manual_seed(0)
        torch.testing.assert_close(y, call(backend="reference"))


def test_feature_auto_falls_back_and_says_so_once(broken, fresh) -> None:
    fresh.setitem(dispatch.AUTO, "cpu", ("cpu",))
    with pytest.warns(UserWarning, match="cpu: the compiler said no; plain PyTorch is used") as said:
        first = upfirdn2d(X, F)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert upfirdn2d(X, F).equal(first)
        fused_bias_act(X)
    assert broken.tried == 1
    assert first.equal(reference.upfirdn2d(X, F))


def test_feature_auto_takes_the_next_that_works(broken, fresh) -> None:
    second = dispatch.Backend("cpu", frozenset({torch.float32}), lambda: "", Counting)
    fresh.setitem(dispatch.BACKENDS, "triton", second)
    fresh.setitem(dispatch.AUTO, "cpu", ("cpu", "triton"))
    with pytest.warns(UserWarning, match="triton is used"):
        assert dispatch.choose("cpu", torch.float32) == "triton"
    assert dispatch.choose("cpu", torch.float64) == "reference"
    assert dispatch.choose("mps", torch.float32) == "reference"


def test_feature_reasons_are_reported(broken) -> None:
    with pytest.raises(BackendError):
        dispatch.load("cpu")
    assert backend_report()["cpu"] == "the compiler said no"
    assert "cpu" not in available_backends()


def test_exception_forced_choice_never_falls_back(broken, fresh) -> None:
    for _ in range(2):
        with pytest.raises(BackendError, match="the cpu operators cannot be used: the compiler said no"):
            upfirdn2d(X, F, backend="cpu")
    with use_backend("cpu"), pytest.raises(BackendError):
        fused_bias_act(X)
    fresh.setenv("LATENT_REENACT_OPS", "cpu")
    with pytest.raises(BackendError):
        fused_bias_act(X)
    assert broken.tried == 1


def test_exception_back_end_that_computes_nonsense(fresh) -> None:
    raw = Counting()
    raw.upfirdn2d = lambda x, *_: x * torch.nan
    fresh.setitem(
        dispatch.BACKENDS, "cpu", dispatch.Backend("cpu", frozenset({torch.float32}), lambda: "", lambda: raw)
    )
    with pytest.raises(BackendError, match="computes nan where 4 is right"):
        upfirdn2d(X, F, backend="cpu")


def test_exception_names(fresh) -> None:
    with pytest.raises(BackendError, match="'fast'; choose from auto, reference"):
        upfirdn2d(X, F, backend="fast")
    with pytest.raises(BackendError, match="use_backend"):
        use_backend("fast")
    fresh.setenv("LATENT_REENACT_OPS", "fast")
    with pytest.raises(BackendError, match="LATENT_REENACT_OPS"):
        upfirdn2d(X, F)


def test_exception_tensors_that_a_forced_back_end_does_not_take(counting) -> None:
    with pytest.raises(BackendError, match=r"do not take torch\.float64"):
        upfirdn2d(X.double(), F, backend="cpu")
    with pytest.raises(BackendError, match="take tensors on cuda, got one on cpu"):
        upfirdn2d(X, F, backend="cuda")


def test_feature_gradient_of_the_filter_comes_from_the_reference(counting, fresh) -> None:
    fresh.setitem(dispatch.AUTO, "cpu", ("cpu",))
    f = F.clone().requires_grad_()
    upfirdn2d(X, f, padding=2).sum().backward()
    assert f.grad.abs().sum() > 0
    with pytest.raises(BackendError, match="no gradient for the filter"):
        upfirdn2d(X, f, padding=2, backend="cpu")


def test_feature_import_compiles_nothing() -> None:
    code = """
import sys, torch
import latent_reenact.custom_ops
assert "torch._dynamo" not in sys.modules and "triton" not in sys.modules
assert not latent_reenact.custom_ops.dispatch._loaded
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
