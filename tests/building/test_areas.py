"""Areas that lie apart: their layers, their splits, and the proof that the splits share no ground."""

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from tests.building.test_build import contents
from tests.data.area import small_recipe

from georefer.building.areas import touching
from georefer.building.build import build
from georefer.building.chips import SplitSettings
from georefer.building.layers import LayerSettings
from georefer.building.recipe import AskSettings
from georefer.errors import ConfigError, VectorError
from georefer.geometry import GeoGrid
from georefer.imagery.write import write_layers, write_raster

PLOTS = {
    # name: (west, CRS, has a layer)
    "one": (650_000, "EPSG:32631", True),
    "two": (651_000, "EPSG:32631", True),
    "three": (652_000, "EPSG:32631", False),
    "four": (653_000, "EPSG:32631", True),
    # the ground of the first a year later, in another zone's coordinates
    "one_later": (650_010, "EPSG:32631", True),
}


@pytest.fixture
def plots(tmp_path):
    rng = np.random.default_rng(0)
    for name, (west, crs, has_layer) in PLOTS.items():
        grid = GeoGrid(CRS(crs), Affine(0.5, 0, west, 0, -0.5, 5_000_000), 128, 128)
        image = rng.integers(60, 90, (128, 128, 3)).astype(np.uint8)
        boxes = [shapely.box(x, y, x + 16, y + 12) for x in (10, 50, 90) for y in (20, 70)]
        for box in boxes:
            x1, y1, x2, y2 = map(int, box.bounds)
            image[y1:y2, x1:x2] = 220
        (tmp_path / "images").mkdir(exist_ok=True)
        write_raster(tmp_path / "images" / f"{name}.tif", grid, 3, "uint8", [(0, 0, image)])
        if has_layer:
            shapes = grid.geometry_to_world(np.array(boxes, dtype=object))
            write_layers(tmp_path / f"{name}.gpkg", {"huts": geopandas.GeoDataFrame(geometry=shapes, crs=grid.crs)})
    return tmp_path


def recipe(folder, **split):
    layer = LayerSettings(folder / "{name}.gpkg", label="hut")
    return replace(
        small_recipe(folder, ask=AskSettings(absent=1)), imagery=(folder / "images",), layers=(layer,), apart=True,
        keep_empty=1.0, split=SplitSettings(by="area", buffer_m=0, **split),
    )  # fmt: skip


def areas_of(dataset, split):
    return {scene.provenance["area"] for scene in dataset.scenes(split)}


@pytest.mark.parametrize("seed", range(6))
def test_areas_of_the_same_ground_are_held_out_together(plots, seed):
    dataset = build(replace(recipe(plots), seed=seed), plots / "out")
    sides = {split: areas_of(dataset, split) for split in ("train", "test")}
    assert sides["train"] | sides["test"] == set(PLOTS) and not sides["train"] & sides["test"]
    assert any({"one", "one_later"} <= side for side in sides.values())
    ground = {s: shapely.union_all([x.grid.footprint for x in dataset.scenes(s)]) for s in sides}
    assert not ground["train"].intersects(ground["test"])
    # a plot without a layer file has no huts; the others have all of theirs
    assert all(not len(s.objects) for side in sides for s in dataset.scenes(side) if s.provenance["area"] == "three")
    assert dataset.manifest["features"]["hut: used"] == 24
    assert [area["name"] for area in dataset.manifest["areas"]] == sorted(PLOTS)


def test_pictures_of_the_same_ground_are_scenes_of_their_own(plots):
    """A third picture on the very pixels of the first: its scenes need other names, or answers would be mixed up."""
    (plots / "images" / "one_again.tif").write_bytes((plots / "images" / "one.tif").read_bytes())
    dataset = build(recipe(plots), plots / "out")
    scenes = [scene for split in ("train", "test") for scene in dataset.scenes(split)]
    ground = {scene.grid.footprint.wkt for scene in scenes if scene.provenance["area"] in ("one", "one_again")}
    assert len({s.id for s in scenes}) == len(scenes)
    assert sum(s.provenance["area"] in ("one", "one_again") for s in scenes) == 2 * len(ground)


