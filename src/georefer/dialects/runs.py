"""Grids of cells as text: GeoGround's runs, Text4Seg's descriptors, and a compact form of our own.

    GeoGround   0 *4; 0 *1, 1 *2, 0 *1; 0 *4; 0 *4;      value *count; or each value: 0,0,0,0;0,1,1,0;...
    Text4Seg    others *4\\n others *1| red car *2| others *1\\n others *4\\n others *4\\n
    compact     =/1 2/./=                                 lengths of runs, empty first, the last one implied
    tokens      <m=><m1><m2><m1><m4><m=>                  one token a run, all runs said

Sources: GeoGround (arXiv 2411.11904) and the published code of Text4Seg. What reading repairs, and how its work is
bounded, stands in grid_reader.py.

Speed: rows of real masks repeat, within a mask and between masks, so a bounded table per codec and width
remembers the rows that were written or read without any problem; reading a usual row is one look-up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import combinations_with_replacement, groupby

import numpy as np

from georefer.dialects.grid_reader import (
    INTEGER,
    MAX_KNOWN,
    MAX_SIDE,
    GridReader,
    KnownRows,
    Problem,
    Size,
    bits_of,
    checked_grid,
    checked_size,
    read_rows,
    row_numbers,
    runs_of,
    told_size,
)

# two digits first: an alternative that matches ends the search
COUNT_RULE = "COUNT: /[1-5][0-9]|6[0-4]|[1-9]/\n"
SAME_BITS = re.compile("0+|1+")
RUN_CELLS = {f"{value} *{count}": bytes((value,)) * count for value in (0, 1) for count in range(1, MAX_SIDE + 1)}
RESERVED = re.compile(r"\||\*|[\r\n]|^\s|\s$|^$")

MAX_RUN_TOKEN = 32
MASK_TOKENS: tuple[str, ...] = ("<m=>", *(f"<m{count}>" for count in range(MAX_RUN_TOKEN + 1)))
"""Single tokens for a model of our own: "row as above", then runs of 0 to 32 cells."""


TOKEN_NUMBERS = {token: number - 1 for number, token in enumerate(MASK_TOKENS)}


# --- GeoGround -------------------------------------------------------------------------------------------


NARROW, MANY = 16, 8
"""Columns up to which every possible row has a place in an array (1 MB for 16), and grids from which on this pays."""

BITS = bytes.maketrans(b"01", b"\0\1")


class GeoGroundRuns:
    """`value *count` runs joined by ", ", rows by "; ", and ";" at the end; the tags around it are the caller's."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[KnownRows, KnownRows, KnownRows]] = {}
        self._narrow: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _known(self, columns: int) -> tuple[KnownRows, KnownRows, KnownRows]:
        """Row number to text, the same for last rows, and text to cells.

        Rows of one run, which most shapes have, are there from the start.
        """
        if columns not in self._tables:
            cells = KnownRows(lambda row: _clean_row(row, columns))

            def said(number: int) -> str:
                bits = f"{number:0{columns}b}"
                row = _runs_text(bits)
                # what was written is likely to be read
                if len(cells) < MAX_KNOWN:
                    cells[row] = bits.encode().translate(BITS)
                return row + "; "

            texts = KnownRows(said)
            ends = KnownRows(lambda number: texts[number][:-1] + "\n")
            for start, end in combinations_with_replacement(range(columns + 1), 2):
                ends[(1 << (columns - start)) - (1 << (columns - end))]
            self._tables[columns] = texts, ends, cells
        return self._tables[columns]

    def write(self, grid_RC: np.ndarray) -> str:
        """Text of one grid; cells that are not 0 are set."""
        return self.write_many(np.asarray(grid_RC)[None])[0]

    def write_many(self, grids_NRC: np.ndarray) -> list[str]:
        """Texts of grids of one size; several times faster than one by one."""
        grids_NRC = checked_grid(grids_NRC, 3)
        rows = grids_NRC.shape[1]
        texts, ends, _ = self._known(grids_NRC.shape[2])
        numbers_NR = row_numbers(grids_NRC)
        # one join and one split for all grids; a line break marks where each ends
        if grids_NRC.shape[2] <= NARROW and len(grids_NRC) >= MANY:
            said = self._narrow_rows(numbers_NR, grids_NRC.shape[2])
        else:
            said = list(map(texts.__getitem__, numbers_NR.ravel().tolist()))
            said[rows - 1 :: rows] = map(ends.__getitem__, numbers_NR[:, -1].tolist())
        return "".join(said).split("\n")[:-1]

    def _narrow_rows(self, numbers_NR: np.ndarray, columns: int) -> list[str]:
        """Texts of all rows by indexing arrays, so that no row number has to become a Python object."""
        if columns not in self._narrow:
            self._narrow[columns] = np.full((2, 1 << columns), None, dtype=object), np.zeros(1 << columns, dtype=bool)
        said_2M, known_M = self._narrow[columns]
        if not (seen_NR := known_M[numbers_NR]).all():
            texts, ends, _ = self._known(columns)
            for number in np.unique(numbers_NR[~seen_NR]).tolist():
                said_2M[:, number] = texts[number], ends[number]
                known_M[number] = True
        said_NR = said_2M[0, numbers_NR]
        said_NR[:, -1] = said_2M[1, numbers_NR[:, -1]]
        return said_NR.ravel().tolist()

    def read(self, text: str, size: Size | None = None) -> tuple[np.ndarray | None, list[Problem]]:
        """(grid (rows, columns) of uint8 or None, problems).

        Without a size the text tells it: as many rows as it has, as wide as most of them.
        """
        size = told_size(text, ";", _geoground_row) if size is None else size
        grids, problems = self.read_many([text], size)
        return grids[0], problems[0]

    def read_many(
        self, texts: Sequence[str], size: Size
    ) -> tuple[Sequence[np.ndarray | None] | np.ndarray, list[list[Problem]]]:
        """`read` of each text; texts without any mistake are read together, into one array (N, rows, columns)."""
        rows, columns = checked_size(size)
        grids_NRC = self._read_clean(texts, rows, columns)
        if grids_NRC is not None:
            return grids_NRC, [[] for _ in texts]
        if len(texts) == 1:
            grid, problems = read_rows(texts[0], (rows, columns), ";", _geoground_row)
            return [grid], [problems]
        # somewhere is a mistake: halves, so that a few bad answers do not slow down the many good ones
        half = len(texts) // 2
        parts = [self.read_many(part, size) for part in (texts[:half], texts[half:])]
        return [*parts[0][0], *parts[1][0]], [*parts[0][1], *parts[1][1]]

    def _read_clean(self, texts: Sequence[str], rows: int, columns: int) -> np.ndarray | None:
        """All grids at once (N, rows, columns), or None where any text is not exactly as `write` writes it."""
        # a mark after each text: where the marks stand tells whether every text has the right number of rows
        parts = (" |; ".join(texts) + " |").split("; ") if len(texts) else []
        count, stride = len(texts), rows + 1
        if len(parts) != count * stride or parts[rows::stride].count("|") != count:
            return None
        try:
            raw = bytearray().join(map(self._known(columns)[2].__getitem__, parts))
        except _NotClean:
            return None
        return (
            np.frombuffer(raw, dtype=np.uint8).reshape(-1, rows, columns)
            if len(raw) == count * rows * columns
            else None
        )

    def grammar(self) -> str:
        """Lark grammar of exactly what `write` writes, but for the lengths of rows (a grammar does not count)."""
        return f'start: row ("; " row)* ";"\nrow: run (", " run)*\nrun: /[01]/ " *" COUNT\n{COUNT_RULE}'


