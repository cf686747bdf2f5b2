"""What the models that think first share: the answer between its tags, and JSON rows of a box and its points.

    <think> first the river, then the ship at [0, 0, 9, 9] </think> <answer> ... </answer>

Which answer counts: the first that stands outside every thought, as in the code published with Geo-R1, VisionReasoner
and Visual-RFT (all search for the first `<answer>`; none looks whether it lies within the thought, which breaks them
where a thought speaks of `<answer>`). A further answer is a loss, so that hedging is seen. A thought reaches from
`<think>` to the next `</think>`; where only the end is said, the chat template opened it and all before it is
thought. A thought that never ends holds the whole rest. No box in a thought is ever taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from georefer.dialects.jsonish import Item, items, number_list, plain_rows
from georefer.dialects.reader import MAX_OBJECTS, Reader
from georefer.geometry import Objects

_TAG = re.compile(r"<(/?)(think|answer)>", re.IGNORECASE)
_NONE = re.compile(r"\s*(?:```(?:json)?\s*)?(?:none\.?|\[\s*\])\s*(?:```)?\s*", re.IGNORECASE)

_THOUGHT = r"(?:<think>(?:[^<]++|<(?!/?(?:think|answer)>))*+</think>\s{0,8}+)?"
MAX_LABEL = 1_000

_N = r"(?:0|[1-9]\d{0,5}+)"
# what is repeated gives nothing back: no shorter match could go on where the longest does not
POINT = rf"\[{_N}, ?{_N}\]"
BOX = rf"\[{_N}(?:, ?{_N}){{3}}\]"
LABEL = r'(?:, ?"label": ?"(?:[^"\\\x00-\x1f]++|\\.)*+")?+'


def strict_answer(body: str) -> str:
    """Pattern of an answer in its tags, with a thought before it or none."""
    return rf"{_THOUGHT}<answer>\s?(?:{body})\s?</answer>"


def strict_list(row: str) -> str:
    """Pattern of rows in a JSON list, indented as a model likes, within a fence or bare."""
    rows = rf"\[(?:\s{{0,8}}{row}(?:,\s{{0,8}}{row})*+)?\s{{0,8}}\]"
    return rf"```json\s?{rows}\s?```|{rows}"


def answer_span(reader: Reader, *, bare: bool = False) -> tuple[int, int] | None:
    """Where the answer begins and ends in the text; None where there is none, with a problem that says why.

    An answer cut off before its closing tag reaches to the end of the text. With `bare`, the whole text is the
    answer where no tag is used at all, and what follows the thought where only that is marked.
    """
    inside, opened, rest = "", (0, 0), 0
    found: list[tuple[int, int]] = []
    for tag in _TAG.finditer(reader.text):
        closes, name = bool(tag[1]), tag[2].lower()
        if name == "think" and closes:
            if inside != "think":
                found.clear()
            inside, rest = "", tag.end()
        elif inside == "think":
            continue
        elif name == "think":
            inside, opened = "think", tag.span()
        elif not closes and not inside:
            inside, opened = "answer", tag.span()
        elif closes and inside:
            found.append((opened[1], tag.start()))
            inside = ""
    end = len(reader.text)
    if inside:
        reader.note("truncated", opened[0], end, f"the last <{inside}> is not closed")
    if found:
        if len(found) > 1:
            reader.note("unreadable", *found[1], "only the first <answer> is read")
        return found[0]
    if inside:
        return (opened[1], end) if inside == "answer" else None
    if not bare:
        reader.note("unreadable", rest, end, "there is no <answer>")
        return None
    if rest:
        reader.note("off-grammar", rest, end, "there is no <answer> around what follows the thought")
    return rest, end


def if_none(reader: Reader, start: int, end: int, words: re.Pattern[str] = _NONE) -> None:
    """Sets `says_none` where no shape was found and the answer is one of the words for nothing."""
    if not len(reader) and words.fullmatch(reader.text, start, end):
        reader.says_none = True


def each_row(reader: Reader, start: int = 0, end: int | None = None) -> Iterator[tuple[Item, bool]]:
    """Every JSON object between two places until the reader is full, and whether it holds others, as a wrapper does."""
    found = items(reader, start, end)
    for item, following in zip_longest(found, found[1:]):
        if reader.full:
            reader.too_many(item.start)
            return
        yield item, following is not None and following.start < item.end


def read_rows(reader: Reader, start: int, end: int, box_keys: Sequence[str], point_keys: Sequence[str]) -> None:
    """Takes every JSON object between two places: its box, then its points, each an object of its own.

    A Relation "point" leads from the box to each of its points, because the box may be dropped as a duplicate.
    """
    if (rows := _plain_boxes(reader, start, end, box_keys, point_keys)) is not None:
        for corners, point, label, span in rows:
            place = reader.box(corners, *span, label)
            if point:
                reader.relate(place, "point", reader.point(point, *span, label))
        return
    for item, holds_rows in each_row(reader, start, end):
        label = item.text("label")
        box = _numbers(reader, item, box_keys, 4)
        points = []
        for key in point_keys:
            if key in item.fields and (xy := _numbers(reader, item, (key,), 2)) is not None:
                points.append(xy)
        place = -1 if box is None else reader.box(box, item.start, item.end, label)
        for xy in points:
            reader.relate(place, "point", reader.point(xy, item.start, item.end, label))
        if box is None and not points and not holds_rows:
            quoted = reader.quote(item.start, item.end)
            reader.note("unreadable", item.start, item.end, f"{quoted} holds neither a box nor a point")


def _plain_boxes(
    reader: Reader, start: int, end: int, box_keys: Sequence[str], point_keys: Sequence[str]
) -> list[tuple[list[float], list[float], str, tuple[int, int]]] | None:
    """Box, point (or []), label and span of rows with which nothing is wrong, as most are; None where something is."""
    matches = plain_rows(reader.text, start, end)
    if matches is None or len(matches) > MAX_OBJECTS // 2:
        return None
    rows = []
    for match in matches:
        key, numbers, point_key, point, label_key, label = match.group(2, 3, 4, 5, 6, 7)
        box, xy = list(map(float, numbers.split(","))), list[float]()
        if key not in box_keys or len(box) != 4 or label_key not in (None, "label"):
            return None
        if point_key is not None:
            xy = list(map(float, point.split(",")))
            if point_key not in point_keys or len(xy) != 2:
                return None
        rows.append((box, xy, label.strip() if label else "", match.span(1)))
    return rows


def _numbers(reader: Reader, item: Item, keys: Iterable[str], count: int) -> list[float] | None:
    """The list of numbers under the first key that is there; a problem where it has another count."""
    for key in keys:
        if key in item.fields:
            break
    else:
        return None
    value = item.fields[key]
    numbers = value if item.is_row and type(value) is list else number_list(value)
    if numbers is not None and len(numbers) != count:
        reader.wrong_count(item.start, item.end, len(numbers), count)
        return None
    return numbers


def with_points(objects: Objects, most: int) -> list[tuple[int | None, list[int]]]:
    """Places of each box with up to `most` points that follow it under its label; other points stand alone.

    The order is what joins them: `read_rows` hands them in so, and objects that were moved still have it.
    """
    rows: list[tuple[int | None, list[int]]] = []
    for i, (kind, label) in enumerate(zip(objects.kinds_N, objects.labels_N, strict=True)):
        if kind != "point":
            rows.append((i, []))
        elif rows and rows[-1][0] is not None and len(rows[-1][1]) < most and objects.labels_N[rows[-1][0]] == label:
            rows[-1][1].append(i)
        else:
            rows.append((None, [i]))
    return rows


def checked(label: str) -> str:
    """A label that comes back as it is from a JSON string between tags; ValueError for any other."""
    if label != label.strip() or len(label) > MAX_LABEL or _TAG.search(label):
        raise ValueError(f"the label {label[:80]!r} is padded, very long or holds a tag; rename the class")
    return label
