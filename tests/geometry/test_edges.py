"""Shared areas summed over edges, against GEOS and against areas known by hand."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry.edges import MAX_EDGE_PAIRS, intersection_areas

SQUARE = shapely.box(0, 0, 10, 10)


def star(corners, middle, radius, rng):
    angle_N = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius_N = radius * rng.uniform(0.3, 1, corners)
    return shapely.Polygon(np.c_[middle[0] + radius_N * np.cos(angle_N), middle[1] + radius_N * np.sin(angle_N)])


@pytest.mark.parametrize(
    "other, area",
    [
        (SQUARE, 100),  # the same: every edge is shared
        (shapely.box(10, 0, 20, 10), 0),  # a shared side
        (shapely.box(10, 10, 20, 20), 0),  # a shared corner
        (shapely.box(5, 5, 15, 15), 25),
        (shapely.box(2, 2, 3, 4), 2),  # inside
        (shapely.box(-5, -5, 15, 15), 100),  # around
        (shapely.Polygon([(0, 0), (10, 0), (0, 10)]), 50),  # two shared sides, one edge through corners
        (shapely.Polygon([(0, 0), (0, 10), (10, 0)]), 50),  # turning the other way
        (shapely.Polygon([(5, -5), (15, 5), (5, 15), (-5, 5)]), 100),  # corners of one on the sides of the other
        (shapely.Polygon(), 0),
        (shapely.Point(5, 5), 0),
        (shapely.LineString([(0, 0), (10, 10)]), 0),
        (shapely.Polygon(SQUARE.exterior, [shapely.box(2, 2, 4, 4).exterior]), 96),  # a hole
        (shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(9, 9, 20, 20)]), 2),
    ],
)
def test_areas_known_by_hand(other, area):
    pair = np.array([SQUARE, other], dtype=object)
    assert intersection_areas(pair, pair[::-1]) == pytest.approx([area, area], abs=1e-12)


@pytest.mark.parametrize("corners, shift", [(3, 0), (5, 0), (12, 5e6), (26, 0), (40, 0)])
def test_as_geos_has_it(corners, shift):
    """Few corners and more than the sum is used for; and far from the origin, where maps lie."""
    rng = np.random.default_rng(corners)
    middles_N2 = rng.uniform(0, 100, (300, 2)) + shift
    a_N, b_N = (np.array([star(corners, m, 60, rng) for m in middles_N2 + rng.normal(0, d, 2)]) for d in (0, 30))
    valid_N = shapely.is_valid(a_N) & shapely.is_valid(b_N)
    a_N, b_N = a_N[valid_N], b_N[valid_N]
    expected_N = shapely.area(shapely.intersection(a_N, b_N))
    assert len(a_N) > 200 and (expected_N > 0).sum() > 80
    assert (corners + 1) ** 2 > MAX_EDGE_PAIRS or corners < 30
    assert np.abs(intersection_areas(a_N, b_N) - expected_N).max() < 1e-9 * (1 + shift)


whole = st.integers(0, 6)


@given(
    st.lists(st.tuples(whole, whole), min_size=3, max_size=6), st.lists(st.tuples(whole, whole), min_size=3, max_size=6)
)
def test_on_a_grid_where_corners_and_sides_meet(a, b):
    shapes = np.array([shapely.Polygon(a), shapely.Polygon(b)], dtype=object)
    if shapely.is_valid(shapes).all():
        expected = shapes[0].intersection(shapes[1]).area
        assert intersection_areas(shapes[:1], shapes[1:])[0] == pytest.approx(expected, abs=1e-12)


def test_nothing_at_all():
    assert intersection_areas(np.array([], dtype=object), np.array([], dtype=object)).shape == (0,)
