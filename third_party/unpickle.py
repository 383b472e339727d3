"""A pickle machine of our own: it builds plain values and inert records, and imports nothing that a file names.

Python's pickles are programs for a stack machine (PEP 307, PEP 574, `pickletools`); what makes them dangerous
is that GLOBAL fetches any importable object and REDUCE calls it. Here a GLOBAL is a look-up in a table of stand-ins
(`globals.py`) and nothing else; a name that is not in the table ends the run. Bytes are not copied: they come out as
slices of the file's memory map.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from latent_reenact.errors import CorruptFileError, LimitExceededError, UnsafeCheckpointError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a checkpoint may ask for. Real ones stay far below."""

    file_bytes: int = 8 << 30
    opcodes: int = 250_000  # each of some ten thousand in published files
    values: int = 1_000_000  # in the whole tree, each counted wherever it stands
    text_bytes: int = 16 << 20  # one string
    integer_bytes: int = 256
    depth: int = 64  # containers within containers
    nesting: int = 2  # files within files


class Budget:
    """What a file, and the files within it, may still do: instructions, and values handed to calls.

    In honest files a value is handed over once or twice (text to bytes, bytes to numbers).
    """

    def __init__(self, limits: Limits, file_bytes: int) -> None:
        self.limits, self.opcodes, self.handed = limits, limits.opcodes, 4 * file_bytes + _SPARE


@dataclass(frozen=True, eq=False)
class Global:
    """Stands for something that a file names. `make` builds what calling it would have built, out of our own types."""

    name: str
    make: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return self.name


class Record:
    """Stands for an object that BUILD may give a state to."""

    def build(self, state: Any) -> None:
        """Take the state of the object. Raises ValueError where it is not of the right form."""
        raise NotImplementedError


class _Mark:
    """Where a MARK lies on the stack."""


_MARK = _Mark()
_Handler = Callable[["Machine"], None]
_HANDLERS: dict[int, _Handler] = {}
_Key = (str, int, bytes, type(None))
_Sized = (str, bytes, memoryview, list, tuple, dict)
_MAX_KEY = 1 << 60  # larger integers can be made to collide
_MAX_MEMO = (1 << 32) - 1
_SPARE = 1 << 16


