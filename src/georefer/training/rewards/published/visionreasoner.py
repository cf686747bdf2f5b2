"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py; its quirks are listed
in `georefer.evaluation.protocols.visionreasoner`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from math import isfinite, sqrt
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from georefer.training.rewards.published.reading import answers, load, think_answer_form

MOST = 7

MOST_OBJECTS = 120

PARTS = ("total", "format", "accuracy", "non_repeat")

_UNUSABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)


def vision_reward(content: str, solution: str) -> dict[str, float]:
    """The parts of the reward and their total."""
    rows = _answer(content)
    said = _columns_or_none(rows)
    # with boxes and points throughout, every object has its full share
    full = said is not None and len(rows) <= MOST_OBJECTS
    form = think_answer_form(content) + (2.0 if full else _object_form(rows))
    accuracy, non_repeat = _accuracy(said, _truth(solution)), _non_repeat(content)
    return dict(zip(PARTS, (form + accuracy + non_repeat, form, accuracy, non_repeat), strict=True))


def accuracy_reward(content: str, solution: str) -> float:
    """Points of the best one-to-one pairing by the larger number of objects; 0 where either side cannot be read."""
    return _accuracy(_columns_or_none(_answer(content)), _truth(solution))


_FEW = 100
"""Pairs of objects up to which plain numbers are faster than arrays."""

_IOU, _OFF_PX, _APART_PX = 0.5, 10, 30


@dataclass(frozen=True, eq=False)
class Columns:
    """Boxes (x1, y1, x2, y2) and points (x, y) of the first 120 objects, one number after the other."""

    boxes: list[float] | np.ndarray
    points: list[float] | np.ndarray

    def __len__(self) -> int:
        return len(self.points) // 2

    @cached_property
    def rows(self) -> list[tuple[float, ...]]:
        """Box, point, area with the last pixel counted in, and whether the point lies in the box (1) or not (0)."""
        of, at = map(float, self.boxes), map(float, self.points)
        return [
            (a, b, c, d, x, y, (c - a + 1) * (d - b + 1), a <= x <= c and b <= y <= d)
            for a, b, c, d, x, y in zip(of, of, of, of, at, at, strict=True)
        ]

    @cached_property
    def widest(self) -> float:
        return max(0.0, *[c - a + 1 for a, _, c, *_ in self.rows])

    @cached_property
    def is_finite(self) -> bool:
        return all(map(isfinite, self.boxes)) and all(map(isfinite, self.points))

    @cached_property
    def boxes_4N(self) -> np.ndarray:
        return np.asarray(self.boxes).reshape(-1, 4).T.copy()

    @cached_property
    def points_2N(self) -> np.ndarray:
        return np.asarray(self.points).reshape(-1, 2).T.copy()

    @cached_property
    def area_N(self) -> np.ndarray:
        """Areas with the last pixel counted in."""
        side_2N = self.boxes_4N[2:] - self.boxes_4N[:2] + 1
        return side_2N[0] * side_2N[1]

    @cached_property
    def inside_N(self) -> np.ndarray:
        """Which points lie in their boxes."""
        low_2N, high_2N = self.boxes_4N[:2], self.boxes_4N[2:]
        return np.logical_and.reduce((self.points_2N >= low_2N) & (self.points_2N <= high_2N))


def _answer(content: str) -> Any:
    """JSON of the first answer; None where there is none, which holds no objects either."""
    answer = next(answers(content), None)
    try:
        return None if answer is None else load(answer.strip())
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _truth(solution: str) -> Columns | None:
    """What a solution says, kept for the other answers of its group."""
    try:
        return columns_of(load(solution))
    except _UNUSABLE:
        return None


def _columns_or_none(rows: Any) -> Columns | None:
    try:
        return columns_of(rows)
    except _UNUSABLE:
        return None


def _accuracy(said: Columns | None, truth: Columns | None) -> float:
    if said is None or truth is None:
        return 0.0
    larger = max(len(said), len(truth))
    if len(said) * len(truth) <= _FEW and said.is_finite and truth.is_finite:
        return _best_of_few(_earned_by_few(said, truth), len(said), len(truth)) / larger
    earned_PT = _earned(said, truth)
    return float(earned_PT[linear_sum_assignment(earned_PT, maximize=True)].sum() / larger)


def _best_of_few(pairs: list[tuple[int, int, int]], said: int, true: int) -> float:
    """Points of the best one-to-one pairing; only where pairs compete for an object is there a choice."""
    if len({p for p, _, _ in pairs}) == len({t for _, t, _ in pairs}) == len(pairs):
        return float(sum([e for _, _, e in pairs]))
    earned_PT = np.zeros((said, true))
    for p, t, e in pairs:
        earned_PT[p, t] = e
    return float(earned_PT[linear_sum_assignment(earned_PT, maximize=True)].sum())


