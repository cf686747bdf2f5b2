"""What the readers of published datasets share: records one by one, pictures and their sizes, questions gathered.

Files are not trusted. A record is bounded in length before it is parsed, lines that are no JSON are counted and left
out, whole numbers of endless digits become infinite and fail every later check, and a picture is looked up only by a
name that stays in its folder.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind
from georefer.geometry.repair import is_repairable
from georefer.scenes.interchange.base import IMAGE_ENDINGS, Account, LabelledImage, Rows, count_losses, stem_of
from georefer.scenes.interchange.files import as_numbers, as_side, safe_name, storable, write_text
from georefer.scenes.readers.base import ASKS, Asked, Published
from georefer.scenes.readers.pictures import inside, picture_size

UNNAMED = "object"
"""Label of objects of which a file says no class."""

MAX_RECORDS = 5_000_000
MAX_RECORD_CHARS = 4 << 20
MAX_WRAPPED_LINES, MAX_WRAPPED_CHARS, MAX_BAD_LINES = 64, 1 << 20, 1_000
"""Lines and characters joined to find the end of a record that was wrapped; lines that may be no JSON at all."""

CHUNK_CHARS = 1 << 20
MAX_POINTS = 100_000
"""Points of one outline."""

MAX_NAME_BYTES = 200
"""Of one part of a name; file systems end at 255, and files are written beside others under longer ones."""

_HALVES = re.compile("[\ud800-\udfff]")
_SEPARATORS = re.compile("[\x85\u2028\u2029]")
_BETWEEN = re.compile(r"[\s,]*+")


# --- records --------------------------------------------------------------------------------------------------


def records(path: Path, account: Account) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, record) of a JSON array or of JSON lines, one after another, so that a file may be large.

    Records may be wrapped over several lines. Bad lines are dropped and counted; an array that breaks is no array.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline(CHUNK_CHARS)
            while first and not first.strip():
                first = file.readline(CHUNK_CHARS)
            is_array = first.lstrip().startswith("[")
            values = _of_array(file, first.lstrip()[1:], path) if is_array else _of_lines(file, first, path, account)
            for number, value in enumerate(values, 1):
                where = f"{path.name}, record {number}"
                if number > MAX_RECORDS:
                    raise InputError(f"{path} holds more than the {MAX_RECORDS:,} records that are read; split it")
                if isinstance(value, dict):
                    yield where, value
                else:
                    account.dropped.add("no JSON object", where)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}) where records are expected; check it") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error.reason}) where records are expected; convert it") from error


def head_of(path: Path) -> bytes:
    """The first bytes of a JSON file, without what may stand before them."""
    try:
        with path.open("rb") as file:
            return file.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}) where records are expected; check it") from error


def parsed(text: str) -> Any:
    """The JSON value in a text of a file; ValueError for anything else, nesting without end included."""
    value, end = _decoded(text.lstrip(), 0)
    if text.lstrip()[end:].strip():
        raise ValueError("text after the value")
    return value


def _of_array(file: TextIO, text: str, path: Path) -> Iterator[Any]:
    at = 0
    while True:
        between = _BETWEEN.match(text, at)
        at = between.end() if between else at
        if text.startswith("]", at):
            return
        try:
            value, at = _decoded(text, at)
        except ValueError as error:
            # either the record goes on in the next chunk, or it is broken
            waiting = len(text) - at
            block = file.read(max(CHUNK_CHARS, waiting)) if waiting <= MAX_RECORD_CHARS else ""
            if not block:
                raise InputError(
                    f"{path} breaks off at {text[at : at + 40]!r} ({error}) where a JSON array of records of at most "
                    f"{MAX_RECORD_CHARS:,} characters is expected; fetch it again"
                ) from None
            text, at = text[at:] + block, 0
            continue
        yield value


def _of_lines(file: TextIO, first: str, path: Path, account: Account) -> Iterator[Any]:
    ahead, bad = deque([first]), 0
    while line := ahead.popleft() if ahead else file.readline(CHUNK_CHARS):
        if not line.endswith("\n") and not ahead:
            line += file.readline(MAX_RECORD_CHARS)
        if len(line) > MAX_RECORD_CHARS:
            raise InputError(f"{path} has a line of over {MAX_RECORD_CHARS:,} characters; write one record a line")
        if not line.strip():
            continue
        try:
            value, end = _decoded(line, len(line) - len(line.lstrip()))
            rest = line[end:]
        except ValueError:
            _look_ahead(file, ahead)
            joined = line.lstrip() + "".join(ahead)
            try:
                value, end = _decoded(joined, 0)
            except ValueError:
                bad += 1
                account.dropped.add("line that is no JSON", f"{path.name}: {line[:40]!r}")
                if bad > MAX_BAD_LINES:
                    raise InputError(f"{path} has over {MAX_BAD_LINES} lines that are no JSON; check it") from None
                continue
            ahead.clear()
            rest = joined[end:]
        *whole, last = rest.split("\n")
        ahead.extendleft(reversed([f"{part}\n" for part in whole if part.strip()] + ([last] if last else [])))
        yield value


def _look_ahead(file: TextIO, ahead: deque[str]) -> None:
    waiting = sum(map(len, ahead))
    while len(ahead) < MAX_WRAPPED_LINES and waiting < MAX_WRAPPED_CHARS and (more := file.readline(CHUNK_CHARS)):
        ahead.append(more)
        waiting += len(more)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)


# wrapped records hold line feeds in their texts, which strict JSON forbids
_DECODER = json.JSONDecoder(strict=False, parse_int=_whole)


def _decoded(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError("nested too deeply") from None


# --- shapes ---------------------------------------------------------------------------------------------------


def box_shape(numbers: object) -> tuple[shapely.Polygon | None, str]:
    """The box of [x1, y1, x2, y2] and what has to be said of it; None with the reason where there is none."""
    box_4 = as_numbers(numbers) if isinstance(numbers, list | tuple) and len(numbers) == 4 else None
    if box_4 is None:
        return None, "box that is not four numbers"
    x1, y1, x2, y2 = box_4.tolist()
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if left == right or top == bottom:
        return None, "box without area"
    note = "" if (left, top) == (x1, y1) else "corners in another order, sorted"
    return shapely.box(left, top, right, bottom), note


def outline_shape(numbers: object) -> tuple[shapely.Polygon | None, str]:
    """The outline of [x1, y1, x2, y2, ...] or [[x, y], ...]; None with the reason where there is none."""
    points_N2 = points_of(numbers)
    if points_N2 is None or len(points_N2) < 3:
        return None, "outline of fewer than three points"
    polygon = shapely.Polygon(points_N2)
    if shapely.convex_hull(polygon).area == 0:
        return None, "outline without area"
    return (polygon, "") if is_repairable(polygon) else (None, "outline that crosses itself too often")


def points_of(numbers: object) -> np.ndarray | None:
    """Points (N, 2) of a flat list or of a list of pairs, or None."""
    if not isinstance(numbers, list | tuple) or not 0 < len(numbers) <= 2 * MAX_POINTS:
        return None
    if isinstance(numbers[0], list | tuple):
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in numbers):
            return None
        numbers = [value for pair in numbers for value in pair]
    values = as_numbers(numbers) if len(numbers) % 2 == 0 else None
    return None if values is None else values.reshape(-1, 2)


def box_numbers(geometry: shapely.Geometry) -> list[float | int]:
    """[x1, y1, x2, y2] of a shape, whole numbers as such."""
    return [tidy(value) for value in geometry.bounds]


def tidy(value: float) -> float | int:
    """A number as JSON files hold it: 12, not 12.0."""
    return int(value) if float(value).is_integer() else float(value)


# --- gathering ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Picture:
    key: str
    width: int | None
    height: int | None
    rows: Rows
    attributes: dict[str, Any]
    used: set[str] = field(default_factory=set)
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)
    next: int = 0


class Gathering:
    """Images, objects and questions while a dataset is read.

    `images` is the folder of the pictures, looked into for sizes only. An object that is said again (same shape,
    label and kind) is the same one, unless it comes with an id of its own.
    """

    def __init__(self, name: str, images: Path | str | None = None):
        self.name, self.account = name, Account()
        self.folder = None if images is None else Path(images)
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder where the pictures of {name} are expected; check the path")
        self._pictures: dict[str, _Picture] = {}
        self._names: dict[str, str] = {}
        self._questions: list[Asked] = []

    def image(
        self,
        name: object,
        where: str,
        *,
        nominal: tuple[int, int] | None = None,
        size: tuple[object, object] | None = None,
        subfolders: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
    ) -> str | None:
        """The key of an image, made known here; None (and counted) where its name cannot be trusted.

        Its size is the picture's own where `images` holds it (in one of `subfolders` or directly), else `size` as
        the file says it, else the `nominal` one of the dataset's description, which is marked.
        """
        safe = safe_name(name)
        if safe is None or max(map(len, safe.encode().split(b"/"))) > MAX_NAME_BYTES:
            self.account.dropped.add("image name leads out of its folder", f"{where}: {str(name)[:80]!r}")
            return None
        asked = f"{subfolders[0]}/{safe}" if subfolders else safe
        if asked in self._names:
            return self._names[asked]
        key, measured = self._measured(asked, safe, subfolders, where)
        stated = None if size is None else (as_side(size[0]), as_side(size[1]))
        known: dict[str, Any] = dict(attributes or {})
        width, height = measured or (stated if stated is not None and None not in stated else (None, None))
        if measured and stated and None not in stated and stated != measured:
            self.account.changed.add("size in the file is not the picture's, which was taken", where)
        if width is None and nominal is not None:
            (width, height), known["size"] = nominal, "nominal"
        self._names[asked] = key
        self._pictures.setdefault(key, _Picture(key, width, height, Rows(self.account), known))
        return key

    def _measured(self, asked: str, safe: str, subfolders: Sequence[str], where: str):
        """(key, size): the key has the ending that the picture has, where another one was said."""
        if self.folder is None:
            return asked, None
        stem, said = stem_of(safe), safe[len(stem_of(safe)) :]
        others = [e for ending in sorted(IMAGE_ENDINGS) for e in (ending, ending.upper()) if e != said]
        for ending in [said, *others]:
            for part in [*subfolders, ""]:
                file = inside(self.folder, f"{part}/{stem}{ending}" if part else stem + ending)
                if file is None:
                    continue
                size = picture_size(file)
                if size is None:
                    self.account.changed.add("picture that cannot be read", where)
                if ending != said:
                    self.account.changed.add("image name with another ending than the picture's, corrected", where)
                return stem_of(asked) + ending, size
        return asked, None

    def size(self, key: str) -> tuple[int | None, int | None]:
        return self._pictures[key].width, self._pictures[key].height

    def add(
        self,
        key: str,
        geometry: shapely.Geometry,
        label: str,
        kind: Kind,
        *,
        id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """The id of an object of an image; `id` is kept where nobody has it yet."""
        picture = self._pictures[key]
        said = (kind, label, geometry.wkb)
        if id is None and said in picture.known:
            return picture.known[said]
        if id is not None and id in picture.used:
            self.account.changed.add("id used twice in one image, replaced", f"{key}, object {id}")
        free = id if id is not None and id not in picture.used else None
        while free is None:
            free = None if str(picture.next) in picture.used else str(picture.next)
            picture.next += 1
        picture.used.add(free)
        picture.known.setdefault(said, free)
        picture.rows.add(geometry, label, kind, attributes=attributes, id=free)
        return free

    def ask(self, id: object, key: str, asks: str, **said: Any) -> None:
        """One question; `said` is the rest of `Asked`. What JSON cannot hold is left out of `params`."""
        if asks not in ASKS:
            raise ValueError(f"unknown kind of question {asks!r}")
        params = {name: value for name, value in said.pop("params", {}).items() if storable(value)}
        self._questions.append(Asked(str(id), key, asks, params=params, **said))

    def published(self, path: Path) -> Published:
        """All that was gathered; InputError where every single row of `path` was bad."""
        images = {
            key: LabelledImage(key, p.width, p.height, p.rows.objects(), p.attributes)
            for key, p in self._pictures.items()
        }
        if not self._questions and not self.account.kept and self.account.dropped.total:
            reason, where = next((r, e[0]) for r, e in self.account.dropped.examples.items())
            raise InputError(
                f"{path} holds no usable row ({self.account.dropped.total} dropped, the first at {where}: {reason}) "
                f"where {self.name} is expected; check the format"
            )
        return Published(self.name, images, tuple(self._questions), self.account)


def text_of(value: object) -> str | None:
    """A text that says something, as it is."""
    return value if isinstance(value, str) and value.strip() else None


def need_split(split: str | None, found: Iterable[str | None], path: Path) -> None:
    """InputError where a split was asked for that the files do not have."""
    there = sorted({name for name in found if name})
    if split is not None and split not in there:
        raise InputError(f"{path} has no split {split!r}; it has {', '.join(there) or 'none'}; ask for one of these")


# --- writing --------------------------------------------------------------------------------------------------


def escape_separators(text: str) -> str:
    """A text of quoted words in which Unicode's line separators stand as escapes, as JSON and YAML read them."""
    return _SEPARATORS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def dumped(value: Any, indent: int | None = None) -> str:
    """JSON; letters that no file can hold (halves of pairs) and at which some readers end a line are escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
        if text.isascii():
            return text
        return (
            escape_separators(text) if not _HALVES.search(text) else json.dumps(value, allow_nan=False, indent=indent)
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"a value is no JSON ({error}), so that nothing was written; use plain values") from error


def count_left_out(published: Published, account: Account, *, keeps: Sequence[str] = ()) -> None:
    """Counts images that nobody asks about, and scores and attributes (besides `keeps`), of a format without them."""
    asked = {question.image for question in published.questions}
    for name, image in published.images.items():
        count_losses(account, name, image.objects, keeps=keeps, scores=False)
        if name not in asked:
            account.dropped.add("image without a question", name)


def write_records(path: Path, rows: Iterable[Mapping[str, Any]], *, indent: int | None = None) -> None:
    """JSON lines where the name ends in .jsonl, else one JSON array; whole or absent."""
    text = "".join(f"{dumped(row)}\n" for row in rows) if path.suffix == ".jsonl" else dumped(list(rows), indent)
    write_text(path, text)