def test_areas_are_held_out_by_name_and_built_alike_by_all_engines(plots):
    from georefer.engine import Processes

    settings = recipe(plots, test_areas=("t*",))
    dataset = build(settings, plots / "out")
    assert areas_of(dataset, "test") == {"two", "three"}
    again = build(settings, plots / "again", engine=Processes(2))
    assert contents(again.folder) == contents(dataset.folder)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_one_area_are_not_trained_on_in_another(plots, seed):
    split = SplitSettings(32, 0.25, buffer_m=2)
    dataset = build(replace(recipe(plots), split=split, chip_px=24, seed=seed), plots / "out")
    assert areas_of(dataset, "test") == areas_of(dataset, "train") == set(PLOTS)
    ground = {s: shapely.union_all([x.grid.footprint for x in dataset.scenes(s)]) for s in ("train", "test")}
    assert ground["train"].area > 0 and ground["train"].distance(ground["test"]) >= 2 - 1e-6
    # all areas have the same size and the same blocks, but these two also those of each other
    chips = {area["name"]: area["train"] for area in dataset.manifest["areas"]}
    assert chips["one"] + chips["one_later"] < 2 * chips["two"] == 2 * chips["four"]


@pytest.mark.parametrize(
    "names, message", [(("*",), "4 of 4 areas"), (("nowhere",), "0 of 4 areas")]
)  # fmt: skip
def test_a_split_needs_both_sides(plots, names, message):
    with pytest.raises(ConfigError, match=message):
        build(recipe(plots, test_areas=names), plots / "out")


def test_areas_without_any_feature_are_refused_as_a_whole(plots):
    for path in plots.glob("*.gpkg"):
        path.unlink()
    with pytest.raises(VectorError, match="no feature is left in any area"):
        build(recipe(plots), plots / "out")
    assert not (plots / "out").exists()


def test_files_of_one_name_are_told_apart_by_their_folders(plots):
    more = plots / "images" / "more" / "images"
    more.mkdir(parents=True)
    (plots / "images" / "two.tif").rename(more.parent / "one.tif")
    settings = replace(recipe(plots), imagery=(plots / "images", more.parent))
    (plots / "one.gpkg").rename(plots / "images-one.gpkg")
    dataset = build(settings, plots / "out")
    assert {a["name"] for a in dataset.manifest["areas"]} >= {"images-one", "more-one", "images-four"}
    assert dataset.manifest["features"]["hut: used"] == 6  # the layer follows the name
    (more.parent / "one.tif").rename(more / "one.tif")
    with pytest.raises(ConfigError, match="two rasters are named images-one"):
        build(replace(settings, imagery=(plots / "images", more)), plots / "again")


UTM31 = GeoGrid(CRS("EPSG:32631"), Affine(1, 0, 700_000, 0, -1, 5_000_000), 1000, 1000)


def beside(distance_m, crs="EPSG:32631"):
    """A grid of 500 m to the east of `UTM31`, so far from it, perhaps in another CRS."""
    x, y = 701_000 + distance_m, 5_000_000
    grid = GeoGrid(CRS("EPSG:32631"), Affine(1, 0, x, 0, -1, y), 500, 500)
    if crs == "EPSG:32631":
        return grid
    (lon, lat), (lon_to, lat_to) = grid.pixel_to_lonlat(np.array([[0.0, 250.0], [500.0, 750.0]]))
    return GeoGrid(CRS(crs), Affine((lon_to - lon) / 500, 0, lon, 0, (lat_to - lat) / 500, lat), 500, 500)


@pytest.mark.parametrize(
    "other, distance_m, expected",
    [
        (beside(-1), 0, True),
        (beside(1), 0, False),
        (beside(9), 10, True),
        (beside(11), 10, False),
        (beside(-20, "EPSG:4326"), 0, True),
        (beside(40, "EPSG:4326"), 0, False),
        (beside(40, "EPSG:4326"), 60, True),
        (GeoGrid.none(100, 100), 1e6, False),  # nobody knows where it lies
    ],
)
def test_what_shares_ground_is_found_across_coordinate_systems(other, distance_m, expected):
    for grids in ([UTM31, other], [other, UTM31]):
        assert touching(grids, distance_m) == ([(0, 1)] if expected else [])