def _runs_text(bits: str) -> str:
    return ", ".join([f"{run[0]} *{len(run)}" for run in SAME_BITS.findall(bits)])


class _NotClean(ValueError):
    """A row that needs the reader which repairs and reports."""


def _clean_row(row: str, columns: int) -> bytes:
    if row == "|":
        return b""
    try:
        cells = b"".join(map(RUN_CELLS.__getitem__, row.split(", ")))
    except KeyError:
        cells = b""
    if len(cells) == columns:
        return cells
    # only rows of honest length without any problem may enter the table
    reader = GridReader(row, (1, columns))
    cells = bytes(_geoground_row(reader, row, 0)) if len(row) <= 8 * columns else b""
    if reader.problems or len(cells) != columns:
        raise _NotClean
    return cells


def _geoground_row(reader: GridReader, row: str, start: int) -> bytearray:
    """Cells of `value *count` runs or of single values, separated by commas."""
    cells = bytearray()
    for token, at in reader.tokens(row, start, ","):
        value, star, digits = (part.strip() for part in token.partition("*"))
        end = at + len(token)
        if not INTEGER.fullmatch(value):
            reader.note("not-a-number", at, end, f"{value[:20]!r} is no value of a cell; it is left out")
            continue
        if value not in ("0", "1"):
            reader.note("out-of-range", at, end, f"the value {value[:20]} is neither 0 nor 1; read as empty")
        reader.extend(cells, value == "1", reader.count(digits, at, end) if star else 1)
    return cells


