"""Geo-R1's parsers as published: what its scripts read in an answer, and what they cut off a mask.

Source: github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/test_{rec_r1,rec_baseline,ovd_nwpu,gres}_eval.py. They give
boxes where the original does, and raise TypeError, ValueError or AttributeError where it raises. Unlike its patterns,
they take time in proportion to the text.
"""

from __future__ import annotations

import re

from georefer.training.rewards.published.geo_r1 import fenced_or, json_or_none

_DIGITS = r"(?:\d++(?:\.\d++)?+|\.\d++)"
_LOOSE = re.compile(rf"\[\s*+(-?{_DIGITS})" + rf"\s*+,\s*+(-?{_DIGITS})" * 3 + r"\s*+\]")


def read_sft(content: str) -> list[float] | list[int]:
    """The first box anywhere in the text; four zeros where there is none."""
    match = _LOOSE.search(content)
    return [float(v) for v in match.groups()] if match else [0, 0, 0, 0]


def read_ovd(content: str, lenient: bool = False) -> list[list[int]]:
    """Boxes of the first fenced JSON, else of all between the first and the last bracket; numbers are cut to whole.

    The original raises at a list that holds numbers or boxes without a name; `lenient` passes over these.
    """
    text = fenced_or(content, "[", "]")
    data = json_or_none(text)
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
