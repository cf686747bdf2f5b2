"""What the published rewards share: tags, fences, JSON, boxes of whole numbers, an IoU.

Their patterns, such as `<answer>(.*?)</answer>`, take time in the square of a hostile answer's length. What is here
finds the same spans in one pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

_BETWEEN_TAGS = re.compile(r"</think>\s*<answer>")

_BOX = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)]")


def spans(text: str, opening: str, closing: str) -> Iterator[str]:
    """What `opening(.*?)closing` finds one after the other, in linear time."""
    start = text.find(opening)
    while start >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            return
        yield text[start + len(opening) : end]
        start = text.find(opening, end + len(closing))


def answers(text: str) -> Iterator[str]:
    """What stands between answer tags, as it stands."""
    return spans(text, "<answer>", "</answer>")


def fences(text: str) -> Iterator[str]:
    """What stands in ```json fences, as it stands."""
    return spans(text, "```json", "```")


def last(found: Iterator[str]) -> str | None:
    """The last of some spans."""
    span = None
    for span in found:  # noqa: B007 - only the last one is wanted
        pass
    return span


def think_answer_form(text: str) -> float:
    """1 where the whole text is a thought, white space and an answer in their tags, with anything within, else 0."""
    inside = text[len("<think>") : -len("</answer>")]
    framed = text.startswith("<think>") and text.endswith("</answer>")
    return float(framed and _BETWEEN_TAGS.search(inside) is not None)


def whole_boxes(text: str, start: int = 0) -> Iterator[re.Match[str]]:
    """Matches of `[a, b, c, d]` with whole numbers and no space before a comma."""
    return _BOX.finditer(text, start)


def load(text: str) -> Any:
    """The value of a JSON text; ValueError where it is none or too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too deep") from error


def numbers_of(values: Any, count: int) -> list[float] | None:
    """That many finite numbers of a list, or None; true and false are no numbers."""
    if not isinstance(values, list) or len(values) != count:
        return None
    found = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e15]
    return found if len(found) == count else None


def inset_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU as VLM-R1 and Geo-R1 compute it: that of two boxes (x1, y1, x2, y2), but 0 where they share <= 1 px.

    Raises ZeroDivisionError where the union is 0, as VLM-R1's does; Geo-R1's gives 0 there and below.
    """
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2] - 1, b[2] - 1), min(a[3] - 1, b[3] - 1)
    inter = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter) / union
