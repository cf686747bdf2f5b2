"""GeoJSON as RFC 7946 has it, also where the data is awkward."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from georefer.errors import InputError
from georefer.imagery.write import write_geojson


def written(path, shapes, crs=4326, **columns):
    write_geojson(path, gpd.GeoDataFrame(columns, geometry=shapes, crs=crs))
    return json.loads(path.read_text())


def test_equal_input_gives_equal_bytes_and_its_own_name(tmp_path):
    (tmp_path / "x").mkdir()
    first = written(tmp_path / "a.geojson", [shapely.box(0, 0, 1, 1)])
    written(tmp_path / "x" / "a.geojson", [shapely.box(0, 0, 1, 1)])
    assert first["name"] == "a" and set(first) == {"type", "name", "features"}
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "x" / "a.geojson").read_bytes()


def test_rings_follow_the_right_hand_rule(tmp_path):
    clockwise = shapely.Polygon([(0, 0), (0, 9), (9, 9), (9, 0)], [[(1, 1), (2, 1), (2, 2)]])
    data = written(tmp_path / "a.geojson", [shapely.MultiPolygon([clockwise])])
    outer, hole = data["features"][0]["geometry"]["coordinates"][0]
    assert shapely.LinearRing(outer).is_ccw and not shapely.LinearRing(hole).is_ccw


def test_shapes_are_cut_at_the_antimeridian(tmp_path):
    data = written(tmp_path / "a.geojson", [shapely.box(179.9, 0, 180.1, 1)])
    coordinates = shapely.get_coordinates(shapely.from_geojson(json.dumps(data["features"][0]["geometry"])))
    assert data["features"][0]["geometry"]["type"] == "MultiPolygon" and np.abs(coordinates[:, 0]).max() == 180


def test_missing_values_and_no_features(tmp_path):
    data = written(tmp_path / "a.geojson", [shapely.Point(1, 2), None], a=[1.5, np.nan])
    assert [f["properties"]["a"] for f in data["features"]] == [1.5, None]
    assert data["features"][1]["geometry"] is None
    assert written(tmp_path / "b.geojson", [])["features"] == []


def test_places_outside_a_projection_are_refused(tmp_path):
    with pytest.raises(InputError, match="outside the domain of WGS 84 / UTM zone 31N"):
        written(tmp_path / "a.geojson", [shapely.box(1e9, 1e9, 2e9, 2e9)], crs=32631)
    assert list(tmp_path.iterdir()) == []
