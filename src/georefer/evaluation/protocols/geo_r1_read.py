"""What Geo-R1's scripts and the published grounding rewards share: tags, fences, JSON, the rows of a reward file.

Their patterns, such as `<answer>(.*?)</answer>`, take time in the square of a hostile answer's length. What is here
finds the same spans in one pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.evaluation.protocols.base import find, partial, plain_name, read_json_lines, refuse_repeated
from georefer.geometry import Frame
from georefer.geometry.overlap import hbb_iou

CANVAS = Frame.resize((1 << 20, 1 << 20), (1 << 20, 1 << 20))
"""For answers in pixels of an image whose size is not known: nothing is scaled, only negative numbers are clipped."""

MOST_BOXES = 500
"""Boxes of an answer that are matched one to one; an answer with more is no attempt at grounding."""


# --- spans -----------------------------------------------------------------------------------------------


# --- boxes -----------------------------------------------------------------------------------------------


def soft_f1(boxes_P4: Any, truths_T4: Any, labels_P: Sequence[str] = (), labels_T: Sequence[str] = ()) -> float:
    """What boxes deserve: twice the IoU of the best one-to-one pairing, by the number of all boxes; 1 for none at all.

    Misses, extra boxes and duplicates cost alike, order does not matter, nothing is a step. With labels, only boxes
    of one label pair.
    """
    count = len(boxes_P4) + len(truths_T4)
    if not count:
        return 1.0
    if not len(boxes_P4) or not len(truths_T4) or len(boxes_P4) > MOST_BOXES:
        return 0.0
    iou_PT = hbb_iou(upright(boxes_P4), upright(truths_T4))
    if len(labels_P):
        iou_PT = np.where(np.asarray(labels_P)[:, None] == np.asarray(labels_T)[None, :], iou_PT, 0.0)
    rows, columns = linear_sum_assignment(iou_PT, maximize=True)
    return float(2 * iou_PT[rows, columns].sum() / count)


def upright(boxes_N4: Any) -> np.ndarray:
    """Boxes with their corners in order, whichever were said first."""
    boxes_N4 = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
    low_N2, high_N2 = np.minimum(boxes_N4[:, :2], boxes_N4[:, 2:]), np.maximum(boxes_N4[:, :2], boxes_N4[:, 2:])
    return np.concatenate([low_N2, high_N2], axis=1)


def said(content: str, dialect: str, frame: Frame = CANVAS) -> tuple[np.ndarray, list[str], bool]:
    """Boxes (N, 4) in scene pixels and labels that an answer says, and whether it said anything at all."""
    reading = DIALECTS[dialect].read(content, frame)
    boxes = reading.areas
    return boxes.hbb_N4, [str(label).lower() for label in boxes.labels_N], reading.readable


def deserved(
    content: str,
    truths_T4: Any,
    dialect: str,
    labels_T: Sequence[str] = (),
    frame: Frame = CANVAS,
) -> float:
    """`soft_f1` of what an answer says in a dialect; 0 for an answer that says nothing, not even that nothing is there.

    Labels count only where both sides have them throughout.
    """
    boxes_P4, labels_P, readable = said(content, dialect, frame)
    if not readable:
        return 0.0
    labelled = len(labels_T) > 0 and all(labels_P)
    return soft_f1(boxes_P4, truths_T4, labels_P if labelled else (), labels_T if labelled else ())


# --- files -----------------------------------------------------------------------------------------------


def files_of(path: Path, names: Sequence[str], reads: str) -> dict[str, Path]:
    """Those of the named files that a folder holds, or the one that the path is, by plain name; InputError for none.

    Where only one name is possible, a single file may have any.
    """
    if path.is_dir():
        found = {name: file for name in names if (file := find(path, name))}
    elif len(names) == 1 and path.is_file():
        found = {names[0]: path}
    else:
        found = {plain_name(path): path} if plain_name(path) in names and path.is_file() else {}
    if not found:
        raise InputError(f"{path} holds none of {', '.join(names)}; give {reads}")
    return found


def reward_rows(path: Path, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of a reward file, each with texts `content` and `solution` and an `id` (the line's number where missing)."""
    rows = [{"id": number, **row} for number, row in enumerate(read_json_lines(path))]
    for row in rows:
        if not (isinstance(row.get("content"), str) and isinstance(row.get("solution"), str)):
            raise InputError(f"{path}: the row {row['id']!r} has no texts 'content' and 'solution'; both are expected")
    if not partial(settings):
        refuse_repeated((json.dumps(row["id"]) for row in rows), path)
    return rows


def told(steps: Sequence[tuple[str, float]], end: float) -> tuple[str, ...]:
    """Names of the steps at which a value changes on its way to `end`.

    Each step is the name of a quirk and the value while it still holds; without it the value is that of the next
    step. Where the first value and `end` differ, at least one name is told.
    """
    after = [value for _, value in steps[1:]] + [end]
    return tuple(name for (name, value), new in zip(steps, after, strict=True) if abs(value - new) > 1e-9)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there, None where there is none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
