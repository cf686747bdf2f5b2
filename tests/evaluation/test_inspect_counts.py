"""Histograms are those of brute force over every scene, and parts of tables are those of the whole."""

import math
from collections import Counter

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from tests.data.small import small_questions, small_scene

from georefer.dialects import DIALECTS
from georefer.errors import DatasetError
from georefer.evaluation import inspect_counts as module
from georefer.evaluation.inspect_counts import ZERO, bins_of, histograms
from georefer.evaluation.inspect_seen import DialectSight
from georefer.evaluation.inspect_tables import ids_at, questions_about, rows_of, scenes_at, spread
from georefer.geometry import OBB, GeoGrid, Objects
from georefer.scenes import DatasetWriter, Scene
from georefer.tasks import TASKS

SIGHT = DialectSight(DIALECTS["georefer"])
ASKED = ("rec", "detection", "presence", "multilabel")


def scene_of(number, split):
    """Every third scene is empty and every second has metres; shapes of all kinds."""
    scene = small_scene(number, (160, 120), split)
    objects = scene.objects[: 0 if number % 3 == 2 else len(scene.objects)]
    kinds = ["obb", "polygon", "hbb", "mask", "polygon"][: len(objects)]
    grid = GeoGrid(CRS.from_epsg(32630), Affine(0.3, 0, 0, 0, -0.3, 0), 160, 120) if number % 2 else scene.grid
    turned = Objects.of(objects.geometries_N, list(objects.labels_N), kind=kinds) if len(objects) else objects
    return Scene(f"{split}-{number}", scene.image, turned, grid, split)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    # more than one batch and row group a split
    with DatasetWriter(tmp_path_factory.mktemp("counts") / "data") as writer:
        for split, count in (("train", 140), ("test", 9)):
            scenes = [scene_of(n, split) for n in range(count)]
            writer.write(split, scenes, [q for s in scenes for q in small_questions(s, ASKED)])
        return writer.finish("")


@pytest.mark.parametrize(
    ("values", "parts", "bins"),
    [
        ([1, 1.99, 2, 3.99, 4], 1, [0, 0, 1, 1, 2]),
        ([1, 1.41, 1.42, 2], 2, [0, 0, 1, 2]),
        ([0.5, 0.25], 1, [-1, -2]),
        ([8, 2**0.5, 2**1.5], 2, [6, 1, 3]),  # whole powers begin their bin
        ([0, 5], 1, [ZERO, 2]),
        ([np.nan, -1, np.inf, 1], 1, [0]),  # no numbers, no bins
        ([], 2, []),
    ],
)
def test_bins(values, parts, bins):
    assert bins_of(np.array(values, dtype=float), parts).tolist() == bins


def test_histograms_are_those_of_brute_force(dataset):
    found = {h.title: h for h in histograms(dataset, SIGHT)}
    for split in ("train", "test"):
        scenes, questions = list(dataset.scenes(split)), dataset.questions(split)
        by_id = {s.id: s for s in scenes}
        sides = [((b[2] - b[0]) * (b[3] - b[1])) ** 0.5 for s in scenes for b in s.objects.hbb_N4]
        metres = [
            ((b[2] - b[0]) * (b[3] - b[1])) ** 0.5 * s.grid.gsd_m
            for s in scenes
            if s.grid.gsd_m
            for b in s.objects.hbb_N4
        ]
        answers = [TASKS[q.task].answer(q, (s := by_id[q.scene_id]), SIGHT.dialect, SIGHT.frame_for(s.size))
                   for q in questions]  # fmt: skip
        for title, values, parts in (
            ("Object side, pixels", sides, 2),
            ("Object side, metres", metres, 2),
            ("Objects in a scene", [len(s.objects) for s in scenes], 1),
            ("Answer length, characters", list(map(len, answers)), 1),
        ):
            expected = Counter(math.floor(parts * math.log2(v) + 1e-9) if v else ZERO for v in values)
            assert sorted(n for n in found[title].counts[split] if n) == sorted(expected.values()), (title, split)
            assert found[title].totals[split] == len(values)
            assert len(found[title].bins) == len(set(found[title].bins)) == len(found[title].counts[split])
        classes = Counter(label for s in scenes for label in s.objects.labels_N)
        named = found["Classes"]
        assert dict(zip(named.bins, named.counts[split], strict=True)) == {k: classes[k] for k in named.bins}
        tasks = found["Questions by task"]
        assert dict(zip(tasks.bins, tasks.counts[split], strict=True)) == Counter(q.task for q in questions)
    assert 0 < found["Object side, metres"].totals["train"] < found["Object side, pixels"].totals["train"]
    assert found["Objects in a scene"].bins[0] == "0"


