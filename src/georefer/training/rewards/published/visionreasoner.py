"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py; its quirks are listed
in `georefer.evaluation.protocols.visionreasoner`.

Many answers are worked out at once, because a call of numpy costs as much as an object or two: their numbers are read
in one go, only pairs that can earn something are looked at, and only pairs that compete are put to an assignment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from georefer.training.rewards.published.reading import answers, load, think_answer_form

MOST = 7

MOST_OBJECTS = 120

PARTS = ("total", "format", "accuracy", "non_repeat")

_UNUSABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)

_IOU, _OFF_PX, _APART_PX = 0.5, 10, 30

_AT_ONCE, _CHARACTERS_AT_ONCE, _PAIRS_AT_ONCE = 512, 200_000, 500_000
"""Answers, and pairs of objects, that are held in memory together."""


def vision_reward(content: str, solution: str) -> dict[str, float]:
    """The parts of the reward and their total; of many answers `vision_rewards` is much faster."""
    return {part: float(values_A[0]) for part, values_A in vision_rewards([content], [solution]).items()}


def vision_rewards(contents: Sequence[str], solutions: Sequence[str]) -> dict[str, np.ndarray]:
    """The parts of the reward and their total (A,) of each answer with its solution."""
    parts_4A = np.zeros((len(PARTS), len(contents)))
    for some in _blocks(contents):
        parts_4A[:, some] = _parts(contents[some], solutions[some])
    return dict(zip(PARTS, parts_4A, strict=True))


def _blocks(contents: Sequence[str]) -> Iterator[slice]:
    """Answers that are held in memory together."""
    start = size = 0
    for k, content in enumerate(contents):
        size += len(content)
        if k > start and (size > _CHARACTERS_AT_ONCE or k == start + _AT_ONCE):
            yield slice(start, k)
            start, size = k, len(content)
    if len(contents):
        yield slice(start, len(contents))


def _parts(contents: Sequence[str], solutions: Sequence[str]) -> list[np.ndarray]:
    texts = [next(answers(content), "").strip() for content in contents]
    place = {solution: k for k, solution in enumerate(dict.fromkeys(solutions))}
    said, share_A = read_objects(texts)
    true = read_objects(list(place))[0].at(np.array([place[solution] for solution in solutions]))
    form_A = np.array([think_answer_form(content) for content in contents]) + share_A
    non_repeat_A = np.array([_non_repeat(content) for content in contents])
    accuracy_A = _accuracy(said, true)
    return [form_A + accuracy_A + non_repeat_A, form_A, accuracy_A, non_repeat_A]


def _non_repeat(content: str) -> float:
    """0 where two sentences (texts between full stops) repeat earlier ones, else 1."""
    sentences = [s for part in content.split(".") if (s := part.strip())]
    if len(sentences) - len(set(map(len, sentences))) < 2:  # sooner than by hashing texts
        return 1.0
    return float(len(sentences) - len(set(sentences)) < 2)


# --- reading ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Listed:
    """Objects of many texts: `count_A` from `start_A` on; `rows_6N` are boxes (x1, y1, x2, y2) and points (x, y).

    A text has no object where one of its objects lacks a box or a point, and never more than 120.
    """

    rows_6N: np.ndarray
    start_A: np.ndarray
    count_A: np.ndarray

    def at(self, texts_A: np.ndarray) -> Listed:
        """Some of the texts, by their places."""
        return Listed(self.rows_6N, self.start_A[texts_A], self.count_A[texts_A])

    def boxes_N4(self, text: int) -> np.ndarray:
        start, count = self.start_A[text], self.count_A[text]
        return self.rows_6N[:4, start : start + count].T


def read_objects(texts: Sequence[str]) -> tuple[Listed, np.ndarray]:
    """The objects of JSON texts, and each text's points (A,) for their form."""
    plain_R6, count_A = _plain_objects(texts)
    start_A = np.cumsum(count_A) - count_A
    share_A = np.full(len(texts), 2.0)
    found, end = [plain_R6], len(plain_R6)
    for k in np.flatnonzero(count_A == 0).tolist():
        items = _loaded(texts[k])
        rows_N6 = _rows(items)
        if not len(rows_N6) or len(items) > MOST_OBJECTS:
            share_A[k] = _object_form(items)
        found.append(rows_N6)
        start_A[k], count_A[k] = end, len(rows_N6)
        end += len(rows_N6)
    return Listed(np.concatenate(found).T.copy(), start_A, count_A), share_A


def _loaded(text: str) -> Any:
    """What a JSON text says; None, which holds no objects either, where it is none."""
    try:
        return load(text)
    except ValueError:
        return None


