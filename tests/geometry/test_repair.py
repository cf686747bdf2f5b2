"""What counts as an area, and what repairing would cost."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry.repair import crossings, repaired

BOW_TIE = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
SHAPES = {
    "a box": (shapely.box(0, 0, 1, 1), 0),
    "a bow-tie": (BOW_TIE, 1),
    "two boxes that overlap": (shapely.MultiPolygon([shapely.box(0, 0, 5, 5), shapely.box(3, 3, 8, 8)]), 2),
    "a hole that sticks out": (
        shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(5, 2), (12, 2), (12, 4), (5, 4)]]),
        2,
    ),
    "a pentagram": (shapely.Polygon([(np.cos(a), np.sin(a)) for a in np.arange(5) * 4 * np.pi / 5]), 5),
}


@pytest.mark.parametrize("shape, count", SHAPES.values(), ids=SHAPES)
def test_crossings_are_counted(shape, count):
    assert crossings(shape, 100) == count
    assert shapely.is_valid(shape) == (count == 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12))
def test_a_ring_that_crosses_nowhere_and_turns_is_valid(points):
    ring = shapely.Polygon(points)
    if crossings(ring, 1000) == 0 and len(set(points)) == len(points):
        assert shapely.is_valid(ring) or ring.area == 0


def test_shapes_of_many_edges_are_counted_alike():
    turns = np.linspace(0, 2 * np.pi, 700, endpoint=False)
    flower = shapely.Polygon(
        np.stack([np.cos(turns) * np.cos(3 * turns), np.sin(turns) * np.cos(3 * turns)], axis=1) + 5
    )
    assert crossings(shapely.Point(0, 0).buffer(1, quad_segs=400), 7) == 0
    two = shapely.MultiPolygon([shapely.Point(x, 0).buffer(1, quad_segs=200) for x in (0, 1)])
    assert crossings(two, 7) == 2
    assert crossings(flower, 10**6) > 0 and crossings(flower, 3) > 3
    strewn = shapely.Polygon(np.random.default_rng(0).random((20_000, 2)))
    assert crossings(strewn, 1000) == 1001  # and not after minutes


def test_both_lobes_of_a_bow_tie_count():
    assert repaired(np.array([BOW_TIE], dtype=object))[0].area == 50
