"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py; its quirks are listed
in `georefer.evaluation.protocols.visionreasoner`.
"""

from __future__ import annotations

from collections import Counter
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
    said = _objects_or_none(rows)
    # with boxes and points throughout, every object has its full share
    full = said is not None and len(rows) <= MOST_OBJECTS
    form = think_answer_form(content) + (2.0 if full else _object_form(rows))
    accuracy, non_repeat = _accuracy(said, _truth(solution)), _non_repeat(content)
    return dict(zip(PARTS, (form + accuracy + non_repeat, form, accuracy, non_repeat), strict=True))


def accuracy_reward(content: str, solution: str) -> float:
    """Points of the best one-to-one pairing by the larger number of objects; 0 where either side cannot be read."""
    return _accuracy(_objects_or_none(_answer(content)), _truth(solution))


_FEW = 100
"""Pairs of objects up to which plain numbers are faster than arrays."""

_IOU, _OFF_PX, _APART_PX = 0.5, 10, 30


@dataclass(frozen=True, eq=False)
class Objects:
    """Boxes (x1, y1, x2, y2) and points (x, y) of the first 120 objects, one number after the other."""

    boxes: list[float]
    points: list[float]

    def __len__(self) -> int:
        return len(self.points) // 2

    @cached_property
    def rows(self) -> list[tuple[float, ...]]:
        """Box, point, area with the last pixel counted in, and whether the point lies in the box (1) or not (0)."""
        of, at = iter(self.boxes), iter(self.points)
        return [
            (a, b, c, d, x, y, (c - a + 1) * (d - b + 1), a <= x <= c and b <= y <= d)
            for a, b, c, d, x, y in zip(of, of, of, of, at, at, strict=True)
        ]

    @cached_property
    def widest(self) -> float:
        return max(0.0, *[c - a + 1 for a, c in zip(self.boxes[::4], self.boxes[2::4], strict=True)])

    @cached_property
    def is_finite(self) -> bool:
        return all(map(isfinite, self.boxes)) and all(map(isfinite, self.points))

    @cached_property
    def boxes_4N(self) -> np.ndarray:
        return np.array(self.boxes, dtype=np.float64).reshape(-1, 4).T.copy()

    @cached_property
    def points_2N(self) -> np.ndarray:
        return np.array(self.points, dtype=np.float64).reshape(-1, 2).T.copy()

    @cached_property
    def area_N(self) -> np.ndarray:
        """Areas with the last pixel counted in."""
        side_2N = self.boxes_4N[2:] - self.boxes_4N[:2] + 1
        return side_2N[0] * side_2N[1]

    @cached_property
    def inside_N(self) -> np.ndarray:
        """Which points lie in their boxes."""
        return ((self.points_2N >= self.boxes_4N[:2]) & (self.points_2N <= self.boxes_4N[2:])).all(axis=0)


def _answer(content: str) -> Any:
    """JSON of the first answer; None where there is none, which holds no objects either."""
    answer = next(answers(content), None)
    try:
        return None if answer is None else load(answer.strip())
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _truth(solution: str) -> Objects | None:
    """What a solution says, kept for the other answers of its group."""
    try:
        return objects_of(load(solution))
    except _UNUSABLE:
        return None


def _objects_or_none(rows: Any) -> Objects | None:
    try:
        return objects_of(rows)
    except _UNUSABLE:
        return None


def _accuracy(said: Objects | None, truth: Objects | None) -> float:
    if said is None or truth is None:
        return 0.0
    is_few = len(said) * len(truth) <= _FEW and said.is_finite and truth.is_finite
    pairs = _earned_by_few(said, truth) if is_few else _earned(said, truth)
    return _best(pairs) / max(len(said), len(truth))


def _best(pairs: list[tuple[int, int, int]]) -> float:
    """Points of the best one-to-one pairing; only among pairs that compete for an object is there a choice."""
    objects, truths = [p for p, _, _ in pairs], [t for _, t, _ in pairs]
    if len(set(objects)) == len(set(truths)) == len(pairs):
        return float(sum([e for _, _, e in pairs]))
    of_p, of_t = Counter(objects), Counter(truths)
    contested = [pair for pair in pairs if of_p[pair[0]] > 1 or of_t[pair[1]] > 1]
    row = {p: k for k, p in enumerate({p for p, _, _ in contested})}
    column = {t: k for k, t in enumerate({t for _, t, _ in contested})}
    earned_PT = np.zeros((len(row), len(column)))
    for p, t, e in contested:
        earned_PT[row[p], column[t]] = e
    alone = sum([e for _, _, e in pairs]) - sum([e for _, _, e in contested])
    return float(alone + earned_PT[linear_sum_assignment(earned_PT, maximize=True)].sum())


def objects_of(items: Any) -> Objects | None:
    """None where there is no object or one has no such box and point."""
    boxes, points = [item["bbox_2d"] for item in items], [item["point_2d"] for item in items]
    found = _flat(boxes[:MOST_OBJECTS], 4), _flat(points[:MOST_OBJECTS], 2)
    return None if found[0] is None or found[1] is None else Objects(found[0], found[1])


def _flat(rows: list[Any], width: int) -> list[float] | None:
    if not rows or set(map(type, rows)) != {list} or set(map(len, rows)) != {width}:
        return None
    flat = list(chain.from_iterable(rows))
    return list(map(float, flat)) if set(map(type, flat)) <= {int, float} else None


def _reach(said: Objects, truth: Objects) -> float:
    """How far left edges may be apart where the boxes earn something.

    An IoU above 0.5 wants less than half the wider box, and corners as near as counts less than four times that.
    """
    return max(4 * _OFF_PX, said.widest / 2, truth.widest / 2) + 1


def _earned_by_few(said: Objects, truth: Objects) -> list[tuple[int, int, int]]:
    """`_earned` of finite numbers, one pair after the other."""
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
def _earned(said: Objects, truth: Objects) -> list[tuple[int, int, int]]:
    """Object, true object and points, 1 to 3, of each pair that earns some."""
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
    earned_PT = (inter_PT > _IOU).astype(np.int8)
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
    p, t = np.divmod(np.flatnonzero(earned_PT), len(truth))
    return list(zip(p.tolist(), t.tolist(), earned_PT[p, t].tolist(), strict=True))


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
