"""Boxes of VRSBench: what a strict reader sees in an answer, what the original makes of it, and why both differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from georefer.geometry.rotated import LIMIT, obb_iou_pairs

QUIRKS: Mapping[str, str] = {
    "digits-only": "only digits are read: decimals fall apart in two numbers, minus signs vanish",
    "any-number": "digits outside of the box count too, as in 'box1' or 'There are 2 objects'",
    "surplus": "of more numbers than one box has, the first ones are taken (v1: eight are four corners)",
    "plus-one": "hbb: 1 is added to every side, on a grid whose step is a hundredth of the image",
    "corner-order": "hbb: corners that were said in another order are not put in order",
    "radians": "obb: the angle is in degrees and used as radians",
    "diagonal": "obb_v2: sides are the diagonal times cosine and sine of the angle, not those of the rectangle",
    "giant": "numbers of 19 digits or more are calculated with (hbb) or make an answer invalid (obb)",
    "truth-unreadable": "a row whose truth has no box counts as a wrong answer",
    "skipped": "rows whose is_unique is neither 0 nor 1 are left out of everything",
    "left-out": "answers that cannot be read are left out of cumIoU and rot_err",
    "floored": "the truth in the file was cut to whole hundredths of the image; nobody can undo that from the file",
}

_N = r"-?[0-9]++(?:\.[0-9]++)?+"
_NUMBER = re.compile(_N)
_LIST = rf"<?{_N}>?(?:[\s,|]{{0,4}}+<?{_N}>?)*+"
_BOX = re.compile(rf"[\[({{]\s{{0,4}}+({_LIST})\s{{0,4}}+[\])}}]")
_BARE = re.compile(rf"\s*+({_LIST})\s*+")

EPS = np.float32(1e-6)
"""The original's union of oriented boxes whose bounds do not meet."""

Boxes = Sequence[list[float] | None]


def box_in(text: str, size: int) -> list[float] | None:
    """The one box of `size` numbers that a text says, with signs and decimals; None for none, several or another."""
    groups = [match[1] for match in _BOX.finditer(text)]
    if not groups and (bare := _BARE.fullmatch(text)):
        groups = [bare[1]]
    if len(groups) != 1:
        return None
    numbers = [float(n) for n in _NUMBER.findall(groups[0])]
    return numbers if len(numbers) == size and max(map(abs, numbers)) < LIMIT else None


def strict_ious(mode: str, truths: Boxes, said: Boxes) -> list[float]:
    """IoU of each row, 0 where either box is None."""
    result_N = np.zeros(len(said))
    both = [i for i in range(len(said)) if truths[i] is not None and said[i] is not None]
    t_P5, s_P5 = (obbs(mode, [boxes[i] or [] for i in both]) for boxes in (truths, said))
    result_N[both] = obb_iou_pairs(t_P5, s_P5)
    return result_N.tolist()


