"""Segmentation metrics against hand-computed cases, OpenCV's erosion, and the published scorer of Geo-R1."""

from __future__ import annotations

import gzip
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from georefer.geometry import Mask
from georefer.scoring.masks import (
    boundary,
    boundary_counts,
    boundary_iou,
    boundary_width,
    mask_counts,
    pixel_ious,
    segmentation_ratios,
    segmentation_row,
    segmentation_row_of,
)


def values(rows, thresholds=()):
    terms = {name: ratio.terms(rows) for name, ratio in segmentation_ratios(thresholds).items()}
    return {name: top_R.sum() / bottom_R.sum() for name, (top_R, bottom_R) in terms.items()}


masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: st.tuples(*[arrays(bool, size)] * 2))


def test_giou_ciou_and_no_target_by_hand():
    rows = [
        segmentation_row(50, 50, 100, thresholds=(0.5, 0.7)),  # half of it
        segmentation_row(0, 0, 100, thresholds=(0.5, 0.7)),  # says there is none, and there is
        segmentation_row(0, 0, 0, thresholds=(0.5, 0.7)),  # right: there is none
        segmentation_row(0, 20, 0, thresholds=(0.5, 0.7)),  # invented; its pixels join the union
    ]
    expected = {"giou": 1.5 / 4, "ciou": 50 / 220, "n_acc": 1 / 2, "t_acc": 1 / 2, "pr@0.5": 1 / 2, "pr@0.7": 0}
    assert values(rows, (0.5, 0.7)) == pytest.approx(expected)


def test_an_empty_pair_counts_as_told():
    assert pixel_ious([0, 0, 3], [0, 4, 6]).tolist() == [1, 0, 0.5]
    assert pixel_ious([0, 0, 3], [0, 4, 6], empty=0).tolist() == [0, 0, 0.5]
    assert segmentation_row(0, 0, 0, empty=0)["mask_iou"] == 0


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="cannot be"):
        segmentation_row(5, 4, 9)


@given(masks)
@settings(max_examples=100, deadline=None)
def test_masks_and_arrays_agree(pair):
    predicted_HW, truth_HW = pair
    predicted, truth = Mask.from_dense(predicted_HW), Mask.from_dense(truth_HW)
    inter, union = (predicted_HW & truth_HW).sum(), (predicted_HW | truth_HW).sum()
    assert mask_counts(predicted, truth) == (inter, union)
    row = segmentation_row_of(predicted, truth, thresholds=(0.5,))
    assert row == segmentation_row(inter, predicted_HW.sum(), truth_HW.sum(), thresholds=(0.5,))
    assert 0 <= row["mask_iou"] <= 1
    assert segmentation_row_of(truth, truth)["mask_iou"] == 1


@pytest.mark.shared
def test_the_published_scorer_of_masks(golden):
    folder = golden / "geo-r1"
    with gzip.open(folder / "expected.json.gz") as file:
        expected = json.load(file)["gres"]
    rows = [json.loads(line) for line in (folder / "gres_results.jsonl").read_text().splitlines()]
    inter_N, union_N = (np.array([row[name] for row in rows], dtype=float) for name in ("intersection", "union"))
    assert len(rows) == expected["rows"]
    # quirk: it gives 0 where nothing is asked for and nothing is said
    assert pixel_ious(inter_N, union_N, empty=0).mean() == pytest.approx(expected["overall_gIoU"])
    assert (union_N == 0).any()
    assert inter_N.sum() / union_N.sum() == pytest.approx(expected["overall_cIoU"])


# --- boundaries ------------------------------------------------------------------------------------------


def published_boundary(mask_HW, width):
    """Boundary IoU's own way: a border of unset pixels, then erosion by a square of 3, `width` times."""
    bordered = cv2.copyMakeBorder(mask_HW.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(bordered, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask_HW & (eroded == 0)


@given(masks, st.integers(1, 14))
@settings(max_examples=150, deadline=None)
def test_boundaries_are_the_published_ones(pair, width):
    for mask_HW in pair:
        assert np.array_equal(boundary(mask_HW, width), published_boundary(mask_HW, width))


def test_boundary_iou_by_hand():
    truth_HW = np.zeros((20, 20), dtype=bool)
    truth_HW[5:15, 5:15] = True
    predicted_HW = np.zeros_like(truth_HW)
    predicted_HW[5:15, 6:16] = True
    # rings of 36 pixels one column apart: 9 of the upper and 9 of the lower row are shared
    assert boundary_counts(predicted_HW, truth_HW, 1) == (18, 54)
    assert boundary_iou(predicted_HW, truth_HW, 1) == pytest.approx(1 / 3)
    assert boundary_iou(predicted_HW, truth_HW, 30) == pytest.approx(90 / 110)  # wide enough: mask IoU


@given(masks)
@settings(max_examples=60, deadline=None)
def test_boundary_iou_lies_within_range_and_is_1_for_the_same(pair):
    predicted_HW, truth_HW = pair
    forward, backward = boundary_iou(predicted_HW, truth_HW, 1), boundary_iou(truth_HW, predicted_HW, 1)
    assert 0 <= forward == backward <= 1
    assert boundary_iou(truth_HW, truth_HW) == 1


def test_the_width_is_a_share_of_the_diagonal():
    assert boundary_width((300, 400)) == 10
    assert boundary_width((8, 8)) == 1


def test_bad_boundaries_are_refused():
    with pytest.raises(ValueError, match="1 or more"):
        boundary(np.ones((3, 3), dtype=bool), 0)
    with pytest.raises(ValueError, match="one size"):
        boundary_iou(np.ones((3, 3)), np.ones((3, 4)))
    assert boundary_iou(np.zeros((0, 5)), np.zeros((0, 5)), 1) == 1
    assert boundary_iou(np.zeros((5, 5)), np.zeros((5, 5)), empty=0) == 0


def test_the_inputs_stay_as_they_are():
    mask_HW = np.ones((6, 6), dtype=bool)
    boundary(mask_HW, 1)
    assert mask_HW.all()