def _rows(items: Any) -> np.ndarray:
    """Boxes and points (N, 6) of the first 120 objects; none where one of all has no such box and point."""
    none_06 = np.empty((0, 6))
    try:
        boxes, points = ([item[key] for item in items] for key in ("bbox_2d", "point_2d"))
        boxes, points = boxes[:MOST_OBJECTS], points[:MOST_OBJECTS]
        for lists, size in ((boxes, 4), (points, 2)):
            if not lists or set(map(type, lists)) != {list} or set(map(len, lists)) != {size}:
                return none_06
        flat = list(chain.from_iterable(chain.from_iterable(zip(boxes, points, strict=True))))
        if not set(map(type, flat)) <= {int, float}:
            return none_06
        return np.array(flat, dtype=np.float64).reshape(-1, 6)
    except _UNUSABLE:
        return none_06


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


# --- reading lists in the form that the prompt asks for --------------------------------------------------

_OPENING, _POINT, _NEXT, _CLOSING = '[{"bbox_2d": [', '], "point_2d": [', ']}, {"bbox_2d": [', "]}]"
_COMMA, _CLOSE, _SPACE, _ZERO = b",] 0"
_ENDS_6 = np.frombuffer(b",,,],]", dtype=np.uint8)
"""What follows each number of an object."""
_DIGITS, _MOST_PLAIN = 4, 20_000


def _plain_objects(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, 6) of the lists that are in the asked form, with whole numbers below 10,000, and how many each text has.

    0 for any other text, be it JSON or not: about those nothing is said here.
    """
    count_A = np.zeros(len(texts), dtype=np.int64)
    asked_B = [
        k for k, text in enumerate(texts)
        if text.startswith(_OPENING) and text.endswith(_CLOSING) and text.isascii() and len(text) <= _MOST_PLAIN
    ]  # fmt: skip
    if not asked_B:
        return np.empty((0, 6)), count_A
    # room behind the last text for looking ahead
    joined = "".join([texts[k] for k in asked_B]) + " " * len(_NEXT)
    code_C = np.frombuffer(joined.encode(), dtype=np.uint8)
    digit_C = code_C - np.uint8(_ZERO)
    is_digit_C = digit_C < 10
    end_K = np.flatnonzero(is_digit_C[:-1] > is_digit_C[1:]) + 1
    end_B = np.cumsum([len(texts[k]) for k in asked_B])
    found_B = np.diff(np.searchsorted(end_K, end_B), prepend=0)
    # both keys hold a digit
    is_good_B = (found_B % 8 == 0) & (0 < found_B) & (found_B <= 8 * MOST_OBJECTS)
    end_N6 = end_K[np.repeat(is_good_B, found_B)].reshape(-1, 8)[:, [1, 2, 3, 4, 6, 7]]
    good_B = np.flatnonzero(is_good_B)
    if not len(good_B):
        return np.empty((0, 6)), count_A
    objects_B = found_B[good_B] // 8
    end_B = end_B[good_B]
    first_B = np.cumsum(objects_B) - objects_B
    start_N6 = np.empty_like(end_N6)
    start_N6[:, 1:] = end_N6[:, :-1] + 1
    start_N6[:, 4] += len(_POINT) - 1
    start_N6[1:, 0] = end_N6[:-1, 5] + len(_NEXT)
    start_N6[first_B, 0] = end_B - np.diff(end_B, prepend=0) + len(_OPENING)
    start_N6 += code_C[start_N6] == _SPACE
    size_N6 = end_N6 - start_N6
    is_right_N6 = code_C[end_N6] == _ENDS_6
    is_right_N6 &= (size_N6 == 1) | (code_C[start_N6] != _ZERO)
    # by twos: the last two digits and the two before
    run_C = is_digit_C[1:].view(np.uint8) + is_digit_C[:-1]
    digit_C *= is_digit_C
    two_C = digit_C[:-1] * np.uint8(10)
    two_C += digit_C[1:]
    place = end_N6 - 2
    value_N6 = two_C[place].astype(np.float64)
    digits = run_C[place]
    place -= 2
    longer = size_N6 > 2
    digits += run_C[place] * longer
    value_N6 += 100. * (two_C[place] * longer)
    is_right_N6 &= digits == size_N6
    is_right_N = is_right_N6.all(axis=1) & _stands_at(code_C, end_N6[:, 3], _POINT)
    goes_on_N = _stands_at(code_C, end_N6[:, 5], _NEXT)
    last_B = first_B + objects_B - 1
    goes_on_N[last_B] = end_N6[last_B, 5] + len(_CLOSING) == end_B
    is_good_B = np.logical_and.reduceat(is_right_N & goes_on_N, first_B)
    count_A[np.array(asked_B)[good_B]] = np.where(is_good_B, objects_B, 0)
    return (value_N6 if is_good_B.all() else value_N6[np.repeat(is_good_B, objects_B)]), count_A


def _stands_at(code_C: np.ndarray, place_N: np.ndarray, text: str) -> np.ndarray:
    size = len(text)
    pieces_C = np.ndarray(len(code_C) - size + 1, dtype=f"S{size}", buffer=code_C, strides=(1,))
    return pieces_C[place_N] == text.encode()


# --- points of pairs -------------------------------------------------------------------------------------


def _accuracy(said: Listed, true: Listed) -> np.ndarray:
    """Points (A,) of the best one-to-one pairings by the larger number of objects; 0 where a side has none."""
    accuracy_A = np.zeros(len(said.count_A))
    both_B = np.flatnonzero((said.count_A > 0) & (true.count_A > 0))
    # answers to one truth side by side
    both_B = both_B[np.argsort(true.start_A[both_B], kind="stable")]
    step = max(1, _PAIRS_AT_ONCE // max(1, int(said.count_A.max() * true.count_A.max())))
    for k in range(0, len(both_B), step):
        some_B = both_B[k : k + step]
        accuracy_A[some_B] = _best_points(said.at(some_B), true.at(some_B))
    accuracy_A[both_B] /= np.maximum(said.count_A, true.count_A)[both_B]
    return accuracy_A


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of objects: the answer, the rows of what was said and of what is true, the points (1 to 3) that it earns."""

    answer_K: np.ndarray
    said_K: np.ndarray
    true_K: np.ndarray
    points_K: np.ndarray

    def kept(self, which_K: np.ndarray) -> Pairs:
        return Pairs(self.answer_K[which_K], self.said_K[which_K], self.true_K[which_K], self.points_K[which_K])


