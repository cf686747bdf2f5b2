"""Reading layers onto an image's grid: reprojection, counts, and what is refused."""

import sqlite3
import struct

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.errors import VectorError
from georefer.geometry import GeoGrid
from georefer.imagery import batches
from georefer.imagery.geoparquet import write_geoparquet
from georefer.imagery.problems import Problem
from georefer.imagery.raster import open_imagery
from georefer.imagery.vector import layers, read_layer

UTM = CRS.from_epsg(32645)
GRID = GeoGrid(UTM, Affine(0.5, 0, 400_000, 0, -0.5, 3_000_000), 200, 100)  # 100 m x 50 m


def frame(*shapes, crs=UTM, **columns):
    return geopandas.GeoDataFrame(columns or {"n": range(len(shapes))}, geometry=list(shapes), crs=crs)


def at(x, y, width=5, height=5):
    """A rectangle at metres from the image's top-left corner, y down."""
    return shapely.box(400_000 + x, 3_000_000 - y - height, 400_000 + x + width, 3_000_000 - y)


def saved(path, table, **options):
    pyogrio.write_dataframe(table, path, **options)
    return path


BOW = shapely.Polygon([(400_010, 2_999_990), (400_020, 2_999_980), (400_020, 2_999_990), (400_010, 2_999_980)])


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "fgb"])
@pytest.mark.parametrize("crs", [32645, 4326, 3857])
def test_features_land_on_their_pixels_whatever_the_format_and_crs(tmp_path, ending, crs):
    table = frame(at(0, 0), at(40, 20), at(500, 20), kind=["a", "b", "away"]).to_crs(crs)
    read = read_layer(saved(tmp_path / f"l.{ending}", table), grid=GRID)
    assert ending == "geojson" or pyogrio.read_info(tmp_path / f"l.{ending}")["crs"] == f"EPSG:{crs}"
    assert read.frame.crs == UTM and read.frame["kind"].tolist() == ["a", "b"]
    assert read.counts() == {"read": 3, "empty": 0, "repaired": 0, "outside": 1, "kept": 2}
    pixels = shapely.bounds(GRID.geometry_to_pixel(read.frame.geometry.values))
    np.testing.assert_allclose(pixels, [[0, 0, 10, 10], [80, 40, 90, 50]], atol=0.02)


def test_every_feature_is_counted_once(tmp_path):
    spike = shapely.Polygon([(400_050, 2_999_990), (400_060, 2_999_990), (400_050, 2_999_990)])
    shapes = [None, shapely.Polygon(), BOW, spike, at(10, 10), at(-3, 10), at(-50, 10)]
    read = read_layer(saved(tmp_path / "l.gpkg", frame(*shapes)), grid=GRID)
    # one reaches over the edge and is kept whole
    assert read.counts() == {"read": 7, "empty": 3, "repaired": 1, "outside": 1, "kept": 3}
    assert read.frame["n"].tolist() == [2, 4, 5] and read.frame.index.name == "fid"
    assert read.frame.geometry.is_valid.all()
    assert read.frame.geometry.iloc[0].area == pytest.approx(50) and read.frame.geometry.iloc[2].area == 25


def test_height_is_dropped(tmp_path):
    high = shapely.force_3d(at(10, 10), 1300.0)
    read = read_layer(saved(tmp_path / "l.gpkg", frame(high)), grid=GRID)
    assert not read.frame.geometry.has_z.any() and read.frame.geometry.iloc[0].equals(at(10, 10))


def test_the_search_box_follows_the_footprint_into_another_crs(tmp_path):
    # a wide image: its straight edges bend by kilometres in the layer's conic projection
    grid = GeoGrid(CRS.from_epsg(4326), Affine(0.01, 0, -5, 0, -0.01, 50), 2000, 300)
    middle = frame(shapely.box(2.9, 47.001, 3.1, 47.03), crs=4326).to_crs(2154)
    assert len(read_layer(saved(tmp_path / "l.gpkg", middle), grid=grid).frame) == 1


def test_one_of_many_layers(tmp_path):
    path = saved(tmp_path / "l.gpkg", frame(at(1, 1)), layer="roofs")
    saved(path, frame(at(2, 2), at(4, 4)), layer="trees")
    pyogrio.write_dataframe(frame(at(2, 2)).drop(columns="geometry"), path, layer="table")
    assert layers(path) == ["roofs", "trees"]
    assert len(read_layer(path, layer="trees", grid=GRID).frame) == 2
    with pytest.raises(VectorError, match="2 layers where one is expected; choose among roofs, trees"):
        read_layer(path, grid=GRID)
    with pytest.raises(VectorError, match="no layer 'tree'; choose among roofs, trees"):
        read_layer(path, layer="tree", grid=GRID)


