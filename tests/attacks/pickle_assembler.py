"""A tiny assembler of pickle programs that never imports what it names.

A `Program` is a run of instructions that leaves exactly one value on the stack; `whole` makes a pickle of one.
Instructions are those of `pickletools`; every protocol from 0 to 5 can be asked for.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any

PROTOCOLS = range(6)
Call = Callable[[str, str, Sequence[Any], int], "Program"]


class Program(bytes):
    """Instructions that push one value."""


def join(*pieces: bytes) -> Program:
    return Program(b"".join(pieces))


def whole(program: bytes, protocol: int = 2, *, framed: bool = False) -> bytes:
    """A pickle: header, program, STOP."""
    body = program + pickle.STOP
    if framed:
        body = pickle.FRAME + struct.pack("<Q", len(body)) + body
    return (pickle.PROTO + bytes([protocol]) if protocol >= 2 else b"") + body


# -- values -----------------------------------------------------------------------------------------------------------


def push(value: Any, protocol: int = 2) -> Program:
    """Push a plain value; the Programs inside it run where they stand."""
    if isinstance(value, Program):
        return value
    if value is None:
        return Program(pickle.NONE)
    if isinstance(value, bool):
        return Program(
            (b"I01\n", pickle.NEWTRUE)[protocol >= 2] if value else (b"I00\n", pickle.NEWFALSE)[protocol >= 2]
        )
    if isinstance(value, tuple | list | dict | set | frozenset):
        return _push_container(value, protocol)
    pushers = {int: _push_int, float: _push_float, str: _push_text, bytes: _push_bytes}
    return Program(pushers[type(value)](value, protocol))


def _push_int(value: int, protocol: int) -> bytes:
    if protocol == 0:
        return b"I%d\n" % value
    if -(2**31) <= value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    if protocol == 1:
        return b"L%dL\n" % value
    size = value.bit_length() // 8 + 1
    head = pickle.LONG1 + bytes([size]) if size < 256 else pickle.LONG4 + struct.pack("<i", size)
    return head + value.to_bytes(size, "little", signed=True)


def _push_float(value: float, protocol: int) -> bytes:
    return b"F%r\n" % value if protocol == 0 else pickle.BINFLOAT + struct.pack(">d", value)


def _push_text(value: str, protocol: int) -> bytes:
    if protocol == 0:
        for special in "\\\0\n\r\x1a":
            value = value.replace(special, f"\\u{ord(special):04x}")
        return pickle.UNICODE + value.encode("raw-unicode-escape") + b"\n"
    data = value.encode("utf-8", "surrogatepass")
    if protocol >= 4 and len(data) < 256:
        return pickle.SHORT_BINUNICODE + bytes([len(data)]) + data
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _push_bytes(value: bytes, protocol: int) -> bytes:
    if protocol < 3:
        return reduce("_codecs", "encode", (value.decode("latin-1"), "latin1"), protocol)
    if len(value) < 256:
        return pickle.SHORT_BINBYTES + bytes([len(value)]) + value
    return pickle.BINBYTES + struct.pack("<I", len(value)) + value


def _push_container(value: Any, protocol: int) -> Program:
    if isinstance(value, dict):
        inside = b"".join(push(part, protocol) for pair in value.items() for part in pair)
        return items(pickle.EMPTY_DICT, pickle.SETITEMS, pickle.DICT, inside, protocol)
    inside = b"".join(push(item, protocol) for item in value)
    if isinstance(value, list):
        return items(pickle.EMPTY_LIST, pickle.APPENDS, pickle.LIST, inside, protocol)
    if isinstance(value, tuple):
        short = {0: pickle.EMPTY_TUPLE, 1: pickle.TUPLE1, 2: pickle.TUPLE2, 3: pickle.TUPLE3}
        if protocol >= 2 and len(value) in short:
            return join(inside, short[len(value)])
        return join(pickle.MARK, inside, pickle.TUPLE)
    if protocol < 4:
        return reduce("builtins", type(value).__name__, ([*value],), protocol)
    if isinstance(value, frozenset):
        return join(pickle.MARK, inside, pickle.FROZENSET)
    return join(pickle.EMPTY_SET, pickle.MARK, inside, pickle.ADDITEMS)


def items(empty: bytes, add: bytes, old: bytes, inside: bytes, protocol: int) -> Program:
    """A container and what goes into it: at once in protocol 0, empty and then filled later on."""
    return join(pickle.MARK, inside, old) if protocol == 0 else join(empty, pickle.MARK, inside, add)


# -- names ------------------------------------------------------------------------------------------------------------


def glob(module: str, name: str, protocol: int = 2) -> Program:
    """GLOBAL: the name in two lines of text."""
    return Program(pickle.GLOBAL + f"{module}\n{name}\n".encode("utf-8", "surrogatepass"))


def stack_global(module: str, name: str, protocol: int = 4) -> Program:
    """STACK_GLOBAL: the name from two strings on the stack, which may hold anything."""
    return join(push(module, protocol), push(name, protocol), pickle.STACK_GLOBAL)


def memo_global(module: str, name: str, protocol: int = 4) -> Program:
    """The name from two strings that were memoised and dropped before."""
    parts = [
        push(text, protocol) + pickle.PUT + b"%d\n" % index + pickle.POP for index, text in ((901, name), (77, module))
    ]
    return join(*parts, pickle.GET + b"77\n", pickle.LONG_BINGET + struct.pack("<I", 901), pickle.STACK_GLOBAL)


# -- calls ------------------------------------------------------------------------------------------------------------


def reduce(module: str, name: str, args: Sequence[Any] = (), protocol: int = 2) -> Program:
    return join(glob(module, name), push(tuple(args), protocol), pickle.REDUCE)


def _stack(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    return join(stack_global(module, name, protocol), push(tuple(args), protocol), pickle.REDUCE)


def _memo(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    return join(memo_global(module, name, protocol), push(tuple(args), protocol), pickle.REDUCE)


def _fetched(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    """The function is memoised and dropped, and fetched again over its arguments' place."""
    kept = glob(module, name) + pickle.BINPUT + b"\7" + pickle.POP
    return join(kept, pickle.BINGET + b"\7", push(tuple(args), protocol), pickle.REDUCE)


