"""Recipes of real places: each builds, small, as its README says, and what it asks is true of the ground."""

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from georefer.building.build import build
from georefer.building.recipe import BuildSettings
from georefer.cli import main
from georefer.config import load_settings
from georefer.dialects import DIALECTS
from georefer.scenes import interchange
from georefer.tasks import BOX, OBB_FORM, OUTLINE, TASKS, truth

ROOT = Path(__file__).parents[2]

SMALL = ["orientations=1", "place.most=8"]
"""The same recipe with fewer training chips; what is held out stays."""

RECIPES = {
    # name: (overrides, features read and used, classes)
    "kampala": ([*SMALL], 206, 206, ["building"]),
    "zanzibar": (["place.stride=1", *SMALL], 201, 201, ["building"]),
    # both pictures read the same layer, 39 features lie on one or the other and one of them has no class
    "new-brunswick": ([*SMALL], 86, 38, ["building", "forest", "road", "water body"]),
    "vegas-roads": (["orientations=1"], 38, 38, ["main road", "service road"]),
    "neon-trees": ([*SMALL], 577, 577, ["tree"]),
    # one point stands twice
    "naip-urban-trees": (["place.stride=1", "place.most=2", "orientations=1"], 3166, 3165, ["tree"]),
    "rareplanes": ([*SMALL], 169, 169, ["plane"]),
}

SAID_IN = {
    BOX: ("georefer", "qwen2.5-vl", "internvl"),
    OBB_FORM: ("georefer", "geoground", "fit-rs"),
    OUTLINE: ("georefer", "groundset", "florence-2"),
    None: ("georefer", "qwen3-vl", "groundset"),
}


def commands(name):
    """What the README of a recipe tells to run, one command a line."""
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "recipes" / name / "README.md").read_text(), re.S)
    return [line.split("#")[0].strip() for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_data):
    """name -> dataset, built once beside a copy of the recipes from which the same relative paths lead to the data."""
    folder = tmp_path_factory.mktemp("recipes")
    checkout = folder / "checkout"
    checkout.mkdir()
    (folder / "shared").symlink_to(shared_data.parent)
    (checkout / "recipes").symlink_to(ROOT / "recipes")

    @cache
    def of(name):
        for command in commands(name):
            program, *arguments = command.split()
            if program == "python":
                subprocess.run([sys.executable, *arguments], cwd=checkout, check=True, capture_output=True)
        path = checkout / "recipes" / name / "build.toml"
        return build(load_settings(BuildSettings, path, RECIPES[name][0]), folder / name)

    return of


@pytest.mark.shared
@pytest.mark.parametrize("name", RECIPES)
def test_all_features_are_read_and_all_tasks_are_asked(built, name):
    dataset, (_, read, used, labels) = built(name), RECIPES[name]
    assert f"georefer build recipes/{name}/build.toml runs/{name}/dataset" in commands(name)
    counts = dataset.manifest["features"]
    assert sum(n for key, n in counts.items() if key.endswith(": read")) == read
    assert sum(n for key, n in counts.items() if key.endswith(": used")) == used
    assert dataset.manifest["labels"] == labels
    recipe = load_settings(BuildSettings, ROOT / "recipes" / name / "build.toml")
    assert {q.task for split in ("train", "test") for q in dataset.questions(split)} == set(recipe.ask.tasks)
    ids = [thing.id for split in ("train", "test") for thing in (*dataset.scenes(split), *dataset.questions(split))]
    assert len(set(ids)) == len(ids)


@pytest.mark.shared
@pytest.mark.parametrize("name", RECIPES)
def test_every_gold_answer_scores_full(built, name):
    dataset = built(name)
    scenes = {s.id: s for s in dataset.scenes("test")}
    for question in dataset.questions("test"):
        task, scene = TASKS[question.task], scenes[question.scene_id]
        for dialect in map(DIALECTS.get, SAID_IN[task.form]):
            frame = dialect.frame_for(scene.size)
            text = task.answer(question, scene, dialect, frame)
            top, bottom = next(iter(task.measures.values())).terms(
                [task.score(dialect.read(text, frame), question, scene)]
            )
            assert top == bottom, (dialect.name, task.prompt(question, dialect, frame), text)