def test_a_layer_without_crs_needs_to_be_told(tmp_path):
    path = saved(tmp_path / "l.shp", frame(at(10, 10)))
    path.with_suffix(".prj").unlink()
    with pytest.raises(VectorError, match=r"no coordinate reference system.*crs='EPSG"):
        read_layer(path, grid=GRID)
    assert len(read_layer(path, grid=GRID, crs="EPSG:32645").frame) == 1
    with pytest.raises(VectorError, match="PROJ cannot read"):
        read_layer(path, grid=GRID, crs="EPSG:999999")


def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.gpkg").write_text("no database")
    (tmp_path / "cut.geojson").write_text('{"type": "FeatureCollection", "features": [{"type"')
    no_shapes = saved(tmp_path / "void.gpkg", frame(None, shapely.Polygon(), n=[1, 2]), geometry_type="Polygon")
    away = saved(tmp_path / "away.gpkg", frame(at(5000, 0)))
    here = saved(tmp_path / "here.gpkg", frame(at(1, 1)))
    for path, grid, says in [
        (tmp_path / "none.gpkg", GRID, "there is no file"),
        (tmp_path / "text.gpkg", GRID, "cannot read"),
        (tmp_path / "cut.geojson", GRID, "cannot read"),
        (no_shapes, GRID, "2 features, none of them with a geometry"),
        (away, GRID, r"longitude 86\.04.* latitude 27\.1.* over the imagery at longitude 85\.99.* expected"),
        (here, GeoGrid.none(10, 10), "imagery has no coordinate reference system"),
    ]:
        with pytest.raises(VectorError, match=says) as error:
            read_layer(path, grid=grid)
        assert "\n" not in str(error.value), error.value


@pytest.mark.shared
def test_banepa_buildings_lie_on_the_mosaic(shared_data):
    folder = shared_data / "banepa-buildings"
    imagery = open_imagery(folder / "tiles")
    read = read_layer(folder / "osm_buildings.geojson", grid=imagery.grid)
    assert read.counts() == {"read": 971, "empty": 0, "repaired": 0, "outside": 0, "kept": 971}
    bounds = shapely.bounds(imagery.grid.geometry_to_pixel(read.frame.geometry.values))
    assert (bounds[:, 2] > 0).all() and (bounds[:, 0] < 2048).all() and (bounds[:, 1] < 4096).all()
    # roofs end where outlines run: the picture changes more along them than along outlines moved by 2 m
    grey = imagery.overview(4096).image_HW3.mean(axis=2)
    edges = np.hypot(*np.gradient(grey))
    lines = shapely.boundary(imagery.grid.geometry_to_pixel(read.frame.geometry.values))
    points = shapely.get_coordinates(shapely.segmentize(lines, 4))

    def strength(dx, dy):
        column, row = (points + np.array([dx, dy])).astype(int).T
        inside = (column >= 0) & (column < 2048) & (row >= 0) & (row < 4096)
        return edges[row[inside], column[inside]].mean()

    moved = [strength(dx, dy) for dx, dy in ((15, 0), (-15, 0), (0, 15), (0, -15))]
    assert strength(0, 0) > 1.2 * max(moved)


@pytest.mark.shared
def test_layers_with_their_own_crs(shared_data):
    trees = sorted((shared_data / "naip-urban-trees" / "json").glob("*.json"))[0]
    image = shared_data / "naip-urban-trees" / "images" / f"{trees.stem}.tif"
    read = read_layer(trees, grid=open_imagery(image).grid)
    assert len(read.frame) > 0 and read.outside == 0 and set(read.frame.geom_type) == {"Point"}
    baker = shared_data / "nrcan-aerial" / "new-brunswick"
    grid = open_imagery(sorted(baker.glob("*.tif"))[0]).grid
    assert len(read_layer(baker / "BakerLake_2017_clipped.gpkg", grid=grid).frame) > 0


def test_a_layer_without_features_is_read_as_none(tmp_path):
    path = tmp_path / "none.gpkg"
    geopandas.GeoDataFrame({"id": []}, geometry=[], crs="EPSG:2154").to_file(path, geometry_type="Polygon")
    assert read_layer(path, grid=GRID).counts() == {"read": 0, "empty": 0, "repaired": 0, "outside": 0, "kept": 0}


# --- what is wrong with single features --------------------------------------------------------------------


def counted(read):
    return {problem.kind: problem.count for problem in read.problems}


