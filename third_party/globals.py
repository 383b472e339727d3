"""The names that checkpoints use, and what each stands for here. What is not in this table is refused.

Nothing is imported: `torch._utils._rebuild_tensor_v2` is a key, and its stand-in makes a record of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from latent_reenact.third_party.tensors import STORAGE_TYPES, ArrayType, ArrayView, Storage, TensorView, array_of
from latent_reenact.third_party.unpickle import Global, Record

_MAX_PATH = 4096


@dataclass(eq=False)
class Namespace(Record):
    """`argparse.Namespace`: the options a program was started with."""

    values: dict[str, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("options without names")
        self.values = state

    def value(self) -> dict[str, Any]:
        return self.values


@dataclass(frozen=True, eq=False)
class PersistentObject(Record):
    """An object of NVIDIA's `torch_utils.persistence`: a class by name, its source text (never run) and its state."""

    meta: dict[str, Any]

    @property
    def class_name(self) -> str:
        return str(self.meta.get("class_name", ""))

    @property
    def state(self) -> dict[str, Any]:
        state = self.meta.get("state")
        return state if isinstance(state, dict) else {}

    def build(self, state: Any) -> None:
        raise ValueError("a persistent object with a second state")


def make_table(load_storage: Callable[[Any], Storage]) -> dict[str, Global]:
    """ "module name" -> stand-in. `load_storage` reads the small torch file inside `torch.storage._load_from_bytes`."""
    table = {name: Global(name.replace(" ", "."), make) for name, make in _PLAIN.items()}
    table["torch.storage _load_from_bytes"] = Global("torch.storage._load_from_bytes", load_storage)
    return table


def _text(data: Any = "", encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`: how Python's protocol 2 writes bytes."""
    if not isinstance(data, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an unknown encoding")
    return data.encode("latin-1")


def _members(values: Any = ()) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise ValueError("a set of something else than values")
    return list(values)


def _mapping(pairs: Any = ()) -> dict[Any, Any]:
    """An OrderedDict or EasyDict, empty or from pairs; its items usually follow by SETITEMS."""
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise ValueError("a dictionary made of something else than pairs")
    return {pair[0]: pair[1] for pair in pairs}


def _default_mapping(factory: Any = None) -> dict[Any, Any]:
    return {}


def _empty_bytes() -> bytes:
    return b""


def _path(*parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts) or sum(map(len, parts)) > _MAX_PATH:
        raise ValueError("a path that is no text, or is too long")
    return "/".join(parts).replace("//", "/", 1)


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or type(index) not in (int, type(None)):
        raise ValueError("a device without a name")
    return kind if index is None else f"{kind[:16]}:{index}"


def _size(values: Any = ()) -> tuple[int, ...]:
    if not isinstance(values, list | tuple):
        raise ValueError("a size of something else than numbers")
    return tuple(values)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorView:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`; what follows (gradients, hooks, metadata) is left out."""
    return TensorView(storage, offset, _size(shape), _size(stride))


def _parameter(data: Any, *_: Any) -> TensorView:
    if not isinstance(data, TensorView):
        raise ValueError("a parameter that is no tensor")
    return data


def _array(cls: Any = None, shape: Any = (), code: Any = b"b") -> ArrayView:
    return ArrayView()


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> ArrayView:
    array = ArrayView()
    array.build((shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(dtype, ArrayType) or not isinstance(data, bytes | memoryview):
        raise ValueError("a scalar that is no number")
    return array_of(data, dtype, ()).item()


def _array_type(code: Any, *_: Any) -> ArrayType:
    return ArrayType(code)


def _persistent(meta: Any) -> PersistentObject:
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise ValueError("a persistent object without its description")
    return PersistentObject(meta)


_PLAIN: dict[str, Callable[..., Any] | None] = {
    "collections OrderedDict": _mapping,
    "collections defaultdict": _default_mapping,
    "argparse Namespace": Namespace,
    "_codecs encode": _text,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch device": _device,
    "torch Size": _size,
    "numpy dtype": _array_type,
    "numpy ndarray": None,
    "dnnlib.util EasyDict": _mapping,
    "dnnlib EasyDict": _mapping,
    "torch_utils.persistence _reconstruct_persistent_obj": _persistent,
    "torch.storage TypedStorage": None,
    "torch.storage _TypedStorage": None,
    "torch.storage UntypedStorage": None,
}
for _module in ("builtins", "__builtin__"):
    _PLAIN |= {f"{_module} set": _members, f"{_module} frozenset": _members, f"{_module} bytes": _empty_bytes}
    _PLAIN |= {f"{_module} dict": _mapping, f"{_module} list": _members}
for _module in ("pathlib", "pathlib._local"):
    _PLAIN |= {f"{_module} {name}": _path for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")}
for _module in ("numpy.core", "numpy._core"):
    _PLAIN |= {f"{_module}.multiarray _reconstruct": _array, f"{_module}.multiarray scalar": _scalar}
    _PLAIN |= {f"{_module}.numeric _frombuffer": _array_from_buffer}
for _module in ("torch", "torch.cuda"):
    _PLAIN |= dict.fromkeys((f"{_module} {name}" for name in STORAGE_TYPES), None)
_PLAIN |= dict.fromkeys(
    (f"torch {name}" for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")), None
)
