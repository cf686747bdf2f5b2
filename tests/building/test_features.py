"""From layers to features: mappings, widths, duplicates, reports, and what strict refuses."""

import tomllib
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.features import Features, read_features
from georefer.building.layers import LayerSettings
from georefer.building.recipe import BuildSettings
from georefer.config import load_settings, to_plain
from georefer.errors import ConfigError, VectorError
from georefer.geometry import GeoGrid
from georefer.imagery import batches
from georefer.imagery.geoparquet import write_geoparquet
from georefer.imagery.raster import open_imagery

UTM = CRS.from_epsg(32645)
GRID = GeoGrid(UTM, Affine(0.5, 0, 400_000, 0, -0.5, 3_000_000), 200, 100)  # 100 m x 50 m


BOW = shapely.Polygon([(400_010, 2_999_990), (400_020, 2_999_980), (400_020, 2_999_990), (400_010, 2_999_980)])


def at(x, y, width=5, height=5):
    """A rectangle at metres from the image's top-left corner, y down."""
    return shapely.box(400_000 + x, 3_000_000 - y - height, 400_000 + x + width, 3_000_000 - y)


def line(y):
    return shapely.LineString([(400_010, 3_000_000 - y), (400_060, 3_000_000 - y)])


def saved(path, shapes, **columns):
    table = geopandas.GeoDataFrame(columns, geometry=shapes, crs=UTM)
    pyogrio.write_dataframe(table, path, promote_to_multi=False)
    return path


@pytest.fixture
def town(tmp_path):
    return saved(
        tmp_path / "town.geojson",
        [at(5, 5), at(20, 5), line(20), line(30), shapely.Point(400_080, 2_999_980), at(40, 40), at(50, 40)],
        building=["yes", "church", None, None, None, None, "no"],
        highway=[None, None, "residential", "hyperway", None, None, None],
        width=[None, None, "8 m", None, None, None, None],
        natural=[None, None, None, None, "tree", None, None],
    )


def features(path, **settings):
    return read_features([LayerSettings(path, **settings)], GRID)


def test_a_mapping_gives_classes_widths_and_words(town):
    found = features(town, mapping="osm")
    by_label = {o.label: o.geometry for o in found.objects}
    assert set(by_label) == {"building", "church", "residential street", "tree"}
    box = by_label["residential street"].bounds
    assert box[3] - box[1] == pytest.approx(16, abs=0.01)  # 8 m at half a metre a pixel
    assert by_label["tree"].area == pytest.approx(np.pi * 25, rel=0.01)  # a radius of 2.5 m
    assert found.parents["church"] == ("religious building",) and found.parents["building"] == ()
    assert found.words["residential street"].plural == "residential streets"


def test_what_a_mapping_leaves_out_is_counted_and_reported(town):
    found = features(town, mapping="osm")
    assert found.counts["town: read"] == 7 and found.counts["town: used"] == 4
    assert found.counts["town: without a known label"] == 2 and found.counts["town: ignored by the mapping"] == 1
    assert found.counts["town: of values that the mapping does not know, dropped"] == 1
    told = {(problem.kind, problem.detail): problem for problem in found.report.problems["town"]}
    assert set(told) == {("unknown_value", "highway=hyperway"), ("unlabelled", "")}
    assert told["unlabelled", ""].places[0].startswith("feature 5 at 85.9")


def test_classes_in_another_language(town):
    found = features(town, mapping="osm", language="fr")
    assert set(found.objects.labels_N) == {"bâtiment", "église", "rue", "arbre"}
    assert found.parents["église"] == ("édifice religieux",) and found.words["bâtiment"].plural == "bâtiments"
    with pytest.raises(ConfigError, match="'xx', which mapping 'OpenStreetMap' does not name; choose among de, fr"):
        features(town, mapping="osm", language="xx")


