"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py; its quirks are listed
in `georefer.evaluation.protocols.visionreasoner`.
"""

from __future__ import annotations

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
    form = think_answer_form(content) + _object_form(content)
    accuracy, non_repeat = accuracy_reward(content, solution), _non_repeat(content)
    return dict(zip(PARTS, (form + accuracy + non_repeat, form, accuracy, non_repeat), strict=True))


def accuracy_reward(content: str, solution: str) -> float:
    """Points of the best one-to-one pairing by the larger number of objects; 0 where either side cannot be read."""
    try:
        predicted, truth = _columns(_answer(content)), _columns(load(solution))
    except _UNUSABLE:
        return 0.0
    if predicted is None or truth is None:
        return 0.0
    earned_PT = _earned(*predicted, *truth)
    rows, columns = linear_sum_assignment(3.0 - earned_PT)
    cost = (3.0 - earned_PT)[rows, columns].sum()
    return float((len(rows) * 3.0 - cost) / max(earned_PT.shape))


def _answer(content: str) -> Any:
    """JSON of the first answer; ValueError where there is none."""
    answer = next(answers(content), None)
    if answer is None:
        raise ValueError("no answer")
    return load(answer.strip())


def _columns(items: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Boxes (N, 4) and points (N, 2) of the first 120 objects; None where there is none or one is no such thing."""
    boxes, points = [item["bbox_2d"] for item in items], [item["point_2d"] for item in items]
    found = _table(boxes[:MOST_OBJECTS], 4), _table(points[:MOST_OBJECTS], 2)
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _table(rows: list[Any], width: int) -> np.ndarray | None:
    right = all(
        isinstance(row, list) and len(row) == width and all(type(v) in (int, float) for v in row) for row in rows
    )
    return np.array(rows, dtype=np.float64) if rows and right else None


@np.errstate(all="ignore")
def _earned(boxes_P4: np.ndarray, points_P2: np.ndarray, truths_T4: np.ndarray, targets_T2: np.ndarray) -> np.ndarray:
    """Points (P, T) of each pair, 0 to 3."""
    low_PT2 = np.maximum(boxes_P4[:, None, :2], truths_T4[None, :, :2])
    high_PT2 = np.minimum(boxes_P4[:, None, 2:], truths_T4[None, :, 2:])
    side_PT2 = np.maximum(0, high_PT2 - low_PT2 + 1)
    inter_PT = side_PT2[..., 0] * side_PT2[..., 1]
    own_P, other_T = (
        (b[:, 2] - b[:, 0] + 1) * (b[:, 3] - b[:, 1] + 1) for b in (boxes_P4, truths_T4)
    )  # the last pixel is counted in
    iou_PT = inter_PT / (own_P[:, None] + other_T[None] - inter_PT)
    near_PT = np.abs(boxes_P4[:, None] - truths_T4[None]).mean(axis=2) < 10
    apart_PT = np.sqrt(((points_P2[:, None] - targets_T2[None]) ** 2).sum(axis=2))
    inside_P = np.all((points_P2 >= boxes_P4[:, :2]) & (points_P2 <= boxes_P4[:, 2:]), axis=1)
    return (iou_PT > 0.5) + near_PT.astype(np.float64) + ((apart_PT < 30) & np.asarray(inside_P)[:, None])


def _object_form(content: str) -> float:
    """Share of objects with a box of four and of those with a point of two; what came before a bad one counts."""
    total = 0.0
    try:
        data = _answer(content)
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