@pytest.mark.shared
@pytest.mark.parametrize("name", RECIPES)
def test_no_ground_is_in_both_splits(built, name):
    """Of the corners in longitude and latitude, in one equal-area projection, whatever the areas' own CRS."""
    to_metres = Transformer.from_crs(4326, 6933, always_xy=True)
    ground = {"train": [], "test": []}
    for split, polygons in ground.items():
        for scene in built(name).scenes(split):
            width, height = scene.size
            corners_42 = scene.grid.pixel_to_lonlat(np.array([(0, 0), (width, 0), (width, height), (0, height)]))
            polygons.append(shapely.Polygon(np.column_stack(to_metres.transform(*corners_42.T))))
    train, test = (shapely.union_all(polygons) for polygons in ground.values())
    assert train.area > 0 and test.area > 0
    assert train.intersection(test).area == 0 and train.distance(test) > 0


def areas_of(dataset, split):
    return {scene.provenance["area"] for scene in dataset.scenes(split)}


@pytest.mark.shared
def test_the_three_dates_of_santa_monica_are_tested_on_together(built):
    dataset = built("naip-urban-trees")
    test, train = areas_of(dataset, "test"), areas_of(dataset, "train")
    assert len(test) == 15 and all(name.startswith("santa_monica_") for name in test)
    assert len(train) == 36 and {Path(name).name.split("_")[0] for name in train} == {
        "bishop", "chico", "claremont", "eureka", "long", "palm", "riverside"
    }  # fmt: skip
    assert {scene.grid.crs.to_epsg() for split in ("train", "test") for scene in dataset.scenes(split)} == {
        26910,
        26911,
    }


@pytest.mark.shared
def test_both_years_of_a_neon_plot_go_to_one_split(built):
    dataset = built("neon-trees")
    sides = {split: areas_of(dataset, split) for split in ("train", "test")}
    years = {split: {n.removeprefix("SJER-2017-") for n in side if "2017" in n} for split, side in sides.items()}
    later = {split: {n.removeprefix("SJER-2018-") for n in side if "2018" in n} for split, side in sides.items()}
    assert years == later and all(years.values()) and sum(map(len, years.values())) == 12
    assert {name.split("-")[0] for name in sides["train"] | sides["test"]} == {"SJER", "TEAK", "OSBS"}


@pytest.mark.shared
def test_neon_boxes_keep_their_pixels(built, shared_data):
    """The boxes of a plot, by way of a GeoPackage and chips of half its resolution, are those of the XML."""
    images = interchange.read("voc", shared_data / "neon-trees" / "TEAK")
    truth_of = {Path(image.file_name).stem: image.objects.hbb_N4 for image in images}
    scenes = [s for split in ("train", "test") for s in built("neon-trees").scenes(split)]
    checked = 0
    for scene in scenes:
        if scene.provenance["area"].startswith("TEAK-"):
            boxes_N4 = truth_of[scene.provenance["area"].removeprefix("TEAK-")] / 2
            away_NM = np.abs(scene.objects.hbb_N4[:, None] - boxes_N4[None]).max(axis=2)
            assert away_NM.min(axis=1).max(initial=0) < 0.01
            checked += len(scene.objects)
    assert checked > 300


@pytest.mark.shared
def test_planes_are_named_by_attributes_that_only_they_have(built):
    dataset, seen = built("rareplanes"), Counter()
    for split in ("train", "test"):
        scenes = {s.id: s for s in dataset.scenes(split)}
        for question in dataset.questions(split):
            if question.task != "rec":
                continue
            words, scene = question.params["expression"], scenes[question.scene_id]
            (plane,) = truth(question, scene)
            said = {a: v for a, v in plane.attributes.items() if f" {v} " in f" {words} ".replace(" the ", " ")}
            alike = [o for o in scene.objects if all(o.attributes[a] == v for a, v in said.items())]
            assert len(alike) == 1, words
            seen.update(said.keys())
    assert seen["engines"] >= 5 and seen["make"] >= 5, seen


