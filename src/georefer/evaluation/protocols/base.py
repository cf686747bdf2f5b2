"""What a published scorer is to georefer, and what it gives: its own numbers, the rows, and why strict ones differ."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georefer.errors import InputError

MAX_BYTES = 2 << 30
"""The largest file that is read, unpacked."""


@dataclass(frozen=True)
class Row:
    """One row of an answer file: its value as published and by strict scoring, and why the two differ.

    `part` is a key of `Scores.numbers`; `id` is the row's id in the file, or its number. A value is the row's share
    in the part's headline measure, mostly an IoU or right (1) and wrong (0); None where the scorer passes over the
    row. `reasons` are names of `Protocol.quirks`, empty where the values are equal. `image` is what the row is about,
    where the file says it: rows of one image go together in the statistics.
    """

    part: str
    id: Any
    published: float | None
    strict: float | None = None
    reasons: tuple[str, ...] = ()
    image: Any = None

    @property
    def differs(self) -> bool:
        """Whether strict scoring sees the row otherwise, beyond rounding."""
        if self.published is None or self.strict is None:
            return self.published is not self.strict
        return abs(self.published - self.strict) > 1e-6


@dataclass(frozen=True)
class Stop:
    """A row at which the original raises, scored here all the same: `why` says what it stumbles over."""

    part: str
    id: Any
    why: str


@dataclass(frozen=True)
class Beside:
    """A measure as published and by strict scoring, in the published one's unit."""

    part: str
    measure: str
    published: float | None
    strict: float | None


@dataclass(frozen=True)
class Scores:
    """What a protocol finds in answer files.

    `numbers` has the names and full precision of the original's output, plain JSON values. `beside` and the strict
    values of `rows` are only there where they were asked for. `notes` are sentences for the reader, such as rows that
    the original passes over without a word.
    """

    numbers: dict[str, Any]
    rows: tuple[Row, ...] = ()
    stops: tuple[Stop, ...] = ()
    beside: tuple[Beside, ...] = ()
    notes: tuple[str, ...] = ()

    def differing(self) -> list[Row]:
        """Rows that strict scoring sees otherwise."""
        return [row for row in self.rows if row.differs]


@dataclass(frozen=True)
class Protocol:
    """One published scorer, reproduced bug for bug.

    `source` names repository, commit and files; `reads` says in a sentence what the path may be. `quirks` says in
    one line each what a strict scorer would not do, by the names that rows give as reasons. `settings` are the
    names that `--set` takes, with their meaning. `score(path, settings, beside)` raises InputError for what it
    cannot read, never for what a model wrote; with `beside` it scores strictly too.
    """

    name: str
    source: str
    reads: str
    quirks: Mapping[str, str]
    score: Callable[[Path, Mapping[str, str], bool], Scores]
    settings: Mapping[str, str] = field(default_factory=dict)


# --- files -----------------------------------------------------------------------------------------------


def find(folder: Path, name: str) -> Path | None:
    """A file of a folder, plain or with `.gz` behind its name; None where there is neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def plain_name(path: Path) -> str:
    """A file's name without `.gz`."""
    return path.name.removesuffix(".gz")


def read_text(path: Path) -> str:
    """A whole file as UTF-8, unpacked where its name ends in `.gz`; InputError where it is missing, huge or no text."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable text file ({error}); give the original's own file") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} unpacks to more than {MAX_BYTES >> 20} MB, where an answer file is expected")
    return text


def read_json(path: Path) -> Any:
    """The value of a JSON file, plain or packed; NaN and Infinity are read as Python's own module does."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON file ({error}); give the original's own file") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, plain or packed, one a line; blank lines are passed over."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = _value(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path} line {number} is no JSON ({error}); expected one JSON object a line"
                ) from error
            if not isinstance(row, dict):
                raise InputError(f"{path} line {number} holds {line[:60]!r} where a JSON object is expected")
            yield row


_decode = json.JSONDecoder().raw_decode


def _value(line: str) -> Any:
    """`json.loads` in half the time, where no space stands around the value."""
    try:
        value, end = _decode(line)
    except ValueError:
        end = -1
    return value if end == len(line) else json.loads(line)


def refuse_repeated(ids: Iterable[Any], path: Path) -> None:
    """InputError where an answer is there twice: which of the two counted would be chance."""
    repeated = [id_ for id_, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InputError(
            f"{path} answers {len(repeated)} questions more than once (as {repeated[0]!r}) where one answer each is "
            "expected; remove the repeated rows, or score them all with --partial"
        )


def partial(settings: Mapping[str, str]) -> bool:
    """Whether the user let missing and repeated answers pass (`--partial`)."""
    return settings.get("partial") == "yes"