def columns_of(items: Any) -> Columns | None:
    """None where there is no object or one has no such box and point."""
    boxes, points = [item["bbox_2d"] for item in items], [item["point_2d"] for item in items]
    found = _flat(boxes[:MOST_OBJECTS], 4), _flat(points[:MOST_OBJECTS], 2)
    return None if found[0] is None or found[1] is None else Columns(found[0], found[1])


def _flat(rows: list[Any], width: int) -> list[float] | np.ndarray | None:
    if not rows or set(map(type, rows)) != {list} or set(map(len, rows)) != {width}:
        return None
    flat = list(chain.from_iterable(rows))
    if not set(map(type, flat)) <= {int, float}:
        return None
    return list(map(float, flat)) if len(rows) ** 2 <= _FEW else np.array(flat, dtype=np.float64)


def _reach(said: Columns, truth: Columns) -> float:
    """How far left edges may be apart where the boxes earn something.

    An IoU above 0.5 wants less than half the wider box, and corners as near as counts less than four times that.
    """
    return max(4 * _OFF_PX, said.widest / 2, truth.widest / 2) + 1


def _earned_by_few(said: Columns, truth: Columns) -> list[tuple[int, int, int]]:
    """`_earned` of finite numbers, one pair after the other: (object, true object, points) of those that earn some."""
    pairs, reach = [], _reach(said, truth)
    for p, (x1, y1, x2, y2, x, y, area, is_inside) in enumerate(said.rows):
        for t, (u1, v1, u2, v2, u, v, other, _) in enumerate(truth.rows):
            if not (-reach < x1 - u1 < reach or -_APART_PX <= x - u <= _APART_PX):
                continue
            earned = 0
            across = (x2 if x2 < u2 else u2) - (x1 if x1 > u1 else u1) + 1
            down = (y2 if y2 < v2 else v2) - (y1 if y1 > v1 else v1) + 1
            if across > 0 and down > 0:
                inter = across * down
                union = area + other - inter
                earned += union > 0 and inter / union > _IOU
            earned += (abs(x1 - u1) + abs(y1 - v1) + abs(x2 - u2) + abs(y2 - v2)) / 4 < _OFF_PX
            if is_inside:
                earned += sqrt((x - u) * (x - u) + (y - v) * (y - v)) < _APART_PX
            if earned:
                pairs.append((p, t, earned))
    return pairs


@np.errstate(all="ignore")
def _earned(said: Columns, truth: Columns) -> np.ndarray:
    """Points (P, T) of each pair, 0 to 3."""
    a_4P, b_4T = said.boxes_4N[:, :, None], truth.boxes_4N
    inter_PT, down_PT = (np.minimum(a_4P[k], b_4T[k]) for k in (2, 3))
    for side_PT, k in ((inter_PT, 0), (down_PT, 1)):
        side_PT -= np.maximum(a_4P[k], b_4T[k])
        side_PT += 1
        np.maximum(side_PT, 0, out=side_PT)
    inter_PT *= down_PT
    union_PT = said.area_N[:, None] + truth.area_N
    union_PT -= inter_PT
    inter_PT /= union_PT
    earned_PT = (inter_PT > _IOU).astype(np.float64)
    off_PT, one_PT = inter_PT, down_PT  # the same memory again
    np.abs(np.subtract(a_4P[0], b_4T[0], out=off_PT), out=off_PT)
    for k in (1, 2, 3):
        off_PT += np.abs(np.subtract(a_4P[k], b_4T[k], out=one_PT), out=one_PT)
    off_PT /= 4
    earned_PT += off_PT < _OFF_PX
    x_PT, y_PT = (said.points_2N[k][:, None] - truth.points_2N[k] for k in (0, 1))
    x_PT *= x_PT
    y_PT *= y_PT
    x_PT += y_PT
    earned_PT += (np.sqrt(x_PT, out=x_PT) < _APART_PX) & said.inside_N[:, None]
    return earned_PT


def _object_form(data: Any) -> float:
    """Share of objects with a box of four and of those with a point of two; what came before a bad one counts."""
    total = 0.0
    try:
        for item in data:
            right = 0.0
            for key, size in (("bbox_2d", 4), ("point_2d", 2)):
                if key in item and isinstance(item[key], list) and len(item[key]) == size:
                    right += 1.0
            total += right / len(data)
    except _UNUSABLE:
        pass
    return total


def _non_repeat(content: str) -> float:
    """0 where two sentences (texts between full stops) repeat earlier ones, else 1."""
    sentences = [s for part in content.split(".") if (s := part.strip())]
    return float(len(sentences) - len(set(sentences)) < 2)
