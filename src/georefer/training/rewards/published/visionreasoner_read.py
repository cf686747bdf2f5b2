"""Objects that answers to VisionReasoner's prompt list, many answers at once.

Lists in the very form that the prompt asks for, in whole numbers, are read from their digits by arrays; what that form
is not, JSON reads as the published reward does. Where both read a list, they read the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from georefer.training.rewards.published.reading import load

MOST_OBJECTS = 120

_CHARACTERS_AT_ONCE = 120_000
"""Characters whose digits are looked at together: few enough for the processor's cache."""

_MANY = 16
"""Texts from which arrays read sooner than JSON does."""

_UNUSABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class Listed:
    """Objects of many texts: `count_A` from `start_A` on; `rows_6N` are boxes (x1, y1, x2, y2) and points (x, y).

    A text has no object where one of its objects lacks a box or a point, and never more than 120.
    """

    rows_6N: np.ndarray
    start_A: np.ndarray
    count_A: np.ndarray

    def at(self, texts_B: np.ndarray | slice) -> Listed:
        """Some of the texts, by their places."""
        return Listed(self.rows_6N, self.start_A[texts_B], self.count_A[texts_B])

    def lined_up(self) -> Listed:
        """The objects of each text after those of the one before."""
        start_A = np.cumsum(self.count_A) - self.count_A
        row_N = np.arange(self.count_A.sum()) + np.repeat(self.start_A - start_A, self.count_A)
        return Listed(self.rows_6N.take(row_N, axis=1), start_A, self.count_A)


def read_objects(texts: Sequence[str]) -> tuple[Listed, np.ndarray]:
    """The objects of JSON texts, and each text's points (A,) for their form."""
    found, count_A = [np.empty((6, 0))], np.zeros(len(texts), dtype=np.int64)
    if len(texts) >= _MANY:
        blocks = [_plain_objects(texts[some]) for some in _blocks(texts)]
        found = [rows_6N for rows_6N, _ in blocks]
        count_A = np.concatenate([count_B for _, count_B in blocks])
    start_A, end = np.cumsum(count_A) - count_A, int(count_A.sum())
    share_A = np.full(len(texts), 2.0)
    for k in np.flatnonzero(count_A == 0).tolist():
        items = _loaded(texts[k])
        rows_6N = _rows(items)
        start_A[k], count_A[k] = end, rows_6N.shape[1]
        if not count_A[k] or len(items) > MOST_OBJECTS:
            share_A[k] = _object_form(items)
        found.append(rows_6N)
        end += rows_6N.shape[1]
    return Listed(np.concatenate(found, axis=1), start_A, count_A), share_A


def _blocks(texts: Sequence[str]) -> Iterator[slice]:
    """Texts that are read at once."""
    start = size = 0
    for k, text in enumerate(texts):
        size += len(text)
        if size > _CHARACTERS_AT_ONCE and k > start:
            yield slice(start, k)
            start, size = k, len(text)
    yield slice(start, len(texts))


def _loaded(text: str) -> Any:
    """What a JSON text says; None, which holds no objects either, where it is none."""
    try:
        return load(text)
    except ValueError:
        return None


def _rows(items: Any) -> np.ndarray:
    """Boxes and points (6, N) of the first 120 objects; none where one of all has no such box and point."""
    none_60 = np.empty((6, 0))
    try:
        boxes, points = ([item[key] for item in items] for key in ("bbox_2d", "point_2d"))
        boxes, points = boxes[:MOST_OBJECTS], points[:MOST_OBJECTS]
        for lists, size in ((boxes, 4), (points, 2)):
            if not lists or set(map(type, lists)) != {list} or set(map(len, lists)) != {size}:
                return none_60
        flat = list(chain.from_iterable(chain.from_iterable(zip(boxes, points, strict=True))))
        if not set(map(type, flat)) <= {int, float}:
            return none_60
        return np.array(flat, dtype=np.float64).reshape(-1, 6).T
    except _UNUSABLE:
        return none_60


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
_SPACE, _ZERO = b" 0"
_BEHIND_6 = np.frombuffer(b",,,],]", dtype=np.uint8)
"""What follows each number of an object."""
_MOST_PLAIN = 20_000


