"""Suppression by true shapes: against the plain loop, and its declared rules."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry.overlap import overlap
from georefer.geometry.rotated import obb_polygons
from georefer.geometry.suppression import suppress, suppressed_by


def plainly(overlap_NN, scores_N, labels_N, threshold):
    """The definition: best first, each suppresses what overlaps it more than the threshold."""
    kept = []
    for i in sorted(range(len(scores_N)), key=lambda i: (np.isnan(scores_N[i]), -scores_N[i], i)):
        if all(labels_N[i] != labels_N[k] or not overlap_NN[k, i] > threshold for k in kept):
            kept.append(i)
    return kept


def crowd(rng, count, kind, reach=120):
    """Shapes of one kind that overlap a lot, as (geometries, scores, labels); some scores are equal or NaN."""
    rows_N5 = np.column_stack(
        (rng.uniform(0, reach, (count, 2)), rng.uniform(5, 60, (count, 2)), rng.uniform(0, 360, count))
    )
    shapes = obb_polygons(rows_N5)
    if kind == "hbb":
        shapes = shapely.box(*shapely.bounds(shapes).T)
    elif kind == "polygon":
        shapes = shapely.difference(shapes, shapely.box(40, 40, 50, 50))
    scores = np.round(rng.random(count), 1)
    scores[rng.random(count) < 0.1] = np.nan
    return shapes, scores, rng.choice(["ship", "plane"], count)


@pytest.mark.parametrize("measure", ["iou", "contained"])
@pytest.mark.parametrize("kind", ["hbb", "obb", "polygon"])
@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.0, 0.2, 0.5, 0.9]), labelled=st.booleans())
def test_the_plain_loop_keeps_the_same(kind, measure, seed, threshold, labelled):
    rng = np.random.default_rng(seed)
    shapes, scores, labels = crowd(rng, int(rng.integers(0, 40)), kind)
    if measure == "iou":
        table = overlap(shapes, shapes, kinds_N=kind, kinds_M=kind)
    else:
        table = overlap(shapes, shapes, "ioa", kinds_N=kind, kinds_M=kind).T  # the part of the later one
    expected = plainly(table, scores, labels if labelled else [""] * len(shapes), threshold)
    kept = suppress(
        shapes, scores, threshold=threshold, measure=measure, kinds=kind, labels_N=labels if labelled else None
    )
    assert kept.tolist() == expected


def test_blocks_change_nothing(monkeypatch):
    shapes, scores, labels = crowd(np.random.default_rng(4), 600, "obb", reach=400)
    expected = suppressed_by(shapes, scores, kinds="obb", labels_N=labels, threshold=0.3)
    monkeypatch.setattr("georefer.geometry.suppression.BLOCK", 7)
    assert np.array_equal(suppressed_by(shapes, scores, kinds="obb", labels_N=labels, threshold=0.3), expected)


def test_by_whom():
    row = shapely.box([0, 2, 4, 50], 0, [10, 12, 14, 60], 10)
    # the second overlaps the best; the third only the second, which is gone
    assert suppressed_by(row, [0.9, 0.8, 0.7, 0.1], kinds="hbb", threshold=0.6).tolist() == [0, 0, 2, 3]
    assert suppress(row, [0.7, 0.8, 0.9, 1.0], kinds="hbb", threshold=0.6).tolist() == [3, 2, 0]


def test_equal_scores_go_in_order_and_nan_last():
    same = shapely.box([0, 0, 0], 0, [10, 10, 10], 10)
    assert suppress(same, [0.5, 0.5, 0.5]).tolist() == [0]
    assert suppress(same, [np.nan, np.nan, 0.1]).tolist() == [2]
    assert suppress(same, [np.nan, np.nan, np.nan]).tolist() == [0]


def test_the_threshold_itself_is_allowed():
    halves = np.array([shapely.box(0, 0, 10, 10), shapely.box(0, 0, 10, 5)])
    assert suppress(halves, [0.9, 0.8], kinds="hbb", threshold=0.5).tolist() == [0, 1]
    assert suppress(halves, [0.9, 0.8], kinds="hbb", threshold=0.49).tolist() == [0]


def test_contained_parts_go_and_containers_stay():
    whole, part = shapely.box(0, 0, 100, 100), shapely.box(10, 10, 20, 20)
    both = np.array([whole, part])
    assert suppress(both, [0.9, 0.8], measure="contained").tolist() == [0]
    assert suppress(both, [0.8, 0.9], measure="contained").tolist() == [1, 0]
    assert suppress(both, [0.9, 0.8], measure="iou").tolist() == [0, 1]


def test_labels_keep_classes_apart():
    same = shapely.box([0, 0], 0, [10, 10], 10)
    assert suppress(same, [0.9, 0.8], labels_N=["ship", "plane"]).tolist() == [0, 1]
    assert suppress(same, [0.9, 0.8], labels_N=["ship", "ship"]).tolist() == [0]


def test_true_shapes_and_not_their_bounds_count():
    # two slender boxes that cross: nearly the same bounds, next to no common area
    crossing = obb_polygons([[50, 50, 100, 4, 45], [50, 50, 100, 4, -45]])
    assert suppress(crossing, [0.9, 0.8], kinds="obb").tolist() == [0, 1]
    assert suppress(crossing, [0.9, 0.8], kinds="hbb").tolist() == [0]


def test_nothing_and_shapes_without_area():
    assert suppress([], []).tolist() == []
    odd = np.array([shapely.Point(1, 1), shapely.Point(1, 1), shapely.Polygon(), None], dtype=object)
    assert suppress(odd, [0.1, 0.2, 0.3, 0.4]).tolist() == [3, 2, 1, 0]


def test_wrong_calls_are_refused():
    same = shapely.box([0, 0], 0, [10, 10], 10)
    with pytest.raises(ValueError, match="2 shapes came with 1 scores"):
        suppress(same, [0.9])
    with pytest.raises(ValueError, match="known: iou, contained"):
        suppress(same, [0.9, 0.8], measure="giou")


def test_ten_thousand_answers_on_one_spot():
    same = np.repeat(shapely.box([0], 0, [10], 10), 10_000)
    assert len(suppress(same, np.linspace(1, 0, 10_000), kinds="hbb")) == 1
