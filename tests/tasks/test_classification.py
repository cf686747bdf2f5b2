"""Localised classification: the region is said in every dialect, and the answer is one class's words."""

import numpy as np
import pytest
import shapely
from tests.data.small import LABELS, small_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects, shape_iou
from georefer.scenes import Question
from georefer.tasks import TASKS, Asking
from georefer.tasks.classification import MAX_POINTS, outline_px

TASK = TASKS["classification"]
SCENE = small_scene(2)
FRAME = Frame.resize(SCENE.size, SCENE.size)
RING = [20, 20, 100, 20, 100, 80, 60, 100, 20, 80]


def score(said, truth="Fort, bunker, casemate", **params):
    question = Question("q", SCENE.id, "classification", params, answer_text=truth)
    return TASK.score(DIALECTS["georefer"].read(said, FRAME), question, SCENE)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("region", [[20, 30, 90, 100], RING])
def test_every_dialect_says_the_region(dialect, region):
    question = Question("q", SCENE.id, "classification", {"region_px": region}, answer_text="pool")
    prompt = TASK.prompt(question, DIALECTS[dialect], FRAME)
    said = prompt.removeprefix("What is at ").removesuffix("? Answer with its class.")
    reading, kinds = DIALECTS[dialect].read(said, FRAME), DIALECTS[dialect].kinds
    found = reading.objects if kinds == {"point"} else reading.areas
    assert len(found) == 1
    gold = shapely.box(*region) if len(region) == 4 else shapely.Polygon(np.reshape(region, (-1, 2)))
    if kinds == {"point"}:
        assert gold.buffer(1).contains(found.geometries_N[0])
    else:
        only_boxes = len(region) > 4 and not kinds & {"polygon", "mask"}
        assert shape_iou(found.geometries_N, np.array([gold]), as_boxes=only_boxes)[0, 0] > 0.75


def test_an_image_without_a_region_is_asked_about_as_a_whole():
    question = Question("q", SCENE.id, "classification", {}, answer_text="pool")
    assert TASK.prompt(question, DIALECTS["georefer"], FRAME) == "What is in the image? Answer with its class."


def test_boxes_and_outlines_are_asked_about_and_no_answer_is_in_the_question():
    hexagons = [shapely.Point(x, 40).buffer(12, quad_segs=2) for x in range(20, 150, 30)]
    objects = Objects.of(hexagons, ["pool"] * len(hexagons), kind="polygon")
    scene = SCENE.__class__("s", SCENE.image, objects, SCENE.grid, "test")
    asked = [q for n in range(4) for q in TASK.questions(scene, Asking(LABELS), np.random.default_rng(n))]
    assert {len(q.params["region_px"]) for q in asked} == {4, 16}
    assert all("pool" not in TASK.prompt(q, DIALECTS["georefer"], FRAME) for q in asked)
    assert len(TASK.questions(scene, Asking(LABELS, per_task={"classification": 2}), np.random.default_rng(0))) == 2


def test_a_region_that_means_two_classes_is_not_asked_about():
    boxes = np.array([[10, 10, 50, 50], [10, 10, 50, 48], [60, 60, 90, 90], [60, 60, 90, 89]])
    objects = Objects.from_hbb(boxes, ["pool", "tank", "tree", "tree"])
    scene = SCENE.__class__("s", SCENE.image, objects, SCENE.grid, "test")
    asked = TASK.questions(scene, Asking(LABELS), np.random.default_rng(0))
    assert [q.answer_text for q in asked] == ["tree", "tree"]  # either of the trees is one
    assert TASK.questions(scene, Asking(("pool",)), np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    "geometry",
    [
        shapely.Point(50, 50).buffer(9, quad_segs=MAX_POINTS),  # too many points for a prompt
        shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 5, 5)),  # a hole
        shapely.union(shapely.box(0, 0, 9, 9), shapely.box(20, 20, 25, 25)),  # two parts
    ],
)
def test_a_shape_that_one_ring_does_not_tell_has_no_outline(geometry):
    assert outline_px(geometry) is None


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("Fort, bunker, casemate", 1),
        ("a fort, bunker, casemate.", 1),  # case, articles and points are no difference
        ("fort bunker_casemate", 1),
        ("fort", 0),
        ("fort, bunker, casemate or church", 0),  # hedged
        ("church, fort, bunker, casemate", 0),
        ("", 0),
        ("fort, bunker, casemate " * 50, 0),  # repeated
    ],
)
def test_right_is_the_words_of_the_class(said, right):
    assert score(said)["right"] == score(said)["credit"] == right


def test_accepted_classes_have_credit_and_are_not_right():
    accepted = {"Military structure": 0.75, "Nature": 7}
    for said, credit in (("military structure", 0.75), ("Nature", 1), ("church", 0), ("", 0)):
        found = score(said, accepted=accepted)
        assert (found["right"], found["credit"]) == (0, credit)
    assert score("fort, bunker, casemate", accepted=accepted)["credit"] == 1
