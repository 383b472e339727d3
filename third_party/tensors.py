"""Tensors and arrays as checkpoints describe them, checked against the bytes that are there before anything is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_reenact.third_party.unpickle import Record

# Storage class of torch -> element type.
STORAGE_TYPES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_ARRAY_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_OBJECTS = {"O", "O8"}  # Python values of their own, as np.save writes a dictionary
_MAX_DIMENSIONS = 8
_MAX_SIZE = 1 << 40  # of one dimension, and of all together: beyond are no files, and torch's own overflow
Blob = bytes | memoryview


@dataclass(eq=False)
class Storage:
    """A run of numbers in the file. `data` comes late in torch's old format, where the numbers follow the pickle."""

    dtype: torch.dtype
    count: int
    data: Blob | None = None
    start: int = 0  # in elements; views of old files begin inside another storage
    base: Storage | None = None
    _tensor: Tensor | None = None

    def tensor(self) -> Tensor:
        """All of it, one dimension, sharing the file's memory where its place there allows it; the same one each time.

        Raises:
            ValueError: the file holds another number of bytes.
        """
        if self._tensor is None:
            self._tensor = self._make()
        return self._tensor

    def _make(self) -> Tensor:
        if self.base is not None:
            whole = self.base.tensor()
            if self.start < 0 or self.start + self.count > len(whole):
                raise ValueError(f"a view of {self.count} numbers from {self.start} in a storage of {len(whole)}")
            return whole[self.start : self.start + self.count]
        size = self.count * self.dtype.itemsize
        if self.data is None or len(self.data) != size:
            raise ValueError(f"a storage of {self.count} numbers with {len(self.data or b'')} bytes, expected {size}")
        if self.count == 0:
            return torch.empty(0, dtype=self.dtype)
        array = np.frombuffer(self.data, dtype=np.uint8)
        if array.ctypes.data % self.dtype.itemsize or not array.flags.writeable:
            array = array.copy()
        return torch.from_numpy(array).view(self.dtype)


@dataclass(eq=False)
class TensorView(Record):
    """A tensor: a window into a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.storage, Storage) or not _are_sizes((self.offset,), self.shape, self.stride):
            raise ValueError("a tensor without a storage, or of no possible size")
        if len(self.shape) != len(self.stride):
            raise ValueError(f"a tensor of shape {self.shape} and stride {self.stride}")
        count = math.prod(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if count and (count > self.storage.count or last >= self.storage.count):
            raise ValueError(f"a tensor of shape {self.shape} in a storage of {self.storage.count} numbers")

    def build(self, state: Any) -> None:
        """Attributes set on a tensor mean nothing here."""

    def value(self) -> Tensor:
        """The tensor, sharing the file's memory where it can."""
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.storage.dtype)
        return self.storage.tensor().as_strided(self.shape, self.stride, self.offset)


@dataclass(eq=False)
class ArrayType(Record):
    """A numpy dtype: kind and size, then byte order by BUILD."""

    code: str
    order: str = "<"

    def __post_init__(self) -> None:
        code = self.code.lstrip("<=|>") if isinstance(self.code, str) else ""
        self.order = self.code[0] if isinstance(self.code, str) and self.code[:1] in ("<", ">") else "<"
        if code not in _ARRAY_TYPES | _OBJECTS:
            raise ValueError(f"an array of {code[:40]!r}, expected plain numbers")
        self.code = code

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("an array type of unknown byte order")
        self.order = ">" if state[1] == ">" else "<"

    @property
    def is_objects(self) -> bool:
        return self.code in _OBJECTS

    def numpy(self) -> np.dtype:
        """The type of its numbers; only for plain numbers."""
        return np.dtype(self.order + self.code)


@dataclass(eq=False)
class ArrayView(Record):
    """A numpy array, whose type, shape and numbers come by BUILD. One of Python objects is a list of values here."""

    dtype: ArrayType | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: Blob | list[Any] = b""

    def build(self, state: Any) -> None:
        """State as numpy writes it: ([version,] shape, dtype, is_fortran, raw bytes)."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array without its parts")
        shape, dtype, fortran, data = state[-4:]
        if isinstance(data, str):
            data = data.encode("latin-1")
        if not isinstance(dtype, ArrayType) or not isinstance(data, list if dtype.is_objects else bytes | memoryview):
            raise ValueError("an array without type or numbers")
        self.dtype, self.shape, self.fortran, self.data = dtype, _checked_shape(shape), fortran is True, data

    def value(self) -> Any:
        """The numbers as an array (a copy); the objects as a list, or the one object that there is."""
        if self.dtype is None:
            raise ValueError("an array without its numbers")
        if isinstance(self.data, list):
            return self.data[0] if self.shape == () and len(self.data) == 1 else self.data
        return array_of(self.data, self.dtype, self.shape, fortran=self.fortran)


def array_of(data: Blob, dtype: ArrayType, shape: tuple[int, ...], *, fortran: bool = False) -> np.ndarray:
    """A copy of numbers in the file, in the machine's byte order.

    Raises ValueError where their count is not that of `shape`.
    """
    shape = _checked_shape(shape)
    if dtype.is_objects:
        raise ValueError("an array of Python objects, expected plain numbers")
    kind = dtype.numpy()
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of shape {shape} and type {kind} with {len(data)} bytes")
    flat = np.frombuffer(data, dtype=kind).astype(kind.newbyteorder("="))
    return flat.reshape(shape, order="F" if fortran else "C")


def _are_sizes(*tuples: tuple[Any, ...]) -> bool:
    """Whether each holds few numbers, none of them negative, and none beyond what can be."""
    return all(
        len(numbers) <= _MAX_DIMENSIONS
        and all(type(n) is int and 0 <= n <= _MAX_SIZE for n in numbers)
        and math.prod(n or 1 for n in numbers) <= _MAX_SIZE**2
        for numbers in tuples
    )


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not _are_sizes(shape):
        raise ValueError("an array without a shape")
    return shape
