"""Oriented boxes: exact overlap, also where other libraries return 0 or more than 1."""

import gzip
import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry.rotated import (
    near_pairs,
    obb_bounds,
    obb_corners,
    obb_from_polygons,
    obb_intersection_pairs,
    obb_ioa,
    obb_ioa_pairs,
    obb_iou,
    obb_iou_pairs,
    obb_polygons,
)
from georefer.geometry.shapes import OBB

places, sides = st.floats(-500, 500), st.floats(0.5, 300)
angles = st.one_of(st.floats(-400, 400), st.sampled_from([-90.0, 0.0, 45.0, 90.0, 180.0, 270.0, 360.0, 1e-9]))
boxes = st.tuples(places, places, sides, sides, angles)
near = st.tuples(st.floats(-60, 60), st.floats(-60, 60), sides, sides, angles)


def iou(a, b):
    return float(obb_iou_pairs(np.array([a]), np.array([b]))[0])


def by_shapely(a_P5, b_P5):
    """IoU from GEOS; the origin is moved to the first box, as float64 corners far away lose digits."""
    shift_P5 = np.column_stack((a_P5[:, :2], np.zeros((len(a_P5), 3))))
    a_P, b_P = obb_polygons(a_P5 - shift_P5), obb_polygons(b_P5 - shift_P5)
    inter_P = shapely.area(shapely.intersection(a_P, b_P))
    return inter_P / (shapely.area(a_P) + shapely.area(b_P) - inter_P)


def random_boxes(rng, count, reach=1000, longest=200):
    return np.column_stack(
        [rng.uniform(0, reach, (count, 2)), rng.uniform(1, longest, (count, 2)), rng.uniform(-400, 400, count)]
    )


# --- reference values ------------------------------------------------------------------------------------