def swapped(shape):
    return shapely.transform(shape, lambda xy: xy[:, ::-1])


def test_problems_are_counted_with_places(tmp_path):
    shapes = [None, BOW, shapely.force_3d(at(20, 20), 7.0), shapely.force_3d(at(30, 20), 8.0), at(40, 20)]
    read = read_layer(saved(tmp_path / "l.gpkg", frame(*shapes), promote_to_multi=False), grid=GRID)
    assert counted(read) == {"empty": 1, "repaired": 1, "height": 2}
    lines = {problem.kind: str(problem) for problem in read.problems}
    assert lines["empty"] == "1 feature without geometry (feature 1)"
    # the bow's middle lies 15 m right of and 15 m below the corner, at 85.99 E, 27.11 N
    assert lines["repaired"].startswith("1 feature crossing themselves, repaired (feature 2 at 85.99")
    assert "2 features with heights (Z), dropped (feature 3 at" in lines["height"] and "; feature 4" in lines["height"]


def test_no_more_than_three_places_are_named(tmp_path):
    shapes = [shapely.force_3d(at(5 * k, 20), 1.0) for k in range(9)]
    (problem,) = read_layer(saved(tmp_path / "l.gpkg", frame(*shapes)), grid=GRID).problems
    assert problem.count == 9 and len(problem.places) == 3


@pytest.mark.parametrize(
    "crs, stray, kind, detail",
    [
        (4326, lambda lonlat, utm: swapped(lonlat), "swapped", ""),  # latitude first
        (32645, lambda lonlat, utm: swapped(utm), "swapped", ""),  # northing first
        (32645, lambda lonlat, utm: lonlat, "other_crs", "read as EPSG:4326"),  # degrees among metres
        (32645, lambda lonlat, utm: swapped(lonlat), "other_crs", "read as EPSG:4326 with x and y swapped"),
        (4326, lambda lonlat, utm: utm, "other_crs", "read as EPSG:32645"),  # metres among degrees
    ],
)
def test_coordinates_that_fit_only_otherwise_are_reported_and_not_changed(tmp_path, crs, stray, kind, detail):
    utm = [at(10, 10), at(30, 10), at(50, 10)]
    lonlat = list(geopandas.GeoSeries(utm, crs=UTM).to_crs(4326))
    good = utm[:1] if crs == 32645 else lonlat[:1]
    strays = [stray(a, b) for a, b in zip(lonlat[1:], utm[1:], strict=True)]
    away = [shapely.transform(good[0], lambda xy: xy * 0.97)]  # simply elsewhere
    read = read_layer(saved(tmp_path / "l.gpkg", frame(*good, *strays, *away, crs=crs)), grid=GRID)
    assert len(read.frame) == 1 and read.outside == 3
    (problem,) = read.problems
    assert (problem.kind, problem.count, problem.detail) == (kind, 2, detail)
    assert problem.places[0].startswith("feature 2 at 85.99") and ", 27.1" in problem.places[0]
    # alone, they say in the refusal what they would fit
    path = saved(tmp_path / "only.gpkg", frame(*strays, crs=crs))
    with pytest.raises(VectorError, match=r"2 features on the imagery only"):
        read_layer(path, grid=GRID)
    read = read_layer(path, grid=GRID, must_meet=False)
    assert not len(read.frame) and counted(read) == {kind: 2, "apart": 2} and "where features over" in read.apart


def test_coordinates_that_are_no_numbers_cost_one_feature(tmp_path):
    with np.errstate(invalid="ignore"):
        hole = shapely.Polygon([(400_010, 2_999_990), (400_020, np.nan), (400_020, 2_999_980)])
        read = read_layer(saved(tmp_path / "l.gpkg", frame(hole, at(10, 10)), SPATIAL_INDEX="NO"), grid=GRID)
    assert len(read.frame) == 1 and counted(read) == {"infinite": 1}
    assert read.read == read.empty + read.broken + read.outside + len(read.frame)


def test_a_ring_that_repair_would_not_end_with_is_dropped(tmp_path):
    rng = np.random.default_rng(3)
    knot = shapely.Polygon(
        np.column_stack([rng.uniform(400_000, 400_090, 400), rng.uniform(2_999_960, 3_000_000, 400)])
    )
    read = read_layer(saved(tmp_path / "l.gpkg", frame(knot, BOW)), grid=GRID)
    assert counted(read) == {"tangled": 1, "repaired": 1} and read.counts()["broken"] == 1
    alone = read_layer(saved(tmp_path / "knot.gpkg", frame(knot)), grid=GRID)
    assert not len(alone.frame) and not alone.apart


