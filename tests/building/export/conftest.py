"""A dataset that nobody would like to write: labels, ids and shapes as bad as a dataset can hold them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from PIL import Image
from pyproj import CRS
from tests.data.related import related_asking, related_scene
from tests.data.small import small_questions, small_scene

from georefer.building.export import ExportSettings, export
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import encode_image
from georefer.scenes import DatasetWriter, Question, Scene
from georefer.tasks import TASKS

LABELS = (
    'a "quoted" \\ label',  # quotes and a backslash
    "two\nlines\tand a tab",
    "café ✈ \u2028 \x85 end",  # line separators that some readers split at
    "../../etc/passwd",
    "<image>",  # where a picture goes
    "car <bbox>",  # where ms-swift puts a box
    "it's, a [list]",
)
IDS = ("../../escape", "a/b c.d", "con", "Plain", "plain", "new\nline", "é" * 300)

APRON = GeoGrid(CRS.from_epsg(32645), Affine(0.3, 0, 330_000, 0, -0.3, 3_060_000), 512, 512)
PLACES = GeoGrid(CRS.from_epsg(2154), Affine(0.5, 0, 700_000, 0, -0.5, 6_600_000), 120, 80)


def bad_scene(number: int, split: str) -> Scene:
    """One object of every kind under hostile labels, and three that are hard to say: holes, parts, a sliver."""
    rng = np.random.default_rng(number)
    image = encode_image(rng.integers(0, 255, (80, 120, 3)).astype(np.uint8), "JPEG" if number % 2 else "PNG")
    strip = shapely.affinity.rotate(shapely.box(30, 30, 60, 40), 30)
    ring = shapely.box(70, 10, 110, 50).difference(shapely.box(80, 20, 95, 35))
    parts = shapely.union_all([shapely.box(5, 60, 15, 75), shapely.box(20, 60, 30, 75)])
    shapes = [shapely.box(3, 4, 25.5, 28.25), strip, shapely.Polygon([(65, 55), (100, 58), (80, 78)]), ring, parts]
    kinds = ["hbb", "obb", "polygon", "polygon", "polygon"]
    labels = [LABELS[(number + i) % len(LABELS)] for i in range(len(shapes))]
    ids = [f"{label}#{i}" for i, label in enumerate(labels)]
    objects = Objects.of(shapes, labels, kind=kinds, ids=ids, attributes=[{"height_m": 3.5}] * len(shapes))
    told = {"source": "Ville | de *Banepa*\n", "licence": "ODbL <1.0>", "window_px": [1, 2, 3, 4]}
    return Scene(IDS[number], image, objects, PLACES, split, told)


def bad_questions(scene: Scene) -> list[Question]:
    """What the tasks ask, a phrase for every object, and what cannot be asked at all."""
    found = []
    for i, one in enumerate(scene.objects):
        for task in ("rec", "rec-obb", "res"):
            params = {"expression": f"the {one.label} no. {i}", "by": "place"}
            found.append(Question(f"{scene.id}/{task}/{i}", scene.id, task, params, (one.id,)))
        for task in ("detection", "detection-obb", "segment"):
            found.append(Question(f"{scene.id}/{task}/{one.label}", scene.id, task, {"label": one.label}, (one.id,)))
    for task in ("detection", "detection-obb", "segment"):
        found.append(Question(f"{scene.id}/{task}/none", scene.id, task, {"label": "ship"}))
    found.append(Question(f"{scene.id}/presence", scene.id, "presence", {"label": LABELS[0]}, answer_text="yes"))
    listed = {"label": "lot [120, 200, 300, 400]"}
    found.append(Question(f"{scene.id}/listed", scene.id, "presence", listed, answer_text="no"))
    found.append(Question(f"{scene.id}/choice", scene.id, "choice", {"options": ["x", LABELS[1]]}, answer_text="B"))
    found.append(Question(f"{scene.id}/vqa", scene.id, "vqa", {"label": LABELS[2]}, answer_text="1\n2"))
    found.append(Question(f"{scene.id}/odd", scene.id, "no such task", {}, answer_text="?"))
    found.append(Question(f"{scene.id}/lost", scene.id, "rec", {"expression": "it"}, ("not there",)))
    return found


@pytest.fixture(scope="session")
def bad(tmp_path_factory):
    """The hostile dataset: four scenes to train on, three to test, all tasks."""
    with DatasetWriter(tmp_path_factory.mktemp("bad") / "dataset") as writer:
        for split, numbers in (("train", range(4)), ("test", range(4, 7))):
            scenes = [bad_scene(number, split) for number in numbers]
            writer.write(split, scenes, [question for scene in scenes for question in bad_questions(scene)])
        return writer.finish("bad", recipe={"source": {"attribution": "© people & *friends*"}})


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The suite's small scenes with every task's questions, in both splits."""
    with DatasetWriter(tmp_path_factory.mktemp("plain") / "dataset") as writer:
        for split, numbers in (("train", (0, 1, 2)), ("test", (3, 4))):
            scenes = [small_scene(n, (160, 120) if n % 2 else (96, 96), split) for n in numbers]
            writer.write(split, scenes, [q for scene in scenes for q in small_questions(scene, tuple(TASKS))])
        return writer.finish("plain")