# --- Text4Seg --------------------------------------------------------------------------------------------


class Text4SegRuns:
    """`label *count` joined by "| ", each row ended by a newline, a space before all but the first.

    Cells hold indices into `labels`; the first label is the background ("others" in Text4Seg) and stands for
    empty cells. Labels that the format cannot say raise ValueError.
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = tuple(labels)
        for label in self.labels:
            if RESERVED.search(label):
                raise ValueError(f"the label {label!r} holds '|', '*', a newline or outer spaces; rename it")
        if len(set(self.labels)) != len(self.labels) or not 1 <= len(self.labels) <= 256:
            raise ValueError(f"{len(self.labels)} labels were given; 1 to 256 different ones are needed")
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._texts = KnownRows(lambda row: "| ".join(f"{self.labels[i]} *{count}" for i, count in runs_of(row)))

    def write(self, grid_RC: np.ndarray) -> str:
        """Text of one grid of label indices."""
        grid_RC = checked_grid(grid_RC, 2)
        if grid_RC.min() < 0 or grid_RC.max() >= len(self.labels):
            raise ValueError(f"a cell holds an index beyond the {len(self.labels)} labels; check the grid")
        raw, columns = grid_RC.astype(np.uint8).tobytes(), grid_RC.shape[1]
        rows = [self._texts[raw[i : i + columns]] for i in range(0, len(raw), columns)]
        return "\n ".join(rows) + "\n"

    def read(self, text: str, size: Size | None = None) -> tuple[np.ndarray | None, list[Problem]]:
        """(grid (rows, columns) of label indices, uint8, or None; problems); without a size the text tells it."""
        size = told_size(text, "\n", self._row) if size is None else checked_size(size)
        return read_rows(text, size, "\n", self._row)

    def _row(self, reader: GridReader, row: str, start: int) -> bytearray:
        cells = bytearray()
        for token, at in reader.tokens(row, start, "|"):
            label, star, digits = (part.strip() for part in token.rpartition("*"))
            end = at + len(token)
            if not star:
                reader.note("unreadable", at, end, f"{token[:40]!r} has no count; it is left out")
                continue
            if label not in self._index:
                reader.note("unreadable", at, end, f"{label[:40]!r} is none of the labels; read as empty")
            reader.extend(cells, self._index.get(label, 0), reader.count(digits, at, end))
        return cells

    def grammar(self) -> str:
        """Lark grammar of exactly what `write` writes, but for the lengths of rows."""
        labels = " | ".join(json.dumps(label, ensure_ascii=False) for label in self.labels)
        return (
            'start: row ("\\n " row)* "\\n"\n'
            'row: run ("| " run)*\n'
            'run: label " *" COUNT\n'
            f"label: {labels}\n"
            f"{COUNT_RULE}"
        )


# --- our own ---------------------------------------------------------------------------------------------


class CompactRuns:
    """Lengths of alternating runs, empty first, the last one implied; "/" between rows.

    A row equal to the one above (to an empty one, for the first) is "=", several in succession "=5"; an empty
    row is "." otherwise. `write` gives this one form; `read` takes lengths for any row.
    """

    def __init__(self) -> None:
        self._texts: dict[int, KnownRows] = {}

    def write(self, grid_RC: np.ndarray) -> str:
        """Text of one grid; cells that are not 0 are set."""
        grid_RC = checked_grid(grid_RC, 2)
        columns = grid_RC.shape[1]
        known = self._texts.get(columns)
        if known is None:
            known = self._texts[columns] = KnownRows(lambda number: _lengths_text(bits_of(number, columns)))
        rows, above = [], 0
        for number, equal in groupby(row_numbers(grid_RC[None])[0].tolist()):
            times = len(list(equal))
            if number != above:
                rows.append(known[number])
                times -= 1
            if times:
                rows.append(f"={times}" if times > 1 else "=")
            above = number
        return "/".join(rows)

    def read(self, text: str, size: Size) -> tuple[np.ndarray | None, list[Problem]]:
        """(grid (rows, columns) of uint8 or None, problems)."""
        reader = GridReader(text, checked_size(size))
        for row, start, _ in reader.pieces("/"):
            end, said = start + len(row), row.strip()
            if not said.startswith("="):
                reader.add(_lengths_row(reader, row, start), start, end)
                continue
            times = reader.count(said[1:].strip(), start, end) if len(said) > 1 else 1
            room = reader.rows - len(reader.cells)
            if times > room:
                reader.note("too-many", start, end, f"{said[:20]!r} repeats more rows than the grid has left")
            reader.is_seen |= times > 0
            above = reader.cells[-1] if reader.cells else bytes(reader.columns)
            reader.cells += [above] * min(times, room)
        return reader.grid(), reader.problems

    def grammar(self) -> str:
        """Lark grammar of exactly what `write` writes, but for the lengths and the number of rows."""
        return f'start: row ("/" row)*\nrow: "." | "=" COUNT? | (COUNT | "0") (" " COUNT)*\n{COUNT_RULE}'


def _lengths_text(row: Sequence[int]) -> str:
    runs = runs_of(row)
    if runs == [(0, len(row))]:
        return "."
    lengths = [count for _, count in runs] if runs[0][0] == 0 else [0, *(count for _, count in runs)]
    return " ".join(map(str, lengths[:-1]))


def _lengths_row(reader: GridReader, row: str, start: int) -> bytearray:
    """Cells of alternating lengths and the implied rest; after something else the rest of the row is empty."""
    cells, value = bytearray(), 0
    said = row.strip() != "."
    for token, at in reader.tokens(row, start, " ") if said else ():
        digits = token.strip()
        if not INTEGER.fullmatch(digits) or digits[0] in "+-":
            reader.note("not-a-number", at, at + len(token), f"{digits[:20]!r} is no length of a run")
            return cells
        reader.extend(cells, value, reader.count(digits, at, at + len(token)))
        value = 1 - value
    if row.strip():
        reader.extend(cells, value, max(reader.columns - len(cells), 0))
    return cells


def to_tokens(grid_RC: np.ndarray) -> list[str]:
    """Tokens of one grid of at most 32 columns: all runs of a row, empty first, or `<m=>` for "as above"."""
    grid_RC = checked_grid(grid_RC, 2)
    if grid_RC.shape[1] > MAX_RUN_TOKEN:
        raise ValueError(f"a grid of {grid_RC.shape[1]} columns was given; tokens can say {MAX_RUN_TOKEN} at most")
    tokens, above = [], [0] * grid_RC.shape[1]
    for row in (grid_RC != 0).astype(int).tolist():
        if row == above:
            tokens.append(MASK_TOKENS[0])
        else:
            lengths = [count for _, count in runs_of(row)]
            tokens += [MASK_TOKENS[1 + length] for length in ([0] if row[0] else []) + lengths]
        above = row
    return tokens


def from_tokens(tokens: Sequence[str], size: Size) -> tuple[np.ndarray | None, list[Problem]]:
    """Inverse of `to_tokens`: a row ends where it is full, so that nothing need be said between rows.

    Problems count tokens instead of characters. At most one token more than cells and rows is looked at.
    """
    reader = GridReader("", checked_size(size))
    row, value, first = bytearray(), 0, 0
    limit = reader.rows * (reader.columns + 2)
    for i, token in enumerate(tokens[: limit + 1]):
        if len(reader.cells) == reader.rows or i == limit:
            reader.note("too-many", i, len(tokens), f"only {reader.rows} rows are read")
            break
        number = TOKEN_NUMBERS.get(token)
        if number is None:
            reader.note("unreadable", i, i + 1, f"{token[:20]!r} is no token of a mask")
        elif number < 0:
            if row:
                reader.add(row, first, i)
            above = reader.cells[-1] if reader.cells else bytes(reader.columns)
            if len(reader.cells) < reader.rows:
                reader.add(above, i, i + 1)
            row, value, first = bytearray(), 0, i + 1
        else:
            reader.extend(row, value, number)
            value = 1 - value
            if len(row) >= reader.columns:
                reader.add(row, first, i + 1)
                row, value, first = bytearray(), 0, i + 1
    if row:
        reader.add(row, first, len(tokens), is_open=True)
    return reader.grid(), reader.problems
