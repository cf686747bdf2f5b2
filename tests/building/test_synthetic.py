"""A synthetic area is exact, reproducible, and looks the same whichever way its tiles are cut."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import geometry_mask

from georefer.building.synthetic import synthesize
from georefer.building.synthetic.canvas import Canvas
from georefer.building.synthetic.features import COUNTABLE, LAYERS
from georefer.building.synthetic.layers import grid_of, layers_of
from georefer.building.synthetic.layout import compose
from georefer.building.synthetic.noise import Noise
from georefer.building.synthetic.paint import Painter
from georefer.errors import InputError

GSD_M = 0.2
TOWN_M = 4096 * GSD_M  # the least side that holds everything


@pytest.fixture(scope="module")
def town():
    return compose(7, TOWN_M)


@pytest.fixture(scope="module")
def town_painter(town):
    return Painter(town, GSD_M)


@pytest.fixture(scope="module")
def area(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("area") / "a", seed=6, size=768, gsd_m=GSD_M)


def blank_canvas(row: int, col: int, height: int, width: int) -> Canvas:
    return Canvas(np.zeros((height, width, 3), np.float32), col, row, GSD_M, Noise.seeded(0))


# --- reproducible ---------------------------------------------------------------------------------------


def test_same_seed_same_area_other_seed_another():
    first, again, other = compose(3, 150.0), compose(3, 150.0), compose(4, 150.0)
    for layer in LAYERS:
        for a, b in zip(first.features[layer], again.features[layer], strict=True):
            assert a.geometry.equals_exact(b.geometry, 0) and a.attributes == b.attributes
    pixels = [Painter(layout, GSD_M).window(0, 0, 400, 400) for layout in (first, again, other)]
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])


def test_files_are_byte_equal(area, tmp_path):
    again = synthesize(tmp_path / "b", seed=6, size=768, gsd_m=GSD_M)
    assert again.image.read_bytes() == area.image.read_bytes()
    assert again.layers.read_bytes() == area.layers.read_bytes()


def test_a_window_alone_equals_the_window_of_the_whole(town_painter):
    whole = town_painter.window(1024, 1024, 1024, 1024)
    part = town_painter.window(1024 + 300, 1024 + 411, 200, 333)
    assert np.array_equal(part, whole[300:500, 411:744])


@pytest.mark.parametrize(("row", "col"), [(900, 2500), (1900, 1000), (2600, 1800)])  # harbour, housing, apron
def test_tiles_of_another_cut_agree_at_the_seams(town_painter, row, col):
    one = town_painter.tile(row, col, 512).astype(int)
    right = town_painter.tile(row, col + 200, 512).astype(int)
    apart = np.abs(one[:, 200:] - right[:, :312])
    # what remains is one subsample of coverage on edges of clipped shapes, which no seam shows
    assert np.quantile(apart, 0.98) <= 2 and apart.mean() < 0.15


# --- true -----------------------------------------------------------------------------------------------


def test_countable_things_do_not_overlap(town):
    shapes = [f.geometry for layer in COUNTABLE for f in town.features[layer]]
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    assert np.all(first == second)


def test_crowns_leave_countable_things_visible(town):
    shapes = np.array([f.geometry for layer in COUNTABLE for f in town.features[layer]])
    crowns = np.array([f.geometry.buffer(f.attributes["crown_m"] / 2) for f in town.features["trees"]])
    tree, thing = shapely.STRtree(shapes).query(crowns, predicate="intersects")
    hidden = np.zeros(len(shapes))
    np.add.at(hidden, thing, shapely.area(shapely.intersection(crowns[tree], shapes[thing])))
    assert np.all(hidden <= 0.1 * shapely.area(shapes))


def test_things_stand_where_they_may(town):
    water = shapely.union_all([f.geometry for f in town.features["water"]])
    for layer in ("buildings", "tanks", "planes", "pools", "courts"):
        shapes = np.array([f.geometry for f in town.features[layer]])
        assert not shapely.intersects(shapes, town.carriageway.buffer(-0.1)).any(), layer
        assert not shapely.intersects(shapes, water).any(), layer
    ships = np.array([f.geometry for f in town.features["ships"]])
    assert shapely.covers(water.buffer(0.1), ships).all()
    trees = np.array([f.geometry for f in town.features["trees"]])
    assert not shapely.intersects(trees, town.carriageway.buffer(-0.1)).any()


def test_countable_things_lie_inside_the_image(town):
    extent = shapely.box(0, 0, TOWN_M, TOWN_M)
    assert all(extent.contains(f.geometry) for layer in COUNTABLE for f in town.features[layer])


@pytest.mark.parametrize("colour", ["blue", "red", "green"])  # one channel stands out
def test_roofs_are_painted_where_the_layer_says(town, town_painter, colour):
    channel = {"red": 0, "green": 1, "blue": 2}[colour]
    roofs = [f for f in town.features["buildings"] if f.attributes["roof_colour"] == colour]
    assert roofs
    for roof in roofs[:6]:
        west, north, east, south = (round(v / GSD_M) for v in roof.geometry.buffer(3).bounds)
        row, col = max(north, 0), max(west, 0)
        pixels = town_painter.tile(row, col, 400)[: south - row, : east - col].astype(float)
        transform = rasterio.transform.from_origin(col * GSD_M, -row * GSD_M, GSD_M, GSD_M)
        flipped = shapely.transform(roof.geometry.buffer(-0.5), lambda xy: xy * [1, -1])
        inside = geometry_mask([flipped], pixels.shape[:2], transform, invert=True)
        others = [c for c in range(3) if c != channel]
        stands_out = pixels[..., channel] - pixels[..., others].mean(axis=2)
        assert stands_out[inside].mean() > 12
        flipped = shapely.transform(roof.geometry.buffer(0.6), lambda xy: xy * [1, -1])
        outside = geometry_mask([flipped], pixels.shape[:2], transform)
        margin = 4 if colour == "green" else 10  # grass is green too
        assert stands_out[inside].mean() > stands_out[outside].mean() + margin


@pytest.mark.parametrize("layer", COUNTABLE)
def test_painted_cover_is_the_polygon_to_a_quarter_of_a_pixel(town, layer):
    for feature in town.features[layer][:12]:
        shape = feature.geometry
        west, north, east, south = (v / GSD_M for v in shape.bounds)
        canvas = blank_canvas(int(north) - 3, int(west) - 3, int(south - north) + 9, int(east - west) + 9)
        patch = canvas.cover(shape)
        x, y = canvas.xy(patch)
        weight = patch.cover_HW / patch.cover_HW.sum()
        centre = np.array([(weight.sum(axis=0) * x).sum(), (weight.sum(axis=1) * y).sum()])
        assert np.abs(centre - shape.centroid.coords[0]).max() < 0.25 * GSD_M
        dilation_px = (patch.cover_HW.sum() - shape.area / GSD_M**2) / (shape.length / GSD_M)
        assert abs(dilation_px) < 0.1  # no bias at the border


def test_courtyards_have_a_hole(town):
    yards = [f for f in town.features["buildings"] if f.attributes["shape"] == "courtyard"]
    assert yards and all(len(f.geometry.interiors) == 1 for f in yards)


def test_a_town_holds_every_kind_in_good_number(town):
    least = {
        "buildings": 150,
        "tanks": 12,
        "planes": 8,
        "ships": 10,
        "vehicles": 300,
        "pools": 10,
        "courts": 3,
        "fields": 4,
        "water": 2,
        "trees": 500,
        "roads": 20,
        "docks": 2,
        "areas": 20,
    }
    assert {k: n for k, n in least.items() if len(town.features[k]) < n} == {}


@pytest.mark.parametrize("seed", range(4))
def test_other_towns_too(seed):
    found = compose(seed, TOWN_M).features
    assert all(found[layer] for layer in LAYERS)


# --- on disk --------------------------------------------------------------------------------------------


def test_files_say_where_they_are(area):
    with rasterio.open(area.image) as image:
        assert (image.crs.to_epsg(), image.shape, image.count, image.dtypes[0]) == (2154, (768, 768), 3, "uint8")
        assert image.overviews(1) == [2]
        bounds = shapely.box(*image.bounds)
    assert gpd.list_layers(area.layers)["name"].tolist() == list(LAYERS)
    for layer in LAYERS:
        table = gpd.read_file(area.layers, layer=layer)
        assert len(table) == area.counts[layer] and table.crs.to_epsg() == 2154 and table["id"].is_unique
        assert table.geometry.is_valid.all() and bounds.buffer(0.01).covers(table.geometry).all()
    manifest = json.loads((area.folder / "manifest.json").read_text())
    assert (manifest["seed"], manifest["size"], manifest["gsd_m"]) == (6, 768, GSD_M)


def test_layers_lie_on_the_grid(area):
    layout, grid = compose(6, 768 * GSD_M), grid_of(6, 768, GSD_M)
    table = layers_of(layout, grid)["buildings"]
    pixels = grid.geometry_to_pixel(table.geometry.values)
    for shape, feature in zip(pixels, layout.features["buildings"], strict=True):
        expected = shapely.transform(feature.geometry, lambda xy: xy / GSD_M)
        assert shape.equals_exact(expected, 1e-4)


def test_a_finished_area_is_returned_as_it_is(area):
    before = area.image.stat().st_mtime_ns
    assert synthesize(area.folder, seed=6, size=768, gsd_m=GSD_M) == area
    assert area.image.stat().st_mtime_ns == before


def test_another_area_or_anything_else_is_refused(area, tmp_path):
    with pytest.raises(InputError, match="seed 6"):
        synthesize(area.folder, seed=9, size=768, gsd_m=GSD_M)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a synthetic area"):
        synthesize(tmp_path, seed=9, size=768)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_interrupted_area_leaves_nothing(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "a", size=256, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "gsd_m"), [(10, 0.2), (10**6, 0.2), (512, 0.0), (512, 50.0)])
def test_impossible_sizes_are_refused(tmp_path, size, gsd_m):
    with pytest.raises(InputError):
        synthesize(tmp_path / "a", size=size, gsd_m=gsd_m)