@pytest.fixture(scope="session")
def related(tmp_path_factory):
    """Scenes with oriented boxes, outlines and STAR's relations, about which every task asks, in both splits.

    In the test split ship 2 stands in no relation.
    """
    with DatasetWriter(tmp_path_factory.mktemp("related") / "dataset") as writer:
        for grey, (split, left_out) in enumerate((("train", ""), ("test", "tank"), ("test", "car")), 80):
            scene = related_scene(f"{split}-{left_out or 'all'}", left_out)
            told = [r for r in scene.relations if split == "train" or "ship 2" not in (r.subject, r.object)]
            image = encode_image(np.full((512, 512, 3), grey, np.uint8))
            scene = replace(scene, image=image, split=split, grid=APRON, relations=tuple(told))
            few = dict.fromkeys(("choice", "presence", "vqa", "hbb_to_obb", "hbb_to_outline", "obb_to_outline"), 2)
            few |= dict.fromkeys(("obb_to_hbb", "outline_to_hbb", "outline_to_obb", "classification"), 2)
            asking, rng = related_asking(scene, relation_choice=12, **few), np.random.default_rng(5)
            asked = [question for task in TASKS.values() for question in task.questions(scene, asking, rng)]
            writer.write(split, [scene], asked)
        return writer.finish("related")


@pytest.fixture(scope="session")
def odd(related, tmp_path_factory):
    """One scene whose questions lack what their tasks need, or hold something else in its place."""
    scene = next(related.scenes("test"))
    asked = {question.task: question for question in related.questions("test") if question.scene_id == scene.id}
    found = list(asked.values())
    for one in asked.values():
        for key in one.params:
            less = {name: value for name, value in one.params.items() if name != key}
            others = [{**one.params, key: value} for value in (None, 3, "x", [], {"a": 1}, [[]])]
            found += [replace(one, id=f"{one.id} {key} {n}", params=p) for n, p in enumerate([less, *others])]
    with DatasetWriter(tmp_path_factory.mktemp("odd") / "dataset") as writer:
        writer.write("train", [replace(scene, id="train", split="train")], [])
        writer.write("test", [scene], found)
        return writer.finish("odd")


@pytest.fixture
def exported(tmp_path):
    """Exports a dataset under settings; gives (folder, manifest)."""

    def run(dataset, form, **settings):
        folder = tmp_path / form
        return folder, export(dataset, folder, ExportSettings(form, **settings))

    return run


def turned_jpeg(image_HW3: np.ndarray) -> bytes:
    """A JPEG that asks to be turned before it is shown."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(image_HW3).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()
