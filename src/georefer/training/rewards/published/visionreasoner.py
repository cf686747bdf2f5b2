"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py; its quirks are listed
in `georefer.evaluation.protocols.visionreasoner`.

Many answers are worked out at once, because a call of numpy costs as much as an object or two: their numbers are read
in one go, only pairs that can earn something are looked at, and only pairs that compete are put to an assignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from georefer.training.rewards.published.reading import answers, think_answer_form
from georefer.training.rewards.published.visionreasoner_read import Listed, read_objects, steps

MOST = 7

PARTS = ("total", "format", "accuracy", "non_repeat")

_IOU, _OFF_PX, _APART_PX = 0.5, 10, 30

_AT_ONCE, _PAIRS_AT_ONCE, _PAIRS_IN_CACHE = 512, 500_000, 120_000
"""Answers, and pairs of objects, that are held in memory together; pairs that are compared in the processor's cache."""


def vision_reward(content: str, solution: str) -> dict[str, float]:
    """The parts of the reward and their total; of many answers `vision_rewards` is much faster."""
    return {part: float(values_A[0]) for part, values_A in vision_rewards([content], [solution]).items()}


def vision_rewards(contents: Sequence[str], solutions: Sequence[str]) -> dict[str, np.ndarray]:
    """The parts of the reward and their total (A,) of each answer with its solution."""
    parts_4A = np.zeros((len(PARTS), len(contents)))
    for k in range(0, len(contents), _AT_ONCE):
        some = slice(k, k + _AT_ONCE)
        parts_4A[:, some] = _parts(contents[some], solutions[some])
    return dict(zip(PARTS, parts_4A, strict=True))


def _parts(contents: Sequence[str], solutions: Sequence[str]) -> list[np.ndarray]:
    texts = [next(answers(content), "").strip() for content in contents]
    place = {solution: k for k, solution in enumerate(dict.fromkeys(solutions))}
    both, share_B = read_objects([*texts, *place])
    said, true = both.at(slice(len(texts))), both.at(slice(len(texts), None)).lined_up()
    true = true.at(np.array([place[solution] for solution in solutions]))
    form_A = np.array([think_answer_form(content) for content in contents]) + share_B[: len(texts)]
    non_repeat_A = np.array([_non_repeat(content) for content in contents])
    accuracy_A = _accuracy(said, true)
    return [form_A + accuracy_A + non_repeat_A, form_A, accuracy_A, non_repeat_A]


def _non_repeat(content: str) -> float:
    """0 where two sentences (texts between full stops) repeat earlier ones, else 1."""
    sentences = [s for part in content.split(".") if (s := part.strip())]
    if len(sentences) - len(set(map(len, sentences))) < 2:  # sooner than by hashing texts
        return 1.0
    return float(len(sentences) - len(set(sentences)) < 2)


# --- points of pairs -------------------------------------------------------------------------------------


