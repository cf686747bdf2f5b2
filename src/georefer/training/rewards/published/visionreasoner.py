"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py; its quirks are listed
in `georefer.evaluation.protocols.visionreasoner`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
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


Columns = tuple[np.ndarray, np.ndarray]
"""Boxes (4, N) and points (2, N) of the first 120 objects."""


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
    earned_PT = _earned(*said, *truth)
    larger = max(earned_PT.shape)
    if np.count_nonzero(earned_PT) <= larger and _apart(earned_PT):
        return float(earned_PT.sum() / larger)
    best = linear_sum_assignment(earned_PT, maximize=True)
    return float(earned_PT[best].sum() / larger)


def _apart(earned_PT: np.ndarray) -> bool:
    """Whether no two pairs that earn something compete for one object."""
    rows, columns = (of.tolist() for of in earned_PT.nonzero())
    return len(set(rows)) == len(set(columns)) == len(rows)


def columns_of(items: Any) -> Columns | None:
    """None where there is no object or one has no such box and point."""
    boxes, points = [item["bbox_2d"] for item in items], [item["point_2d"] for item in items]
    found = _table(boxes[:MOST_OBJECTS], 4), _table(points[:MOST_OBJECTS], 2)
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _table(rows: list[Any], width: int) -> np.ndarray | None:
    if not rows or set(map(type, rows)) != {list} or set(map(len, rows)) != {width}:
        return None
    flat = list(chain.from_iterable(rows))
    if not set(map(type, flat)) <= {int, float}:
        return None
    return np.ascontiguousarray(np.array(flat, dtype=np.float64).reshape(-1, width).T)


@np.errstate(all="ignore")
def _earned(boxes_4P: np.ndarray, points_2P: np.ndarray, truths_4T: np.ndarray, targets_2T: np.ndarray) -> np.ndarray:
    """Points (P, T) of each pair, 0 to 3."""
    a_4P, b_4T = boxes_4P[:, :, None], truths_4T[:, None]
    side_2PT = np.minimum(a_4P[2:], b_4T[2:]) - np.maximum(a_4P[:2], b_4T[:2]) + 1
    np.maximum(side_2PT, 0, out=side_2PT)
    inter_PT = side_2PT[0] * side_2PT[1]
    own_2P, other_2T = (
        boxes_4P[2:] - boxes_4P[:2] + 1,
        truths_4T[2:] - truths_4T[:2] + 1,
    )  # the last pixel is counted in
    iou_PT = inter_PT / ((own_2P[0] * own_2P[1])[:, None] + other_2T[0] * other_2T[1] - inter_PT)
    off_PT = np.abs(a_4P - b_4T).sum(axis=0)
    apart_2PT = points_2P[:, :, None] - targets_2T[:, None]
    inside_P = np.all((points_2P >= boxes_4P[:2]) & (points_2P <= boxes_4P[2:]), axis=0)
    close_PT = (np.sqrt((apart_2PT * apart_2PT).sum(axis=0)) < 30) & np.asarray(inside_P)[:, None]
    return (iou_PT > 0.5).astype(np.float64) + (off_PT / 4 < 10) + close_PT


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
