"""Networks without numbers: what is built before a file fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_RANDOM = (torch.randn, torch.rand)
_KEEP_SHAPE = (
    *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
    *(Tensor.mul, Tensor.__mul__, Tensor.div, Tensor.__truediv__),
)


@contextmanager
def unfilled() -> Iterator[None]:
    """Networks made inside have shapes, on the meta device, and take neither memory nor random numbers.

    To compute on meta tensors, PyTorch imports its compiler and sympy: a second or two for values that nobody reads.
    So the arithmetic of constructors is left out.
    """
    with torch.device("meta"), _Uncomputed():
        yield


class _Uncomputed(TorchFunctionMode):
    """Fills and scales nothing. What it does not know, PyTorch does as ever: slower, and with the same shapes."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _RANDOM and not kwargs:
            return torch.empty(*args)
        if func is torch.full and not kwargs:
            return torch.empty(args[0])
        if func in _KEEP_SHAPE and args[0].is_meta and not any(isinstance(other, Tensor) for other in args[1:]):
            return args[0]
        return func(*args, **(kwargs or {}))