def _plain_objects(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (6, N) of the lists in the asked form with whole numbers of up to four digits, and how many each text has.

    What JSON gives for them, in a fifth of the time; 0 for any other text, of which JSON has to judge.
    """
    count_A = np.zeros(len(texts), dtype=np.int64)
    asked_B = np.array([k for k, text in enumerate(texts) if _may_be_plain(text)], dtype=np.int64)
    # room behind the last text for looking ahead
    joined = "".join([texts[k] for k in asked_B.tolist()]) + " " * len(_NEXT)
    code_C = np.frombuffer(joined.encode(), dtype=np.uint8)
    is_digit_C = code_C - np.uint8(_ZERO) < 10
    end_K = np.flatnonzero(is_digit_C[:-1] > is_digit_C[1:]) + 1
    size_B = np.array([len(texts[k]) for k in asked_B.tolist()], dtype=np.int64)
    end_B = np.cumsum(size_B)
    runs_B = steps(np.searchsorted(end_K, end_B))
    # an object has eight runs of digits: one in each key and its six numbers
    has_all_B = (runs_B % 8 == 0) & (runs_B > 0) & (runs_B <= 8 * MOST_OBJECTS)
    if not has_all_B.any():
        return np.empty((6, 0)), count_A
    if not has_all_B.all():
        end_K = end_K[np.repeat(has_all_B, runs_B)]
    end_6N = end_K.reshape(-1, 8).T[[1, 2, 3, 4, 6, 7]]
    objects_B, end_B = runs_B[has_all_B] // 8, end_B[has_all_B]
    start_6N, stands_N = _spans(code_C, end_6N, objects_B, end_B, size_B[has_all_B])
    value_6N, is_whole_N = _whole_numbers(code_C, start_6N, end_6N)
    is_plain_B = np.logical_and.reduceat(stands_N & is_whole_N, np.cumsum(objects_B) - objects_B)
    count_A[asked_B[has_all_B]] = objects_B * is_plain_B
    return (value_6N if is_plain_B.all() else value_6N[:, np.repeat(is_plain_B, objects_B)]), count_A


def _may_be_plain(text: str) -> bool:
    return text.startswith(_OPENING) and text.endswith(_CLOSING) and text.isascii() and len(text) <= _MOST_PLAIN


def _spans(
    code_C: np.ndarray, end_6N: np.ndarray, objects_B: np.ndarray, end_B: np.ndarray, size_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where numbers that end at `end_6N` begin if what is between them has the asked form, and which objects have it.

    The texts, of `size_B` characters and `objects_B` objects each, end at `end_B`.
    """
    last_B = np.cumsum(objects_B) - 1
    start_6N = np.empty_like(end_6N)
    start_6N[1:] = end_6N[:-1] + 1
    start_6N[4] += len(_POINT) - 1
    start_6N[0, 1:] = end_6N[5, :-1] + len(_NEXT)
    start_6N[0, last_B + 1 - objects_B] = end_B - size_B + len(_OPENING)
    start_6N += (code_C[start_6N] == _SPACE).astype(np.int64)
    stands_N = (code_C[end_6N] == _BEHIND_6[:, None]).all(axis=0) & _stands_at(code_C, end_6N[3], _POINT)
    goes_on_N = _stands_at(code_C, end_6N[5], _NEXT)
    goes_on_N[last_B] = end_6N[5, last_B] + len(_CLOSING) == end_B
    return start_6N, stands_N & goes_on_N


def _stands_at(code_C: np.ndarray, place_N: np.ndarray, text: str) -> np.ndarray:
    """Whether the text stands at each place; the characters are seen as overlapping pieces of its size."""
    size = len(text)
    pieces_C = np.ndarray(len(code_C) - size + 1, dtype=f"S{size}", buffer=code_C, strides=(1,))
    return pieces_C[place_N] == text.encode()


def _whole_numbers(code_C: np.ndarray, start_6N: np.ndarray, end_6N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from their starts to their ends, and for which objects (N,) all are whole as JSON writes them.

    Right are 1 to 4 digits with no needless 0. What stands before a start is no digit.
    """
    digit_C = code_C - np.uint8(_ZERO)
    is_digit_C = digit_C < 10
    digit_C *= is_digit_C
    # the last two digits and the two before them; single bytes hold their values and how many they are
    two_C = digit_C[:-1] * np.uint8(10)
    two_C += digit_C[1:]
    digits_C = is_digit_C[:-1].view(np.uint8) + is_digit_C[1:]
    size_6N, last_6N = end_6N - start_6N, end_6N - 2
    # a text begins with two that are no digits
    before_6N = np.where(size_6N > 2, last_6N - 2, 0)
    value_6N = two_C[before_6N].astype(np.float64)
    value_6N *= 100
    value_6N += two_C[last_6N].astype(np.float64)
    digits_6N = digits_C[last_6N]
    digits_6N += digits_C[before_6N]
    is_whole_6N = digits_6N.astype(np.int64) == size_6N
    is_whole_6N &= (size_6N == 1) | (code_C[start_6N] != _ZERO)
    return value_6N, is_whole_6N.all(axis=0)


def steps(end_B: np.ndarray) -> np.ndarray:
    """What each adds to the one before, the first to 0."""
    step_B = end_B.copy()
    step_B[1:] -= end_B[:-1]
    return step_B
