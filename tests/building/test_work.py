"""The work on chips: which are dropped and for what reason, and what is asked where there is one class."""

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from tests.data.area import make_area, small_recipe

from georefer.building.build import build
from georefer.building.layers import LayerSettings
from georefer.building.recipe import AskSettings


@pytest.fixture(scope="module")
def area(tmp_path_factory):
    """Imagery in the left half alone; houses there, but for a clearing, and some where nothing is shown."""
    folder = tmp_path_factory.mktemp("area")
    grid = make_area(folder)
    with rasterio.open(folder / "image.tif") as file:
        image_3HW, profile = file.read(), file.profile
    image_3HW[:, :, 256:] = 0
    with rasterio.open(folder / "half.tif", "w", **{**profile, "nodata": 0}) as file:
        file.write(image_3HW)
    houses = geopandas.read_file(folder / "layers.gpkg", layer="houses")
    pixels_N = grid.geometry_to_pixel(houses.geometry.to_numpy())
    kept_N = [g.bounds[2] < 256 and not g.intersects(shapely.box(0, 200, 256, 360)) for g in pixels_N]
    hidden = [shapely.box(x, y, x + 20, y + 20) for x in (300, 430) for y in (20, 150, 300, 430)]
    shapes = [*houses.geometry[kept_N], *grid.geometry_to_world(np.array(hidden, dtype=object))]
    geopandas.GeoDataFrame(geometry=shapes, crs=houses.crs).to_file(folder / "houses.gpkg")
    return folder


def recipe(area, **changes):
    layers = (LayerSettings(area / "houses.gpkg", label="house"),)
    return small_recipe(area, imagery=(area / "half.tif",), layers=layers, **changes)


def test_where_imagery_is_missing_that_is_said_whether_there_are_objects_or_not(area, tmp_path):
    for share in (0.0, 1.0):
        built = build(recipe(area, keep_empty=share), tmp_path / f"{share}")
        counts = built.manifest["counts"]
        # every training chip that reaches more than 5 % into the right half, and no other
        windows = [s.provenance["window_px"] for s in built.scenes("train")]
        assert windows and all(x2 <= 256 for _, _, x2, _ in windows)
        dropped = {name: n for name, n in counts.items() if name.startswith("train: chips dropped")}
        empty = dropped.pop("train: chips dropped, nothing to ask about", 0)
        if share == 0.0:
            missing = dropped
        assert set(dropped) == {"train: chips dropped, too little imagery"} and dropped == missing
        assert (empty > 0) == (share == 0.0)


def test_a_single_class_is_asked_of_where_it_is_and_where_it_is_not(area, tmp_path):
    built = build(recipe(area, keep_empty=1.0, ask=AskSettings(tasks=("presence",), absent=2)), tmp_path / "out")
    there = {scene.id: len(scene.objects) > 0 for scene in built.scenes("train")}
    said = {q.scene_id: q.answer_text for q in built.questions("train")}
    assert set(said.values()) == {"yes", "no"} and said.keys() <= there.keys()
    assert all((answer == "yes") == there[id_] for id_, answer in said.items())
    # but for those that show a sliver
    slivers = {s.id for s in built.scenes("train") if s.provenance.get("dropped")}
    assert there.keys() - said.keys() <= slivers


def test_what_lies_on_no_imagery_is_not_asked_about(area, tmp_path):
    for share in (0.0, 1.0):
        built = build(replace(recipe(area), min_valid=0.0, keep_empty=share), tmp_path / f"{share}")
        scenes = [scene for split in ("train", "test") for scene in built.scenes(split)]
        inside = [s for s in scenes if s.provenance["window_px"][0] >= 256]
        # what is left without an object by it is as empty as any other chip
        assert bool(inside) == (share == 1.0) and not any(len(s.objects) for s in inside)
        rule = "objects dropped, less imagery than min_imagery"
        assert any(name.endswith(rule) for name in built.manifest["counts"]) == (share == 1.0)