def _best_points(said: Listed, true: Listed) -> np.ndarray:
    """Points (A,) of the best one-to-one pairing of each answer.

    A pair that earns more than all others of its two objects together is in every best pairing, so it is taken at once.
    """
    best_A = np.zeros(len(said.count_A))
    pairs = _earning(said, true)
    for _ in range(3):
        if not len(pairs.answer_K):
            return best_A
        of_said_K = np.bincount(pairs.said_K, pairs.points_K)[pairs.said_K]
        of_true_K = np.bincount(pairs.true_K, pairs.points_K)[pairs.true_K]
        is_sure_K = 3 * pairs.points_K > of_said_K + of_true_K
        best_A += np.bincount(pairs.answer_K[is_sure_K], pairs.points_K[is_sure_K], minlength=len(best_A))
        pairs = pairs.kept(~(_taken(pairs.said_K, is_sure_K) | _taken(pairs.true_K, is_sure_K)))
    return best_A + _assigned(pairs, len(best_A))


def _assigned(pairs: Pairs, answers: int) -> np.ndarray:
    """Points (A,) of the best one-to-one pairing of pairs that compete, one answer after the other."""
    best_A = np.zeros(answers)
    order_K = np.argsort(pairs.answer_K, kind="stable")
    pairs = pairs.kept(order_K)
    # places among those that compete, which follow each other within an answer
    said_K, true_K = (np.unique(of, return_inverse=True)[1] for of in (pairs.said_K, pairs.true_K))
    first_B = np.flatnonzero(np.diff(pairs.answer_K, prepend=-1))
    said_K -= np.minimum.reduceat(said_K, first_B).repeat(np.diff(first_B, append=len(said_K)))
    true_K -= np.minimum.reduceat(true_K, first_B).repeat(np.diff(first_B, append=len(said_K)))
    for k, end in zip(first_B.tolist(), [*first_B[1:].tolist(), len(said_K)], strict=True):
        s, t = said_K[k:end], true_K[k:end]
        points_ST = np.zeros((s.max() + 1, t.max() + 1))
        points_ST[s, t] = pairs.points_K[k:end]
        best_A[pairs.answer_K[k]] = points_ST[linear_sum_assignment(points_ST, maximize=True)].sum()
    return best_A


def _taken(object_K: np.ndarray, is_sure_K: np.ndarray) -> np.ndarray:
    """Whether the object of each pair is that of a sure one."""
    taken = np.zeros(object_K.max() + 1, dtype=bool)
    taken[object_K[is_sure_K]] = True
    return taken[object_K]


