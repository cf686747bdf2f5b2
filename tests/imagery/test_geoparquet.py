"""GeoParquet: metadata as the specification says, statistics that let a reader skip, and what is refused."""

import json
import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from georefer.errors import InputError, VectorError
from georefer.geometry import GeoGrid
from georefer.imagery import geoparquet
from georefer.imagery.geoparquet import geoparquet_info, read_bounds, read_geoparquet, write_geoparquet
from georefer.imagery.vector import layers, read_layer

UTM = CRS.from_epsg(32645)
GRID = GeoGrid(UTM, Affine(0.5, 0, 400_000, 0, -0.5, 3_000_000), 200, 100)


def scattered(count=2_000, crs=UTM):
    rng = np.random.default_rng(0)
    x, y = 400_000 + rng.uniform(0, 10_000, count), 3_000_000 - rng.uniform(0, 10_000, count)
    return gpd.GeoDataFrame({"n": range(count)}, geometry=shapely.box(x, y, x + 5, y + 5), crs=crs)


def geo(path):
    return json.loads(pq.read_schema(path).metadata[b"geo"])


def test_metadata_follow_the_schema_of_1_1(tmp_path):
    shapes = [shapely.box(0, 0, 1, 1), shapely.MultiPolygon([shapely.box(2, 2, 3, 4)]), None, shapely.Point(5, 5, 9)]
    write_geoparquet(tmp_path / "a.parquet", gpd.GeoDataFrame({"a": list("wxyz")}, geometry=shapes, crs=2154))
    meta = geo(tmp_path / "a.parquet")
    assert set(meta) == {"version", "primary_column", "columns"} and meta["version"] == "1.1.0"
    column = meta["columns"][meta["primary_column"]]
    assert column["encoding"] == "WKB" and column["orientation"] == "counterclockwise" and column["edges"] == "planar"
    assert column["geometry_types"] == ["MultiPolygon", "Point Z", "Polygon"]
    pattern = r"^(GeometryCollection|(Multi)?(Point|LineString|Polygon))( Z)?$"
    assert all(re.match(pattern, kind) for kind in column["geometry_types"])
    assert column["bbox"] == [0, 0, 9, 5, 5, 9]  # with a Z anywhere: all minima, then all maxima
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 2154} and "$schema" in column["crs"]
    assert CRS.from_json_dict(column["crs"]) == CRS.from_epsg(2154)
    assert column["covering"] == {"bbox": {edge: ["bbox", edge] for edge in ("xmin", "ymin", "xmax", "ymax")}}
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.field("geometry").type == pa.binary()
    assert [(f.name, f.type) for f in schema.field("bbox").type] == [(e, pa.float64()) for e in geoparquet._EDGES]


def test_wkb_is_iso_and_rings_run_anticlockwise(tmp_path):
    clockwise = shapely.Polygon([(0, 0), (0, 9), (9, 9), (9, 0)], [[(1, 1), (2, 1), (2, 2)]])
    frame = gpd.GeoDataFrame(geometry=[clockwise, shapely.Point(1, 2, 3)], crs=4326)
    write_geoparquet(tmp_path / "a.parquet", frame)
    stored = pq.read_table(tmp_path / "a.parquet")["geometry"].to_pylist()
    kinds = sorted(int.from_bytes(wkb[1:5], "little") for wkb in stored)
    assert kinds == [3, 1001]  # the other flavour of WKB would flag Z in the highest bit
    polygon = next(shape for shape in shapely.from_wkb(stored) if shape.geom_type == "Polygon")
    assert polygon.exterior.is_ccw and not polygon.interiors[0].is_ccw


def test_others_read_what_is_written(tmp_path):
    table = scattered()
    write_geoparquet(tmp_path / "a.parquet", table, rows_per_group=100)
    theirs = gpd.read_parquet(tmp_path / "a.parquet").sort_values("n", ignore_index=True)
    assert theirs.crs == UTM and theirs.geometry.geom_equals(table.geometry).all()
    box = (402_000, 2_994_000, 403_000, 2_995_000)
    few = gpd.read_parquet(tmp_path / "a.parquet", bbox=box)  # needs the covering
    assert sorted(few["n"]) == sorted(read_geoparquet(tmp_path / "a.parquet", bbox=box)["n"]) and 0 < len(few) < 60