def test_a_mapping_may_know_a_layer_by_another_name(tmp_path):
    path = saved(tmp_path / "download.gpkg", [at(5, 5)], subtype=["education"])
    with pytest.raises(VectorError, match="look at label_from, labels and mapping"):
        features(path, mapping="overture")
    assert features(path, mapping="overture", mapping_layer="building").objects.labels_N.tolist() == ["school building"]


def test_lines_without_a_width_take_the_recipes_or_are_dropped(tmp_path):
    (tmp_path / "m.toml").write_text('name = "m"\n[classes]\nfence = {}\n[[rules]]\nto = "fence"\n')
    path = saved(tmp_path / "l.gpkg", [line(10), at(5, 20)], n=[1, 2])
    found = features(path, mapping=tmp_path / "m.toml")
    assert len(found.objects) == 1 and [p.kind for p in found.report.problems["l"]] == ["no_width"]
    assert len(features(path, mapping=tmp_path / "m.toml", buffer_m=1.0).objects) == 2


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"mapping": "osm", "label": "x"}, "beside label or label_from"),
        ({}, "either label or label_from"),
        ({"mapping": Path("nowhere")}, "is no mapping; give a ready one"),
    ],
)
def test_a_layer_is_named_one_way(town, settings, says):
    with pytest.raises(ConfigError, match=says):
        features(town, **settings)


def test_duplicates_are_dropped_within_and_between_layers(tmp_path):
    one = saved(tmp_path / "one.gpkg", [at(5, 5), at(5, 5), at(20, 5)], n=[1, 2, 3])
    again = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=[at(20, 5), at(30, 5)], crs=UTM).to_crs(4326)
    write_geoparquet(tmp_path / "two.parquet", again)
    layers = [LayerSettings(one, label="hut"), LayerSettings(tmp_path / "two.parquet", label="hut")]
    found = read_features(layers, GRID)
    assert len(found.objects) == 3 and len(set(found.objects.ids_N)) == 3
    assert (found.counts["one: used"], found.counts["two: used"]) == (2, 1)
    kinds = {name: [(p.kind, p.count) for p in told] for name, told in found.report.problems.items()}
    assert kinds == {"one": [("duplicate", 1)], "two": [("duplicate", 1)]}
    assert found.report.problems["one"][0].places[0].startswith("feature 2 at 85.9")
    other = read_features([layers[0], LayerSettings(tmp_path / "two.parquet", label="shed")], GRID)
    assert len(other.objects) == 4  # the same shape as something else is no duplicate


@pytest.mark.parametrize("mapping", [None, "osm"])
def test_features_by_batches_are_the_same_features(tmp_path, mapping, monkeypatch):
    places = np.random.default_rng(0).integers(-2, 18, (60, 2)) * 6  # some away
    places[50] = places[5] = (12, 12)
    kinds = ["yes", "church", "no", "moat", "tent"]
    saved(
        tmp_path / "l.gpkg",
        [at(x, y) for x, y in places],
        building=[kinds[k % 5] for k in range(60)],
        height=["3" if k % 7 else "high" for k in range(60)],
        id=[f"w{k}" for k in range(60)],
    )
    settings = {"mapping": "osm"} if mapping else {"label_from": "building", "labels": {k: k for k in kinds[:4]}}
    whole = features(tmp_path / "l.gpkg", attributes=("height",), **settings)
    assert {"mixed_types", "unlabelled", "duplicate"} <= {p.kind for p in whole.report.problems["l"]} | (
        {"unlabelled"} if mapping else set()
    )
    monkeypatch.setattr(batches, "BATCH", 7)
    parts = features(tmp_path / "l.gpkg", attributes=("height",), **settings)
    assert parts.counts == whole.counts and parts.report == whole.report and parts.labels == whole.labels
    assert parts.objects.ids_N.tolist() == whole.objects.ids_N.tolist()
    assert parts.objects.attributes_N.tolist() == whole.objects.attributes_N.tolist()
    assert shapely.equals(parts.objects.geometries_N, whole.objects.geometries_N).all()


