"""Which back end runs an operator: the argument, `use_backend`, LATENT_REENACT_OPS, or what is there ("auto").

What a back end offers
    Two raw functions without autograd, `upfirdn2d` and `bias_act` (below), as attributes of a module:
    `triton_ops` itself; for "cpu" and "cuda" whatever `build.load(name)` returns (the compiled extension).
    `build.missing(name: str) -> str` looks, without compiling, for what `build.load(name)` needs, and returns
    "" or one line for people ("no C++ compiler: install g++ or set CXX"). `build.load(name)` compiles or takes from
    the cache, once a process, and raises `latent_reenact.errors.BackendError` with such a line.

    That of "cpu" has two more, `scaled` and its gradient (`native.py`), for `scaled_bias_act`.

    upfirdn2d(x, f, up_x, up_y, down_x, down_y, left, right, top, bottom, flip_filter: bool, gain: float) -> y
        x: [B, C, H, W], not empty, of a dtype in `BACKENDS`, contiguous as NCHW or as channels_last (never else).
        f: [kh, kw] contiguous on x's device; float32, or float64 where x is float64. (A filter of one row arrives as
           two calls, [1, k] and [k, 1]; None arrives as [[1.]].)
        padding: may be negative (crops); flip_filter: False convolves (f mirrored), True correlates.
        y: [B, C, H', W'], H' = (H * up_y + top + bottom - kh) // down_y + 1 >= 1 (checked before the call), of x's
           dtype; sums in float32 (float64 for float64). Sizes may exceed 2**31 elements: index in 64 bits or raise.
        y is channels_last where x is channels_last and not also NCHW-contiguous, else NCHW:
           x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()

    bias_act(x, bias, grad, order: int, dim: int, act: int, alpha: float, gain: float, clamp: float) -> y
        x: of any number of dimensions, not empty, dense without overlap (a permuted contiguous tensor), so that the
           element at memory offset i takes bias[(i // x.stride(dim)) % x.shape[dim]].
        bias: [x.shape[dim]] contiguous, of x's dtype, or None. dim: >= 0. act: position in `ACTIVATIONS`
           (0 linear, 1 relu, 2 lrelu, 3 tanh, 4 sigmoid, 5 elu, 6 selu, 7 softplus, 8 swish). clamp: < 0 means none.
        order 0: grad is None. y = clamp(act(x + bias) * gain, -clamp, clamp). NaN stays NaN.
        order 1: y = grad * act'(x + bias) * gain, and 0 where |act(x + bias) * gain| > clamp.
        order 2: y = grad * act''(x + bias) * gain, and 0 there as well (linear, relu, lrelu: never called).
        grad: shape, dtype and strides of x. y: the same (`empty_like(x)`). `x > 0` takes the right-hand branch of
           relu, lrelu, elu and selu, all else the left. Arithmetic in float32 (float64 for float64), rounded once.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ..errors import BackendError

# What "auto" tries before plain PyTorch, by the device of the tensor. On CPUs: `auto_compiles_on_cpu` adds C++.
AUTO: dict[str, tuple[str, ...]] = {"cuda": ("cuda", "triton"), "cpu": ()}


class Backend(NamedTuple):
    """How to find a back end, and which tensors it takes."""

    device: str
    dtypes: frozenset[torch.dtype]
    missing: Callable[[], str]  # "" or what is missing, seen without compiling
    load: Callable[[], Any]  # the raw functions; raises BackendError


def _of_build(name: str) -> tuple[Callable[[], str], Callable[[], Any]]:
    def missing() -> str:
        from . import build

        return build.missing(name)

    def load() -> Any:
        from . import build

        return build.load(name)

    return missing, load


def _triton_missing() -> str:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    if not torch.cuda.is_available() and not _interpreted():
        return "Triton needs a GPU and PyTorch sees none"
    return ""


def _triton_load() -> Any:
    from . import triton_ops

    return triton_ops


def _interpreted() -> bool:
    """Triton runs its kernels in Python, on the CPU: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


_HALF, _SINGLE, _DOUBLE = torch.float16, torch.float32, torch.float64
BACKENDS: dict[str, Backend] = {
    "cuda": Backend("cuda", frozenset({_HALF, torch.bfloat16, _SINGLE, _DOUBLE}), *_of_build("cuda")),
    "triton": Backend("cuda", frozenset({_HALF, torch.bfloat16, _SINGLE}), _triton_missing, _triton_load),
    "cpu": Backend("cpu", frozenset({torch.bfloat16, _SINGLE, _DOUBLE}), *_of_build("cpu")),
}
_CHOICES = ("auto", "reference", *BACKENDS)

_loaded: dict[str, Any] = {}
_failed: dict[str, str] = {}  # why
_warned: set[str] = set()  # devices
_lock = threading.RLock()
_preferred: str | None = None


