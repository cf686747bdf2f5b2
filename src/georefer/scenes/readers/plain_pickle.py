"""Pickles that hold plain values only, read without pickle: nothing in them is imported, called or trusted.

Datasets of the REFER family keep their sentences in a pickle. Its opcodes are walked here one by one; those that make
lists, tuples, dicts, texts and numbers are done, and every other one is refused. So no file can run code, and none can
make Python reserve memory by claiming a size or a place in the memo. Values may be shared or contain themselves, as in
any pickle: whoever walks them bounds the walk.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from georefer.errors import InputError

MAX_BYTES = 256 << 20
MAX_OPCODES = 10_000_000
"""Some five times what the 17,402 expressions of RRSIS-D need."""

MAX_WHOLE = 1 << 64

_VALUES = frozenset(
    (
        "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    )
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle of lists, tuples, dicts, texts and numbers; InputError for any other."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}) where a pickle is expected; check it") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is larger than the {MAX_BYTES:,} bytes of a pickle that are read; check what it is")
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if count > MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES:,} steps")
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is no pickle of plain lists, dicts, texts and numbers ({str(error)[:120]}); get it from its "
            "publisher, and do not open it with pickle"
        ) from error
    return value


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._rest: dict[str, Callable[[], None]] = {
            "MARK": self._mark, "POP": self._pop, "POP_MARK": self._pop_mark,
            "EMPTY_LIST": lambda: self._push([]), "EMPTY_DICT": lambda: self._push({}),
            "LIST": lambda: self._push(self._above()), "TUPLE": lambda: self._push(tuple(self._above())),
            "DICT": self._dict,
            "APPEND": lambda: self._extend([self.stack.pop()]), "APPENDS": lambda: self._extend(self._above()),
            "SETITEM": self._set_item, "SETITEMS": self._set_items,
            "MEMOIZE": lambda: self._memo.update({len(self._memo): self.stack[-1]}),
        }  # fmt: skip

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            if isinstance(argument, int) and abs(argument) >= MAX_WHOLE:
                raise ValueError("a whole number of more than 64 bits")
            self.stack.append(argument)
        elif name in _PUTS:
            self._memo[argument] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            if len(self.stack) < count:
                raise ValueError("a tuple of too few values")
            self.stack[len(self.stack) - count :] = [tuple(self.stack[len(self.stack) - count :])]
        elif name in self._rest:
            self._rest[name]()
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it asks for {name} {str(argument)[:60]}")

    def _mark(self) -> None:
        self._below.append(self.stack)
        self.stack = []

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop(self) -> None:
        self.stack.pop()

    def _pop_mark(self) -> None:
        self._above()

    def _above(self) -> list[Any]:
        above, self.stack = self.stack, self._below.pop()
        return above

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("a value appended to what is no list")
        target.extend(values)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._items(self.stack[-1], [key, value])

    def _set_items(self) -> None:
        values = self._above()
        self._items(self.stack[-1], values)

    def _dict(self) -> None:
        made: dict[Any, Any] = {}
        self._items(made, self._above())
        self._push(made)

    def _items(self, target: Any, values: list[Any]) -> None:
        if not isinstance(target, dict) or len(values) % 2:
            raise ValueError("an item set in what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # a tuple may nest so deep that its hash ends the program
            if not isinstance(key, str | int | float):
                raise ValueError("a key that is neither text nor number")
            target[key] = value
