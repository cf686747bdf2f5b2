"""What a build recipe may name: imagery by address, and a taxonomy that comes ready."""

import threading
from functools import partial
from http.server import ThreadingHTTPServer

import geopandas
import numpy as np
import pytest
import rasterio.shutil
from tests.data.area import make_area, small_recipe
from tests.imagery.test_files import Ranges

from georefer.building.build import build
from georefer.building.recipe import BuildSettings
from georefer.config import load_settings
from georefer.engine import Processes
from georefer.errors import InputError, RasterError

RECIPE = """
imagery = ["{address}/area.tif"]
chip_px = 64
taxonomy = "groundset"

[[layers]]
path = "classes.gpkg"
label_from = "kind"

[split]
block_m = 64
buffer_m = 4

[ask]
tasks = ["detection", "presence"]
absent = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An area whose houses are of GroundSet's classes, served by parts as a cloud-optimised file; (folder, address)."""
    folder = tmp_path_factory.mktemp("place")
    make_area(folder)
    rasterio.shutil.copy(folder / "image.tif", folder / "area.tif", driver="COG", blocksize=128)
    houses = geopandas.read_file(folder / "layers.gpkg", layer="houses")
    kinds = houses["roof"].map({"red": "Church", "blue": "Chapel", "white": "Silo"})
    geopandas.GeoDataFrame({"kind": kinds}, geometry=houses.geometry).to_file(folder / "classes.gpkg")
    handler = type("Handler", (Ranges,), {"sent": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    (folder / "build.toml").write_text(RECIPE.format(address=address))
    yield folder, address, handler
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def built(place):
    folder, _, _ = place
    return build(load_settings(BuildSettings, folder / "build.toml"), folder / "by-address")


def test_imagery_by_address_gives_what_the_file_gives(place, built):
    folder, address, handler = place
    assert handler.sent > 0
    recipe = load_settings(BuildSettings, folder / "build.toml")
    assert recipe.imagery == (f"{address}/area.tif",) and built.manifest["recipe"]["imagery"] == list(recipe.imagery)
    local = load_settings(BuildSettings, folder / "build.toml", [f"imagery=['{folder / 'area.tif'}']"])
    for engine, source in ((None, local), (Processes(2), recipe)):
        other = build(source, folder / "other", overwrite=True, engine=engine)
        for split in ("train", "test"):
            pairs = list(zip(built.scenes(split), other.scenes(split), strict=True))
            assert pairs and all(a.id == b.id and np.array_equal(a.pixels(), b.pixels()) for a, b in pairs)
            assert list(built.questions(split)) == list(other.questions(split))


def test_an_address_with_nothing_behind_it_is_refused_in_one_sentence(place, tmp_path):
    folder, address, _ = place
    recipe = small_recipe(folder, imagery=(f"{address}/nothing.tif",))
    with pytest.raises(RasterError, match=r"nothing\.tif was found where a raster is expected") as error:
        build(recipe, tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_ready_taxonomy_is_named_by_its_name(built):
    told = built.manifest["taxonomy"]
    assert {name: told[name] for name in ("Church", "Silo")} == {
        "Church": ["Artificial features", "Building", "Church", "Religious"],
        "Silo": ["Artificial features", "Building", "Silo", "Utilities & industrial buildings"],
    }
    scenes = {scene.id: set(scene.objects.labels_N) for scene in built.scenes("train")}
    asked = {(q.params["label"], q.answer_text) for q in built.questions("train") if q.task == "presence"}
    # wider classes are asked about, and are there where one of their kinds is
    assert {("Religious", "yes"), ("Religious", "no"), ("Building", "yes")} <= asked
    for question in built.questions("train"):
        if question.task == "presence" and question.params["label"] == "Religious":
            assert (question.answer_text == "yes") == bool(scenes[question.scene_id] & {"Church", "Chapel"})


def test_a_taxonomy_that_is_neither_ready_nor_a_file_is_refused(place, tmp_path):
    folder, _, _ = place
    recipe = load_settings(BuildSettings, folder / "build.toml", ["taxonomy='nowhere.toml'"])
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        build(recipe, tmp_path / "out")
