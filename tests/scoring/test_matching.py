"""Matching finds as many pairs as there can be; compared with trying every pairing."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from georefer.scoring import count_matches, match_optimal


def best_by_trying(iou_PT, threshold):
    """(pairs, total IoU) of the best one-to-one pairing, by brute force."""
    if iou_PT.shape[0] > iou_PT.shape[1]:
        iou_PT = iou_PT.T
    rows, columns = iou_PT.shape
    tried = []
    for chosen in permutations(range(columns), rows):
        kept = [iou_PT[row, column] for row, column in enumerate(chosen) if iou_PT[row, column] >= threshold]
        tried.append((len(kept), sum(kept)))
    return max(tried)


@pytest.mark.parametrize("seed", range(40))
def test_as_many_pairs_as_any_pairing_then_the_largest_overlap(seed):
    rng = np.random.default_rng(seed)
    iou_PT = rng.random(rng.integers(1, 5, 2)).round(2)
    matched_P = match_optimal(iou_PT, 0.5)
    kept = [iou_PT[p, t] for p, t in enumerate(matched_P) if t >= 0]
    count, total = best_by_trying(iou_PT, 0.5)
    assert len(kept) == count == count_matches(iou_PT)["tp"]
    assert sum(kept) == pytest.approx(total)
    assert all(value >= 0.5 for value in kept)
    given = matched_P[matched_P >= 0]
    assert len(set(given)) == len(given)


def test_greedy_matching_would_lose_a_pair_here():
    # the first prediction overlaps truth 0 most, but the second fits nothing else
    iou_PT = np.array([[0.9, 0.6], [0.8, 0.0]])
    assert match_optimal(iou_PT, 0.5).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("iou_PT", "expected"),
    [
        (np.zeros((0, 0)), (0, 0, 0)),  # nothing there, nothing said
        (np.zeros((0, 3)), (0, 0, 3)),  # all missed
        (np.zeros((2, 0)), (0, 2, 0)),  # all invented
        (np.array([[1.0], [1.0], [1.0]]), (1, 2, 0)),  # said three times, counts once
        (np.array([[0.5]]), (1, 0, 0)),  # the threshold itself counts
        (np.array([[0.499]]), (0, 1, 1)),
        (np.eye(3), (3, 0, 0)),
        (np.array([[0.9, 0.6, 0.0], [0.8, 0.0, 0.0]]), (2, 0, 1)),  # both want the first truth
    ],
)
def test_counts(iou_PT, expected):
    assert tuple(count_matches(iou_PT)[name] for name in ("tp", "fp", "fn")) == expected


def test_the_order_of_an_answer_does_not_matter():
    rng = np.random.default_rng(3)
    iou_PT = rng.random((6, 4))
    for _ in range(10):
        assert count_matches(iou_PT[rng.permutation(6)]) == count_matches(iou_PT)
