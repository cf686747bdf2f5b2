"""Seg-Zero's rewards as published: form, and whether one box and two points are near enough (at most 5).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/seg.py and seg_restrict.py; its quirks
are listed in `georefer.evaluation.protocols.seg_zero`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from georefer.training.rewards.published.reading import load, think_answer_form

MOST = 5

PARTS = ("total", "think_format", "seg_format", "iou", "box_l1", "point_l1")

BOX_PATTERN = re.compile(r"<box>\((\d+),(\d+)\),\((\d+),(\d+)\)</box>")

_POINTS = re.compile(r"<points>\((\d+),(\d+)\),\((\d+),(\d+)\)</points>")

_UNUSABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)


def seg_reward(content: str, solution: str, restrict: bool = False) -> dict[str, float]:
    """The parts of the reward and their total; `restrict` is seg_restrict.py, which insists on its keys."""
    said, box, points = (
        first_object(content),
        four_numbers(BOX_PATTERN, solution.strip()),
        four_numbers(_POINTS, solution),
    )
    keys, near_keys, formed = _restricted(said) if restrict else free_keys(said)
    parts = [
        think_answer_form(content),
        float(formed),
        _earned(said, keys, lambda b: _iou(b, box) > 0.5),
        _earned(said, keys, lambda b: sum(abs(b[k] - box[k]) for k in range(4)) / 4 < 10),
        _points_earned(said, keys, near_keys, points),
    ]
    think, form, iou, near, point = parts
    return dict(zip(PARTS, [iou + think + form + point + near, *parts], strict=True))


def first_object(content: str) -> dict[str, Any]:
    """The first text in braces, of at least one character, as JSON; empty where it is none."""
    start = content.find("{")
    while start >= 0:
        end = content.find("}", start + 1)
        if end < 0:
            return {}
        if end > start + 1:
            try:
                return load(content[start : end + 1])
            except ValueError:
                return {}
        start = content.find("{", start + 1)
    return {}


def four_numbers(pattern: re.Pattern[str], solution: str) -> tuple[int, ...]:
    match = pattern.search(solution)
    return tuple(int(v) for v in match.groups()) if match and len(match[0]) < 4000 else ()


def free_keys(said: Mapping[str, Any]) -> tuple[str | None, list[str], bool]:
    """Key of the box, keys of the points for nearness, and whether the form is right, by what the keys hold."""
    boxes = [key for key in said if "bbox" in key.lower()]
    points = [key for key in said if "point" in key.lower() and key not in boxes[:1]]
    near = [key for key in said if "points" in key.lower()][:2]
    try:
        formed = bool(boxes) and len(points) >= 2 and len(said[boxes[0]]) == 4
        formed = formed and all(len(said[key]) == 2 for key in points[:2])
    except _UNUSABLE:
        formed = False
    return (boxes[0] if boxes else None), near, formed


def _restricted(said: Mapping[str, Any]) -> tuple[str | None, list[str], bool]:
    sizes = {"bbox": 4, "points_1": 2, "points_2": 2}
    formed = all(isinstance(said.get(key), list) and len(said[key]) == size for key, size in sizes.items())
    return "bbox", ["points_1", "points_2"], formed


def _earned(said: Mapping[str, Any], key: str | None, passes: Any) -> float:
    try:
        return float(key is not None and len(said[key]) == 4 and bool(passes(said[key])))
    except _UNUSABLE:
        return 0.0


def _iou(a: Sequence[Any], b: Sequence[int]) -> float:
    """IoU of boxes whose last pixels are counted in; 0 where they share one pixel or less along a side."""
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    inter = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0
    own, other = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return float(inter) / (own + other - inter)


def _points_earned(said: Mapping[str, Any], key: str | None, near_keys: list[str], truth: Sequence[int]) -> float:
    """Both points within the box that was said, and on average nearer than 100 px in the better of both orders."""
    try:
        if key is None or len(near_keys) != 2 or len(said[key]) != 4:
            return 0.0
        box, (first, second) = said[key], ([int(said[k][0]), int(said[k][1])] for k in near_keys)
        if not all(box[0] <= p[0] <= box[2] and box[1] <= p[1] <= box[3] for p in (first, second)):
            return 0.0
        a, b = truth[:2], truth[2:]
        straight = math.dist(first, a) + math.dist(second, b)
        crossed = math.dist(first, b) + math.dist(second, a)
        return float(min(straight, crossed) / 2 < 100)
    except _UNUSABLE:
        return 0.0
