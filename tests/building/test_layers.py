"""One layer onto a shelf: its classes, widths, attributes and ids, and what was drawn beside the areas."""

from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.layers import LayerSettings, read_onto
from georefer.building.shelf import Shelf
from georefer.errors import ConfigError
from georefer.geometry import GeoGrid
from georefer.imagery import batches

GRID = GeoGrid(CRS.from_epsg(32645), Affine(0.5, 0, 400_000, 0, -0.5, 3_000_000), 200, 100)  # 100 m x 50 m


def on_the_map(xy):
    """Pixels as places."""
    return xy * (0.5, -0.5) + (400_000, 3_000_000)


def saved(path, shapes, **columns):
    """A layer of shapes given in pixels."""
    shapes_N = shapely.transform(np.array(shapes, dtype=object), on_the_map)
    table = geopandas.GeoDataFrame(columns, geometry=shapes_N, crs=GRID.crs)
    pyogrio.write_dataframe(table, path, promote_to_multi=False)
    return path


def put(path, number=0, **settings):
    """(layer, shelf, its rows)"""
    shelf = Shelf(GRID.width, GRID.height)
    layer = read_onto(shelf, LayerSettings(path, **settings), GRID, number)
    shelf.finish()
    return layer, shelf, shelf.everything()


BOX = shapely.box(10, 10, 30, 20)
BEND = shapely.LineString([(40, 10), (80, 10), (80, 50)])
POINT = shapely.Point(120, 40)


@pytest.mark.parametrize(
    "settings, name, source",
    [
        ({"path": Path("town.gpkg")}, "town", Path("town.gpkg")),
        ({"path": Path("town.gpkg"), "layer": "roads"}, "roads", Path("town.gpkg")),
        ({"path": Path("a-1.gpkg"), "layer": "roads", "called": "ways"}, "ways", Path("a-1.gpkg")),
        ({"database": "PG:dbname=area", "layer": "roads"}, "roads", "PG:dbname=area"),
        ({"database": "PG:dbname=area"}, "database", "PG:dbname=area"),
    ],
)
def test_a_layer_is_counted_under_its_narrowest_name(settings, name, source):
    found = LayerSettings(**settings)
    assert (found.name, found.source) == (name, source)


def test_points_and_lines_get_a_width_on_the_ground_and_stay_known_as_drawn(tmp_path):
    path = saved(tmp_path / "l.gpkg", [BEND, POINT], n=[1, 2])
    _, shelf, rows = put(path, label="thing", buffer_m=2.0)
    objects, area_N = shelf.objects(rows, {0: ("0/l", False)})
    # 2 m are 4 pixels to either side; the corner is round
    assert objects.geometries_N[0].bounds == pytest.approx((36, 6, 84, 54), abs=0.01)
    assert area_N[1] == pytest.approx(np.pi * 16, rel=0.01)
    drawn_N = shelf.drawn(rows)
    assert shapely.equals_exact(drawn_N, [BEND, POINT], 1e-6).all()


def test_areas_are_as_they_were_drawn(tmp_path):
    _, shelf, rows = put(saved(tmp_path / "l.gpkg", [BOX], n=[1]), label="house")
    assert shelf.drawn(rows) is None and rows["drawn"].null_count == 1
    # beside a layer of lines they are there as areas
    read_both = Shelf(GRID.width, GRID.height)
    for number, shape in enumerate((BOX, BEND)):
        layer = LayerSettings(saved(tmp_path / f"{number}.gpkg", [shape], n=[1]), label="x", buffer_m=number or None)
        read_onto(read_both, layer, GRID, number)
    read_both.finish()
    rows = read_both.everything()
    assert rows["drawn"].is_null().to_pylist() == [True, False]
    assert shapely.equals_exact(read_both.drawn(rows), [BOX, BEND], 1e-6).all()


@pytest.mark.parametrize("mapped", [False, True])
def test_what_has_no_class_leaves_shapes_labels_attributes_and_lines_together(tmp_path, mapped, monkeypatch):
    """Every second feature is left out; what is said of each of the others is its own, in batches too."""
    shapes = [shapely.LineString([(5 + 10 * k, 5), (5 + 10 * k, 40)]) for k in range(12)]
    kinds = ["lane", None, "street", "moat"] * 3
    path = saved(tmp_path / "l.gpkg", shapes, kind=kinds, number=range(12))
    settings = {"label_from": "kind", "labels": {"lane": "road", "street": "road"}, "buffer_m": 1.0}
    if mapped:
        (tmp_path / "m.toml").write_text(
            'name = "m"\n[classes]\nroad = {width_m = 2}\n[[rules]]\nattribute = "kind"\n'
            'values = {lane = "road", street = "road"}\n'
        )
        settings = {"mapping": tmp_path / "m.toml"}
    monkeypatch.setattr(batches, "BATCH", 5)
    layer, shelf, rows = put(path, attributes=("number",), **settings)
    objects, _ = shelf.objects(rows, {0: ("0/l", False)})
    assert [a["number"] for a in objects.attributes_N] == [0, 2, 4, 6, 8, 10] and shelf.labels == ("road",)
    assert type(objects.attributes_N[0]["number"]) is int
    assert shapely.equals_exact(shelf.drawn(rows), np.array(shapes, dtype=object)[::2], 1e-6).all()
    assert shapely.bounds(objects.geometries_N)[:, 0] == pytest.approx([3 + 20 * k for k in range(6)], abs=0.01)
    assert (layer.counts["read"], layer.counts["without a known label"], layer.counts["used"]) == (12, 6, 6)


def test_missing_attributes_are_left_out(tmp_path):
    path = saved(
        tmp_path / "l.gpkg", [BOX, POINT.buffer(5), POINT.buffer(9)], roof=["red", None, ""], age=[1.5, None, 3]
    )
    _, shelf, rows = put(path, label="house", attributes=("roof", "age"))
    objects, _ = shelf.objects(rows, {0: ("0/l", False)})
    assert objects.attributes_N.tolist() == [{"roof": "red", "age": 1.5}, {}, {"age": 3.0}]


@pytest.mark.parametrize(
    "ids, has_ids",
    [
        (["a", "b", "c"], True),
        (["a", "b", "a"], False),  # in two batches
        (["a", None, "c"], False),
        ([7, 8, 9], True),
    ],
)
def test_own_ids_are_used_where_they_tell_all_features_apart(tmp_path, monkeypatch, ids, has_ids):
    shapes = [shapely.box(x, 5, x + 9, 14) for x in (5, 25, 45)]
    monkeypatch.setattr(batches, "BATCH", 2)
    layer, _, _ = put(saved(tmp_path / "l.gpkg", shapes, id=ids), label="x")
    assert layer.has_ids is has_ids


def test_a_class_that_is_missing_is_told_with_its_place(tmp_path):
    layer, _, _ = put(saved(tmp_path / "l.gpkg", [BOX, POINT.buffer(4)], kind=["hut", None]), label_from="kind")
    (told,) = layer.problems
    assert (told.kind, told.count, told.detail) == ("unlabelled", 1, "by kind") and "feature 2 at" in told.places[0]


def test_lines_without_a_width_are_refused_with_the_name_of_the_layer(tmp_path):
    path = saved(tmp_path / "ways.gpkg", [BEND], n=[1])
    with pytest.raises(ConfigError, match=r"layer 'ways' of .*ways\.gpkg holds points or lines.*give buffer_m"):
        put(path, label="road")