@pytest.mark.shared
def test_pairs_equal_60_digit_arithmetic(golden):
    lines = gzip.decompress((golden / "geometry" / "obb_pairs.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    a_P5, b_P5 = (np.array([row[side] for row in rows]) for side in "ab")
    truth_P = np.array([row["iou"] or 0.0 for row in rows])
    kinds_P = np.array([row["cat"] for row in rows])
    assert len(rows) == 3000
    for got_P in (obb_iou_pairs(a_P5, b_P5), obb_iou_pairs(b_P5, a_P5)):
        off_P = np.abs(got_P - truth_P)
        assert off_P.max() < 1e-14, kinds_P[off_P.argmax()]
        # relative too; pairs that touch have a true overlap of 1e-19, from the rounding of their inputs
        counted_P = (truth_P > 0) & ~np.char.startswith(kinds_P, "touching")
        assert (off_P[counted_P] / truth_P[counted_P]).max() < 1e-9
        assert (got_P[kinds_P == "far_apart"] == 0).all()
        assert got_P[kinds_P == "identical"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("noise", [1e-4, 1e-6, 1e-9, 1e-13])
def test_nearly_identical_pairs_never_fail(noise):
    """What mmcv and detectron2 get wrong now and then: a quarter of a million pairs for each size of noise."""
    rng = np.random.default_rng(round(-np.log10(noise)))
    a_P5 = random_boxes(rng, 250_000)
    b_P5 = a_P5 + rng.uniform(-noise, noise, a_P5.shape)
    got_P = obb_iou_pairs(a_P5, b_P5)
    # where the boundary moves by at most d, at most d * perimeter is gained or lost on either side
    length_P, width_P = a_P5[:, 2], a_P5[:, 3]
    moved_P = noise * (np.sqrt(2) + 1 / np.sqrt(2) + np.radians(1) * np.hypot(length_P, width_P) / 2)
    slack_P = 2 * moved_P * 2 * (length_P + width_P) / (length_P * width_P)
    assert (got_P <= 1).all()
    assert ((1 - got_P) <= slack_P * 1.01 + 1e-12).all()
    assert np.abs(got_P[:5000] - by_shapely(a_P5[:5000], b_P5[:5000])).max() < 1e-9


def test_random_pairs_equal_geos():
    rng = np.random.default_rng(3)
    a_P5, b_P5 = random_boxes(rng, 20_000, 150), random_boxes(rng, 20_000, 150)
    off_P = np.abs(obb_iou_pairs(a_P5, b_P5) - by_shapely(a_P5, b_P5))
    assert off_P.max() < 1e-12


# --- properties ------------------------------------------------------------------------------------------


@given(near, near)
def test_range_symmetry_and_agreement_with_geos(a, b):
    got = iou(a, b)
    assert 0 <= got <= 1
    assert got == pytest.approx(iou(b, a), abs=1e-12)
    assert got == pytest.approx(by_shapely(np.array([a]), np.array([b]))[0], abs=1e-9)


@given(near, near, places, places, st.floats(-720, 720), st.floats(0.01, 100))
def test_a_common_shift_turn_or_scale_changes_nothing(a, b, x, y, turn, scale):
    expected = iou(a, b)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))

    def moved(box):
        cx, cy, length, width, angle = box
        return ((cx * cos - cy * sin) * scale + x, (cx * sin + cy * cos) * scale + y, length * scale, width * scale,
                angle + turn)  # fmt: skip

    assert iou(moved(a), moved(b)) == pytest.approx(expected, abs=1e-9)


@given(boxes, st.integers(-4, 4))
def test_the_same_rectangle_is_one_in_any_writing(box, quarters):
    cx, cy, length, width, angle = box
    one, other = (length, width) if quarters % 2 == 0 else (width, length)
    assert iou(box, (cx, cy, one, other, angle + 90 * quarters)) == pytest.approx(1, abs=1e-11)
    assert iou(box, (cx, cy, -length, width, angle)) == pytest.approx(1, abs=1e-12)
    assert iou(box, box) == pytest.approx(1, abs=1e-12)


@given(boxes, st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(-1, 1), st.floats(-1, 1))
def test_a_contained_box_gives_the_ratio_of_areas(box, part_l, part_w, at_l, at_w):
    cx, cy, length, width, angle = box
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u, v = at_l * (1 - part_l) * length / 2, at_w * (1 - part_w) * width / 2
    inner = (cx + u * cos - v * sin, cy + u * sin + v * cos, part_l * length, part_w * width, angle)
    assert iou(box, inner) == pytest.approx(part_l * part_w, abs=1e-9)
    assert obb_ioa_pairs([inner], [box])[0] == pytest.approx(1, abs=1e-9)


@given(boxes, boxes)
def test_what_is_apart_overlaps_by_exactly_nothing(a, b):
    first, second = obb_polygons(np.array([a, b]))
    if shapely.distance(first, second) > 1e-9:
        assert iou(a, b) == 0


@given(near, near)
def test_the_part_inside_goes_with_the_areas(a, b):
    inter = obb_intersection_pairs([a], [b])[0]
    assert obb_ioa_pairs([a], [b])[0] == pytest.approx(inter / (a[2] * a[3]), abs=1e-12)


# --- edges of the domain ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), 0),  # no union
        ((0, 0, 10, 0, 30), (0, 0, 10, 0, 30), 0),
        ((0, 0, 0, 5, 0), (0, 0, 10, 10, 0), 0),
        ((np.nan, 0, 4, 2, 0), (0, 0, 4, 2, 0), 0),
        ((0, 0, np.inf, 2, 0), (0, 0, 4, 2, 0), 0),
        ((0, 0, 4, 2, -np.inf), (0, 0, 4, 2, 0), 0),
        ((0, 0, 1e200, 1e200, 0), (0, 0, 1e200, 1e200, 0), 0),  # beyond the limit: squares are not finite
        ((1e9, 1e9, 4, 2, 0), (1e9 + 2, 1e9, 4, 2, 0), 1 / 3),
        ((0, 0, 1e-40, 1e-40, 0), (0, 0, 1e-40, 1e-40, 90), 1),
        ((0, 0, 4, 4, 0), (0, 0, 4, 4, 45), np.sqrt(2) / 2),
        ((0, 0, 4, 2, 0), (4, 0, 4, 2, 0), 0),  # touching
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, 360 * 10**9), 1),
    ],
)
def test_known_values(a, b, expected):
    assert iou(a, b) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=10, max_size=10))
def test_no_input_leaves_the_range(numbers):
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        got = iou(numbers[:5], numbers[5:])
    assert 0 <= got <= 1


def test_a_nan_row_spoils_no_other():
    a_P5 = np.array([[0, 0, 4, 2, 0], [np.nan] * 5, [0, 0, 4, 2, 0]])
    assert obb_iou_pairs(a_P5, a_P5).tolist() == [1, 0, 1]
    assert obb_iou(a_P5, a_P5).tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]