def test_what_is_near_is_part_of_the_whole(tmp_path):
    path = saved(tmp_path / "l.gpkg", [at(x, 10) for x in range(0, 90, 10)], n=range(9))
    found = features(path, label="hut")
    near = found.near(np.array([[0, 0, 30, 100], [100, 0, 101, 100]]))
    assert near.objects.ids_N.tolist() == ["0/l-1", "0/l-2", "0/l-6"] and near.area_N.tolist() == [100] * 3
    again = Features.of(found.objects).near(np.array([[0, 0, 30, 100], [100, 0, 101, 100]]))
    assert again.objects.ids_N.tolist() == near.objects.ids_N.tolist()
    assert len(found) == 9 and found.labels == ("hut",) == near.labels
    assert sorted(i for some in found.parts() for i in some.ids_N) == sorted(found.objects.ids_N)
    assert found.bounds_N4.tolist() == found.objects.hbb_N4.tolist()


def test_ids_that_repeat_are_no_ids(tmp_path):
    path = saved(tmp_path / "l.gpkg", [at(10, 10), at(30, 10)], id=["x", "x"])
    assert features(path, label="hut").objects.ids_N.tolist() == ["0/l-1", "0/l-2"]


def test_a_layer_that_lies_elsewhere_is_reported_and_alone_refused(tmp_path):
    here = LayerSettings(saved(tmp_path / "here.gpkg", [at(5, 5)], n=[1]), label="hut")
    away = LayerSettings(saved(tmp_path / "away.gpkg", [at(5000, 5)], n=[1]), label="hut")
    found = read_features([here, away], GRID)
    assert found.counts["away: in a layer that does not meet the imagery"] == 1
    assert found.report.problems["away"][0].places[0].startswith("feature 1 at 86.0")
    with pytest.raises(VectorError, match="where features over the imagery"):
        read_features([away], GRID)


@pytest.mark.parametrize(
    "kind, shapes, columns",
    [
        ("empty", [None], {}),
        ("repaired", [BOW], {}),
        ("height", [shapely.force_3d(at(20, 20), 5.0)], {}),
        ("swapped", [shapely.transform(at(20, 20), lambda xy: xy[:, ::-1])], {}),
        ("duplicate", [at(5, 5)], {}),
        ("mixed_types", [at(20, 20)], {"storeys": ["2", "many"]}),
        ("unlabelled", [at(20, 20)], {"kind": ["hut", None]}),
    ],
)  # fmt: skip
def test_strict_fails_with_one_sentence_and_accepts_what_it_is_told(tmp_path, kind, shapes, columns):
    columns = {"storeys": ["2", "3"], "kind": ["hut", "hut"], **columns}
    path = saved(tmp_path / "l.gpkg", [at(5, 5), *shapes], **columns)
    settings = {"path": path, "label_from": "kind", "attributes": ("storeys",)}
    layer = LayerSettings(**settings)
    found = read_features([layer], GRID)
    assert [problem.kind for problem in found.report.problems["l"]] == [kind]
    for strict, everywhere in ((True, False), (False, True)):
        with pytest.raises(VectorError, match="where strict asks for none") as error:
            read_features([LayerSettings(**settings, strict=strict)], GRID, strict=everywhere)
        assert "\n" not in str(error.value)
    accepting = LayerSettings(**settings, strict=True, accept=(kind,))
    assert len(read_features([accepting], GRID).objects) == len(found.objects)


