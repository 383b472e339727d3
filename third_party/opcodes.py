"""The instructions of pickle, protocols 0 to 5: what each does to the machine of `unpickle.py` (see `pickletools`)."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latent_reenact.third_party.unpickle import Machine

Handler = Callable[["Machine"], None]
HANDLERS: dict[int, Handler] = {}
"""Opcode -> what it does."""


class Mark:
    """Where a MARK lies on the stack."""


MARK = Mark()


def _on(*codes: bytes) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for code in codes:
            HANDLERS[code[0]] = handler
        return handler

    return register


def _constant(code: bytes, value: Any) -> None:
    HANDLERS[code[0]] = lambda m: m.push(value)


def _number(code: bytes, form: str) -> None:
    HANDLERS[code[0]] = lambda m: m.push(m.number(form))


def _sized(code: bytes, form: str, read: Callable[[Machine, int], Any]) -> None:
    """A length in `form`, then that much."""
    HANDLERS[code[0]] = lambda m: m.push(read(m, m.number(form)))


_constant(pickle.NONE, None)
_constant(pickle.NEWTRUE, True)
_constant(pickle.NEWFALSE, False)
_constant(pickle.EMPTY_TUPLE, ())
_constant(pickle.MARK, MARK)
_number(pickle.BININT, "<i")
_number(pickle.BININT1, "<B")
_number(pickle.BININT2, "<H")
_number(pickle.BINFLOAT, ">d")
for _code, _form in ((pickle.SHORT_BINUNICODE, "<B"), (pickle.BINUNICODE, "<I"), (pickle.BINUNICODE8, "<Q")):
    _sized(_code, _form, lambda m, n: m.text(n))
for _code, _form in ((pickle.SHORT_BINBYTES, "<B"), (pickle.BINBYTES, "<I"), (pickle.BINBYTES8, "<Q")):
    _sized(_code, _form, lambda m, n: bytes(m.take(n)) if n < 256 else m.take(n))
_sized(pickle.BYTEARRAY8, "<Q", lambda m, n: m.take(n))
for _code, _form in ((pickle.SHORT_BINSTRING, "<B"), (pickle.BINSTRING, "<i")):  # Python 2: text and bytes alike
    _sized(_code, _form, lambda m, n: _python2_text(m, n))


def _python2_text(m: Machine, length: int) -> str | bytes | memoryview:
    if length >= 4096:
        return m.take(length)
    data = bytes(m.take(length))
    return data.decode("ascii") if data.isascii() else data


@_on(pickle.INT)
def _int(m: Machine) -> None:
    word = m.line()
    m.push({"00": False, "01": True}[word] if word in ("00", "01") else _decimal(m, word))


@_on(pickle.LONG)
def _long(m: Machine) -> None:
    m.push(_decimal(m, m.line().removesuffix("L")))


def _decimal(m: Machine, word: str) -> int:
    m.limit(len(word), m.limits.integer_bytes, "a number of {} digits")
    return int(word)


@_on(pickle.FLOAT)
def _float(m: Machine) -> None:
    m.push(float(m.line()))


@_on(pickle.LONG1)
def _long1(m: Machine) -> None:
    m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True))


@_on(pickle.LONG4)
def _long4(m: Machine) -> None:
    length = m.number("<i")
    m.limit(length, m.limits.integer_bytes, "a number of {} bytes")
    m.push(int.from_bytes(m.take(length), "little", signed=True))


@_on(pickle.STRING)
def _string(m: Machine) -> None:
    word = m.line()
    if len(word) < 2 or word[0] != word[-1] or word[0] not in "'\"" or "\\" in word:
        m.fail("a string in an old form")
    m.push(word[1:-1])


@_on(pickle.UNICODE)
def _unicode(m: Machine) -> None:
    word = m.line()
    if "\\" in word:
        m.fail("a string in an old form")
    m.push(word)


@_on(pickle.EMPTY_LIST)
def _empty_list(m: Machine) -> None:
    m.push([])


@_on(pickle.EMPTY_DICT)
def _empty_dict(m: Machine) -> None:
    m.push({})


@_on(pickle.LIST)
def _list(m: Machine) -> None:
    m.push(m.pop_to_mark())


@_on(pickle.TUPLE)
def _tuple(m: Machine) -> None:
    m.push(tuple(m.pop_to_mark()))


def _short_tuple(code: bytes, count: int) -> None:
    HANDLERS[code[0]] = lambda m: m.push(tuple([m.pop() for _ in range(count)][::-1]))


_short_tuple(pickle.TUPLE1, 1)
_short_tuple(pickle.TUPLE2, 2)
_short_tuple(pickle.TUPLE3, 3)


@_on(pickle.DICT)
def _dict(m: Machine) -> None:
    pairs, mapping = m.pop_to_mark(), dict[Any, Any]()
    m.put(mapping, pairs)
    m.push(mapping)


@_on(pickle.EMPTY_SET)
def _empty_set(m: Machine) -> None:
    m.push([])  # a set's members in order: nothing here needs to look one up


@_on(pickle.FROZENSET)
def _frozenset(m: Machine) -> None:
    m.push(m.pop_to_mark())


@_on(pickle.APPEND)
def _append(m: Machine) -> None:
    value = m.pop()
    _extend(m, [value])


@_on(pickle.APPENDS, pickle.ADDITEMS)
def _appends(m: Machine) -> None:
    _extend(m, m.pop_to_mark())


def _extend(m: Machine, values: list[Any]) -> None:
    if not isinstance(m.top(), list):
        m.fail(f"members for {m.brief(m.top())}")
    m.top().extend(values)


@_on(pickle.SETITEM)
def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.put(m.top(), [key, value])


@_on(pickle.SETITEMS)
def _setitems(m: Machine) -> None:
    pairs = m.pop_to_mark()
    m.put(m.top(), pairs)


@_on(pickle.POP)
def _pop(m: Machine) -> None:
    m.stack.pop()


@_on(pickle.POP_MARK)
def _pop_mark(m: Machine) -> None:
    m.pop_to_mark()


@_on(pickle.DUP)
def _dup(m: Machine) -> None:
    m.push(m.top())


@_on(pickle.PUT)
def _put(m: Machine) -> None:
    m.remember(_decimal(m, m.line()))


@_on(pickle.BINPUT)
def _binput(m: Machine) -> None:
    m.remember(m.number("<B"))


@_on(pickle.LONG_BINPUT)
def _long_binput(m: Machine) -> None:
    m.remember(m.number("<I"))


@_on(pickle.MEMOIZE)
def _memoize(m: Machine) -> None:
    m.remember(len(m.memo))


@_on(pickle.GET)
def _get(m: Machine) -> None:
    m.push(m.memo[_decimal(m, m.line())])


@_on(pickle.BINGET)
def _binget(m: Machine) -> None:
    m.push(m.memo[m.number("<B")])


@_on(pickle.LONG_BINGET)
def _long_binget(m: Machine) -> None:
    m.push(m.memo[m.number("<I")])


@_on(pickle.PROTO)
def _proto(m: Machine) -> None:
    version = m.number("<B")
    if version > pickle.HIGHEST_PROTOCOL:
        m.fail(f"protocol {version}")


@_on(pickle.FRAME)
def _frame(m: Machine) -> None:
    if m.number("<Q") > len(m.data) - m.at:
        m.fail("a frame longer than the file")


@_on(pickle.GLOBAL)
def _global(m: Machine) -> None:
    module = m.line()
    m.push(m.find(module, m.line()))


@_on(pickle.STACK_GLOBAL)
def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        m.fail("a global whose name is no text")
    m.push(m.find(module, name))


@_on(pickle.INST)
def _inst(m: Machine) -> None:
    module = m.line()
    found = m.find(module, m.line())
    m.push(m.call(found, tuple(m.pop_to_mark())))


@_on(pickle.OBJ)
def _obj(m: Machine) -> None:
    cls, *arguments = m.pop_to_mark()
    m.push(m.call(cls, tuple(arguments)))


@_on(pickle.REDUCE, pickle.NEWOBJ)
def _reduce(m: Machine) -> None:
    arguments, function = m.pop(), m.pop()
    m.push(m.call(function, arguments))


@_on(pickle.NEWOBJ_EX)
def _newobj_ex(m: Machine) -> None:
    named, arguments, cls = m.pop(), m.pop(), m.pop()
    if named != {}:
        m.refuse(f"a call of {m.brief(cls)} with named arguments")
    m.push(m.call(cls, arguments))


@_on(pickle.BUILD)
def _build(m: Machine) -> None:
    state = m.pop()
    m.build(m.top(), state)


@_on(pickle.BINPERSID)
def _binpersid(m: Machine) -> None:
    if m.persistent is None:
        m.fail("a persistent id outside a torch file")
    m.push(m.persistent(m.pop()))


@_on(pickle.PERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
def _unsupported(m: Machine) -> None:
    m.refuse(f"pickle instruction {m.data[m.at - 1]:#04x}")
