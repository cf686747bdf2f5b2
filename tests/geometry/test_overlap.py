import gzip
import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import shape

from georefer.geometry import hbb_ioa, hbb_iou, polygon_iou, shape_iou
from georefer.geometry.overlap import hbb_giou, overlap, overlap_pairs, polygon_iou_pairs
from georefer.geometry.repair import repaired
from georefer.geometry.rotated import obb_iou, obb_polygons

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


@pytest.mark.shared
def test_quadrilaterals_equal_exact_arithmetic(golden):
    lines = gzip.decompress((golden / "geometry" / "quad_pairs.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    a_P, b_P = (shapely.polygons(np.array([row[side] for row in rows])) for side in "ab")
    truth_P = np.array([row["iou"] or 0.0 for row in rows])
    assert len(rows) == 400
    assert np.abs(polygon_iou_pairs(a_P, b_P) - truth_P).max() < 1e-9
    # by their corners some are rectangles and some are not: the fast way and the general one agree
    assert np.abs(overlap_pairs(a_P, b_P, kinds_P="obb", other_kinds_P="obb") - truth_P).max() < 1e-9


# --- shapes of any kind ----------------------------------------------------------------------------------

KINDS = ["hbb", "obb", "polygon", "mask", "point", "line"]
MEASURES = ["iou", "ioa", "giou"]


def some_shapes(rng, count):
    """One or more of every kind on a few pixels, so that most of them meet."""
    shapes, kinds = [], [KINDS[i % len(KINDS)] for i in range(count)]
    for kind in kinds:
        x, y, a, b = rng.uniform(0, 40), rng.uniform(0, 40), rng.uniform(2, 30), rng.uniform(2, 30)
        if kind == "hbb":
            shapes.append(shapely.box(x, y, x + a, y + b))
        elif kind == "obb":
            shapes.append(obb_polygons([[x, y, a, b, rng.uniform(0, 360)]])[0])
        elif kind == "polygon":
            shapes.append(shapely.MultiPoint(rng.uniform(0, 40, (6, 2))).convex_hull - shapely.box(x, y, x + 3, y + 3))
        elif kind == "mask":
            shapes.append(shapely.union_all([shapely.box(x, y, x + 9, y + 2), shapely.box(x + 20, y, x + 24, y + 9)]))
        else:
            shapes.append(shapely.Point(x, y) if kind == "point" else shapely.LineString([(x, y), (x + a, y + b)]))
    return np.array(shapes, dtype=object), np.array(kinds)


def by_definition(a, b, measure, boxes):
    inter = a.intersection(b).area
    union = a.area + b.area - inter
    if measure == "ioa":
        return inter / a.area if a.area else 0.0
    iou = inter / union if union else 0.0
    if measure == "iou":
        return iou
    both = shapely.union_all([a, b])
    around = (both.envelope if boxes else both.convex_hull).area
    return iou - (around - union) / around if around else 0.0


@pytest.mark.parametrize("measure", MEASURES)
def test_every_pair_of_kinds_equals_the_definition(measure):
    rng = np.random.default_rng(7)
    (a_N, kinds_N), (b_M, kinds_M) = some_shapes(rng, 30), some_shapes(rng, 18)
    got_NM = overlap(a_N, b_M, measure, kinds_N=kinds_N, kinds_M=kinds_M)
    expected_NM = [
        [by_definition(a, b, measure, k == m == "hbb") for b, m in zip(b_M, kinds_M, strict=True)]
        for a, k in zip(a_N, kinds_N, strict=True)
    ]
    assert got_NM == pytest.approx(np.array(expected_NM), abs=1e-9)
    n, m = (i.ravel() for i in np.indices(got_NM.shape))
    pairs = overlap_pairs(a_N[n], b_M[m], measure, kinds_P=kinds_N[n], other_kinds_P=kinds_M[m])
    assert pairs == pytest.approx(got_NM.ravel(), abs=1e-12)
    if measure != "ioa":
        assert overlap(b_M, a_N, measure, kinds_N=kinds_M, kinds_M=kinds_N) == pytest.approx(got_NM.T, abs=1e-12)


def test_kinds_choose_what_is_compared():
    triangle, square = shapely.Polygon([(0, 0), (10, 0), (0, 10)]), shapely.box(0, 0, 10, 10)
    assert overlap([triangle], [square], kinds_N="hbb", kinds_M="hbb")[0, 0] == 1
    assert overlap([triangle], [square], kinds_N="obb", kinds_M="hbb")[0, 0] == pytest.approx(0.5)  # no rectangle
    turned = obb_polygons([[5, 5, 10, 10, 45]])
    assert overlap(turned, turned, kinds_N="obb", kinds_M="obb")[0, 0] == 1
    assert overlap(turned, [square], kinds_N="obb", kinds_M="hbb")[0, 0] == pytest.approx(np.sqrt(2) / 2)


def test_generalised_iou_tells_far_from_near():
    a, near, far = [0, 0, 10, 10], [12, 0, 22, 10], [90, 0, 100, 10]
    got = hbb_giou(np.array([a]), np.array([a, near, far]))[0]
    assert got == pytest.approx([1, -20 / 220, -800 / 1000])


@given(st.lists(boxes, min_size=1, max_size=5), st.lists(boxes, min_size=1, max_size=5))
def test_generalised_iou_stays_in_its_range(a, b):
    giou_NM, iou_NM = hbb_giou(np.array(a), np.array(b)), hbb_iou(np.array(a), np.array(b))
    assert ((giou_NM >= -1) & (giou_NM <= iou_NM)).all()


with np.errstate(invalid="ignore"):
    NOWHERE = [None, shapely.Polygon(), shapely.Polygon([(0, 0), (np.nan, 1), (1, 1)]), shapely.box(0, 0, np.inf, 1)]


@pytest.mark.parametrize("kind", ["hbb", "obb", "polygon"])
@pytest.mark.parametrize("shape", NOWHERE, ids=["none", "empty", "nan", "infinite"])
def test_what_is_nowhere_overlaps_nothing(shape, kind):
    square = shapely.box(0, 0, 1, 1)
    for measure, expected in (("iou", 0), ("ioa", 0), ("giou", -1)):
        got = overlap([square, shape], [shape, square], measure, kinds_N=kind, kinds_M=kind)
        assert got.tolist() == [[expected, 1], [expected, expected]]


def test_a_nan_box_spoils_no_other():
    boxes_N4 = np.array([[0, 0, 1, 1], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]])
    assert hbb_iou(boxes_N4, boxes_N4).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert hbb_giou(boxes_N4, boxes_N4)[0].tolist() == [1, -1, -1]


@pytest.mark.parametrize("reach", [300, 3000])  # all pairs computed, and only those that meet
def test_many_boxes_equal_few(reach):
    rng = np.random.default_rng(reach)
    low_N2 = rng.uniform(0, reach, (700, 2))
    boxes_N4 = np.hstack((low_N2, low_N2 + rng.uniform(0, 100, (700, 2))))
    few_N4 = boxes_N4[:40]
    assert np.array_equal(hbb_iou(boxes_N4, boxes_N4)[:40, :40], hbb_iou(few_N4, few_N4))
    assert np.array_equal(hbb_ioa(boxes_N4, boxes_N4)[:40, :40], hbb_ioa(few_N4, few_N4))
    upright_N5 = np.column_stack(((few_N4[:, :2] + few_N4[:, 2:]) / 2, few_N4[:, 2:] - few_N4[:, :2], np.zeros(40)))
    assert np.abs(obb_iou(upright_N5, upright_N5) - hbb_iou(few_N4, few_N4)).max() < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: overlap(s, s, "dice"), "unknown measure 'dice'; known: iou, ioa, giou"),
        (lambda s: overlap(s, s, kinds_N=["hbb"]), "2 shapes came with 1 kinds"),
        (lambda s: overlap_pairs(s, s[:1]), "as many shapes as others, found 2 and 1"),
        (lambda s: hbb_iou(np.zeros((2, 5)), np.zeros((2, 4))), r"\(N, 4\), found shape \(2, 5\)"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([shapely.box(0, 0, 1, 1), shapely.box(0, 0, 2, 2)]))


def test_no_shapes():
    for measure in MEASURES:
        assert overlap([], [shapely.box(0, 0, 1, 1)], measure).shape == (0, 1)
        assert overlap([shapely.box(0, 0, 1, 1)], [], measure, kinds_N="obb").shape == (1, 0)
        assert overlap_pairs([], [], measure, kinds_P="hbb", other_kinds_P="hbb").shape == (0,)