@np.errstate(all="ignore")
def _earning(said: Listed, true: Listed) -> Pairs:
    """The pairs that earn something, by answer."""
    answer_K, said_K, true_K, of_true_K = _near(said, true)
    x1, y1, x2, y2, x, y = said.rows_6N[:, said_K]
    u1, v1, u2, v2, u, v = true.rows_6N[:, true_K]
    inter_K = np.maximum(np.minimum(x2, u2) - np.maximum(x1, u1) + 1, 0)
    inter_K *= np.maximum(np.minimum(y2, v2) - np.maximum(y1, v1) + 1, 0)
    union_K = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1) - inter_K
    points_K = (inter_K / union_K > _IOU).astype(np.int64)
    points_K += (np.abs(x1 - u1) + np.abs(y1 - v1) + np.abs(x2 - u2) + np.abs(y2 - v2)) / 4 < _OFF_PX
    is_inside_K = (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
    points_K += is_inside_K & (np.sqrt((x - u) * (x - u) + (y - v) * (y - v)) < _APART_PX)
    return Pairs(answer_K, said_K, of_true_K, points_K).kept(points_K > 0)


_GROUP = 8
_FARTHEST = 30_000
"""Where coordinates, and differences of them, end in the search for near pairs; it leaves room in 16 bits."""


def _near(said: Listed, true: Listed) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Answer, place in its said and in its true list of all pairs that may earn something, and of some others.

    An IoU above 0.5 wants middles nearer than half the said box along each axis, and corners as near as counts want
    middles within 20 px. Points within 30 px want middles as near as that and as points are from their own middles.
    All is doubled here and cut off at `_FARTHEST`, which brings nothing farther apart; what is no number is near to all.
    """
    count_A = said.count_A
    answer_R = np.repeat(np.arange(len(count_A)), count_A)
    end_A = np.cumsum(count_A)
    row_R = np.arange(end_A[-1]) + (said.start_A - end_A + count_A)[answer_R]
    of = np.arange(len(count_A))
    first_G = np.flatnonzero((np.diff(true.start_A, prepend=-1) != 0) | (of % _GROUP == 0))
    begin_G = (end_A - count_A)[first_G]
    size_G = np.diff(begin_G, append=end_A[-1])
    start_G, true_G = true.start_A[first_G], true.count_A[first_G]
    said_GS = begin_G[:, None] + np.minimum(np.arange(size_G.max()), size_G[:, None] - 1)
    true_GT = start_G[:, None] + np.minimum(np.arange(true_G.max()), true_G[:, None] - 1)
    said_6R = said.rows_6N[:, row_R]
    middle_2N = true.rows_6N[0:2] + true.rows_6N[2:4]
    beside_2G = np.abs(middle_2N - 2 * true.rows_6N[4:])[:, true_GT].max(axis=2)
    middle_2R = said_6R[0:2] + said_6R[2:4]
    reach_2R = np.abs(middle_2R - 2 * said_6R[4:]) + 2 * _APART_PX + np.repeat(beside_2G, size_G, axis=1)
    reach_2R = np.maximum(reach_2R, np.maximum(said_6R[2:4] - said_6R[0:2], 4 * _OFF_PX)) + 3
    reach_2R = np.where(reach_2R < _FARTHEST, reach_2R, _FARTHEST).astype(np.uint16)
    at_2N, low_2R = _short(middle_2N), _short(middle_2R) - reach_2R
    reach_2R *= 2
    found = []
    step = max(1, 60_000 // (said_GS.shape[1] * true_GT.shape[1]))
    for g in range(0, len(said_GS), step):
        near_GTS = True
        S, T = said_GS[g:g+step], true_GT[g:g+step]
        for low_R, span_R, at_N in zip(low_2R, reach_2R, at_2N, strict=True):
            # below the lowest the difference wraps round to more than any reach
            near_GTS = near_GTS & (at_N[T][:, :, None] - low_R[S][:, None, :] <= span_R[S][:, None, :])
        found.append(np.flatnonzero(near_GTS)+g*(said_GS.shape[1] * true_GT.shape[1]))
    place_K = np.concatenate(found)
    row_K, s_K = np.divmod(place_K, said_GS.shape[1])
    g_K, t_K = np.divmod(row_K, true_GT.shape[1])
    is_own_K = (s_K < size_G[g_K]) & (t_K < true_G[g_K])
    g_K, s_K, t_K = g_K[is_own_K], s_K[is_own_K], t_K[is_own_K]
    r = begin_G[g_K] + s_K
    answer_K = answer_R[r]
    return answer_K, row_R[r], start_G[g_K] + t_K, answer_K * true_GT.shape[1] + t_K


def _short(doubled_N: np.ndarray) -> np.ndarray:
    return np.fmin(np.fmax(doubled_N, 0), _FARTHEST).astype(np.uint16)
