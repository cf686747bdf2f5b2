"""What lies near comes back as it was put in, whatever its size and place; repeated shapes are left out."""

import numpy as np
import pytest
import shapely

from georefer.building.shelf import CELL_PX, Shelf


def shelf_of(shapes, labels=None, size=20_000, batch=7, **columns):
    shelf = Shelf(size, size)
    labels = labels or ["a"] * len(shapes)
    for start in range(0, len(shapes), batch):
        some = slice(start, start + batch)
        shapes_N = np.array(shapes[some], dtype=object)
        ids = columns.get("ids", [None] * len(shapes))[some]
        attributes = columns.get("attributes", [{}] * len(shapes))[some]
        shelf.add(0, np.arange(start, start + len(shapes_N)), ids, labels[some], shapes_N, attributes)
    return shelf, shelf.finish()


def fids(shelf, *boxes):
    return shelf.near(np.array(boxes, dtype=float))["fid"].to_pylist()


def test_near_is_what_a_search_through_all_finds():
    rng = np.random.default_rng(0)
    middle_N2 = rng.uniform(-500, 20_500, (600, 2))
    # from below a pixel to beyond the area, and some outside of it
    side_N2 = np.exp(rng.uniform(np.log(0.1), np.log(30_000), (600, 2)))
    shapes = shapely.box(*(middle_N2 - side_N2 / 2).T, *(middle_N2 + side_N2 / 2).T).tolist()
    shelf, left_out = shelf_of(shapes, batch=100)
    assert not left_out and len(shelf) == 600
    tree = shapely.STRtree(shapes)
    for side in (1, 200, 3000, 25_000):
        start_N2 = rng.uniform(-200, 20_000, (5, 2))
        boxes_N4 = np.hstack([start_N2, start_N2 + side])
        assert fids(shelf, *boxes_N4) == np.unique(tree.query(shapely.box(*boxes_N4.T))[1]).tolist()
    assert shelf.everything()["fid"].to_pylist() == list(range(600))
    assert shelf.bounds().tolist() == shapely.bounds(shapes).tolist()


@pytest.mark.parametrize(
    "box",
    [
        (CELL_PX, 10, CELL_PX + 5, 20),  # touches the feature at its edge, from the next cell
        (500, 10, 2000, 20),  # over several cells
        (-50, -50, 1e6, 1e6),  # larger than the area
    ],
)
def test_a_feature_on_the_border_of_cells_is_found_from_both(box):
    shelf, _ = shelf_of([shapely.box(CELL_PX - 5, 10, CELL_PX, 20)])
    assert fids(shelf, box) == [0]
    assert fids(shelf, (CELL_PX + 0.1, 10, CELL_PX + 5, 20)) == []


def test_objects_are_whole():
    shape = shapely.Polygon([(0, 0), (4, 0), (4, 4), (0, 4)], [[(1, 1), (2, 1), (2, 2)]])
    attributes = [{"roof": "é", "n": 2, "h": 1.5, "flat": True}, {}]
    shelf, _ = shelf_of([shape, shapely.box(9, 9, 12, 12)], ["b", "a"], ids=["x", "y"], attributes=attributes)
    for has_ids, ids in ((True, ["3/x", "3/y"]), (False, ["3/roofs/all-0", "3/roofs/all-1"])):
        objects, area_N = shelf.objects(shelf.everything(), {0: ("3/roofs/all", has_ids)})
        assert objects.ids_N.tolist() == ids
    assert objects.labels_N.tolist() == ["b", "a"] and shelf.labels == ("a", "b")
    assert objects.attributes_N.tolist() == attributes
    assert shapely.equals_exact(objects.geometries_N[0], shape) and area_N.tolist() == [15.5, 9]


def test_repeated_shapes_are_left_out_where_they_come_later():
    box, other = shapely.box(CELL_PX - 5, 0, CELL_PX + 5, 10), shapely.box(0, 0, 10, 10)
    turned = shapely.Polygon(list(box.exterior.coords)[2:-1] + list(box.exterior.coords)[:2])
    moved = shapely.transform(box, lambda xy: xy + 4e-4)  # by way of another CRS; its middle may round otherwise
    same_bounds = shapely.Polygon([(0, 0), (10, 0), (10, 10)])
    empty = shapely.Polygon()
    shelf, left_out = shelf_of(
        [box, other, turned, moved, box, same_bounds, empty, empty], ["a"] * 4 + ["b"] + ["a"] * 3
    )
    fids_N, bounds_N4 = left_out[0]
    assert fids_N.tolist() == [2, 3, 7] and len(shelf) == 5
    assert bounds_N4[0].tolist() == list(box.bounds)
    assert shelf.everything()["fid"].to_pylist() == [0, 1, 4, 5, 6]


def test_an_empty_shelf_has_nothing_near():
    shelf, left_out = shelf_of([])
    assert not left_out and len(shelf) == 0 and shelf.labels == ()
    objects, area_N = shelf.objects(shelf.near(np.array([[0, 0, 9, 9]])), {})
    assert not len(objects) and not len(area_N) and not shelf.near(np.empty((0, 4))).num_rows
