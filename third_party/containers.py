"""Checkpoint files of every kind, told apart by their first bytes, as plain values and tensors.

    torch zip       PK..            data.pkl, and one stored member for each storage (torch >= 1.6)
    torch legacy    pickled magic   five pickles, then the storages one after another
    bare pickle                     NVIDIA's networks, whose storages are small legacy files inside; latents
    .npy            \\x93NUMPY       one array, or a pickle where its type is "object"

Files are mapped, not read: a tensor shares the file's memory, and what is not looked at is never loaded.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from latent_reenact.errors import CorruptFileError, LimitExceededError, UnsafeCheckpointError
from latent_reenact.third_party.globals import Namespace, PersistentObject, make_table
from latent_reenact.third_party.tensors import STORAGE_TYPES, ArrayType, ArrayView, Storage, TensorView, array_of
from latent_reenact.third_party.unpickle import Budget, Global, Limits, Machine
from latent_reenact.third_party.zips import ZIP_MAGIC, read_directory

_MAGIC = 0x1950A86A20F9469CFC6C  # the number that torch's old format begins with
_PROTOCOL = 1001
_NPY_MAGIC = b"\x93NUMPY"


def read_checkpoint(path: str | Path, limits: Limits | None = None) -> Any:
    """Read a checkpoint without running or importing anything it names.

    Returns:
        Dictionaries, lists, tuples, text, numbers, None, bytes, `torch.Tensor`s that share the file's (private)
        memory map, `numpy.ndarray`s, and `PersistentObject`s of NVIDIA's files. Namespaces come as dictionaries.

    Raises:
        UnsafeCheckpointError: it asks for something that only code could give; names it.
        CorruptFileError: missing, cut, altered, or no checkpoint.
        LimitExceededError: larger or deeper than `limits`.
    """
    limits = limits or Limits()
    where = str(path) if str(path).isprintable() else ascii(str(path))
    data = map_file(Path(path), limits)
    return _Plain(where, limits).convert(_read(data, where, Budget(limits, len(data))))


def map_file(path: Path, limits: Limits) -> memoryview:
    """A private map of a regular file: writing to it leaves the file alone."""
    try:
        if not path.is_file():
            raise CorruptFileError(f"cannot read {str(path)!r}: expected a checkpoint file; check the path")
        size = path.stat().st_size
        if size > limits.file_bytes:
            raise LimitExceededError(f"{str(path)!r}: {size} bytes, expected {limits.file_bytes} at most")
        if size == 0:
            raise CorruptFileError(f"{str(path)!r} is empty; get the file again")
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorruptFileError(f"cannot read {str(path)!r}: {reason}; expected a checkpoint file") from None


def _read(data: memoryview, where: str, budget: Budget, nested: int = 0) -> Any:
    if data[:4] == ZIP_MAGIC:
        return _read_zip(data, where, budget, nested)
    if data[: len(_NPY_MAGIC)] == _NPY_MAGIC:
        return _read_npy(data, where, budget, nested)
    machine = _machine(data, 0, where, budget, nested)
    value = machine.run()
    if value == _MAGIC and isinstance(value, int):
        return _read_legacy(data, machine.at, where, budget, nested)
    _expect_end(machine.at, data, where)
    return value


def _machine(
    data: memoryview,
    start: int,
    where: str,
    budget: Budget,
    nested: int,
    persistent: Callable[[Any], Any] | None = None,
) -> Machine:
    def load_storage(inner: Any) -> Storage:
        """The legacy torch file in the bytes that `_load_from_bytes` is called with."""
        if nested >= budget.limits.nesting:
            raise LimitExceededError(f"{where}: files within files, expected {budget.limits.nesting} at most")
        storage = _read(memoryview(inner), where, budget, nested + 1)
        if not isinstance(storage, Storage):
            raise ValueError("a nested file that holds no storage")
        return storage

    table = make_table(load_storage)
    return Machine(data, start, where=where, table=table, persistent=persistent, budget=budget)


def _storage_id(value: Any) -> tuple[Storage, str, Any]:
    """A persistent id of torch, ("storage", class, key, place, count[, view]) -> (storage, key, view)."""
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    _, kind, key, _, count, *view = value
    if not isinstance(kind, Global) or not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a storage without type, name or size")
    name = kind.name.rpartition(".")[2]
    if name not in STORAGE_TYPES:
        raise ValueError(f"a storage of type {kind.name}")
    return Storage(STORAGE_TYPES[name], count), key, view[0] if view else None


def _read_zip(data: memoryview, where: str, budget: Budget, nested: int) -> Any:
    members = read_directory(data, where)
    roots = [name.removesuffix("data.pkl") for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if any(name.endswith(("/constants.pkl", "/model.json")) or "/code/" in name for name in members):
        raise UnsafeCheckpointError(
            f"{where} is a TorchScript program, not a checkpoint; it was not run. Save its state_dict with torch.save"
        )
    if len(roots) != 1:
        _corrupt(where, f"a zip archive with {len(roots)} data.pkl, expected a torch checkpoint with one")
    root = roots[0]
    if f"{root}byteorder" in members and members[f"{root}byteorder"].read() != b"little":
        _corrupt(where, "numbers in big-endian order, expected little-endian")
    storages: dict[str, Storage] = {}

    def storage(value: Any) -> Storage:
        found, key, view = _storage_id(value)
        if view is not None:
            raise ValueError("a storage view in a zip file")
        if key not in storages:
            found.data = members[f"{root}data/{key}"].read()
            storages[key] = found
        elif (storages[key].dtype, storages[key].count) != (found.dtype, found.count):
            raise ValueError(f"storage {key!r} as two types")
        return storages[key]

    program = members[f"{root}data.pkl"].read()
    machine = _machine(program, 0, where, budget, nested, storage)
    value = machine.run()
    _expect_end(machine.at, program, where)
    return value


def _read_legacy(data: memoryview, at: int, where: str, budget: Budget, nested: int) -> Any:
    storages: dict[str, Storage] = {}

    def storage(value: Any) -> Storage:
        found, key, view = _storage_id(value)
        whole = storages.setdefault(key, found)
        if whole.dtype != found.dtype:
            raise ValueError(f"storage {key!r} as two types")
        if view is None:
            return whole
        _, start, count = view
        if type(start) is not int or type(count) is not int or min(start, count) < 0:
            raise ValueError("a storage view without place")
        return Storage(found.dtype, count, start=start, base=whole)

    def run(persistent: Callable[[Any], Any] | None = None) -> Any:
        nonlocal at
        machine = _machine(data, at, where, budget, nested, persistent)
        value = machine.run()
        at = machine.at
        return value

    if run() != _PROTOCOL:
        _corrupt(where, "another version of torch's old format")
    system = run()
    if isinstance(system, dict) and system.get("little_endian") is False:
        _corrupt(where, "numbers in big-endian order, expected little-endian")
    value, keys = run(storage), run()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        _corrupt(where, "a list of storages that are not its own")
    for key in keys:
        at = _fill(storages[key], data, at, where)
    _expect_end(at, data, where)
    return value


def _fill(storage: Storage, data: memoryview, at: int, where: str) -> int:
    """Give a storage its numbers, which lie at `at` behind their count; returns where they end."""
    if at + 8 > len(data):
        _corrupt(where, "its numbers are missing")
    (count,) = struct.unpack("<q", data[at : at + 8])
    end = at + 8 + count * storage.dtype.itemsize
    if count != storage.count or end > len(data):
        _corrupt(where, f"a storage of {count} numbers, expected {storage.count}")
    storage.data = data[at + 8 : end]
    return end


def _read_npy(data: memoryview, where: str, budget: Budget, nested: int) -> Any:
    """One array (NumPy's format, versions 1 to 3). Its header is a Python literal; here a pattern reads it."""
    version = data[6] if len(data) > 6 else 0
    form = "<H" if version == 1 else "<I"
    body = 8 + struct.calcsize(form)
    if version not in (1, 2, 3) or len(data) < body:
        _corrupt(where, "no header that NumPy writes")
    (length,) = struct.unpack(form, data[8:body])
    header = bytes(data[body : body + min(length, 4096)]).decode("latin-1")
    match = re.fullmatch(
        r"\{'descr': '([<>|=]?\w+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*", header
    )
    if match is None or body + length > len(data):
        _corrupt(where, "an array of records or without a header, expected plain numbers")
    shape = tuple(int(n) for n in match[3].replace(" ", "").split(",") if n)
    content = data[body + length :]
    if match[1].lstrip("|") == "O":
        machine = _machine(content, 0, where, budget, nested)
        value = machine.run()
        _expect_end(machine.at, content, where)
        return value
    try:
        return array_of(content, ArrayType(match[1]), shape, fortran=match[2] == "True")
    except ValueError as error:
        _corrupt(where, str(error))


def _expect_end(at: int, data: memoryview, where: str) -> None:
    if at != len(data):
        _corrupt(where, f"{len(data) - at} bytes follow its end")


def _corrupt(where: str, why: str) -> NoReturn:
    raise CorruptFileError(f"{where} is not a checkpoint that can be read: {why}; get the file again")


class _Plain:
    """Turns a tree of records into one of values and tensors; a value that is shared is converted once."""

    def __init__(self, where: str, limits: Limits) -> None:
        self.where, self.limits = where, limits
        self.done: dict[int, Any] = {}
        self.sizes: dict[int, int] = {}
        self.count = 0  # values so far, each wherever it stands: what a reader that walks the tree would meet
        self.open: set[int] = set()

    def convert(self, value: Any, depth: int = 0) -> Any:
        if value is None or isinstance(value, str | int | float | bytes):
            return value
        if id(value) in self.done:
            self._add(self.sizes[id(value)])
            return self.done[id(value)]
        if depth > self.limits.depth or id(value) in self.open:
            raise LimitExceededError(f"{self.where}: nested over {self.limits.depth} deep, or inside itself")
        before = self.count
        self._add(1 + len(value) if isinstance(value, list | tuple | dict) else 1)
        self.open.add(id(value))
        try:
            self.done[id(value)] = result = self._convert(value, depth + 1)
        except ValueError as error:
            _corrupt(self.where, str(error))
        finally:
            self.open.discard(id(value))
        self.sizes[id(value)] = self.count - before
        return result

    def _add(self, values: int) -> None:
        self.count += values
        if self.count > self.limits.values:
            raise LimitExceededError(f"{self.where}: over {self.limits.values} values, or the same ones over and over")

    def _convert(self, value: Any, depth: int) -> Any:
        if isinstance(value, TensorView):
            return value.value()
        if isinstance(value, ArrayView):
            inner = value.value()
            return inner if isinstance(inner, np.ndarray) else self.convert(inner, depth)
        if isinstance(value, dict):
            return {key: self.convert(item, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self.convert(item, depth) for item in value]
        if isinstance(value, tuple):
            return tuple(self.convert(item, depth) for item in value)
        if isinstance(value, Namespace):
            return self.convert(value.values, depth)
        if isinstance(value, PersistentObject):
            return PersistentObject(self.convert(value.meta, depth))
        if isinstance(value, Storage):
            return value.tensor()
        if isinstance(value, memoryview | np.ndarray):
            return value
        return str(value) if isinstance(value, Global) else f"<{type(value).__name__}>"