def _accuracy(said: Listed, true: Listed) -> np.ndarray:
    """Points (A,) of the best one-to-one pairings by the larger number of objects; 0 where a side has none."""
    accuracy_A = np.zeros(len(said.count_A))
    both_B = np.flatnonzero((said.count_A > 0) & (true.count_A > 0))
    # answers to one truth side by side, short lists apart from long ones
    both_B = both_B[np.lexsort((true.start_A[both_B], true.count_A[both_B]))]
    step = max(1, _PAIRS_AT_ONCE // max(1, int(said.count_A.max() * true.count_A.max())))
    for k in range(0, len(both_B), step):
        some_B = both_B[k : k + step]
        accuracy_A[some_B] = _best_points(said.at(some_B), true.at(some_B))
    accuracy_A[both_B] /= np.maximum(said.count_A, true.count_A)[both_B]
    return accuracy_A


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of objects: the answer, numbers that tell the two objects from all others, the points that they earn."""

    answer_K: np.ndarray
    said_K: np.ndarray
    true_K: np.ndarray
    points_K: np.ndarray

    def at(self, pairs_L: np.ndarray) -> Pairs:
        """Some of the pairs, by their places."""
        return Pairs(self.answer_K[pairs_L], self.said_K[pairs_L], self.true_K[pairs_L], self.points_K[pairs_L])


def _best_points(said: Listed, true: Listed) -> np.ndarray:
    """Points (A,) of the best one-to-one pairing of each answer.

    A pair that earns more than all others of its two objects together is in every best pairing, so it is taken at once.
    """
    best_A = np.zeros(len(said.count_A))
    pairs = _earning(said.lined_up(), true)
    for _ in range(3):
        of_said_K = np.bincount(pairs.said_K, pairs.points_K)[pairs.said_K]
        of_true_K = np.bincount(pairs.true_K, pairs.points_K)[pairs.true_K]
        is_sure_K = 3 * pairs.points_K > of_said_K + of_true_K
        if not is_sure_K.any():
            break
        best_A += np.bincount(pairs.answer_K[is_sure_K], pairs.points_K[is_sure_K], minlength=len(best_A))
        is_past_K = _is_taken(pairs.said_K, is_sure_K) | _is_taken(pairs.true_K, is_sure_K)
        pairs = pairs.at(np.flatnonzero(~is_past_K))
    return best_A + _assigned(pairs, len(best_A)) if len(pairs.answer_K) else best_A


def _is_taken(object_K: np.ndarray, is_sure_K: np.ndarray) -> np.ndarray:
    """Whether the object of each pair is that of a sure one."""
    is_taken = np.zeros(object_K.max() + 1, dtype=bool)
    is_taken[object_K[is_sure_K]] = True
    return is_taken[object_K]


def _assigned(pairs: Pairs, answers: int) -> np.ndarray:
    """Points (A,) of the best one-to-one pairing of the pairs of each answer, one answer after the other."""
    best_A = np.zeros(answers)
    pairs = pairs.at(np.argsort(pairs.answer_K, kind="stable"))
    is_first_K = steps(pairs.answer_K + 1) > 0
    first_B = np.flatnonzero(is_first_K)
    of_K = np.cumsum(is_first_K) - 1
    # of each answer the objects that are left, the first of them 0
    said_K, true_K = (np.unique(objects, return_inverse=True)[1] for objects in (pairs.said_K, pairs.true_K))
    said_K -= np.minimum.reduceat(said_K, first_B)[of_K]
    true_K -= np.minimum.reduceat(true_K, first_B)[of_K]
    height_B, width_B = (np.maximum.reduceat(place_K, first_B) + 1 for place_K in (said_K, true_K))
    end_B = np.cumsum(height_B * width_B)
    points = np.zeros(end_B[-1])
    points[(end_B - height_B * width_B)[of_K] + said_K * width_B[of_K] + true_K] = pairs.points_K
    start = 0
    for answer, end, width in zip(pairs.answer_K[first_B].tolist(), end_B.tolist(), width_B.tolist(), strict=True):
        points_ST = points[start:end].reshape(-1, width)
        best_A[answer] = points_ST[linear_sum_assignment(points_ST, maximize=True)].sum()
        start = end
    return best_A


@np.errstate(all="ignore")
def _earning(said: Listed, true: Listed) -> Pairs:
    """The pairs that earn something, 1 to 3 points."""
    answer_K, said_K, true_K = _near(said, true)
    x1, y1, x2, y2, x, y = said.rows_6N.take(said_K, axis=1)
    u1, v1, u2, v2, u, v = true.rows_6N.take(true_K, axis=1)
    inter_K = np.maximum(np.minimum(x2, u2) - np.maximum(x1, u1) + 1, 0)
    inter_K *= np.maximum(np.minimum(y2, v2) - np.maximum(y1, v1) + 1, 0)
    union_K = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1) - inter_K
    has_iou_K = inter_K / union_K > _IOU
    has_corners_K = (np.abs(x1 - u1) + np.abs(y1 - v1) + np.abs(x2 - u2) + np.abs(y2 - v2)) / 4 < _OFF_PX
    has_point_K = np.sqrt((x - u) * (x - u) + (y - v) * (y - v)) < _APART_PX
    has_point_K &= (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
    points_K = has_iou_K.view(np.int8) + has_corners_K + has_point_K
    # a truth stands for several answers, in each of which its objects are others
    true_K += answer_K * true.count_A.max() - true.start_A[answer_K]
    return Pairs(answer_K, said_K, true_K, points_K.astype(np.float64)).at(np.flatnonzero(points_K))


_GROUP = 8  # answers of the usual group
_FEW_PAIRS = 2_000  # all of which are sooner worked out than sifted
_FARTHEST = 30_000
"""Where coordinates, and differences of them, end in the search for near pairs; it leaves room in 16 bits."""


def _near(said: Listed, true: Listed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers and rows of said and true objects of all pairs that may earn something, and of some that do not.

    Answers to one truth stand side by side; up to eight of them, here a group, are compared with it at once.
    """
    pairs_A = said.count_A * true.count_A
    if pairs_A.sum() <= _FEW_PAIRS:
        answer_K = np.repeat(np.arange(len(pairs_A)), pairs_A)
        of_said_K, of_true_K = np.divmod(
            np.arange(len(answer_K)) - (np.cumsum(pairs_A) - pairs_A)[answer_K], true.count_A[answer_K]
        )
        return answer_K, said.start_A[answer_K] + of_said_K, true.start_A[answer_K] + of_true_K
    is_first_A = (steps(true.start_A + 1) != 0) | (np.arange(len(true.start_A)) % _GROUP == 0)
    begin_G, start_G, count_G = said.start_A[is_first_A], true.start_A[is_first_A], true.count_A[is_first_A]
    size_G = np.add.reduceat(said.count_A, np.flatnonzero(is_first_A))
    # short lists end with their last objects again
    said_GS = begin_G[:, None] + np.minimum(np.arange(size_G.max()), size_G[:, None] - 1)
    true_GT = start_G[:, None] + np.minimum(np.arange(count_G.max()), count_G[:, None] - 1)
    low_2R, width_2R, at_2N = _windows(said.rows_6N, true.rows_6N, true_GT, size_G)
    step, found = max(1, _PAIRS_IN_CACHE // (true_GT.shape[1] * said_GS.shape[1])), []
    for g in range(0, len(said_GS), step):
        some = slice(g, g + step)
        some_GT, some_GS = true_GT[some, : count_G[some].max()], said_GS[some, : size_G[some].max()]
        # what lies below a window wraps round to more than any width
        is_in_x_GTS, is_in_y_GTS = (
            at_N[some_GT][:, :, None] - low_R[some_GS][:, None, :] <= width_R[some_GS][:, None, :]
            for at_N, low_R, width_R in zip(at_2N, low_2R, width_2R, strict=True)
        )
        row_K, s_K = np.divmod(np.flatnonzero(is_in_x_GTS & is_in_y_GTS), some_GS.shape[1])
        g_K, t_K = np.divmod(row_K, some_GT.shape[1])
        found.append((g_K + g, t_K, s_K))
    g_K, t_K, s_K = np.concatenate(found, axis=1)
    is_own_K = (s_K < size_G[g_K]) & (t_K < count_G[g_K])
    g_K, s_K, t_K = g_K[is_own_K], s_K[is_own_K], t_K[is_own_K]
    said_K = begin_G[g_K] + s_K
    return np.repeat(np.arange(len(said.count_A)), said.count_A)[said_K], said_K, start_G[g_K] + t_K


def _windows(
    said_6R: np.ndarray, true_6N: np.ndarray, true_GT: np.ndarray, size_G: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along x and y: where begins, and how wide is, the window that an object's partners lie in, and where those lie.

    An IoU above 0.5 wants middles nearer than half the said box along each axis. Points within 30 px want middles as
    near as that and as points are from their own middles; corners as near as counts want them within 20 px, which is
    less. All is doubled here and ends at `_FARTHEST`, which brings nothing farther apart; what is no number is near to
    all.
    """
    middle_2R, middle_2N = said_6R[:2] + said_6R[2:4], true_6N[:2] + true_6N[2:4]
    beside_2G = np.abs(middle_2N - 2 * true_6N[4:])[:, true_GT].max(axis=2)
    reach_2R = np.abs(middle_2R - 2 * said_6R[4:]) + np.repeat(beside_2G, size_G, axis=1) + 2 * _APART_PX
    # 2 more for what is lost in whole numbers
    reach_2R = np.maximum(reach_2R, said_6R[2:4] - said_6R[:2] + 1) + 2
    reach_2R = np.where(reach_2R < _FARTHEST, reach_2R, _FARTHEST).astype(np.uint16)
    return _whole(middle_2R) - reach_2R, 2 * reach_2R, _whole(middle_2N)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.fmin(np.fmax(values, 0), _FARTHEST).astype(np.uint16)
