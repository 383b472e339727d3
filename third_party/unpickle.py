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
from latent_reenact.third_party.opcodes import HANDLERS, MARK


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
                handler = HANDLERS.get(code)
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
        self.limit(length, self.limits.text_bytes, "a text of {} bytes")
        return str(self.take(length), "utf-8", "surrogatepass")

    def limit(self, got: int, most: int, what: str) -> None:
        if got > most:
            raise LimitExceededError(f"{self.where}: {what.format(got)}, expected {most} at most")

    # -- the stack ----------------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            self.fail("a mark where a value belongs")
        return value

    def top(self) -> Any:
        value = self.stack[-1]
        if value is MARK:
            self.fail("a mark where a value belongs")
        return value

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:  # an IndexError where there is none
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
            self.refuse(f"a call of {self.brief(function)}")
        if not isinstance(arguments, tuple):
            self.fail(f"{function.name} is called with {self.brief(arguments)}")
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
            self.fail(f"a state for {self.brief(value)}")

    def put(self, mapping: Any, pairs: list[Any]) -> None:
        if not isinstance(mapping, dict) or len(pairs) % 2:
            self.fail(f"items for {self.brief(mapping)}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            mapping[self.key(key)] = value

    def key(self, value: Any) -> Any:
        """`value`, if it may be the key of a dictionary: nothing whose hash could take long or collide."""
        if not isinstance(value, _Key) or (isinstance(value, int) and abs(value) >= _MAX_KEY):
            self.fail(f"a dictionary key {self.brief(value)}")
        return value

    @staticmethod
    def brief(value: Any) -> str:
        """`value` in a message: its kind, never its contents."""
        return value.name if isinstance(value, Global) else f"a {type(value).__name__}"

    def refuse(self, what: str) -> NoReturn:
        raise UnsafeCheckpointError(
            f"{self.where} asks for {what[:200]!r}, which no checkpoint needs; nothing was run. "
            "Get the file from its publisher, or save its state_dict alone"
        )

    def fail(self, why: str) -> NoReturn:
        raise CorruptFileError(f"{self.where} is not a whole pickle ({why}, at byte {self.at}); get the file again")