def obbs(mode: str, boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """Said numbers as rows for `geometry.rotated`: corners in order, degrees, the sides of the rectangle itself.

    v2 says two opposite corners of the turned rectangle and the direction of its first side, y down (VRSBench's
    prepare_eval_all.ipynb).
    """
    if mode == "hbb":
        b_P4 = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        low_P2, high_P2 = np.minimum(b_P4[:, :2], b_P4[:, 2:]), np.maximum(b_P4[:, :2], b_P4[:, 2:])
        return np.column_stack(((low_P2 + high_P2) / 2, high_P2 - low_P2, np.zeros(len(b_P4))))
    b_P5 = np.array(boxes, dtype=np.float64).reshape(-1, 5)
    if mode == "obb_v1":
        return b_P5
    across_P2, angle_P = b_P5[:, 2:4] - b_P5[:, :2], np.radians(b_P5[:, 4])
    long_P = np.abs(across_P2[:, 0] * np.cos(angle_P) + across_P2[:, 1] * np.sin(angle_P))
    wide_P = np.abs(across_P2[:, 1] * np.cos(angle_P) - across_P2[:, 0] * np.sin(angle_P))
    sides_P2 = np.column_stack((long_P, wide_P))
    sides_P2[sides_P2 < 1e-9 * np.abs(across_P2).max(axis=1, initial=0.0)[:, None]] = 0.0  # rounding is no width
    return np.column_stack((b_P5[:, :2] + across_P2 / 2, sides_P2, b_P5[:, 4]))


# --- why a row differs -----------------------------------------------------------------------------------


def reading_reasons(digits: Sequence[int], text: str, size: int) -> set[str]:
    """Why the numbers that the original reads in a text are not those of the box that it says; empty where they are."""
    box = box_in(text, size)
    if box is not None and list(digits) == box:
        return set()
    numbers = [float(n) for n in _NUMBER.findall(text)]
    names = {"digits-only"} if list(digits) != numbers else set()
    if len(numbers) > size:
        names.add("surplus" if box is None or numbers[:size] == box else "any-number")
    return names or {"any-number"}


def rule_reasons(mode: str, truth: Sequence[int], said: Sequence[int], published: float) -> set[str]:
    """Rules that change the IoU of the numbers as they were read, each put right alone."""
    pair = [truth, said]
    if max(*truth, *said) >= 1 << 62:
        return {"giant"}

    def changes(boxes: Sequence[np.ndarray]) -> bool:
        return abs(float(obb_iou_pairs(boxes[0], boxes[1])[0]) - published) > 1e-6

    strict = [obbs(mode, [box]) for box in pair]
    if mode == "hbb":
        if not all(b[0] <= b[2] and b[1] <= b[3] for b in pair):
            return {"corner-order"}
        return {"plus-one"} if changes(strict) else set()
    as_read = [np.array([box], dtype=np.float64) for box in pair]
    if mode == "obb_v1":
        return {"radians"} if changes(as_read) else set()
    diagonal = [from_diagonal(box) for box in as_read]
    sides = [in_degrees(np.column_stack((s[:, :4], d[:, 4]))) for s, d in zip(strict, diagonal, strict=True)]
    names = {name for name, boxes in (("radians", diagonal), ("diagonal", sides)) if changes(boxes)}
    # each alone may cost a row nothing that both together cost it
    return names or ({"radians", "diagonal"} if changes(strict) else set())


# --- the original's boxes -----------------------------------------------------------------------


def from_diagonal(rows_P5: np.ndarray) -> np.ndarray:
    """v2's rows x1, y1, x2, y2, angle as the notebook's middle, sides and angle."""
    x1, y1, x2, y2, angle = rows_P5.T
    angle = angle % 180
    theta, diagonal = np.radians(angle), np.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2)
    a, b = np.abs(diagonal * np.cos(theta)), np.abs(diagonal * np.sin(theta))
    return np.column_stack(((x1 + x2) / 2, (y1 + y2) / 2, np.maximum(a, b), np.minimum(a, b), angle))


def in_degrees(boxes_P5: np.ndarray) -> np.ndarray:
    """Boxes whose angle is taken for radians, anticlockwise, as rows for `geometry.rotated`."""
    heading_P = -np.degrees(np.arctan2(np.sin(boxes_P5[:, 4]), np.cos(boxes_P5[:, 4])))
    return np.column_stack((boxes_P5[:, :4], heading_P))


def _halves(boxes_P5: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (P, 2) from the middle to the middles of two sides; the angle is taken for radians, anticlockwise."""
    cos_P, sin_P = np.cos(boxes_P5[:, 4]), np.sin(boxes_P5[:, 4])
    along_P, across_P = boxes_P5[:, 2] / 2, boxes_P5[:, 3] / 2
    return np.column_stack((along_P * cos_P, -along_P * sin_P)), np.column_stack((-across_P * sin_P, -across_P * cos_P))


def bounds(boxes_P5: np.ndarray) -> np.ndarray:
    along_P2, across_P2 = _halves(boxes_P5)
    reach_P2 = np.abs(along_P2) + np.abs(across_P2)
    return np.concatenate((boxes_P5[:, :2] - reach_P2, boxes_P5[:, :2] + reach_P2), axis=1)


def corners_of(boxes_P5: np.ndarray) -> np.ndarray:
    """Corners (P, 4, 2), added up in the order of the original: at an IoU of exactly one half the last digit counts."""
    along_P2, across_P2 = _halves(boxes_P5)
    front_P2, back_P2 = boxes_P5[:, :2] + along_P2, boxes_P5[:, :2] - along_P2
    return np.stack((front_P2 + across_P2, front_P2 - across_P2, back_P2 - across_P2, back_P2 + across_P2), axis=1)


def areas_by_geos(truth_42: np.ndarray, said_42: np.ndarray) -> tuple[float, np.float32]:
    """Common area and union of two rings of four corners, by the steps and the library of the original, errors too."""
    low_2, high_2 = np.maximum(truth_42.min(0), said_42.min(0)), np.minimum(truth_42.max(0), said_42.max(0))
    if not np.prod(np.clip(high_2 - low_2, 0, np.inf)):
        return 0.0, EPS
    truth, said = shapely.Polygon(truth_42), shapely.Polygon(said_42)
    return truth.intersection(said).area, np.maximum(np.float32(truth.union(said).area), EPS)


def plus_one_areas(a: Any, b: Any, least: Callable, most: Callable) -> tuple[Any, Any]:
    """Common area and union as computeIoU has them, of numbers or of columns."""
    wide = most(0, least(a[2], b[2]) - most(a[0], b[0]) + 1)
    inter = wide * most(0, least(a[3], b[3]) - most(a[1], b[1]) + 1)
    area, other = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return inter, area + other - inter
