"""Guesses of what an answer says next; a guess that is right saves its passes, a wrong one changes nothing.

A mask's row differs from the row above by a cell or two, so the row above is its draft.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby

from georefer.dialects import Dialect
from georefer.models.speaking import Speech

TextDraft = Callable[[str], str]
"""Text so far to text that may come next; empty where there is no guess."""

_CHARACTERS = 96
"""Of a guess: as many as a pass may check."""


def mask_rows(dialect: Dialect) -> TextDraft | None:
    """The draft of a dialect's masks; None for one that says no masks in rows."""
    if dialect.name.startswith("geoground"):
        return lambda text: run_rows(text, "<seg>", ", ", "; ", ";</seg>")
    if dialect.name == "text4seg":
        return lambda text: run_rows(text, "<seg>", "| ", "\n ", "\n</seg>")
    return length_rows if dialect.name == "georefer" else None


# --- rows of runs ------------------------------------------------------------------------------------------


def run_rows(text: str, opening: str, between: str, row_end: str, closing: str) -> str:
    """The rest of a row `value *count`, by the cells above it, and the same row again below.

    A grid is square, so the width of its rows tells when it ends.
    """
    _, opened, body = text.rpartition(opening)
    # the end of a row may be said in part only
    *rows, current = body.split(row_end[0])
    above = _cells(rows[-1], between[0]) if opened and rows else []
    if not above:
        return ""
    left, lead = len(above) - len(rows), row_end[1:] if len(rows) < len(above) else closing[1:]
    if lead.startswith(current):
        row = _runs(above, between)
        return lead[len(current) :] + (_below(row, row, left - 1, row_end, closing) if left > 0 else "")
    *whole, part = current.removeprefix(lead).split(between[0])
    done, gap = _cells(between[0].join(whole), between[0]), between[1:] if whole else ""
    if left <= 0 or not current.startswith(lead) or len(done) > len(above):
        return ""
    missing = gap[len(part) :] if gap.startswith(part) else ""
    rest = _rest(part.removeprefix(gap), done, above, between) if not missing else _rest("", done, above, between)
    if rest is None:
        return ""
    row = current.removeprefix(lead) + missing + rest
    return missing + _below(rest, row, left - 1, row_end, closing)


def _rest(part: str, done: list[str], above: list[str], between: str) -> str | None:
    """Text behind the part of a run that is said, to the end of the row; None where it cannot be read."""
    value, star, digits = part.partition(" *")
    said = _runs(_joined(done, above, done[-1] if done else None), between)
    if not said.startswith(part) and star and not digits:
        # another value than above: it lasts as long as the next run there
        other = next((cell for cell in above[len(done) :] if cell != value), None)
        said = _runs(_joined(done, above, other), between)
    if said.startswith(part):
        return said[len(part) :]
    if not digits.isdecimal() or len(digits) > 2:
        return None
    behind = _runs(_joined(done + [value] * int(digits), above, value), between)
    return between + behind if behind else ""


def _joined(done: list[str], above: list[str], last: str | None) -> list[str]:
    """The cells above behind those that are said; the first run has another value than the `last` one."""
    behind = above[len(done) :]
    runs = [(value, len(list(cells))) for value, cells in groupby(behind)]
    if len(runs) > 1 and runs[0][0] == last:
        behind = [runs[1][0]] * runs[0][1] + behind[runs[0][1] :]
    return behind


def _below(rest: str, row: str, left: int, row_end: str, closing: str) -> str:
    """The rest of a row, then the same row again, for as many as are left and are worth a guess."""
    again = min(left, _CHARACTERS // len(row_end + row) + 1)
    return rest + again * (row_end + row) + (closing if again == left else row_end)


def _runs(cells: Sequence[str], between: str) -> str:
    return between.join(f"{value} *{len(list(same))}" for value, same in groupby(cells))


_RUN = re.compile(r"\s*([^*|,;\n]{1,200}?) \*(\d{1,3})")


def _cells(row: str, between: str) -> list[str]:
    runs = [_RUN.fullmatch(run) for run in row.split(between)] if row else []
    return [value for run in runs if run for value in [run[1]] * int(run[2])]


# --- rows of lengths ---------------------------------------------------------------------------------------

_GRID = re.compile(r"\{\d{1,2}: ([\d =./]{0,4000}+)\Z")


def length_rows(text: str) -> str:
    """The lengths of the row above behind those that are said, in georefer's own grids."""
    grid = _GRID.search(text[-4100:])
    *rows, current = grid[1].split("/") if grid else [""]
    above = next((row for row in reversed(rows) if row[:1].isdigit()), "")
    if not above or not current[:1].isdigit():
        return ""
    if above.startswith(current):
        return above[len(current) :]
    lengths = above.split(" ")[len(current.split(" ")) :]
    return "".join(f" {length}" for length in lengths)


# --- text to ids -------------------------------------------------------------------------------------------


class TokenDraft:
    """A draft of text as one of ids, for one answer; `pieces` remembers what tokens read as, for all answers."""

    def __init__(self, speech: Speech, draft: TextDraft, pieces: dict[tuple[int, int], str]):
        self._speech, self._draft, self._pieces = speech, draft, pieces
        self._ids: list[int] = []
        self._ends: list[int] = [0]
        self._text = ""

    def __call__(self, ids: Sequence[int]) -> Sequence[int]:
        guess = self._draft(self._read(ids))[:_CHARACTERS]
        if not guess:
            return []
        # a tokenizer needs no more of what stands before; an answer that is none of its own gets no guess
        near = self._text[self._ends[max(0, len(ids) - 8)] :]
        before, after = self._written(near), self._written(near + guess)
        return after[len(before) :] if after[: len(before)] == before else []

    def _read(self, ids: Sequence[int]) -> str:
        """The text of ids; usually those of the last time and some more."""
        kept = len(self._ids)
        while self._ids[:kept] != list(ids[:kept]):
            kept -= 1
        self._text = self._text[: self._ends[kept]]
        del self._ids[kept:], self._ends[kept + 1 :]
        for token in ids[kept:]:
            self._ids.append(token)
            self._text += self._piece(token)
            self._ends.append(len(self._text))
        return self._text

    def _piece(self, token: int) -> str:
        """What a token adds; most add the same wherever they stand."""
        place = (self._ids[0], token) if len(self._ids) > 1 else (token, -1)
        if place not in self._pieces:
            alone = self._speech.answer(place[:1])
            both = self._speech.answer(place) if len(self._ids) > 1 else alone
            self._pieces[place] = both.removeprefix(alone) if len(self._ids) > 1 else alone
        return self._pieces[place]

    def _written(self, text: str) -> list[int]:
        segment = self._speech.segment("", text)
        learned = [token for token, learn in zip(segment.ids, segment.learn, strict=True) if learn]
        ends = self._speech.end_ids
        return learned[: next((n for n, token in enumerate(learned) if token in ends), len(learned))]