class Machine:
    """Runs one pickle.

    Args:
        data: the whole file.
        start: where the pickle begins.
        where: the file's name, for messages.
        table: "module name" -> stand-in.
        persistent: what a persistent id (a tensor storage) stands for; None where the format has none.
        budget: what the file that this one lies in has left.
    """

    def __init__(
        self,
        data: memoryview,
        start: int = 0,
        *,
        where: str,
        table: Mapping[str, Global],
        persistent: Callable[[Any], Any] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.data, self.at, self.where = data, start, where
        self.budget = budget or Budget(Limits(), len(data))
        self.table, self.persistent, self.limits = table, persistent, self.budget.limits
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value at STOP; `at` is then the first byte behind it.

        Raises:
            UnsafeCheckpointError, CorruptFileError, LimitExceededError.
        """
        try:
            while self.budget.opcodes > 0:
                self.budget.opcodes -= 1
                code = self.take(1)[0]
                if code == pickle.STOP[0]:
                    value = self.pop()
                    if self.stack:
                        self.fail("values are left over at its end")
                    return value
                handler = _HANDLERS.get(code)
                if handler is None:
                    self.fail(f"unknown opcode {code:#04x}")
                handler(self)
        except (IndexError, TypeError, ValueError, KeyError, OverflowError, struct.error, RecursionError) as error:
            self.fail(f"{type(error).__name__} in its program: {str(error)[:100]}")
        raise LimitExceededError(f"{self.where}: over {self.limits.opcodes} pickle instructions; expected a checkpoint")

    # -- reading ------------------------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        """The next bytes, not copied."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            self.fail("it ends in the middle of a value")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, form: str) -> Any:
        """A number in the form of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text up to the end of the line."""
        window = bytes(self.data[self.at : self.at + 4096])
        length = window.find(b"\n")
        if length < 0:
            self.fail("a line of text has no end")
        self.at += length + 1
        return window[:length].decode("utf-8")

    def text(self, length: int) -> str:
        if length > self.limits.text_bytes:
            raise LimitExceededError(
                f"{self.where}: a text of {length} bytes, expected {self.limits.text_bytes} at most"
            )
        return str(self.take(length), "utf-8", "surrogatepass")

    def limit(self, got: int, most: int, what: str) -> None:
        if got > most:
            raise LimitExceededError(f"{self.where}: {what.format(got)}, expected {most} at most")

    # -- the stack ----------------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            self.fail("a mark where a value belongs")
        return value

    def top(self) -> Any:
        value = self.stack[-1]
        if value is _MARK:
            self.fail("a mark where a value belongs")
        return value

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:  # an IndexError where there is none
            at -= 1
            if at < 0:
                self.fail("no mark")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def remember(self, index: int) -> None:
        if not 0 <= index <= _MAX_MEMO:  # larger integers can be made to collide
            self.fail("a memo entry without a place")
        self.memo[index] = self.top()

    # -- what values do to each other ---------------------------------------------------------------------------

    def find(self, module: str, name: str) -> Global:
        found = self.table.get(f"{module} {name}")
        if found is None:
            self.refuse(f"{module}.{name}")
        return found

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Global) or function.make is None:
            self.refuse(f"a call of {_brief(function)}")
        if not isinstance(arguments, tuple):
            self.fail(f"{function.name} is called with {_brief(arguments)}")
        self.spend(arguments)
        return function.make(*arguments)

    def spend(self, values: tuple[Any, ...]) -> None:
        """Count what is handed over: small files could have large values copied over and over."""
        self.budget.handed -= sum(len(v) for v in values if isinstance(v, _Sized))
        if self.budget.handed < 0:
            raise LimitExceededError(f"{self.where} uses the same values over and over; expected a checkpoint")

    def build(self, value: Any, state: Any) -> None:
        if isinstance(value, Record):
            self.spend(state if isinstance(state, tuple) else ())
            value.build(state)
        elif not isinstance(value, dict):  # attributes of an ordered dictionary mean nothing here
            self.fail(f"a state for {_brief(value)}")

    def put(self, mapping: Any, pairs: list[Any]) -> None:
        if not isinstance(mapping, dict) or len(pairs) % 2:
            self.fail(f"items for {_brief(mapping)}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            mapping[self.key(key)] = value

    def key(self, value: Any) -> Any:
        """`value`, if it may be the key of a dictionary: nothing whose hash could take long or collide."""
        if not isinstance(value, _Key) or (isinstance(value, int) and abs(value) >= _MAX_KEY):
            self.fail(f"a dictionary key {_brief(value)}")
        return value

    def refuse(self, what: str) -> NoReturn:
        raise UnsafeCheckpointError(
            f"{self.where} asks for {what[:200]!r}, which no checkpoint needs; nothing was run. "
            "Get the file from its publisher, or save its state_dict alone"
        )

    def fail(self, why: str) -> NoReturn:
        raise CorruptFileError(f"{self.where} is not a whole pickle ({why}, at byte {self.at}); get the file again")


def _brief(value: Any) -> str:
    return value.name if isinstance(value, Global) else f"a {type(value).__name__}"


def _on(*codes: bytes) -> Callable[[_Handler], _Handler]:
    def register(handler: _Handler) -> _Handler:
        for code in codes:
            _HANDLERS[code[0]] = handler
        return handler

    return register


def _constant(code: bytes, value: Any) -> None:
    _HANDLERS[code[0]] = lambda m: m.push(value)


def _number(code: bytes, form: str) -> None:
    _HANDLERS[code[0]] = lambda m: m.push(m.number(form))


def _sized(code: bytes, form: str, read: Callable[[Machine, int], Any]) -> None:
    """A length in `form`, then that much."""
    _HANDLERS[code[0]] = lambda m: m.push(read(m, m.number(form)))


_constant(pickle.NONE, None)
_constant(pickle.NEWTRUE, True)
_constant(pickle.NEWFALSE, False)
_constant(pickle.EMPTY_TUPLE, ())
_constant(pickle.MARK, _MARK)
_number(pickle.BININT, "<i")
_number(pickle.BININT1, "<B")
_number(pickle.BININT2, "<H")
_number(pickle.BINFLOAT, ">d")
for _code, _form in ((pickle.SHORT_BINUNICODE, "<B"), (pickle.BINUNICODE, "<I"), (pickle.BINUNICODE8, "<Q")):
    _sized(_code, _form, Machine.text)
for _code, _form in ((pickle.SHORT_BINBYTES, "<B"), (pickle.BINBYTES, "<I"), (pickle.BINBYTES8, "<Q")):
    _sized(_code, _form, lambda m, n: bytes(m.take(n)) if n < 256 else m.take(n))
_sized(pickle.BYTEARRAY8, "<Q", Machine.take)
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
    if len(word) > m.limits.integer_bytes:
        raise LimitExceededError(
            f"{m.where}: a number of {len(word)} digits, expected {m.limits.integer_bytes} at most"
        )
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


for _code, _count in ((pickle.TUPLE1, 1), (pickle.TUPLE2, 2), (pickle.TUPLE3, 3)):
    _HANDLERS[_code[0]] = lambda m, n=_count: m.push(tuple([m.pop() for _ in range(n)][::-1]))


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
        m.fail(f"members for {_brief(m.top())}")
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
        m.refuse(f"a call of {_brief(cls)} with named arguments")
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
