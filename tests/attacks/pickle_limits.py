"""Checkpoints that explode or never end: much memory or time out of a small file."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import NamedTuple

from attacks import pickle_assembler as asm
from attacks import pickle_containers as box
from attacks.pickle_assembler import Program, join, push, reduce, whole


class LimitCase(NamedTuple):
    """`make` gives the file. Where `refused` it must be refused; else it may be read, in little time and memory."""

    name: str
    make: Callable[[], bytes]
    refused: bool = True
    suffix: str = ".pt"


def limit_cases() -> Iterator[LimitCase]:
    for cases in (_laughs, _copies, _collisions, _long_programs):
        yield from cases()


def _doubling(first: bytes, step: Callable[[bytes], bytes], times: int) -> Program:
    """A value, then `times` values that each hold the one before twice. `step` makes one from the code of two."""
    program = first + pickle.PUT + b"0\n"
    for i in range(times):
        got = pickle.GET + b"%d\n" % i
        program += pickle.POP + step(got + got) + pickle.PUT + b"%d\n" % (i + 1)
    return Program(program)


def _tuples(two: bytes) -> bytes:
    return two + pickle.TUPLE2


def _lists(two: bytes) -> bytes:
    return pickle.MARK + two + pickle.LIST


def _laughs() -> Iterator[LimitCase]:
    """The billion laughs: sixty doublings, as data and wherever something might hash, print or copy it."""
    text = push("ha")
    for what, step in (
        ("tuples", _tuples),
        ("lists", _lists),
        ("frozen sets", lambda two: pickle.MARK + two + pickle.FROZENSET),
    ):
        laugh = _doubling(text, step, 60)
        yield LimitCase(f"doubling {what}", lambda laugh=laugh: whole(push({"x": laugh})))
        for place, put in {
            "as a key": lambda p: {p: 1},
            "as a member": lambda p: join(pickle.EMPTY_SET, pickle.MARK, p, pickle.ADDITEMS),
            "as a device": lambda p: reduce("torch", "device", (p,)),
            "as a device's number": lambda p: reduce("torch", "device", ("cpu", p)),
            "as a path": lambda p: reduce("pathlib", "PosixPath", (p,)),
            "as a type": lambda p: reduce("numpy", "dtype", (p,)),
            "as a class name": lambda p: box.persistent_object(p, {}),
            "as a kind of object": lambda p: box.persistent_object("x", {}, type=p),
            "as a global": lambda p: join(p, p, pickle.STACK_GLOBAL),
            "as named arguments": lambda p: join(asm.glob("collections", "OrderedDict"), push(()), p, pickle.NEWOBJ_EX),
            "as a size": lambda p: box.Storages(nested=True).tensor(size=p, stride=p),
            "as a size of torch": lambda p: reduce("torch", "Size", (p,)),
            "as an encoding": lambda p: reduce("_codecs", "encode", ("x", p)),
            "as a storage": lambda p: box.Storages(nested=True).tensor(storage=p),
            "as a parameter": lambda p: reduce("torch._utils", "_rebuild_parameter", (p,)),
            "as an array's order": lambda p: asm.build(reduce("numpy", "dtype", ("f4",)), (3, p)),
        }.items():
            yield LimitCase(
                f"doubling {what} {place}", lambda put=put, laugh=laugh: whole(push({"x": push(put(laugh))}))
            )
        key = _doubling(text, step, 60)
        yield LimitCase(
            f"doubling {what} as a storage key",
            lambda key=key: box.pack("zip", box.Storages().storage(bytes(4), key=key), box.Storages()),
        )
        yield LimitCase(
            f"doubling {what} as the legacy system", lambda key=key: box.legacy_file(push({}), {}, system=key), False
        )
    dictionary = _doubling(
        push({}),
        lambda two: pickle.MARK + push("a") + two[: len(two) // 2] + push("b") + two[: len(two) // 2] + pickle.DICT,
        60,
    )
    yield LimitCase("doubling dictionaries", lambda: whole(push({"x": dictionary})))
    # A shallow tree that is wide instead: 30,000³ values.
    wide = push("ha")
    for i in range(3):
        wide = join(
            wide, pickle.PUT, b"%d\n" % i, pickle.POP, pickle.MARK, (pickle.BINGET + bytes([i])) * 30_000, pickle.LIST
        )
    yield LimitCase("thirty thousand cubed", lambda: whole(push({"x": wide})))
    inside = join(pickle.EMPTY_LIST, pickle.PUT, b"0\n", pickle.GET, b"0\n", pickle.APPEND)
    yield LimitCase("list inside itself", lambda: whole(inside))
    own = join(pickle.EMPTY_DICT, pickle.PUT, b"0\n", push("x"), pickle.GET, b"0\n", pickle.SETITEM)
    yield LimitCase("dictionary inside itself", lambda: whole(own))
    loop = join(
        asm.newobj("argparse", "Namespace"), pickle.PUT, b"0\n", push({"x": Program(pickle.GET + b"0\n")}), pickle.BUILD
    )
    yield LimitCase("options inside themselves", lambda: whole(loop))


def _again(value: bytes, use: Callable[[Program], Program], times: int) -> bytes:
    """A value that is made once and used many times over, in a list."""
    kept = value + pickle.PUT + b"0\n" + pickle.POP
    return whole(join(kept, pickle.MARK, use(Program(pickle.GET + b"0\n")) * times, pickle.LIST))


def _called(module: str, name: str, *before: object) -> Callable[[Program], Program]:
    return lambda got: reduce(module, name, (*before, got))


def _copies() -> Iterator[LimitCase]:
    """Something large once, and 20,000 calls that copy it."""
    million = push(bytes(1_000_000), 4)
    text = push("x" * 1_000_000)
    many = join(pickle.MARK, push(1) * 50_000, pickle.LIST)
    pairs = join(pickle.MARK, push(("a", 1)) * 20_000, pickle.LIST)
    uses: dict[str, tuple[bytes, Callable[[Program], Program]]] = {
        "bytes to sizes": (million, _called("torch", "Size")),
        "text to sizes": (text, _called("torch", "Size")),
        "text to bytes": (text, _called("_codecs", "encode")),
        "text to paths": (text, _called("pathlib", "PosixPath", "a")),
        "text to devices": (text, _called("torch", "device", "cpu")),
        "text to types": (text, _called("numpy", "dtype")),
        "lists to sets": (many, _called("builtins", "set")),
        "lists to sizes": (many, _called("torch", "Size")),
        "pairs to dictionaries": (pairs, _called("collections", "OrderedDict")),
        "bytes to tensor sizes": (million, lambda got: box.Storages(nested=True).tensor(size=got, stride=got)),
        "bytes to arrays": (million, _arrays),
        "bytes to scalars": (
            million,
            lambda got: reduce("numpy.core.multiarray", "scalar", (reduce("numpy", "dtype", ("f4",)), got)),
        ),
        "text to arrays": (text, _arrays),
    }
    for name, (value, use) in uses.items():
        yield LimitCase(f"copies: {name}", lambda value=value, use=use: _again(value, use, 20_000), False)
    path = _doubling(
        push("x" * 100), lambda two: asm.glob("pathlib", "PosixPath") + two + pickle.TUPLE2 + pickle.REDUCE, 60
    )
    yield LimitCase("doubling paths", lambda: whole(path))
    device = _doubling(
        push("x" * 100), lambda two: asm.glob("torch", "device") + two + pickle.TUPLE2 + pickle.REDUCE, 60
    )
    yield LimitCase("doubling devices", lambda: whole(device))
    yield LimitCase("tensors out of place", _misaligned, False)
    yield LimitCase(
        "a file loaded 20,000 times",
        lambda: _loaded(box.legacy_file(_one_storage(250_000), {"0": bytes(1_000_000)}), 20_000),
        False,
    )
    yield LimitCase("a long program loaded 1,000 times", lambda: _loaded(whole(Program(b"NN0" * 100_000)), 1000))
    slow = box.legacy_file(join(pickle.NONE * 100_000, pickle.POP * 100_000, _one_storage(1)), {"0": bytes(4)})
    yield LimitCase("a slow file loaded 1,000 times", lambda: _loaded(slow, 1000))
    yield LimitCase("files in files, a thousand each", lambda: _loaded(_nest(slow), 1000))


def _nest(inner: bytes) -> bytes:
    call = reduce("torch.storage", "_load_from_bytes", (Program(pickle.GET + b"0\n"),))
    kept = push(inner, 4) + pickle.PUT + b"0\n" + pickle.POP
    return whole(join(kept, (call + pickle.POP) * 1000, call))


def _arrays(data: Program) -> Program:
    empty = reduce("numpy.core.multiarray", "_reconstruct", (asm.glob("numpy", "ndarray"), (0,), b"b"))
    kind = asm.build(reduce("numpy", "dtype", ("u1",)), (3, "|", None, None, None, -1, -1, 0))
    return asm.build(empty, (1, (1_000_000,), kind, False, data))


def _one_storage(count: int) -> Program:
    return asm.persistent_value(("storage", asm.glob("torch", "FloatStorage"), "0", "cpu", count, None))


def _loaded(inner: bytes, times: int) -> bytes:
    return _again(push(inner, 4), _called("torch.storage", "_load_from_bytes"), times)


def _misaligned() -> bytes:
    """5,000 tensors in one storage that lies at an odd place of the file."""
    for shift in range(4):
        s = box.Storages()
        storage = s.storage(bytes(1_000_000))
        s.numbers["0"] = bytes(1_000_000)
        tensors = s.tensor((2,), storage=storage) * 5_000
        data = box.legacy_file(join(push("x" * shift), pickle.POP, pickle.MARK, tensors, pickle.LIST), s.numbers)
        if (len(data) - 1_000_000) % 4:
            return data
    raise AssertionError


def _collisions() -> Iterator[LimitCase]:
    """Numbers of one hash value: a dictionary of n of them takes n² steps."""
    keys = [i * (2**61 - 1) for i in range(1, 30_000)]
    above, below, floats = _keys(keys), _keys([-key for key in keys]), _keys([float(2**61 * i) for i in range(1, 9000)])
    yield LimitCase("colliding keys", lambda: whole(above))
    yield LimitCase("colliding negative keys", lambda: whole(below))
    yield LimitCase("colliding options", lambda: whole(box.namespace(above)))
    yield LimitCase("colliding floats", lambda: whole(floats))
    puts = b"".join(pickle.PUT + b"%d\n" % k for k in keys)
    yield LimitCase("colliding memo numbers", lambda: whole(join(pickle.NONE, puts)))
    yield LimitCase("near keys", lambda: whole(_keys([i << 35 for i in range(1, 100_000)])), False)


def _keys(keys: list[int] | list[float]) -> Program:
    return join(pickle.MARK, *(push(key) + pickle.NONE for key in keys), pickle.DICT)


def _long_programs() -> Iterator[LimitCase]:
    million = 1_000_000
    yield LimitCase(
        "ten million nested lists",
        lambda: pickle.EMPTY_LIST * (10 * million) + pickle.APPEND * (10 * million - 1) + b".",
    )
    for name, first, step in (("lists", b"]", b"a"), ("tuples", b"N", b"\x85"), ("marked tuples", b"(", b"t")):
        many = 400_000
        program = first * many + step * (many - 1) if name != "tuples" else first + step * many
        yield LimitCase(f"400,000 nested {name}", lambda program=program: program + b".")
    deep = join(
        *[asm.glob("argparse", "Namespace"), push(()), pickle.NEWOBJ] * 20_000,
        (push(()) + pickle.POP + pickle.BUILD) * 19_999,
    )
    yield LimitCase("20,000 nested options", lambda: whole(deep))
    for name, piece in (
        ("DUP and POP", b"20"),
        ("MARK", b"("),
        ("MARK and POP_MARK", b"(1"),
        ("MARK and TUPLE", b"(t0"),
        ("PROTO", b"\x80\2"),
        ("empty FRAME", b"\x95" + bytes(8)),
        ("NONE", b"N"),
        ("EMPTY_LIST and POP", b"]0"),
    ):
        yield LimitCase(
            f"two million of {name}", lambda piece=piece: b"N" + piece * (2 * million // min(len(piece), 2)) + b"."
        )
    for name, piece in (
        ("lists", b"]"),
        ("dictionaries", b"}"),
        ("tuples of none", b"N\x85"),
        ("floats", b"G" + bytes(8)),
    ):
        inside = piece * (900_000 // (2 if name.startswith("tuples") else 1))
        yield LimitCase(f"a million {name}", lambda inside=inside: b"\x80\2(" + inside + b"l.", False)
    yield LimitCase("only PROTO", lambda: b"\x80\2")
    yield LimitCase("only STOP", lambda: b".")
    yield LimitCase("a megabyte of zeros", lambda: bytes(million))
    yield LimitCase("a megabyte of one line", lambda: b"c" + b"a" * million)
