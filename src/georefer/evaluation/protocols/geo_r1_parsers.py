"""Geo-R1's parsers as published: what its scripts read in an answer, and what they cut off a mask.

Source: github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/test_{rec_r1,rec_baseline,ovd_nwpu,gres}_eval.py. They give
boxes where the original does, and raise TypeError, ValueError or AttributeError where it raises. Unlike its patterns,
they take time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from georefer.evaluation.protocols.geo_r1_read import answers, fences, load, whole_boxes

_DIGITS = r"(?:\d++(?:\.\d++)?+|\.\d++)"
_LOOSE = re.compile(rf"\[\s*+(-?{_DIGITS})" + rf"\s*+,\s*+(-?{_DIGITS})" * 3 + r"\s*+\]")


def read_rl(content: str) -> list[int]:
    """The last whole-number box within braces of the first answer; four zeros where there is none."""
    answer = next(answers(content), "").strip()
    opened, closed = answer.find("{"), answer.rfind("}")
    boxes = [m for m in whole_boxes(answer, opened + 1) if m.end() <= closed] if opened >= 0 else []
    return [int(v) for v in boxes[-1].groups()] if boxes else [0, 0, 0, 0]


def read_sft(content: str) -> list[float] | list[int]:
    """The first box anywhere in the text; four zeros where there is none."""
    match = _LOOSE.search(content)
    return [float(v) for v in match.groups()] if match else [0, 0, 0, 0]


def read_ovd(content: str, lenient: bool = False) -> list[list[int]]:
    """Boxes of the first fenced JSON, else of all between the first and the last bracket; numbers are cut to whole.

    The original raises at a list that holds numbers or boxes without a name; `lenient` passes over these.
    """
    text = _fenced_or(content, "[", "]")
    data = _json_or_none(text)
    boxes = []
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            if not lenient and (not isinstance(item, str | list) or "bbox_2d" in item):
                raise TypeError(f"'bbox_2d' is looked for in {str(item)[:40]!r}")
            continue
        box = item.get("bbox_2d")
        if isinstance(box, list) and len(box) == 4:
            try:
                boxes.append([int(v) for v in box])
            except (ValueError, TypeError):
                continue
            except OverflowError:
                if not lenient:
                    raise TypeError("an infinite number is cut to a whole one") from None
    return boxes


def read_gres(content: str, lenient: bool = False) -> list[dict[str, Any]]:
    """Boxes with both key points, of the first fenced JSON, else of the list in the first answer."""
    text = next(fences(content), None)
    if text is None:
        answer = next(answers(content), "").strip()
        text = _fenced_or(answer, "[", "]") or answer
    data = _json_or_none(text.strip())
    parsed = []
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            if not lenient:
                raise AttributeError(f"{str(item)[:40]!r} has no keys")
            continue
        box, points = item.get("bbox_2d"), [item.get("keypoint1"), item.get("keypoint2")]
        if list_of(box, 4) and all(list_of(point, 2) for point in points):
            parsed.append({"box": box, "points": points})
    return parsed


def clip_to_box(mask_HW: np.ndarray, box: Sequence[Any]) -> np.ndarray:
    """The mask within a box, whose numbers (or texts of whole numbers) are cut to whole pixels."""
    x1, y1, x2, y2 = (int(v) for v in box)
    kept_HW = np.zeros_like(mask_HW, dtype=bool)
    inside = (slice(max(y1, 0), max(y2, 0)), slice(max(x1, 0), max(x2, 0)))
    kept_HW[inside] = mask_HW[inside]
    return kept_HW


def list_of(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count


def _fenced_or(text: str, opening: str, closing: str) -> str:
    """The first fenced JSON of a text, else all between its first and last bracket, else nothing."""
    if (fenced := next(fences(text), None)) is not None:
        return fenced.strip()
    start, end = text.find(opening), text.rfind(closing)
    return text[start : end + 1].strip() if 0 <= start < end else ""


def _json_or_none(text: str) -> Any:
    try:
        return load(text)
    except ValueError:
        return None
