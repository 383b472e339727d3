"""Checkpoints that lie about sizes and places, files that end too early, and paths that are no files."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from attacks import pickle_assembler as asm
from attacks import pickle_containers as box
from attacks.pickle_assembler import Program, join, push, reduce, whole
from attacks.pickle_limits import LimitCase


def claim_cases() -> Iterator[LimitCase]:
    for cases in (_archives, _claims, _tensors, _storages, _cuts):
        yield from cases()


# -- archives ---------------------------------------------------------------------------------------------------------


def _deflated_bomb() -> bytes:
    """262 kB that become 268 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    return box.zip_file([box.ZipMember("archive/data.pkl", packed, method=8, size=256 << 20, crc=0)])


def _quoted_overlap(members: int, payload: int) -> bytes:
    """Each member's numbers are all the members behind it: n headers, n²/2 bytes to check."""
    keys = [f"{i:05d}" for i in range(members)]  # heads of 48 bytes: every member is whole numbers
    heads = [b"PK\3\4" + bytes(22) + struct.pack("<2H", len(k) + 13, 0) + b"archive/data/" + k.encode() for k in keys]
    body, sums, places = bytes(payload), [], []
    tail = body
    for head in reversed(heads):
        sums.append((zlib.crc32(tail), len(tail)))
        tail = head + tail
    program = push([box.Storages().storage(bytes(4), key=k, count=sums[-1 - i][1] // 4) for i, k in enumerate(keys)])
    first = box.ZipMember("archive/data.pkl", whole(program))
    at = 30 + len(first.name) + len(first.data)
    for head in heads:
        places.append(at)
        at += len(head)
    entries = [
        box.ZipMember(f"archive/data/{k}", size=size, crc=crc, at=place)
        for k, place, (crc, size) in zip(keys, places, reversed(sums), strict=True)
    ]
    archive = box.zip_file([first])
    start = archive.index(b"PK\1\2")
    members_now = [box.ZipMember("archive/data.pkl", whole(program), at=0), *entries]
    return box.zip_file(members_now, prefix=archive[:start] + tail)


def _archives() -> Iterator[LimitCase]:
    empty = [box.ZipMember("archive/data.pkl", whole(push({})))]
    yield LimitCase("deflated bomb", _deflated_bomb)
    yield LimitCase(
        "60,000 members", lambda: box.zip_file(empty + [box.ZipMember(f"archive/data/{i}") for i in range(60_000)])
    )
    yield LimitCase("overlapping members", lambda: _quoted_overlap(500, 2 << 20))
    for name, at, value in (
        ("member of 4 GB", 24, 0xFFFFFFFE),
        ("member at 4 GB", 42, 0xFFFFFFFE),
        ("member inside itself", 42, 10),
    ):

        def lie(at: int = at, value: int = value) -> bytes:
            data = bytearray(box.zip_file(empty))
            start = data.index(b"PK\1\2")
            for place in (at, at - 4) if at == 24 else (at,):
                data[start + place : start + place + 4] = struct.pack("<I", value)
            return bytes(data)

        yield LimitCase(name, lie)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**60, 2**60, 2**40, 0)
    for name, place in (("64-bit directory of 2^60 members", 0), ("64-bit directory at 2^62", 2**62)):
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, place or 4, 1)
        end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
        yield LimitCase(name, lambda locator=locator, end=end: b"PK\3\4" + wide + locator + end)
    yield LimitCase("only an end", lambda: b"PK\3\4" + b"PK\5\6" + bytes(18))
    yield LimitCase("1,000 directory ends", lambda: box.zip_file(empty) + (b"PK\5\6" + bytes(18)) * 1000)


# -- claims -----------------------------------------------------------------------------------------------------------


def _claims() -> Iterator[LimitCase]:
    """Values that say they are larger than the file."""
    for value in (2**62, 2**63, 2**64 - 1, 2**31, 100 << 20):
        for name in ("BINUNICODE8", "BINBYTES8", "BYTEARRAY8", "FRAME"):
            code = getattr(pickle, name)
            yield LimitCase(
                f"{name} of {value}", lambda code=code, value=value: b"\x80\4" + code + struct.pack("<Q", value) + b"x."
            )
    for value in (2**31 - 1, -1, -(2**31)):
        for name in ("LONG4", "BINSTRING"):
            code = getattr(pickle, name)
            yield LimitCase(
                f"{name} of {value}", lambda code=code, value=value: b"\x80\2" + code + struct.pack("<i", value) + b"x."
            )
    for name in ("BINUNICODE", "BINBYTES"):
        yield LimitCase(f"{name} of 2^32", lambda name=name: b"\x80\3" + getattr(pickle, name) + b"\xff" * 4 + b"x.")
    for index in (2**31, 2**32 - 1):
        put = pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", index)
        yield LimitCase(f"LONG_BINPUT {index}", lambda put=put: whole(Program(put)), False)
    digits = b"9" * 1_000_000
    for name, code, end in (
        ("INT", b"I", b"\n"),
        ("LONG", b"L", b"L\n"),
        ("FLOAT", b"F", b"\n"),
        ("STRING", b"S'", b"'\n"),
    ):
        yield LimitCase(f"{name} of a million digits", lambda code=code, end=end: code + digits + end + b".")
    for name in ("PUT", "GET"):
        yield LimitCase(f"{name} of a million digits", lambda name=name: b"N" + getattr(pickle, name) + digits + b"\n.")
    yield LimitCase(
        "LONG4 of a megabyte",
        lambda: b"\x80\2" + pickle.LONG4 + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    )
    for word in ("inf", "nan", "1e999999999", "0x10", "1_000", "\u0661", "--1", ""):
        yield LimitCase(
            f"INT {word!a}", lambda word=word: b"I" + word.encode() + b"\n.", word not in ("1_000", "\u0661")
        )
    yield LimitCase("text that is no UTF-8", lambda: whole(Program(b"X\2\0\0\0\xff\xff")))
    yield LimitCase("text of 20 MB", lambda: whole(push("x" * (20 << 20))))


# -- tensors and storages ---------------------------------------------------------------------------------------------


def _tensors() -> Iterator[LimitCase]:
    """Windows that lie outside their storage, or are none."""
    lies = {
        "2^60 numbers": {"size": (2**60,), "stride": (1,)},
        "2^70 numbers": {"size": (2**70,), "stride": (1,)},
        "2^2000 numbers": {"size": (2**2000,), "stride": (1,)},
        "2^60 times the same number": {"size": (2**60,), "stride": (0,)},
        "2^31 times 2^31 times 4": {"size": (2**31, 2**31, 4), "stride": (0, 0, 0)},
        "one more number": {"size": (7,), "stride": (1,)},
        "a step too wide": {"size": (2, 3), "stride": (4, 1)},
        "a step of 2^62": {"size": (2, 1), "stride": (2**62, 1)},
        "a negative size": {"size": (-2, 3)},
        "a negative step": {"size": (2, 3), "stride": (-3, 1)},
        "a negative offset": {"offset": -1},
        "an offset outside": {"offset": 1},
        "an offset of 2^62": {"offset": 2**62},
        "a size of text": {"size": ("2", "3")},
        "a size of truth": {"size": (True, True)},
        "a size of half": {"size": (2.0, 3.0)},
        "a size of nothing": {"size": None},
        "a size of a dictionary": {"size": {"a": 1}},
        "a size of a number": {"size": 6, "stride": 1},
        "fewer steps than sizes": {"stride": (1,)},
        "a thousand dimensions": {"size": (1,) * 1000, "stride": (1,) * 1000},
        "a storage of nothing": {"storage": push(None)},
        "a storage of a tensor": {"storage": box.Storages(nested=True).tensor()},
        "a storage of a class": {"storage": asm.glob("torch", "FloatStorage")},
    }
    allowed = {
        "one number with a step of 2^70": {"size": (1,), "stride": (2**70,)},
        "one number with a step of 2^63": {"size": (1,), "stride": (2**63,)},
        "no numbers by 2^70": {"size": (0, 2**70), "stride": (1, 1)},
        "no numbers by 2^62 by 2^62": {"size": (0, 2**62, 2**62), "stride": (1, 1, 1)},
        "no numbers at 2^70": {"size": (0,), "stride": (1,), "offset": 2**70},
        "no numbers with a step of 2^70": {"size": (0,), "stride": (2**70,)},
        "all the same number": {"size": (6,), "stride": (0,)},
    }
    for nested in (False, True):
        for name, parts in (lies | allowed).items():

            def make(nested: bool = nested, parts: dict = parts) -> bytes:
                s = box.Storages(nested=nested)
                return box.pack("bare" if nested else "zip", push({"x": s.tensor((2, 3), **parts)}), s)

            yield LimitCase(f"tensor of {name}{', nested' * nested}", make, name in lies)
    large = push(2**2000)
    yield LimitCase(
        "tensor of 300,000 large sizes",
        lambda: whole(join(large, pickle.PUT, b"1\n", pickle.POP, _sized(pickle.BINGET + b"\1"))),
    )
    for shape in ((0, 2**70), (2**62, 4), (-1,), (2**60,), (1.0,), [1], None, (1,) * 99):

        def array(shape: object = shape) -> bytes:
            empty = reduce("numpy.core.multiarray", "_reconstruct", (asm.glob("numpy", "ndarray"), (0,), push(b"b")))
            return whole(asm.build(empty, (1, shape, reduce("numpy", "dtype", ("f4",)), False, push(b""))))

        yield LimitCase(f"array of shape {str(shape)[:40]}", array)
    for kind in ("O", "U9", "V8", "M8", "f16", "c8", "f4,f4", "(2,)f4", "", "os.system", "<" * 9):
        yield LimitCase(f"array type {kind!r}", lambda kind=kind: whole(_typed(kind)), True)


def _sized(one: bytes) -> Program:
    many = Program(pickle.MARK + one * 300_000 + pickle.TUPLE)
    return box.Storages(nested=True).tensor(size=many, stride=many)


def _typed(kind: str) -> Program:
    empty = reduce("numpy.core.multiarray", "_reconstruct", (asm.glob("numpy", "ndarray"), (0,), push(b"b")))
    return asm.build(empty, (1, (1,), reduce("numpy", "dtype", (kind,)), False, push(b"0123456789abcdef")))


def _storages() -> Iterator[LimitCase]:
    """Storages of another length than the file has."""
    for count in (-1, 0, 5, 7, 2**31, 2**62, 2**70, 6.0, "6", None, True):

        def in_zip(count: object = count) -> bytes:
            s = box.Storages()
            tensor = s.tensor((2, 3), storage=_counted(s, count))
            return box.pack("zip", push({"x": tensor}), s)

        def in_legacy(count: object = count) -> bytes:
            s = box.Storages()
            tensor = s.tensor((2, 3), storage=_counted(s, count))
            return box.pack("legacy", push({"x": tensor}), s)

        yield LimitCase(f"zip storage of {count!r}", in_zip)
        yield LimitCase(f"legacy storage of {count!r}", in_legacy)
    s = box.Storages()
    good = push({"x": s.tensor()})
    for count in (-1, 5, 7, 2**62, -(2**63)):
        whole_file = box.legacy_file(good, s.numbers)
        yield LimitCase(
            f"legacy numbers, {count}", lambda f=whole_file, count=count: f[:-32] + struct.pack("<q", count) + f[-24:]
        )
    for view in (
        ("1", 0, 2),
        ("1", -1, 2),
        ("1", 5, 2),
        ("1", 0, 2**62),
        ("1", 2**62, 1),
        ("1", None, None),
        "x",
        5,
        (1,),
    ):

        def viewed(view: object = view) -> bytes:
            identity = ("storage", asm.glob("torch", "FloatStorage"), "0", "cpu", 6, view)
            tensor = box.Storages().tensor((2, 3), storage=asm.persistent_value(identity))
            return box.legacy_file(push({"x": tensor}), {"0": bytes(24)})

        yield LimitCase(f"view {view!r}", viewed)
    for kinds in (("FloatStorage", "LongStorage"), ("LongStorage", "FloatStorage")):
        pair = [asm.persistent_value(("storage", asm.glob("torch", k), "0", "cpu", 6)) for k in kinds]
        for kind in ("zip", "legacy"):
            s = box.Storages(numbers={"0": bytes(24)})
            yield LimitCase(f"{kind} storage of two types {kinds}", lambda p=pair, k=kind, s=s: box.pack(k, push(p), s))
    for kind in ("QInt8Storage", "ComplexFloatStorage", "UntypedStorage", "Storage", "float32"):
        one = asm.persistent_value(("storage", asm.glob("torch", kind), "0", "cpu", 6))
        yield LimitCase(
            f"storage type {kind}", lambda one=one: box.pack("zip", push([one]), box.Storages(numbers={"0": bytes(24)}))
        )


def _counted(s: box.Storages, count: object) -> Program:
    """A storage of six numbers that says it has `count`."""
    s.numbers["0"] = bytes(24)
    return asm.persistent_value(("storage", asm.glob("torch", "FloatStorage"), "0", "cpu", count))


def _cuts() -> Iterator[LimitCase]:
    """Whole files that end too early, at a hundred places each."""
    for kind in box.CONTAINERS:
        data = box.container(kind)
        for percent in range(100):
            at = len(data) * percent // 100
            yield LimitCase(f"{kind} cut at {percent} %", lambda data=data, at=at: data[:at])
        yield LimitCase(f"{kind} without its last byte", lambda data=data: data[:-1])


# -- paths ------------------------------------------------------------------------------------------------------------


def path_cases(folder: Path) -> dict[str, str]:
    """Name -> path of things that are no checkpoint file; makes them in `folder`."""
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "nowhere").symlink_to(folder / "missing")
    (folder / "folder.pt").mkdir()
    (folder / "locked.pt").write_bytes(whole(Program(b"N\xff")))
    (folder / "locked.pt").chmod(0)
    (folder / "two\nlines.pt").write_bytes(b"\xff")
    (folder / "empty.pt").write_bytes(b"")
    for name, size in (("sparse.pt", 64 << 30), ("zeros.pt", 2 << 30)):
        with open(folder / name, "wb") as file:
            file.truncate(size)
    here = (
        "fifo",
        "loop",
        "nowhere",
        "missing",
        "folder.pt",
        "locked.pt",
        "two\nlines.pt",
        "empty.pt",
        "sparse.pt",
        "zeros.pt",
    )
    there = (
        "/dev/zero",
        "/dev/full",
        "/proc/self/mem",
        "/proc/self/environ",
        "",
        "x\0y",
        "a" * 5000,
        "http://127.0.0.1/x.pt",
    )
    return {f"path {name!r}": str(folder / name) for name in here} | {f"path {path[:40]!r}": path for path in there}