@pytest.mark.parametrize("options", [{}, {"write_covering_bbox": True, "schema_version": "1.1.0"}])
def test_what_others_write_is_read(tmp_path, options):
    table = scattered(300).rename_geometry("shape")
    table.to_parquet(tmp_path / "a.parquet", **options)
    ours = read_geoparquet(tmp_path / "a.parquet")
    assert ours["n"].tolist() == table["n"].tolist() and ours.crs == UTM and "bbox" not in ours
    np.testing.assert_allclose(read_bounds(tmp_path / "a.parquet"), shapely.bounds(table.geometry.values))
    box = (402_000, 2_990_000, 405_000, 2_995_000)
    inside = table[table.intersects(shapely.box(*box))]
    assert read_geoparquet(tmp_path / "a.parquet", bbox=box)["n"].tolist() == inside["n"].tolist()


def test_row_groups_elsewhere_are_not_read(tmp_path, monkeypatch):
    write_geoparquet(tmp_path / "a.parquet", scattered(), rows_per_group=100)
    read = []
    whole = geoparquet._read_group
    monkeypatch.setattr(geoparquet, "_read_group", lambda *a: read.append(a[2]) or whole(*a))
    box = (402_000, 2_994_000, 402_500, 2_994_500)
    near = read_geoparquet(tmp_path / "a.parquet", bbox=box)
    # 20 groups of a 20th of the ground each; a random order would touch all of them
    assert len(near) and len(read) <= 4
    everything = read_geoparquet(tmp_path / "a.parquet")
    assert len(everything) == 2_000 and everything.index.tolist() == list(range(2_000))
    assert near.equals(everything.loc[near.index])
    assert len(read_geoparquet(tmp_path / "a.parquet", bbox=(0, 0, 1, 1))) == 0


@given(st.integers(1, 6))
def test_neighbours_on_the_curve_are_neighbours_on_the_ground(bits):
    side = 1 << bits
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    keys = geoparquet._hilbert_keys(cells, bits)
    assert sorted(keys) == list(range(side * side))
    assert (np.abs(np.diff(cells[np.argsort(keys)], axis=0)).sum(axis=1) == 1).all()


def test_equal_frames_give_equal_bytes_and_no_rest(tmp_path):
    for name in ("a.parquet", "b.parquet"):
        write_geoparquet(tmp_path / name, scattered(50))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    with pytest.raises(InputError, match="one type a column"):
        write_geoparquet(tmp_path / "c.parquet", scattered(2).assign(mixed=[1, "x"]))
    with pytest.raises(InputError, match="'bbox'"):
        write_geoparquet(tmp_path / "c.parquet", scattered(2).assign(bbox=1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("crs", [32645, 4326, None])
def test_a_layer_lands_on_its_pixels(tmp_path, crs):
    shapes = [None, shapely.Polygon(), shapely.box(400_000, 2_999_995, 400_005, 3_000_000), shapely.box(0, 0, 1, 1)]
    frame = gpd.GeoDataFrame({"n": range(4)}, geometry=shapes, crs=UTM)
    frame = frame.to_crs(crs) if crs else frame.set_crs(None, allow_override=True)
    write_geoparquet(tmp_path / "l.geoparquet", frame.rename_geometry("shape"))
    assert layers(tmp_path / "l.geoparquet") == ["l"]
    read = read_layer(tmp_path / "l.geoparquet", grid=GRID, crs=None if crs else "EPSG:32645")
    assert read.counts() == {"read": 4, "empty": 2, "repaired": 0, "outside": 1, "kept": 1}
    assert read.frame["n"].tolist() == [2] and read.frame.index.name == "fid"
    pixels = shapely.bounds(GRID.geometry_to_pixel(read.frame.geometry.values))
    np.testing.assert_allclose(pixels, [[0, 0, 10, 10]], atol=1e-3)
    if crs is None:
        with pytest.raises(VectorError, match="no coordinate reference system"):
            read_layer(tmp_path / "l.geoparquet", grid=GRID)


def test_a_missing_crs_is_longitude_and_latitude(tmp_path):
    write_geoparquet(tmp_path / "a.parquet", gpd.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=4326))
    table, meta = pq.read_table(tmp_path / "a.parquet"), geo(tmp_path / "a.parquet")
    del meta["columns"]["geometry"]["crs"]
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(meta)}), tmp_path / "a.parquet")
    assert geoparquet_info(tmp_path / "a.parquet").crs.to_authority() == ("OGC", "CRS84")


