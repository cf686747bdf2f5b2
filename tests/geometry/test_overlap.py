import gzip
import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import shape

from georefer.geometry import hbb_ioa, hbb_iou, polygon_iou, shape_iou
from georefer.geometry.overlap import repaired

numbers = st.floats(-1e4, 1e4, allow_nan=False)
boxes = st.tuples(numbers, numbers, st.floats(0, 1e3), st.floats(0, 1e3)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),  # identical
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),  # touching
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),  # half shifted
        ([0, 0, 10, 10], [2, 2, 4, 4], 0.04),  # contained
        ([5, 5, 5, 5], [5, 5, 5, 5], 0.0),  # no area at all
        ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),  # corners swapped: no area, and never negative
    ],
)
def test_box_iou(a, b, expected):
    assert hbb_iou(np.array([a]), np.array([b]))[0, 0] == pytest.approx(expected, abs=1e-12)


def test_ioa_is_the_part_of_the_first_inside_the_second():
    assert hbb_ioa(np.array([[0, 0, 10, 10]]), np.array([[5, 0, 100, 100]]))[0, 0] == 0.5


def test_empty_sides_give_empty_matrices():
    assert hbb_iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert polygon_iou(np.array([], dtype=object), np.array([shapely.box(0, 0, 1, 1)])).shape == (0, 1)


@given(st.lists(boxes, min_size=1, max_size=6), st.lists(boxes, min_size=1, max_size=6))
def test_boxes_agree_with_polygons(a, b):
    a_N4, b_M4 = np.array(a), np.array(b)
    got = hbb_iou(a_N4, b_M4)
    assert ((got >= 0) & (got <= 1)).all()
    by_area = polygon_iou(shapely.box(*a_N4.T), shapely.box(*b_M4.T))
    big = np.minimum.outer(shapely.area(shapely.box(*a_N4.T)), shapely.area(shapely.box(*b_M4.T))) > 1e-2
    assert np.allclose(got[big], by_area[big], atol=1e-6)


def test_both_lobes_of_a_bow_tie_count():
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    assert repaired(np.array([bow_tie]))[0].area == pytest.approx(50)
    assert polygon_iou(np.array([bow_tie]), np.array([shapely.box(0, 0, 10, 10)]))[0, 0] == pytest.approx(0.5)


def test_shape_iou_takes_bounds_or_areas():
    triangle, square = shapely.Polygon([(0, 0), (10, 0), (0, 10)]), shapely.box(0, 0, 10, 10)
    assert shape_iou(np.array([triangle]), np.array([square]), as_boxes=True)[0, 0] == 1
    assert shape_iou(np.array([triangle]), np.array([square]), as_boxes=False)[0, 0] == pytest.approx(0.5)


@pytest.mark.shared
def test_polygons_equal_the_reference(golden):
    lines = gzip.decompress((golden / "geometry" / "polygon_pairs.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 500
    for row in rows:
        a, b = (np.array([shape(row[side])], dtype=object) for side in "ab")
        assert polygon_iou(a, b)[0, 0] == pytest.approx(row["make_valid"]["iou"] or 0, abs=1e-9), row["id"]