@pytest.mark.shared
def test_roads_meet_where_they_are_said_to(built, shared_data):
    """By the centre lines of the file, in metres: what joins lies together, what runs along another keeps beside it."""
    lines = geopandas.read_file(shared_data / "spacenet-samples" / "vegas-roads" / "AOI_2_Vegas_img0.geojson")
    line_N = lines.to_crs(32611).geometry.values
    seen, wrong = Counter(), Counter()
    for split in ("train", "test"):
        for scene in built("vegas-roads").scenes(split):
            for relation in scene.relations:
                one, other = (line_N[int(name.split("-")[-1])] for name in (relation.subject, relation.object))
                seen[relation.predicate] += 1
                if relation.predicate == "run along":
                    short, long = sorted((one, other), key=lambda line: line.length)
                    wrong[relation.predicate] += short.intersection(long.buffer(30)).length < 0.5 * short.length
                else:
                    wrong[relation.predicate] += one.distance(other) > 6
    assert seen["connect"] > 10 and seen["run along"] > 20 and seen["intersect"]
    # a road that turns a corner is measured by the area that its width makes of it, and now and then wrongly
    assert sum(wrong.values()) <= 0.05 * sum(seen.values()), (seen, wrong)


@pytest.mark.shared
def test_land_cover_has_the_classes_above_its_own(built):
    taxonomy = built("new-brunswick").manifest["taxonomy"]
    assert taxonomy["building"] == ["building", "man-made feature"] and taxonomy["forest"] == [
        "forest",
        "natural feature",
    ]
    scenes = [scene for split in ("train", "test") for scene in built("new-brunswick").scenes(split)]
    assert {label for scene in scenes for label in scene.objects.labels_N} >= {"building", "forest", "water body"}


@pytest.mark.shared
def test_kampala_looks_alike_at_every_zoom(built, shared_data, tmp_path):
    """Zoom 20 read at the scale of zoom 19: the same chips, objects and, but for resampling, pixels."""
    path, folder = ROOT / "recipes" / "kampala" / "build.toml", shared_data / "oam-osm-buildings" / "kampala"
    layer = f'layers=[{{path="{folder}/labels.geojson", label="building"}}]'
    sides = []
    for zoom in (19, 20):
        overrides = [
            f'imagery=["{folder}/*-{zoom}.png"]',
            layer,
            "chip_px=96",
            "gsd_m=0.3",
            "place.most=1",
            "keep_empty=1",
        ]
        dataset = build(load_settings(BuildSettings, path, overrides), tmp_path / str(zoom))
        assert dataset.manifest["grid"]["gsd_m"] == pytest.approx(0.2976 * 2 ** (19 - zoom), rel=1e-3)
        sides.append(
            sorted(dataset.scenes("test"), key=lambda s: np.rint(s.grid.footprint.centroid.coords[0]).tolist())
        )
    assert len(sides[0]) == len(sides[1]) == 8
    for one, other in zip(*sides, strict=True):
        assert one.grid.footprint.centroid.distance(other.grid.footprint.centroid) < 0.5
        assert len(one.objects) == len(other.objects)
        assert np.abs(one.objects.hbb_N4 - other.objects.hbb_N4).max(initial=0) < 1.5
        assert np.corrcoef(one.pixels().ravel(), other.pixels().ravel())[0, 1] > 0.85  # they differ in sharpness


@pytest.mark.shared
def test_buildings_of_both_cities_lie_on_their_roofs(built):
    for name, most_beside in (("kampala", 0), ("zanzibar", 2)):
        found = built(name).manifest["registration"]["area"]
        assert found["largest_length_m"] < 0.3 and found["features_beside"] <= most_beside
        assert found["estimated"] >= 5


HOW_TO = (ROOT / "docs" / "how-to" / "build-from-your-data.md").read_text()


def test_the_page_names_every_recipe_of_real_data():
    named = set(re.findall(r"\(\.\./\.\./recipes/([a-z-]+)\)", HOW_TO))
    assert named == {*RECIPES, "banepa"}
    assert all((ROOT / "recipes" / name / "build.toml").is_file() for name in named)


@pytest.mark.shared
def test_the_commands_of_the_page_run(shared_data, monkeypatch, tmp_path):
    (block,) = re.findall(r"```sh\n(.*?)```", HOW_TO, re.S)
    (tmp_path / "shared").symlink_to(shared_data.parent)
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path / "checkout")
    less = [part for override in SMALL for part in ("--set", override)]
    for line in block.splitlines():
        assert main([*line.split()[1:], *(less if " build " in line else [])]) == 0
    assert list(Path("runs/new-brunswick").rglob("*.html"))