def test_no_features_are_a_layer_too(tmp_path):
    write_geoparquet(tmp_path / "a.parquet", scattered(0))
    assert len(read_geoparquet(tmp_path / "a.parquet")) == 0
    assert read_layer(tmp_path / "a.parquet", grid=GRID).counts()["read"] == 0


def test_what_is_no_geoparquet_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.parquet").write_text("no")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "plain.parquet")
    write_geoparquet(tmp_path / "good.parquet", scattered(3))
    table, meta = pq.read_table(tmp_path / "good.parquet"), geo(tmp_path / "good.parquet")

    def harmed(name, **changes):
        column = {**meta["columns"]["geometry"], **changes}
        content = {**meta, "columns": {"geometry": column}}
        pq.write_table(table.replace_schema_metadata({"geo": json.dumps(content)}), tmp_path / name)
        return tmp_path / name

    pq.write_table(table.replace_schema_metadata({"geo": "[" * 100_000}), tmp_path / "deep.parquet")
    for path, says in [
        (tmp_path / "none.parquet", "there is no file"),
        (tmp_path / "text.parquet", "no readable Parquet"),
        (tmp_path / "plain.parquet", "without usable 'geo' metadata"),
        (tmp_path / "deep.parquet", "without usable 'geo' metadata"),
        (harmed("point.parquet", encoding="point"), "encoded as 'point' where WKB"),
        (harmed("crs.parquet", crs={"type": "nonsense"}), "CRS that PROJ cannot read"),
        (harmed("covering.parquet", covering={"bbox": {"xmin": 3}}), "without usable 'geo'"),
    ]:
        with pytest.raises(VectorError, match=says) as error:
            read_layer(path, grid=GRID)
        assert "\n" not in str(error.value)
    # a covering that names no column is no covering
    assert len(read_geoparquet(harmed("lost.parquet", covering=_covering("elsewhere")), bbox=(0, 0, 1e7, 1e7))) == 3


def _covering(outer):
    return {"bbox": {edge: [outer, edge] for edge in ("xmin", "ymin", "xmax", "ymax")}}


def test_damaged_shapes_are_counted_as_empty(tmp_path):
    write_geoparquet(tmp_path / "a.parquet", gpd.GeoDataFrame(geometry=[GRID.footprint, GRID.footprint], crs=UTM))
    table = pq.read_table(tmp_path / "a.parquet")
    broken = pa.array([table["geometry"][0].as_py(), b"\x01no wkb"], pa.binary())
    pq.write_table(table.set_column(0, "geometry", broken), tmp_path / "a.parquet")
    assert read_geoparquet(tmp_path / "a.parquet").geometry.isna().tolist() == [False, True]


@pytest.mark.shared
def test_real_buildings_come_back(tmp_path, shared_data):
    table = gpd.read_file(shared_data / "banepa-buildings" / "osm_buildings.geojson")
    write_geoparquet(tmp_path / "a.parquet", table, rows_per_group=100)
    back = read_geoparquet(tmp_path / "a.parquet")
    assert len(back) == len(table) == 971 and list(back.columns)[:-1] == list(table.columns)[:-1]
    assert sorted(back.geometry.normalize().to_wkt()) == sorted(table.geometry.normalize().to_wkt())