def test_tables_equal_pairs_and_keep_their_memory():
    rng = np.random.default_rng(0)
    a_N5, b_M5 = random_boxes(rng, 130), random_boxes(rng, 90)
    n, m = (i.ravel() for i in np.indices((130, 90)))
    assert np.array_equal(obb_iou(a_N5, b_M5).ravel(), obb_iou_pairs(a_N5[n], b_M5[m]))
    assert np.array_equal(obb_ioa(a_N5, b_M5).ravel(), obb_ioa_pairs(a_N5[n], b_M5[m]))
    kept = a_N5.copy()
    obb_iou(a_N5, a_N5)
    assert np.array_equal(a_N5, kept)  # inputs are not written to


def test_empty_and_wrong_shapes():
    assert obb_iou(np.zeros((0, 5)), np.zeros((3, 5))).shape == (0, 3)
    assert obb_iou([], []).shape == (0, 0) and obb_iou_pairs([], []).shape == (0,)
    with pytest.raises(ValueError, match=r"\(N, 5\), found shape \(1, 4\)"):
        obb_iou([[0, 0, 1, 1]], [[0, 0, 1, 1, 0]])
    with pytest.raises(ValueError, match="as many boxes"):
        obb_iou_pairs(np.zeros((2, 5)), np.zeros((3, 5)))


def test_a_hundred_thousand_pairs_are_one_call():
    a_P5 = random_boxes(np.random.default_rng(1), 100_000)
    iou_P = obb_iou_pairs(a_P5, a_P5[::-1])
    assert iou_P.shape == (100_000,) and np.array_equal(iou_P[:50_000], obb_iou_pairs(a_P5, a_P5[::-1])[:50_000])


# --- corners and polygons --------------------------------------------------------------------------------


@given(boxes)
def test_corners_are_those_of_the_value_type(box):
    expected_42 = shapely.get_coordinates(OBB(*box).to_polygon())[:4]
    assert obb_corners([box])[0] == pytest.approx(expected_42, abs=1e-9)
    assert obb_bounds([box])[0] == pytest.approx(shapely.MultiPoint(expected_42).bounds, abs=1e-9)


@given(boxes)
def test_polygons_there_and_back(box):
    back_5 = obb_from_polygons(obb_polygons([box]))[0]
    assert back_5[:4] == pytest.approx(box[:4], abs=1e-9)
    assert 0 <= back_5[4] < 360
    assert (back_5[4] - box[4] + 180) % 360 - 180 == pytest.approx(0, abs=1e-7)


def test_quarter_turns_have_no_rounding():
    assert obb_corners([[10, 20, 4, 2, 90]])[0].tolist() == [[9, 22], [9, 18], [11, 18], [11, 22]]


def test_a_box_without_width_keeps_its_heading():
    boxes_N5 = np.array([[5, 6, 10, 0, 30], [5, 6, 0, 10, 30]], dtype=float)
    assert obb_from_polygons(obb_polygons(boxes_N5)) == pytest.approx(boxes_N5, abs=1e-12)


def test_what_is_no_rectangle_has_no_numbers():
    sheared = shapely.Polygon([(0, 0), (4, 0), (5, 2), (1, 2)])
    mirrored = shapely.Polygon(OBB(0, 0, 4, 2, 30).to_polygon().exterior.coords[::-1])  # anticlockwise on the screen
    triangle, point = shapely.Polygon([(0, 0), (4, 0), (0, 3)]), shapely.Point(1, 2)
    holed = shapely.box(0, 0, 9, 9) - shapely.box(2, 2, 3, 3)
    others = [sheared, mirrored, triangle, point, holed, shapely.Polygon(), None]
    assert np.isnan(obb_from_polygons(others)).all()
    assert obb_from_polygons([]).shape == (0, 5)


def test_near_pairs_are_those_whose_bounds_meet():
    a_N4, b_M4 = np.array([[0, 0, 2, 2], [50, 50, 51, 51]]), np.array([[1, 1, 3, 3], [2, 0, 4, 2], [9, 9, 10, 10]])
    assert sorted(zip(*near_pairs(a_N4, b_M4), strict=True)) == [(0, 0), (0, 1)]
    assert [len(i) for i in near_pairs(a_N4[:0], b_M4)] == [0, 0]
