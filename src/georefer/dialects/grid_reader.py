"""Text to a grid of cells, row by row: what all codecs of grids share, and how their work is bounded.

`read` of a codec never raises, looks at `MAX_TEXT` characters at most and holds no more than the grid. Repairs
are the same everywhere, each with a problem: a row that is too short is filled with empty cells, one that is
too long is cut, rows that are missing are empty.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

Problem = tuple[str, int, int, str]
"""Kind (one of `dialects.base.ProblemKind`), first and end character (or token), message."""

Size = tuple[int, int]
"""(rows, columns)."""

MAX_SIDE = 64
MAX_TEXT = 65_536
"""Characters read of one answer; the longest honest one, a 64 x 64 checkerboard in GeoGround's runs, has 25,000."""

MAX_PROBLEMS = 64
MAX_KNOWN = 8_192
"""Rows that one table remembers, about a megabyte; all convex shapes of 64 columns need 2,081."""

INTEGER = re.compile(r"[-+]?[0-9]+")


class GridReader:
    """One answer becoming a grid row by row, with the declared repairs."""

    def __init__(self, text: str, size: Size | None):
        self.rows, self.columns = (MAX_SIDE, MAX_SIDE) if size is None else size
        self.text, self.is_seen = text[:MAX_TEXT], False
        self.problems: list[Problem] = []
        self.cells: list[bytes] = []
        if len(text) > MAX_TEXT:
            self.note("too-long", MAX_TEXT, len(text), f"only the first {MAX_TEXT} characters are read")

    def note(self, kind: str, start: int, end: int, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((kind, start, end, message))
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append(("too-many", start, end, f"only the first {MAX_PROBLEMS} problems are listed"))

    def pieces(self, separator: str) -> Iterator[tuple[str, int, bool]]:
        """Rows of the text while the grid has room: row, its first character, whether the text stops in it."""
        *closed, last = self.text.split(separator, self.rows + 1)
        start = 0
        for row in [*closed, last] if last.strip() else closed:
            if len(self.cells) == self.rows:
                self.note("too-many", start, len(self.text), f"only the first {self.rows} rows are read")
                return
            yield row, start, row is last
            start += len(row) + len(separator)

    def tokens(self, row: str, start: int, separator: str) -> Iterator[tuple[str, int]]:
        """Parts of a row with their first character, one more than a row can have cells at most."""
        for token in row.split(separator, self.columns + 1)[: self.columns + 1]:
            if token.strip():
                yield token, start
            start += len(token) + len(separator)

    def count(self, digits: str, start: int, end: int) -> int:
        """How many cells a run has: 0, with a note, where that is no number or a negative one."""
        if not INTEGER.fullmatch(digits):
            self.note("not-a-number", start, end, f"{digits[:20]!r} is no number of cells")
            return 0
        # a model can write a million digits, and int() refuses more than 4300
        count = int(digits[:9]) if len(digits) <= 9 else 10**9 * (-1 if digits[0] == "-" else 1)
        if count < 0:
            self.note("out-of-range", start, end, f"a run of {count} cells")
        return max(count, 0)

    def extend(self, row: bytearray, value: int, count: int) -> None:
        """A run added to a row, to one cell more than fits at most: enough to see that there are too many."""
        row += bytes((value,)) * min(count, self.columns + 1 - len(row))

    def add(self, row: bytes | bytearray, start: int, end: int, *, is_open: bool = False) -> None:
        """One row, cut or filled where it has another length than the grid; `is_open`: the text stops in it."""
        self.is_seen |= bool(row)
        if len(row) > self.columns:
            self.note("wrong-count", start, end, f"a row has more than {self.columns} cells; the rest is cut")
        elif len(row) < self.columns:
            kind = "truncated" if is_open else "wrong-count"
            self.note(kind, start, end, f"a row has {len(row)} of {self.columns} cells; the rest is empty")
        self.cells.append(bytes(row[: self.columns]).ljust(self.columns, b"\0"))

    def grid(self) -> np.ndarray | None:
        """The grid (rows, columns) of uint8, or None where not a single row could be read."""
        if not self.is_seen:
            self.note("unreadable", 0, len(self.text), "no row of a grid")
            return None
        if missing := self.rows - len(self.cells):
            end = len(self.text)
            self.note("truncated", end, end, f"{missing} of {self.rows} rows are missing; they are empty")
        raw = bytearray().join([*self.cells, bytes(missing * self.columns)])
        return np.frombuffer(raw, dtype=np.uint8).reshape(self.rows, self.columns)


def checked_grid(grid: np.ndarray, axes: int) -> np.ndarray:
    grid = np.asarray(grid)
    if grid.ndim != axes or not all(1 <= side <= MAX_SIDE for side in grid.shape[-2:]):
        raise ValueError(f"a grid of shape {grid.shape} was given; 1 to {MAX_SIDE} rows and columns can be written")
    return grid


def checked_size(size: Size) -> Size:
    rows, columns = size
    if not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE):
        raise ValueError(f"a grid of {rows} x {columns} was asked for; 1 to {MAX_SIDE} rows and columns can be read")
    return rows, columns


RowParser = Callable[[GridReader, str, int], bytearray]


def told_size(text: str, separator: str, parse: RowParser) -> Size:
    """The size that a text seems to have: as many rows as it has, as wide as most of them."""
    reader = GridReader(text, None)
    widths: Counter[int] = Counter()
    for row, start, _ in reader.pieces(separator):
        width = len(parse(reader, row, start))
        widths[min(width, MAX_SIDE)] += width > 0
        reader.cells.append(b"")
    return max(len(reader.cells), 1), max(widths, key=lambda width: (widths[width], width), default=1) or 1


def read_rows(text: str, size: Size, separator: str, parse: RowParser) -> tuple[np.ndarray | None, list[Problem]]:
    reader = GridReader(text, size)
    for row, start, is_open in reader.pieces(separator):
        reader.add(parse(reader, row, start), start, start + len(row), is_open=is_open)
    return reader.grid(), reader.problems


def row_numbers(grids_NRC: np.ndarray) -> np.ndarray:
    """Each row as one unsigned number (N, R), its first cell the highest bit."""
    bits_NRC = grids_NRC.astype(bool, copy=False)
    count, rows, columns = bits_NRC.shape
    used = -(-columns // 8)
    # packing row by row costs more than all the rest, and whole bytes need no rows
    packed_NRB = np.packbits(bits_NRC).reshape(count, rows, used) if columns % 8 == 0 else np.packbits(bits_NRC, axis=2)
    width = next(size for size in (1, 2, 4, 8) if size >= used)
    if width > used:
        padded_NRB = np.zeros((count, rows, width), dtype=np.uint8)
        padded_NRB[:, :, width - used :] = packed_NRB
        packed_NRB = padded_NRB
    spare = 8 * used - columns
    numbers_NR = packed_NRB.view(f">u{width}")[:, :, 0]
    return numbers_NR >> spare if spare else numbers_NR


def runs_of(row: Sequence[int]) -> list[tuple[int, int]]:
    return [(value, len(list(cells))) for value, cells in groupby(row)]


def bits_of(number: int, columns: int) -> list[int]:
    return [int(bit) for bit in f"{number:0{columns}b}"]


class KnownRows(dict):
    """Rows that were made or understood once, at most MAX_KNOWN of them (then it starts anew)."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def __missing__(self, key):
        value = self.make(key)
        if len(self) >= MAX_KNOWN:
            self.clear()
        self[key] = value
        return value