class use_backend:
    """Choose the operators' back end for the whole process, or inside a `with` block.

    Args:
        name: "auto", "reference", "cpu", "triton" or "cuda". All but "auto" either run or raise. None asks
            LATENT_REENACT_OPS again.

    Raises:
        BackendError: no back end of that name.

    What `torch.compile` has compiled keeps the back end that it was compiled with.
    """

    def __init__(self, name: str | None) -> None:
        global _preferred
        self.before = _preferred
        _preferred = name if name is None else _known(name, "use_backend")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        global _preferred
        _preferred = self.before


@contextmanager
def auto_compiles_on_cpu() -> Iterator[None]:
    """Inside, "auto" takes the C++ operators for tensors on the CPU, where there is a compiler: for work so long that
    their compilation is nothing, such as training."""
    before = AUTO["cpu"]
    AUTO["cpu"] = ("cpu",)
    try:
        yield
    finally:
        AUTO["cpu"] = before


def choose(device: str, dtype: torch.dtype, backend: str | None = None, learns_filter: bool = False) -> str:
    """The name of the back end for tensors of that kind: "reference", or one that is loaded by now.

    A filter that wants a gradient (`learns_filter`) gets it from the reference alone.

    Raises:
        BackendError: a forced back end is unknown, or cannot run here, or not for such tensors.
    """
    name = backend or _preferred or os.environ.get("LATENT_REENACT_OPS") or "auto"
    if name == "auto":
        if learns_filter:
            return "reference"
        return next((n for n in _fastest(device) if dtype in BACKENDS[n].dtypes), "reference")
    if _known(name, "backend" if backend else "LATENT_REENACT_OPS") == "reference" or device == "meta":
        return "reference"  # meta tensors have shapes alone, and those are the same
    works = BACKENDS[name]
    if device != works.device and not (name == "triton" and _interpreted()):
        raise BackendError(f"the {name} operators take tensors on {works.device}, got one on {device}; use 'auto'")
    if dtype not in works.dtypes:
        raise BackendError(f"the {name} operators do not take {dtype}; use 'auto' or 'reference'")
    if learns_filter:
        raise BackendError(f"the {name} operators have no gradient for the filter; use 'auto' or 'reference'")
    load(name, device)
    return name


# What torch.compiler.assume_constant_result does, which would take a second more to import: not traced, asked once.
choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


def load(name: str, device: str | None = None) -> Any:
    """The raw functions of a back end, tried once on one pixel.

    Raises:
        BackendError: it cannot be built or run here; later calls repeat the reason.
    """
    if name in _loaded:
        return _loaded[name]
    with _lock:
        if name not in _loaded and name not in _failed:
            try:
                _loaded[name] = _tried(name, device or BACKENDS[name].device)
            except Exception as error:  # whatever a compiler or a driver throws: the reason is passed on
                _failed[name] = (str(error).strip() or repr(error)).splitlines()[-1]
        if name in _failed:
            raise BackendError(f"the {name} operators cannot be used: {_failed[name]}; 'auto' uses what works here")
        return _loaded[name]


def backend_report() -> dict[str, str]:
    """Back end -> why it cannot run here, or "" where nothing seems to be missing. Compiles nothing."""
    reasons = {name: _failed.get(name) or backend.missing() for name, backend in BACKENDS.items()}
    return reasons | {"reference": ""}


def available_backends() -> tuple[str, ...]:
    """The back ends that can run here, fastest first."""
    return tuple(name for name, reason in backend_report().items() if not reason)


def _tried(name: str, device: str) -> Any:
    reason = BACKENDS[name].missing()
    if reason:
        raise BackendError(reason)
    raw = BACKENDS[name].load()
    with torch.no_grad():
        x = torch.ones(1, 1, 1, 1, device=device)
        y = raw.upfirdn2d(x, x[0, 0], 1, 1, 1, 1, 0, 0, 0, 0, False, 2.0)
        y = raw.bias_act(y, None, None, 0, 1, 0, 0.0, 2.0, -1.0)
        if y.item() != 4:
            raise BackendError(f"it computes {y.item()} where 4 is right; report this with your versions and device")
    return raw


def _fastest(device: str) -> tuple[str, ...]:
    """The first of `AUTO` that works, or none; what does not is said once."""
    reasons = []
    for name in AUTO.get(device, ()):
        try:
            load(name)
        except BackendError:
            reasons.append(f"{name}: {_failed[name]}")
            continue
        _warn_once(device, reasons, name)
        return (name,)
    _warn_once(device, reasons, "plain PyTorch")
    return ()


def _warn_once(device: str, reasons: list[str], instead: str) -> None:
    if reasons and device not in _warned:
        _warned.add(device)
        warnings.warn(f"custom operators on {device}: {'; '.join(reasons)}; {instead} is used", stacklevel=2)


def _known(name: str, origin: str) -> str:
    if name not in _CHOICES:
        raise BackendError(f"{origin}: no back end is called {name!r}; choose from {', '.join(_CHOICES)}")
    return name