def test_orientation_is_that_of_the_longer_side(tmp_path):
    """A ship of 40 x 10 at 30 degrees, clockwise on the screen, twelve bins of 15; a square has none."""
    scene = small_scene(0)
    shapes = [OBB(60, 60, 40, 10, heading).to_polygon() for heading in (30, 37, 100, 179)]
    shapes.append(OBB(60, 60, 20, 20, 30).to_polygon())
    objects = Objects.of(shapes, ["ship"] * 5, kind=["obb", "polygon", "obb", "obb", "obb"])
    with DatasetWriter(tmp_path / "data") as writer:
        writer.write("test", [Scene("s", scene.image, objects, scene.grid, "test")], [])
        dataset = writer.finish("")
    (found,) = [h for h in histograms(dataset, SIGHT) if h.title.startswith("Orientation")]
    assert {name: n for name, n in zip(found.bins, found.counts["test"], strict=True) if n} == {
        "30°": 2, "90°": 1, "165°": 1,
    }  # fmt: skip


def test_many_classes_are_counted_to_a_bound(dataset, monkeypatch):
    monkeypatch.setattr(module, "MAX_CLASSES", 2)
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    (found,) = [h for h in histograms(dataset, SIGHT) if h.title == "Classes"]
    assert len(found.bins) == 2 and "more are not shown" in found.note


def test_an_empty_dataset_has_no_histograms(tmp_path):
    with DatasetWriter(tmp_path / "data") as writer:
        writer.write("test", [], [])
        dataset = writer.finish("")
    assert histograms(dataset, SIGHT) == []


# --- parts of tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[0], [63, 64, 65], [139, 3], [], list(range(140))])
def test_scenes_in_rows(dataset, rows):
    whole = list(dataset.scenes("train"))
    expected = [whole[row].id for row in sorted(rows)]
    assert [s.id for s in scenes_at(dataset, "train", rows)] == expected == ids_at(dataset, "train", rows)
    assert rows_of(dataset, "train", [*expected, "unknown"]) == dict(zip(expected, sorted(rows), strict=True))


@pytest.mark.parametrize("tasks", [(), ("rec",), ("rec", "presence"), ("res",)])
def test_questions_about_scenes(dataset, tasks):
    ids = {"train-3", "train-100", "gone"}
    expected = {}
    for q in dataset.questions("train"):
        if q.scene_id in ids and (not tasks or q.task in tasks):
            expected.setdefault(q.scene_id, []).append(q)
    assert questions_about(dataset, "train", ids, tasks) == expected


def test_scenes_are_spread(dataset):
    assert spread(dataset, "train", 3) == [0, 69, 139]
    assert spread(dataset, "test", 100) == list(range(9)) and spread(dataset, "test", 0) == []
    # "rec" is not asked of empty scenes; the choice is the same whatever the order, and a larger one holds a smaller
    asked = {q.scene_id for q in dataset.questions("train") if q.task == "rec"}
    few, more = (set(ids_at(dataset, "train", spread(dataset, "train", n, ["rec"]))) for n in (5, 20))
    assert len(few) == 5 and len(more) == 20 and few < more < asked
    assert set(ids_at(dataset, "train", spread(dataset, "train", 1000, ["rec"]))) == asked
    assert spread(dataset, "train", 5, ["res"]) == [] and spread(dataset, "train", 0, ["rec"]) == []
    with pytest.raises(DatasetError, match="no split 'val'"):
        spread(dataset, "val", 3)
