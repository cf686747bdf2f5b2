"""Greedy matching by VOC's and COCO's rules: what each does with duplicates, ties, thresholds and ignored truths."""

from __future__ import annotations

import numpy as np
import pytest

from georefer.scoring.detection import pair_ious
from georefer.scoring.greedy import (
    IGNORED,
    MISSED,
    match_by_overlap,
    match_coco,
    match_unranked,
    match_voc,
    ranked_match,
    strictly_above,
    within_class,
)
from georefer.scoring.matching import match_optimal


def test_voc_calls_a_second_hit_false_where_coco_takes_the_next_truth():
    iou_PT = np.array([[0.9, 0.6], [0.8, 0.7]])
    scores_P = np.array([0.9, 0.8])
    assert match_voc(iou_PT, scores_P, 0.5).tolist() == [0, MISSED]
    assert match_coco(iou_PT, scores_P, 0.5).tolist() == [0, 1]


@pytest.mark.parametrize("match", [match_voc, match_coco])
def test_the_higher_score_chooses_first_and_equal_scores_in_the_order_given(match):
    iou_PT = np.array([[0.9], [0.6], [0.8]])
    assert match(iou_PT, np.array([0.1, 0.9, 0.9]), 0.5).tolist() == [MISSED, 0, MISSED]
    assert match(iou_PT, np.array([0.1, 0.9, 0.9]), 0.7).tolist() == [MISSED, MISSED, 0]


def test_equal_overlaps_voc_takes_the_first_truth_and_coco_the_last():
    iou_PT = np.array([[0.7, 0.7]])
    assert match_voc(iou_PT, np.ones(1), 0.5).tolist() == [0]
    assert match_coco(iou_PT, np.ones(1), 0.5).tolist() == [1]


def test_the_threshold_itself_counts_unless_strict():
    iou_PT = np.array([[0.5]])
    for match in (match_voc, match_coco):
        assert match(iou_PT, np.ones(1), 0.5).tolist() == [0]
        assert match(iou_PT, np.ones(1), strictly_above(0.5)).tolist() == [MISSED]


def test_coco_forgives_rounding_at_the_threshold_1():
    iou_PT = np.array([[1 - 1e-12]])
    assert match_coco(iou_PT, np.ones(1), 1.0).tolist() == [0]
    assert match_voc(iou_PT, np.ones(1), 1.0).tolist() == [MISSED]


def test_ignored_truths():
    iou_PT = np.array([[0.9, 0.6], [0.9, 0.0], [0.9, 0.0]])
    scores_P, ignored_T = np.array([0.9, 0.8, 0.7]), np.array([True, False])
    # VOC: the best truth is difficult, whatever else there is
    assert match_voc(iou_PT, scores_P, 0.5, ignored_T=ignored_T).tolist() == [IGNORED] * 3
    # COCO: one that counts comes first; an ignored truth takes one, a crowd any number
    assert match_coco(iou_PT, scores_P, 0.5, ignored_T=ignored_T).tolist() == [1, IGNORED, MISSED]
    assert match_coco(iou_PT, scores_P, 0.5, crowd_T=ignored_T).tolist() == [1, IGNORED, IGNORED]
    assert match_unranked(iou_PT, scores_P, 0.5, ignored_T=ignored_T).tolist() == [1, IGNORED, IGNORED]


@pytest.mark.parametrize("match", [match_voc, match_coco, match_unranked])
def test_nothing_on_either_side(match):
    assert match(np.zeros((0, 2)), np.zeros(0), 0.5).tolist() == []
    assert match(np.zeros((2, 0)), np.zeros(2), 0.5).tolist() == [MISSED, MISSED]
    with pytest.raises(ValueError, match="one for each"):
        match(np.zeros((2, 1)), np.zeros(3), 0.5)


@pytest.mark.parametrize("match", [match_voc, match_coco])
def test_one_call_within_classes_equals_one_call_a_class(match):
    rng = np.random.default_rng(4)
    for _ in range(50):
        iou_PT, scores_P = rng.random((8, 6)).round(1), rng.random(8)
        labels_P, labels_T = rng.choice(["ship", "plane"], 8), rng.choice(["ship", "plane"], 6)
        together_P = match(within_class(iou_PT, labels_P, labels_T), scores_P, 0.5)
        for label in ("ship", "plane"):
            of_P, of_T = np.flatnonzero(labels_P == label), np.flatnonzero(labels_T == label)
            alone_P = match(iou_PT[np.ix_(of_P, of_T)], scores_P[of_P], 0.5)
            if len(of_T):
                alone_P = np.where(alone_P >= 0, of_T[alone_P], MISSED)
            assert together_P[of_P].tolist() == alone_P.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_greedy_pairs_are_valid_and_never_more_than_optimal_ones(seed):
    rng = np.random.default_rng(seed)
    iou_PT = rng.random(rng.integers(1, 9, 2))
    best = (match_optimal(iou_PT, 0.4) >= 0).sum()
    for match in (match_voc, match_coco):
        matched_P = match(iou_PT, rng.random(len(iou_PT)), 0.4)
        taken = matched_P[matched_P >= 0]
        assert len(set(taken)) == len(taken) <= best
        assert (pair_ious(iou_PT, matched_P) >= 0.4).all()


def test_by_overlap_the_closest_pair_comes_first_whatever_the_order():
    iou_PT = np.array([[0.6, 0.0], [0.9, 0.7], [0.8, 0.0]])
    assert match_by_overlap(iou_PT, 0.5).tolist() == [MISSED, 0, MISSED]  # optimal pairing finds two
    for order in ([2, 1, 0], [1, 0, 2]):
        assert match_by_overlap(iou_PT[order], 0.5).tolist() == [0 if p == 1 else MISSED for p in order]
    assert match_by_overlap(np.zeros((0, 2)), 0.5).tolist() == []
    assert match_by_overlap(np.zeros((2, 0)), 0.5).tolist() == [MISSED, MISSED]


def test_greedy_never_finds_more_than_optimal_nor_less_than_half():
    rng = np.random.default_rng(0)
    for _ in range(200):
        iou_PT = rng.random(rng.integers(1, 8, 2)) * (rng.random() + 0.3)
        most = int((match_optimal(iou_PT, 0.5) >= 0).sum())
        for match in (match_by_overlap, ranked_match(rng.random(len(iou_PT)))):
            matched_P = match(iou_PT, 0.5)
            taken = matched_P[matched_P >= 0]
            assert len(set(taken.tolist())) == len(taken)
            assert most / 2 <= len(taken) <= most


def test_a_bound_rule_is_the_rule():
    iou_PT, scores_P, ignored_T = np.array([[0.9, 0.6], [0.8, 0.7]]), np.array([0.1, 0.9]), np.array([False, True])
    for rule in (match_voc, match_coco):
        bound = ranked_match(scores_P, rule, ignored_T=ignored_T)
        assert bound(iou_PT, 0.5).tolist() == rule(iou_PT, scores_P, 0.5, ignored_T=ignored_T).tolist()