def _inst(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    inside = b"".join(push(a, protocol) for a in args)
    return join(pickle.MARK, inside, pickle.INST, f"{module}\n{name}\n".encode("utf-8", "surrogatepass"))


def _obj(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    return join(pickle.MARK, glob(module, name), *(push(a, protocol) for a in args), pickle.OBJ)


def newobj(module: str, name: str, args: Sequence[Any] = (), protocol: int = 2) -> Program:
    return join(glob(module, name), push(tuple(args), protocol), pickle.NEWOBJ)


def _newobj_ex(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    return join(glob(module, name), push(tuple(args), protocol), push({}, protocol), pickle.NEWOBJ_EX)


def _named_arguments(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    named = push({f"a{i}": a for i, a in enumerate(args)}, protocol)
    return join(glob(module, name), push((), protocol), named, pickle.NEWOBJ_EX)


def build(target: bytes, state: Any, protocol: int = 2) -> Program:
    """BUILD: give `target` a state."""
    return join(target, push(state, protocol), pickle.BUILD)


def _built(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    return build(newobj(module, name, (), protocol), {"args": tuple(args)}, protocol)


def _bare(module: str, name: str, args: Sequence[Any], protocol: int) -> Program:
    """The name alone: fetching it already imports its module."""
    return glob(module, name)


FORMS: dict[str, Call] = {
    "reduce": reduce,
    "stack_global": _stack,
    "memo": _memo,
    "fetched": _fetched,
    "inst": _inst,
    "obj": _obj,
    "newobj": newobj,
    "newobj_ex": _newobj_ex,
    "named_arguments": _named_arguments,
    "built": _built,
    "bare": _bare,
}
FIRING = ("reduce", "stack_global", "memo", "fetched", "inst", "obj")  # forms by which Python calls any function


def extension(code: int, width: int) -> Program:
    """EXT1, EXT2 or EXT4: a name out of the process's own registry."""
    opcode, form = {1: (pickle.EXT1, "<B"), 2: (pickle.EXT2, "<H"), 4: (pickle.EXT4, "<i")}[width]
    return Program(opcode + struct.pack(form, code))


def persistent(text: str) -> Program:
    """PERSID: a persistent id as a line of text."""
    return Program(pickle.PERSID + text.encode() + b"\n")


def persistent_value(value: Any, protocol: int = 2) -> Program:
    """BINPERSID: a persistent id of any value, as torch names its storages."""
    return join(push(value, protocol), pickle.BINPERSID)
