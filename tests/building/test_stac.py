"""The STAC catalogue of a dataset, checked by hand against what the specification requires."""

import hashlib
import json
import re

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from tests.data.area import make_area, small_recipe
from tests.data.small import small_dataset, small_scene

from georefer.building.build import build
from georefer.building.recipe import Source
from georefer.building.stac import Provider, StacSettings, write_stac
from georefer.errors import InputError
from georefer.geometry import GeoGrid
from georefer.scenes import DatasetWriter, Scene

SETTINGS = StacSettings(
    ("2024-05-30", "2024-05-31"), "Houses", "Houses and pools of a made-up town.",
    providers=(Provider("The town", ("producer", "licensor"), "https://example.org"),), keywords=("houses",),
)  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MEDIA = re.compile(r"[a-z]+/[a-z0-9.+-]+")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("area")
    make_area(folder)
    return build(small_recipe(folder, source=Source("A Town, 2024", "CC-BY-4.0", "© The town")), folder / "dataset")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def items_of(collection):
    links = [link for link in read(collection)["links"] if link["rel"] == "item"]
    return [collection.parent / link["href"] for link in links]


def check_common(value, path):
    """Fields that the 1.1.0 specification requires of collections and items alike."""
    assert value["stac_version"] == "1.1.0" and value["id"] and "/" not in value["id"]
    assert all(url.startswith("https://") for url in value["stac_extensions"])
    for link in value["links"]:
        assert link["rel"] == "license" or (path.parent / link["href"]).is_file()
    for asset in value["assets"].values():
        assert not asset["href"].startswith(("/", "file:")) and "\\" not in asset["href"]
        assert (path.parent / asset["href"]).is_file()
        assert MEDIA.fullmatch(asset["type"]) and asset["roles"]


def check_collection(path):
    value = read(path)
    check_common(value, path)
    assert value["type"] == "Collection" and value["description"]
    assert re.fullmatch(r"[\w.+-]+", value["license"])
    for provider in value.get("providers", []):
        assert provider["name"] and set(provider["roles"]) <= {"licensor", "producer", "processor", "host"}
    (box,) = value["extent"]["spatial"]["bbox"]
    assert len(box) == 4 and -180 <= box[0] <= 180 and -90 <= box[1] < box[3] <= 90
    ((start, end),) = value["extent"]["temporal"]["interval"]
    assert TIME.fullmatch(start) and TIME.fullmatch(end) and start <= end
    return value


def check_item(path, collection):
    value = read(path)
    check_common(value, path)
    assert value["type"] == "Feature" and value["collection"] == collection["id"]
    properties = value["properties"]
    assert "datetime" in properties  # null only with both ends of the interval
    assert properties["datetime"] or TIME.fullmatch(properties["start_datetime"] + "")
    assert TIME.fullmatch(properties["end_datetime"]) and properties.get("gsd", 1) > 0
    assert {"root", "parent", "collection"} <= {link["rel"] for link in value["links"]}
    assert ("bbox" in value) == (value["geometry"] is not None)
    if value["geometry"] is not None:
        shape = shapely.from_geojson(json.dumps(value["geometry"]))
        assert shape.is_valid and all(part.exterior.is_ccw for part in shapely.get_parts(shape))
    return value


def test_a_built_dataset_becomes_a_valid_catalogue(dataset):
    collection = write_stac(dataset, SETTINGS)
    assert collection == dataset.folder / "stac" / "collection.json"
    value = check_collection(collection)
    assert value["id"] == "a-town-2024" and value["title"] == "Houses" and value["license"] == "CC-BY-4.0"
    assert "© The town" in value["description"] and value["keywords"] == ["houses"]
    assert value["extent"]["temporal"]["interval"] == [["2024-05-30T00:00:00Z", "2024-05-31T23:59:59Z"]]
    assert value["summaries"]["georefer:labels"] == ["house", "pool"]
    items = [check_item(path, value) for path in items_of(collection)]
    assert [item["properties"]["georefer:split"] for item in items] == ["train", "test"]
    for item in items:
        assert item["properties"]["gsd"] == pytest.approx(0.5, abs=0.01)
        assert item["properties"]["georefer:sources"] == [{"licence": "CC-BY-4.0", "source": "A Town, 2024"}]