def test_measures_are_dropped_and_counted(tmp_path):
    path = saved(tmp_path / "m.gpkg", frame(shapely.Point(400_010, 2_999_990)), SPATIAL_INDEX="NO", layer="m")
    blob = b"GP\x00\x01" + struct.pack("<i", 32645) + struct.pack("<BIddd", 1, 2001, 400_010, 2_999_990, 5)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE gpkg_geometry_columns SET m = 1")
        database.execute("UPDATE m SET geom = ?", (blob,))
    read = read_layer(path, grid=GRID)
    assert counted(read) == {"measure": 1} and not read.frame.geometry.has_m.any()


def test_a_layer_without_crs_says_where_it_lies(tmp_path):
    path = saved(tmp_path / "l.shp", frame(at(10, 10)))
    path.with_suffix(".prj").unlink()
    with pytest.raises(VectorError, match=r"its 1 features lie at x 400010 to 400015"):
        read_layer(path, grid=GRID)


def test_many_shapefiles_in_a_folder_are_layers(tmp_path):
    (tmp_path / "area").mkdir()
    saved(tmp_path / "area" / "roofs.shp", frame(at(1, 1)))
    saved(tmp_path / "area" / "trees.shp", frame(at(2, 2)))
    assert sorted(layers(tmp_path / "area")) == ["roofs", "trees"]
    assert len(read_layer(tmp_path / "area", layer="trees", grid=GRID).frame) == 1


@pytest.mark.parametrize("ending", ["gpkg", "shp", "fgb", "parquet", "geojson"])
def test_a_layer_by_batches_is_the_same_layer(tmp_path, ending, monkeypatch):
    rng = np.random.default_rng(0)
    shapes = [at(x, y) for x, y in rng.uniform(-60, 150, (40, 2)).round(2)]
    shapes[3], shapes[7], shapes[25] = BOW, None, swapped(at(20, 20))
    storeys = [None if k % 9 == 0 else k for k in range(40)]
    table = frame(*shapes, name=[f"n{k}" for k in range(40)], storeys=pd.array(storeys, dtype="Int64"))
    # FlatGeobuf keeps features without a shape only where it has no index
    path = tmp_path / f"l.{ending}"
    if ending == "parquet":
        write_geoparquet(path, table, rows_per_group=10)
    else:
        saved(path, table, **({"SPATIAL_INDEX": "NO"} if ending == "fgb" else {}))
    whole = read_layer(path, grid=GRID)
    assert whole.empty == 1 and whole.outside > 5 and len(whole.frame) > 5
    monkeypatch.setattr(batches, "BATCH", 7)
    parts = read_layer(path, grid=GRID)
    assert parts.counts() == whole.counts() and parts.problems == whole.problems
    assert list(parts.frame.index) == list(whole.frame.index) and parts.frame.crs == whole.frame.crs
    assert shapely.equals(parts.frame.geometry.values, whole.frame.geometry.values).all()
    assert [*parts.frame["name"]] == [*whole.frame["name"]]
    assert [None if v is None or v != v else int(v) for v in parts.frame["storeys"]] == [
        storeys[int(name[1:])] for name in parts.frame["name"]
    ]


def test_numbers_of_features_may_have_gaps(tmp_path, monkeypatch):
    path = saved(tmp_path / "l.gpkg", frame(*(at(x, 20) for x in range(0, 90, 10))), layer="l")
    with sqlite3.connect(path) as database:
        database.create_function("ST_IsEmpty", 1, lambda _: 0)
        for name in ("ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda _: 0.0)
        database.execute("UPDATE l SET fid = fid * 1000000007 - 5000000000")
    monkeypatch.setattr(batches, "BATCH", 4)
    read = read_layer(path, grid=GRID)
    assert list(read.frame.index) == [k * 1000000007 - 5000000000 for k in range(1, 10)]


def test_features_that_point_elsewhere_are_not_followed(tmp_path):
    saved(tmp_path / "l.gpkg", frame(at(10, 10)), layer="l")
    vrt = '<OGRVRTDataSource><OGRVRTLayer name="l"><SrcDataSource relativeToVRT="1">l.gpkg</SrcDataSource>'
    (tmp_path / "x.geojson").write_text(vrt + "</OGRVRTLayer></OGRVRTDataSource>")
    with pytest.raises(VectorError, match="names other files"):
        read_layer(tmp_path / "x.geojson", grid=GRID)


def test_an_unknown_kind_of_problem_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="unknown kind"):
        Problem("nonsense", 1)