def test_a_layer_without_faults_is_strict_and_has_no_report(tmp_path):
    found = features(saved(tmp_path / "l.gpkg", [at(5, 5), at(20, 5)], n=[1, 2]), label="hut", strict=True)
    assert found.report.lines() == [] and found.report.to_plain() == {} and not found.parents
    assert found.counts == {
        "l: read": 2, "l: empty": 0, "l: repaired": 0, "l: outside": 0, "l: kept": 2,
        "l: without a known label": 0, "l: used": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings, says",
    [
        ({}, "either path or database"),
        ({"path": Path("a"), "database": "PG:dbname=a"}, "either path or database"),
        ({"database": "area.gpkg"}, "no connection string"),
        ({"database": "PG:dbname=a password=hunter2"}, "set PGUSER, PGPASSWORD"),
        ({"database": "postgresql://me:hunter2@host/a"}, "set PGUSER, PGPASSWORD"),
        ({"path": Path("a"), "accept": ("nothing",)}, "accept names"),
    ],
)
def test_wrong_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says) as error:
        LayerSettings(**settings)
    assert "hunter2" not in str(error.value)


def test_a_recipe_names_a_ready_mapping_or_a_file_beside_it(tmp_path):
    (tmp_path / "build.toml").write_text(
        'imagery = ["a.tif"]\n[[layers]]\npath = "a.gpkg"\nmapping = "osm"\n'
        '[[layers]]\ndatabase = "PG:dbname=area"\nlayer = "roads"\nmapping = "mine.toml"\n'
    )
    first, second = load_settings(BuildSettings, tmp_path / "build.toml").layers
    assert first.mapping == "osm" and second.mapping == tmp_path / "mine.toml"
    assert (first.name, second.name, second.source) == ("a", "roads", "PG:dbname=area")
    assert to_plain(second)["database"] == "PG:dbname=area"


def test_the_mapping_of_the_how_to_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "map-your-layers.md").read_text()
    text = page.split("```toml\n")[2].split("```")[0]
    assert tomllib.loads(text)["name"] == "Town survey"
    (tmp_path / "mine.toml").write_text(text)
    path = saved(
        tmp_path / "survey.gpkg",
        [at(5, 5), at(20, 5), line(20), line(30), shapely.Point(400_080, 2_999_980)],
        KIND=["dwelling", "temple", "street", "lane", "tree"],
        LANES=[None, None, "2", None, None],
        STATE=["", "", "", "planned", ""],
    )
    found = features(path, mapping=tmp_path / "mine.toml")
    assert found.objects.labels_N.tolist() == ["house", "religious building", "road", "tree"]
    assert found.counts["survey: ignored by the mapping"] == 1 and not found.report.lines()


@pytest.mark.shared
def test_real_buildings_by_the_ready_mapping(shared_data):
    folder = shared_data / "banepa-buildings"
    grid = open_imagery(folder / "tiles").grid
    found = read_features([LayerSettings(folder / "osm_buildings.geojson", mapping="osm", strict=True)], grid)
    assert len(found.objects) == 971 and found.report.lines() == []
    assert (found.objects.labels_N == "temple").sum() == 10


@pytest.mark.shared
def test_real_roads_get_the_width_of_their_lanes(shared_data, tmp_path):
    folder = shared_data / "spacenet-samples" / "vegas-roads"
    grid = open_imagery(next(folder.glob("*.tif"))).grid
    (tmp_path / "roads.toml").write_text(
        'name = "SpaceNet"\nclasses_of = "osm"\n[[rules]]\nattribute = "road_type"\nvalues = {"2" = "main road"}\n'
        "width_from = {lane_number = 3.5}\n"
    )
    found = read_features([LayerSettings(next(folder.glob("*.geojson")), mapping=tmp_path / "roads.toml")], grid)
    assert set(found.objects.labels_N) == {"main road"}
    (told,) = found.report.problems["AOI_2_Vegas_img0"]
    assert (told.kind, told.detail, told.count) == ("unknown_value", "road_type=6", 36)
    heights = found.objects.hbb_N4[:, 3] - found.objects.hbb_N4[:, 1]
    assert (heights * grid.gsd_m > 7).all() and (heights * grid.gsd_m < 16).all()  # east-west, of 2 to 4 lanes