def test_footprints_cover_every_scene_and_checksums_are_the_files(dataset):
    collection = write_stac(dataset, SETTINGS)
    tables = [(collection, a) for a in read(collection)["assets"].values() if "file:size" in a]
    for path in items_of(collection):
        item = read(path)
        shape = shapely.from_geojson(json.dumps(item["geometry"]))
        for scene in dataset.scenes(item["properties"]["georefer:split"]):
            corners = scene.grid.pixel_to_lonlat(np.array([[0, 0], [64, 0], [64, 64], [0, 64]]))
            assert shape.buffer(1e-6).covers(shapely.Polygon(corners))
            x1, y1, x2, y2 = item["bbox"]
            assert (corners >= (x1 - 1e-6, y1 - 1e-6)).all() and (corners <= (x2 + 1e-6, y2 + 1e-6)).all()
        tables += [(path, asset) for asset in item["assets"].values()]
    files = {(path.parent / asset["href"]).resolve(): asset for path, asset in tables}
    assert files.keys() == {(dataset.folder / name).resolve() for name in dataset.manifest["files"]}
    for path, asset in files.items():
        assert asset["file:size"] == path.stat().st_size
        assert asset["file:checksum"] == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_dataset_gives_the_same_bytes_and_may_lie_elsewhere(dataset, tmp_path):
    first = {p.name: p.read_bytes() for p in write_stac(dataset, SETTINGS).parent.rglob("*.json")}
    again = {p.name: p.read_bytes() for p in write_stac(dataset, SETTINGS).parent.rglob("*.json")}
    assert first == again
    check_item(items_of(write_stac(dataset, SETTINGS, tmp_path / "catalogue"))[0], {"id": "a-town-2024"})
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_images_without_a_place_have_no_footprint(tmp_path):
    collection = write_stac(small_dataset(tmp_path / "small"), SETTINGS)
    value = check_collection(collection)
    (item,) = (check_item(path, value) for path in items_of(collection))
    assert item["geometry"] is None and "gsd" not in item["properties"]
    assert value["license"] == "other" and "Licence: unknown." in value["description"]


def located(folder, *places):
    """A dataset of scenes of 160 x 120 pixels of 0.00025 degrees with these left edges, at 10 degrees south."""
    made = []
    for number, x in enumerate(places):
        scene = small_scene(number, (160, 120))
        grid = GeoGrid(CRS("EPSG:4326"), Affine(0.00025, 0, x, 0, -0.00025, -10), 160, 120)
        made.append(Scene(f"s{number}", scene.image, scene.objects, grid, "test"))
    with DatasetWriter(folder) as writer:
        writer.write("test", made, [])
        return writer.finish("located")


def test_an_area_across_the_antimeridian_is_cut_there(tmp_path):
    # in EPSG:3832 (Pacific) such a scene has corners on both sides
    scene = small_scene(0, (160, 120))
    east, north = Transformer.from_crs(4326, 3832, always_xy=True).transform(179.99, -10)
    grid = GeoGrid(CRS("EPSG:3832"), Affine(25, 0, east, 0, -25, north), 160, 120)
    with DatasetWriter(tmp_path / "data") as writer:
        writer.write("test", [Scene("s", scene.image, scene.objects, grid, "test")], [])
        dataset = writer.finish("")
    collection = write_stac(dataset, SETTINGS)
    item = check_item(items_of(collection)[0], check_collection(collection))
    assert item["geometry"]["type"] == "MultiPolygon"
    west, _, east, _ = item["bbox"]
    assert west == pytest.approx(179.99, abs=1e-4) and -180 < east < -179.9
    assert read(collection)["extent"]["spatial"]["bbox"][0][::2] == [west, east]


def test_neighbours_are_one_area_and_others_are_several(tmp_path):
    for places, kind in (((5.0, 5.04), "Polygon"), ((5.0, 6.0), "MultiPolygon")):
        dataset = located(tmp_path / kind, *places)
        (path,) = items_of(write_stac(dataset, SETTINGS))
        item = read(path)
        assert item["geometry"]["type"] == kind
        assert item["bbox"] == pytest.approx([5, -10.03, places[1] + 0.04, -10])


@pytest.mark.parametrize(
    ("said", "identifier"),
    [
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("Open Licence of the town", "other"),  # words are no identifier
        ("unknown", "other"),
        ("", "other"),
    ],
)
def test_a_licence_is_an_identifier_or_stands_in_words(tmp_path, said, identifier):
    settings = StacSettings(("2024-01-01", "2024-01-01"), licence=said, licence_url="https://example.org/licence")
    value = check_collection(write_stac(located(tmp_path / "data", 5.0), settings))
    assert value["license"] == identifier
    assert [link["href"] for link in value["links"] if link["rel"] == "license"] == ["https://example.org/licence"]
    assert ("Licence: " in value["description"]) == (identifier == "other")


def test_what_is_no_catalogue_is_not_replaced(dataset, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is no STAC collection"):
        write_stac(dataset, SETTINGS, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("acquired", "message"),
    [(("yesterday", "2024-01-01"), "expected"), (("2024-02-01", "2024-01-01"), "earlier time first")],
)
def test_times_that_cannot_be_are_refused(acquired, message):
    with pytest.raises(ValueError, match=message):
        StacSettings(acquired)


def test_a_moment_is_a_datetime_in_utc(tmp_path):
    moment = "2024-05-30T12:00:00+02:00"
    (path,) = items_of(write_stac(located(tmp_path / "data", 5.0), StacSettings((moment, moment))))
    assert read(path)["properties"]["datetime"] == "2024-05-30T10:00:00Z"
