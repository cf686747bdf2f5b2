import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from georefer.geometry.raster_grid import centre_cells, coverage, coverages, grid_to_geometry, pooled
from georefer.geometry.repair import repaired

BOX = np.array([3.0, 5.0, 61.5, 66.0])
sides = st.integers(1, 9)
grids = st.tuples(sides, sides).flatmap(lambda size: arrays(bool, size))
# thousandths of a pixel: beside a coordinate of 1e-183 GEOS, which is the reference here, repairs to invalid shapes
numbers = st.integers(-20_000, 90_000).map(lambda n: n / 1000)
rings = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=9)


def cells_of(box_4, columns, rows):
    x, y = np.linspace(box_4[0], box_4[2], columns + 1), np.linspace(box_4[1], box_4[3], rows + 1)
    return shapely.box(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])


def some_shape(ring, angle):
    """A ring, valid or not, joined with a turned box that has a hole."""
    holed = shapely.box(10, 10, 50, 40).difference(shapely.Point(30, 25).buffer(8))
    return shapely.union(repaired([shapely.Polygon(ring)])[0], shapely.affinity.rotate(holed, angle))


@settings(deadline=None, max_examples=200)
@given(rings, st.floats(0, 180), sides, sides)
def test_coverage_is_shapelys_area_in_every_cell(ring, angle, columns, rows):
    shape, cells_RC = some_shape(ring, angle), cells_of(BOX, columns, rows)
    expected = shapely.area(shapely.intersection(cells_RC, shape)) / shapely.area(cells_RC)
    got = coverage(shape, BOX, columns, rows)
    assert got.shape == (rows, columns) and ((got >= 0) & (got <= 1)).all()
    # shapely's own intersection moves corners by rounding: it is the looser side of the comparison
    assert np.abs(got - expected).max() < 1e-11
    assert coverage(shapely.reverse(shape), BOX, columns, rows) == pytest.approx(got, abs=1e-12)


@settings(deadline=None)
@given(rings)
def test_invalid_rings_are_repaired_first(ring):
    shape = shapely.Polygon(ring)
    mended = repaired([shape])[0]
    assert np.abs(coverage(shape, BOX, 5, 4) - coverage(mended, BOX, 5, 4)).max() < 1e-12


def test_many_shapes_at_once_are_each_in_their_box():
    shapes = np.array([shapely.affinity.rotate(shapely.box(10, 10, 50, 20), a) for a in range(0, 180, 9)], dtype=object)
    boxes_N4 = shapely.bounds(shapes)
    batch = coverages(shapes, boxes_N4, 16, 12)
    for shape, box_4, cover_RC in zip(shapes, boxes_N4, batch, strict=True):
        assert np.abs(coverage(shape, box_4, 16, 12) - cover_RC).max() < 1e-12
        area = cover_RC.sum() * np.prod(box_4[2:] - box_4[:2]) / (16 * 12)
        assert area == pytest.approx(shape.area, rel=1e-12)
    assert coverages(np.array([], dtype=object), np.zeros((0, 4)), 3, 2).shape == (0, 2, 3)


def test_shapes_without_area_cover_nothing():
    for shape in (shapely.Point(20, 20), shapely.LineString([(0, 0), (70, 70)]), shapely.Polygon()):
        assert not coverage(shape, BOX, 4, 4).any()
    assert coverage(shapely.box(-1e6, -1e6, 1e6, 1e6), BOX, 4, 4).min() == 1.0


@settings(deadline=None)
@given(rings, st.floats(0, 180))
def test_cells_by_their_centre(ring, angle):
    shape = some_shape(ring, angle)
    centres = shapely.centroid(cells_of(BOX, 8, 6))
    # a centre on an edge may count or not, by rounding of the cell units
    sure = shapely.distance(centres, shape.boundary) > 1e-9
    assert (centre_cells(shape, BOX, 8, 6) == shapely.contains(shape, centres))[sure].all()


def test_pooling_rules():
    cover = np.array([[0.0, 0.2], [0.5, 1.0]])
    assert pooled(cover).tolist() == [[False, False], [True, True]]
    assert pooled(cover, "any").tolist() == [[False, True], [True, True]]
    assert pooled(cover, 0.9).tolist() == [[False, False], [False, True]]
    thin = np.array([[0.1, 0.3], [0.3, 0.0]])
    assert pooled(thin).tolist() == [[False, True], [False, False]]  # an object never vanishes
    assert not pooled(thin, keep_one=False).any() and not pooled(np.zeros((2, 2))).any()
    assert pooled(np.stack([cover, thin]))[1].sum() == 1


@settings(deadline=None, max_examples=300)
@given(grids)
def test_the_outline_is_valid_exact_and_comes_back(grid_RC):
    rows, columns = grid_RC.shape
    shape = grid_to_geometry(grid_RC, (0, 0, columns, rows))
    assert shape.is_valid and shape.area == grid_RC.sum()
    assert shape.equals(shapely.union_all(cells_of((0, 0, columns, rows), columns, rows)[grid_RC]))
    assert (centre_cells(shape, (0, 0, columns, rows), columns, rows) == grid_RC).all()
    moved = grid_to_geometry(grid_RC, BOX)
    assert moved.is_valid and (pooled(coverage(moved, BOX, columns, rows), keep_one=False) == grid_RC).all()
    assert not shape.is_empty or not grid_RC.any()


def test_cells_that_meet_at_corners_only():
    corner = np.array([[1, 0], [0, 1]])
    assert len(grid_to_geometry(corner, (0, 0, 2, 2)).geoms) == 2
    assert len(grid_to_geometry(corner[::-1], (0, 0, 2, 2)).geoms) == 2
    closed = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]])  # a ring whose ends meet at a corner
    shape = grid_to_geometry(closed, (0, 0, 3, 3))
    assert shape.is_valid and shape.geom_type == "Polygon" and len(shape.interiors) == 1
    assert len(grid_to_geometry(np.ones((1, 5)), (0, 0, 5, 1)).exterior.coords) == 5
    island = np.ones((7, 7))
    island[1:-1, 1:-1] = 0
    island[3, 3] = 1
    parts = grid_to_geometry(island, (0, 0, 7, 7))
    assert parts.is_valid and sorted(len(p.interiors) for p in parts.geoms) == [0, 1]


def test_mistakes_are_named():
    square = shapely.box(0, 0, 1, 1)
    with pytest.raises(ValueError, match="x1 < x2"):
        coverage(square, (0, 0, 0, 1), 2, 2)
    with pytest.raises(ValueError, match="cells are possible"):
        coverage(square, (0, 0, 1, 1), 0, 2)
    with pytest.raises(ValueError, match="cells are possible"):
        coverage(square, (0, 0, 1, 1), 1 << 20, 1 << 20)
    with pytest.raises(ValueError, match="rows, columns"):
        grid_to_geometry(np.zeros(4), (0, 0, 1, 1))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad, message", [(np.nan, "finite"), (np.inf, "finite"), (1e300, "CRS and units")])
def test_shapes_that_lie_nowhere_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        coverage(shapely.Polygon([(0, 0), (5, bad), (5, 5)]), (0, 0, 8, 8), 4, 4)
