import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas
import pytest
import shapely
from affine import Affine
from tests.data.area import COLOURS, make_area, small_recipe
from tests.data.dialects import BOXED

from georefer.building import build as module
from georefer.building.build import build
from georefer.building.layers import LayerSettings
from georefer.building.recipe import AskSettings
from georefer.building.registration import RegistrationSettings
from georefer.building.relations import RelationSettings
from georefer.building.stac import StacSettings
from georefer.building.targets import TargetSettings
from georefer.dialects import DIALECTS
from georefer.engine import Processes, Ray, Serial
from georefer.errors import ConfigError, DatasetError, RasterError, VectorError
from georefer.geometry import Frame
from georefer.imagery.raster import Imagery, open_imagery
from georefer.scenes import journal
from georefer.tasks import TASKS, truth

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def area(tmp_path_factory):
    folder = tmp_path_factory.mktemp("area")
    make_area(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(area, tmp_path_factory):
    recipe = small_recipe(area, orientations=3)
    return build(recipe, tmp_path_factory.mktemp("built") / "dataset")


def test_objects_lie_on_what_they_name_in_every_orientation(dataset):
    """The colour under each house is the colour its attribute says: pixels, geometry and turns agree."""
    checked, turned = 0, 0
    for scene in dataset.scenes("train"):
        pixels = scene.pixels()
        for o in scene.objects.labelled("house"):
            x, y = (int(v) for v in shapely.centroid(o.geometry).coords[0])
            assert np.abs(pixels[y, x].astype(int) - COLOURS[o.attributes["roof"]]).max() < 12
            checked += 1
        turned += scene.provenance["quarter_turns"] > 0
    assert checked > 100 and turned > 10


def test_geometry_goes_back_to_the_map(dataset, area):
    import geopandas

    houses = geopandas.read_file(area / "layers.gpkg", layer="houses").union_all()
    scene = next(s for s in dataset.scenes("train") if len(s.objects.labelled("house")))
    for shape in scene.objects.labelled("house").to_world(scene.grid):
        assert shape.difference(houses.buffer(0.3)).area == pytest.approx(0)


def test_splits_are_disjoint_on_the_ground(dataset):
    ground = {s: shapely.union_all([x.grid.footprint for x in dataset.scenes(s)]) for s in ("train", "test")}
    assert ground["train"].area > 0 and ground["test"].area > 0
    assert ground["train"].distance(ground["test"]) >= 3.9  # the buffer of 4 m


def test_every_gold_answer_scores_full(dataset):
    frame = Frame.resize((64, 64), (64, 64))
    scenes = {s.id: s for s in dataset.scenes("test")}
    asked = dataset.questions("test")
    assert {q.task for q in asked} == set(AskSettings().tasks)
    for question in asked:
        task, scene = TASKS[question.task], scenes[question.scene_id]
        for dialect in map(DIALECTS.get, BOXED):
            text = task.answer(question, scene, dialect, frame)
            row = task.score(dialect.read(text, frame), question, scene)
            top, bottom = next(iter(task.measures.values())).terms([row])
            assert top == bottom, (question, text)


def test_absent_classes_are_asked_and_expressions_are_unique(dataset):
    questions = dataset.questions("train")
    assert any(q.task == "detection" and not q.answer_ids for q in questions)
    assert any(q.answer_text == "no" for q in questions) and any(q.answer_text == "yes" for q in questions)
    scenes = {s.id: s for s in dataset.scenes("train")}
    by_class = [q for q in questions if q.params.get("by") == "class"]
    assert by_class
    for question in by_class:
        (found,) = truth(question, scenes[question.scene_id])
        assert (scenes[question.scene_id].objects.labels_N == found.label).sum() == 1


def test_the_manifest_counts_reads_and_drops(dataset):
    manifest = dataset.manifest
    assert manifest["labels"] == ["house", "pool"]
    assert manifest["features"]["houses: read"] == manifest["features"]["houses: used"] > 0
    assert manifest["train_test_overlap_px"] == 0
    assert manifest["counts"]["train: objects dropped, less visible than min_visible"] > 0
    assert manifest["counts"]["train: scenes"] == manifest["splits"]["train"]["scenes"]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("engine", [Serial(), Processes(2), Ray(2)], ids=str)
def test_the_same_recipe_gives_the_same_bytes(area, dataset, tmp_path, engine):
    if isinstance(engine, Ray):
        pytest.importorskip("ray", reason="Ray is not installed; the extra 'ray' brings it")
    again = build(small_recipe(area, orientations=3), tmp_path / "again", engine=engine)
    assert contents(again.folder) == contents(dataset.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["again"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.building.test_build import cut_small
from tests.data.area import small_recipe
from georefer.building.build import build
from georefer.engine import Processes, Serial
from georefer.scenes.journal import Journal

def add_part(*arguments, calls=[], write=Journal.add_part):
    write(*arguments)
    calls.append(1)
    if len(calls) == 15:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    cut_small(setattr)
    Journal.add_part = add_part
    build(small_recipe(Path(sys.argv[1])), sys.argv[2], engine=Processes(2) if sys.argv[3] == "processes" else Serial())
"""


def cut_small(set_):
    """Many small files and parts, so that a small area has somewhere to break off."""
    set_(journal, "ROWS_PER_FILE", 20)
    set_(journal, "ROWS_PER_GROUP", 8)
    set_(module, "CHIPS_PER_PART", 4)


@pytest.fixture
def reads(monkeypatch):
    """Builds in small pieces; counts the chips read, and raises `reads.error` at the one numbered `reads.last`."""
    cut_small(monkeypatch.setattr)
    seen = SimpleNamespace(count=0, last=None, error=None)
    read = Imagery.read

    def counted(self, *arguments):
        seen.count += 1
        if seen.count == seen.last:
            raise seen.error
        return read(self, *arguments)

    monkeypatch.setattr(Imagery, "read", counted)
    return seen


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(area, tmp_path, reads, engine):
    recipe = small_recipe(area)
    whole = build(recipe, tmp_path / "whole")
    chips, reads.count = reads.count, 0
    (tmp_path / "script.py").write_text(KILLED)
    command = [sys.executable, tmp_path / "script.py", area, tmp_path / "out", engine]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "out").exists()
    # a second time, by an interrupt
    reads.last, reads.error = 30, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "out")
    reads.count, reads.last = 0, None
    resumed = build(recipe, tmp_path / "out")
    assert 0 < reads.count < chips / 2  # most was not made again
    assert contents(resumed.folder) == contents(whole.folder)
    assert not (tmp_path / "out.partial").exists()


def test_an_imagery_error_names_the_chips_and_keeps_what_is_done(area, tmp_path, reads):
    whole = build(small_recipe(area), tmp_path / "whole")
    chips = reads.count
    reads.count, reads.last, reads.error = 0, chips - 5, RasterError("image.tif broke off")
    with pytest.raises(RasterError, match=r"^test chips from .*: image.tif broke off"):
        build(small_recipe(area), tmp_path / "out")
    reads.count, reads.last = 0, None
    assert contents(build(small_recipe(area), tmp_path / "out").folder) == contents(whole.folder)
    assert reads.count < chips / 3


@pytest.mark.parametrize("changes", [{"seed": 1}, {"touched": True}, {"harmed": True}])
def test_what_another_build_left_is_not_gone_on_from(area, tmp_path, reads, changes):
    """Another recipe, another image under the same name, a file that lost its last bytes."""
    copy = tmp_path / "area"
    shutil.copytree(area, copy)
    reads.last, reads.error = 90, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        build(small_recipe(copy), tmp_path / "out")
    if changes.pop("touched", False):
        os.utime(copy / "image.tif", (0, 0))
    if changes.pop("harmed", False):
        for path in (tmp_path / "out.partial" / "scenes").iterdir():
            path.write_bytes(path.read_bytes()[:-1])
    reads.count, reads.last = 0, None
    resumed = build(small_recipe(copy, **changes), tmp_path / "out")
    chips = reads.count
    assert contents(resumed.folder) == contents(build(small_recipe(copy, **changes), tmp_path / "plain").folder)
    assert reads.count == 2 * chips  # nothing was taken over


def test_pandas_and_datasets_read_the_same_files(dataset):
    import datasets

    table = pandas.read_parquet(dataset.folder / "scenes")
    assert len(table) == sum(s["scenes"] for s in dataset.manifest["splits"].values())
    loaded = datasets.load_dataset(
        "parquet", data_files={"train": str(dataset.folder / "scenes/train-*.parquet")}, cache_dir=dataset.folder / "hf"
    )["train"]
    scene = next(dataset.scenes("train"))
    assert loaded[0]["id"] == scene.id
    assert np.array_equal(np.asarray(loaded[0]["image"]), scene.pixels())
    assert json.loads(loaded[0]["provenance"])["source"] == "unnamed"


def test_lines_get_the_width_that_the_recipe_gives(area, tmp_path):
    roads = LayerSettings(area / "layers.gpkg", "roads", label="road", buffer_m=2.0)
    recipe = small_recipe(area)
    built = build(replace(recipe, layers=(*recipe.layers, roads)), tmp_path / "roads")
    road = next(o for s in built.scenes("train") for o in s.objects.labelled("road"))
    assert road.geometry.bounds[1::2] == pytest.approx((0, 8), abs=0.3)


@pytest.mark.parametrize(
    "layer, message, error",
    [
        ({"layer": "roads", "label": "road"}, "give buffer_m", ConfigError),
        ({"layer": "houses"}, "either label or label_from", ConfigError),
        ({"layer": "houses", "label_from": "rof"}, "no attribute rof", ConfigError),
        ({"layer": "houses", "label": "x", "attributes": ("age",)}, "no attribute age", ConfigError),
        ({"layer": "huts", "label": "x"}, "huts", VectorError),
        (
            {"layer": "houses", "label_from": "roof", "labels": {"gold": "palace"}},
            "no feature of any layer",
            VectorError,
        ),
    ],
)
def test_a_wrong_layer_gets_one_sentence(area, tmp_path, layer, message, error):
    recipe = replace(small_recipe(area), layers=(LayerSettings(area / "layers.gpkg", **layer),))
    with pytest.raises(error, match=message):
        build(recipe, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_leaves_nothing_says_so_and_leaves_nothing(area, tmp_path):
    recipe = replace(small_recipe(area), targets=TargetSettings(min_px=1000), keep_empty=0.0)
    with pytest.raises(DatasetError, match="no scene is left in one"):
        build(recipe, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_replaced_unasked(area, dataset, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):  # not even when asked, since it is no dataset
        with pytest.raises(DatasetError, match="exists"):
            build(small_recipe(area), tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "note").write_text("no folder")
    with pytest.raises(DatasetError, match="is a file"):
        build(small_recipe(area), tmp_path / "note", overwrite=True)


def test_unknown_tasks_are_refused(area):
    with pytest.raises(ValueError, match="unknown tasks"):
        small_recipe(area, ask=AskSettings(tasks=("juggling",)))


def test_relations_are_found_on_the_whole_area_and_asked_about(area, tmp_path):
    recipe = replace(
        small_recipe(area),
        relations=RelationSettings(adjacent_m=12),
        ask=AskSettings(tasks=("rec", "relation-detection", "relation-choice")),
    )
    built = build(recipe, tmp_path / "dataset")
    scenes = {s.id: s for split in ("train", "test") for s in built.scenes(split)}
    related = [s for s in scenes.values() if s.relations]
    assert related
    for scene in related:
        ids = set(scene.objects.ids_N)
        assert all({r.subject, r.object} <= ids and r.predicate == "adjacent" for r in scene.relations)
    asked = [q for split in ("train", "test") for q in built.questions(split) if q.task == "relation-detection"]
    assert asked and all(scenes[q.scene_id].relations for q in asked)


def test_relations_of_a_build_are_those_of_lines_as_they_were_drawn(area, tmp_path):
    """By the area of its width, an L would run along what lies beside its longer arm."""
    grid = open_imagery(area / "image.tif").grid
    at = [(x, y) for x in range(0, 512, 64) for y in range(0, 512, 64)]
    kinds = {"L": shapely.LineString([(4, 4), (54, 4), (54, 24)]), "I": shapely.LineString([(8, 14), (50, 14)])}
    places = [(f"{kind}{x}-{y}", shapely.transform(line, lambda xy, by=(x, y): xy + by))
              for x, y in at for kind, line in kinds.items()]  # fmt: skip
    shapes_N = grid.geometry_to_world(np.array([line for _, line in places], dtype=object))
    roads = geopandas.GeoDataFrame({"id": [name for name, _ in places]}, geometry=shapes_N, crs=grid.crs)
    roads.to_file(tmp_path / "roads.gpkg")
    layers = (LayerSettings(tmp_path / "roads.gpkg", label="road", buffer_m=0.5),)
    recipe = small_recipe(area, layers=layers, relations=RelationSettings(), targets=TargetSettings(min_px=1))
    built = build(recipe, tmp_path / "dataset")
    pairs = {(r.predicate, r.subject[2], r.object[2]) for s in built.scenes("train") for r in s.relations}
    assert pairs == {("connect", "I", "L")}


def test_what_is_wrong_with_a_layer_stands_in_the_manifest_or_is_refused(area, tmp_path):
    houses = geopandas.read_file(area / "layers.gpkg", layer="houses")
    twice = pandas.concat([houses, houses.iloc[:2]])
    twice.to_file(tmp_path / "layers.gpkg", layer="houses")
    recipe = small_recipe(area)
    layers = tuple(replace(one, path=tmp_path / "layers.gpkg") for one in recipe.layers if one.layer == "houses")
    recipe = replace(recipe, layers=layers)
    built = build(recipe, tmp_path / "dataset")
    assert "2" in str(built.manifest["problems"]) and "duplicate" in str(built.manifest["problems"])
    with pytest.raises(VectorError, match="2"):
        build(recipe, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_a_scene_is_named_after_its_ground_and_knows_what_it_left_out(dataset, area, tmp_path):
    """A raster that grew to the west has the same places under the same names."""
    import rasterio

    with rasterio.open(area / "image.tif") as source:
        image, profile = source.read(), source.profile
    wider = np.concatenate([image[:, :, :64], image], axis=2)
    moved = profile["transform"] @ Affine.translation(-64, 0)
    with rasterio.open(tmp_path / "wider.tif", "w", **{**profile, "width": wider.shape[2], "transform": moved}) as out:
        out.write(wider)
    grown = build(small_recipe(area, imagery=(tmp_path / "wider.tif",)), tmp_path / "out")
    names = {tuple(s.grid.transform)[:6]: s.id.split("-")[1] for s in dataset.scenes("train")}
    same = [
        (names[t], s.id.split("-")[1]) for s in grown.scenes("train") if (t := tuple(s.grid.transform)[:6]) in names
    ]
    assert len(same) > 20 and all(a == b for a, b in same)
    assert len({s.id for split in ("train", "test") for s in dataset.scenes(split)}) == sum(
        s["scenes"] for s in dataset.manifest["splits"].values()
    )
    left_out = [d for s in dataset.scenes("train") for d in s.provenance.get("dropped", ())]
    assert {d[0] for d in left_out} <= {"house", "pool"} and {d[1] for d in left_out} >= {
        "less visible than min_visible"
    }
    assert all(0 <= x1 <= x2 <= 64 and 0 <= y1 <= y2 <= 64 for _, _, x1, y1, x2, y2 in left_out)


def test_registration_and_stac_are_written_beside(area, tmp_path):
    recipe = small_recipe(
        area,
        registration=RegistrationSettings(region_m=100, max_shift_m=4),
        stac=StacSettings(("2021-06-01", "2021-06-02")),
    )
    built = build(recipe, tmp_path / "out")
    told = built.manifest["registration"]["area"]
    assert told["estimated"] > 0 and told["largest_length_m"] < 0.5  # the houses are painted where the layer says
    assert (built.folder / told["picture"]).read_bytes()[:3] == b"\xff\xd8\xff"
    assert json.loads((built.folder / "stac" / "collection.json").read_text())["type"] == "Collection"


def test_registration_leaves_out_points_that_were_given_a_width(area, tmp_path):
    houses = geopandas.read_file(area / "layers.gpkg", layer="houses")
    # discs on the corners of houses would fit nothing and outvote them
    corners = [shapely.Point(*house.bounds[:2]) for house in houses.geometry]
    geopandas.GeoDataFrame(geometry=corners, crs=houses.crs).to_file(tmp_path / "trees.gpkg")
    trees = LayerSettings(tmp_path / "trees.gpkg", label="tree", buffer_m=3.0)
    recipe = small_recipe(area, registration=RegistrationSettings(region_m=100, max_shift_m=4))
    found = {}
    for name, layers in (("without", recipe.layers), ("with", (*recipe.layers, trees)), ("only", (trees,))):
        built = build(replace(recipe, layers=layers), tmp_path / name)
        found[name] = built.manifest["registration"].get("area")
    assert found["with"]["by_region"] == found["without"]["by_region"] and found["with"]["estimated"] > 0
    assert found["only"]["regions"] == 0


def test_a_taxonomy_of_the_recipe_stands_in_the_manifest(area, tmp_path):
    (tmp_path / "tree.toml").write_text('[thing]\nbuilding = ["house"]\nwater = ["pool"]\n')
    built = build(small_recipe(area, taxonomy=tmp_path / "tree.toml"), tmp_path / "out")
    assert built.manifest["taxonomy"]["house"] == ["building", "house", "thing"]
