"""The project's own dialect: labels and `[x1, y1, x2, y2]` in rounded integers of the frame (0-1000).

    answer = "none" | group *("; " group)
    group  = [label " "] box *(" " box)
    box    = "[" n ", " n ", " n ", " n "]"        0 <= n <= the frame's numbers (1000 unless said)

`building [120, 45, 260, 190] [300, 40, 410, 170]; pool [280, 210, 300, 240]`

A label is said once for all its boxes, since models pay by the token. Rounding errs by at most half a
number: 0.05 % of the image side.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import (
    ListReader,
    Reading,
    boxes_from_numbers,
    boxes_to_numbers,
    is_repeated,
    widened,
)
from georefer.geometry import Frame, Objects

NOTHING = "none"
RESERVED = re.compile(r"[\[\];\n]|^\s|\s$|^$")
LABEL = re.compile(r"(?:^|[;\n\]])\s*([^\[\];\n]{0,200}?)\s*$")


class GeoreferDialect:
    """See the module: write rounds and never makes a box vanish; read repairs what can be repaired."""

    name = "georefer"

    def write(self, objects: Objects, frame: Frame, *, labelled: bool = True) -> str:
        """Boxes of all objects, grouped by label in order of first appearance."""
        if not len(objects):
            return NOTHING
        boxes_N4 = widened(np.rint(boxes_to_numbers(objects.hbb_N4, frame)), frame)
        groups: dict[str, list[str]] = {}
        for label, box in zip(objects.labels_N, boxes_N4.tolist(), strict=True):
            groups.setdefault(label if labelled else "", []).append(str(box))
        if labelled:
            _check_labels(groups)
        return "; ".join(f"{label} {' '.join(boxes)}".strip() for label, boxes in groups.items())

    def read(self, text: str, frame: Frame) -> Reading:
        """Every box of an answer in scene pixels, with its label ("" where none was said)."""
        reader = ListReader(text, frame)
        boxes, labels, label, end = [], [], "", 0
        seen: set[tuple] = set()
        for values, match in reader.lists():
            # a label holds for all boxes up to the next label or semicolon
            between = text[end : match.start()]
            if end == 0 or between.strip():
                label = _label_before(text, match.start())
            end = match.end()
            if len(values) != 4:
                reader.note("wrong-count", match.start(), end, f"{match[0][:80]} has {len(values)} numbers, not 4")
                continue
            box_4 = reader.box(reader.clip(values, match), match)
            if box_4 is None or is_repeated(seen, (label, *box_4), reader, match):
                continue
            boxes.append(box_4)
            labels.append(label)
        says_none = not boxes and text[:100].strip().strip(".").lower() == NOTHING
        if not boxes and not says_none and not reader.problems:
            reader.note("unreadable", 0, len(text), f"neither a box nor '{NOTHING}'")
        objects = Objects.from_hbb(boxes_from_numbers(np.array(boxes), frame), labels)
        return Reading(text, objects, tuple(reader.problems), says_none)

    def grammar(self) -> str:
        """Lark grammar of exactly what `write` writes."""
        return (
            'start: "none" | group ("; " group)*\n'
            'group: (LABEL " ")? box (" " box)*\n'
            'box: "[" N ", " N ", " N ", " N "]"\n'
            "LABEL: /[^\\[\\];\\n]+/\n"
            "N: /0|[1-9][0-9]{0,3}/\n"
        )


def _label_before(text: str, start: int) -> str:
    match = LABEL.search(text[max(0, start - 300) : start])
    return match[1].rstrip(":") if match else ""


def _check_labels(labels: dict[str, list[str]]) -> None:
    for label in labels:
        if RESERVED.search(label):
            raise ValueError(f"the label {label!r} holds a bracket, a semicolon or outer spaces; rename the class")
