"""Detection of several classes: boxes count under their own class only, and absent classes are asked too."""

import numpy as np
import pytest
from tests.data.small import LABELS, small_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects
from georefer.scenes import Question
from georefer.tasks import TASKS, Asking

PHRASE = TASKS["phrase"]
SCENE = small_scene(2)  # 4 objects: 2 tanks, a building, a pool
FRAME = Frame.resize(SCENE.size, SCENE.size)
DIALECT = DIALECTS["georefer"]
ASKED = Question("q", SCENE.id, "phrase", {"labels": list(LABELS)}, tuple(SCENE.objects.ids_N))


def row(objects, labelled=True):
    return PHRASE.score(DIALECT.read(DIALECT.write(objects, FRAME, labelled=labelled), FRAME), ASKED, SCENE)


def f1(row):
    top, bottom = PHRASE.measures["f1"].terms([row])
    return float(top[0] / bottom[0])


def relabelled(objects, labels):
    return Objects.from_hbb(objects.hbb_N4, labels)


def test_classes_that_are_there_are_asked_for_with_some_that_are_not():
    many = Objects.from_hbb(np.array([[i, i, i + 5, i + 5] for i in range(6)]), list("abcdef"))
    scene = SCENE.__class__("many", SCENE.image, many, SCENE.grid, "test")
    asking = Asking((*"abcdefxyz",), absent=2)
    asked = PHRASE.questions(scene, asking, np.random.default_rng(0))
    assert [len(q.params["labels"]) for q in asked] == [6, 4]  # 4 and 2 that are there, 2 each that are not
    assert sorted(id_ for q in asked for id_ in q.answer_ids) == sorted(many.ids_N)
    firsts = [PHRASE.questions(scene, asking, np.random.default_rng(n))[0].params["labels"] for n in range(20)]
    orders = {tuple(label in "xyz" for label in labels) for labels in firsts}
    assert len(orders) > 5  # where a class stands does not tell whether it is there
    assert len(PHRASE.questions(scene, Asking(asking.labels, per_task={"phrase": 1}), np.random.default_rng(0))) == 1


def test_names_with_commas_are_told_apart():
    question = Question("q", "s", "phrase", {"labels": ["Fort, bunker, casemate", "Church"]})
    assert "Fort, bunker, casemate; Church" in PHRASE.prompt(question, DIALECT, FRAME)


@pytest.mark.parametrize("change", [str.upper, lambda x: x.replace(" ", "_"), lambda x: f" {x}  "])
def test_a_class_may_be_spelled_otherwise(change):
    scene = SCENE.__class__("s", SCENE.image, relabelled(SCENE.objects, ["storage tank"] * 4), SCENE.grid, "test")
    said = relabelled(SCENE.objects, [change("storage tank")] * 4)
    reading = DIALECT.read("none", FRAME).__class__("", said)
    assert PHRASE.score(reading, ASKED, scene)["tp"] == 4


@pytest.mark.parametrize(
    ("labels", "tp", "fp"),
    [
        (["pool"] * 4, 1, 3),  # the right boxes under one class
        (["tree"] * 4, 0, 4),  # under a class that is asked for and not there
        (["ship"] * 4, 0, 4),  # under one that was not asked for
    ],
)
def test_a_box_counts_under_its_own_class_only(labels, tp, fp):
    found = row(relabelled(SCENE.objects, labels))
    assert (found["tp"], found["fp"], found["placed"]) == (tp, fp, 4)


def test_boxes_without_classes_have_their_places_alone():
    found = row(SCENE.objects, labelled=False)
    assert (found["tp"], found["placed"]) == (0, 4)


def test_every_box_under_every_class_does_not_pay():
    hedged = Objects.concat([relabelled(SCENE.objects, [label] * 4) for label in LABELS])
    found = row(hedged)
    assert (found["tp"], found["fp"], found["absent_right"]) == (4, 12, 0)
    assert f1(found) == 0.4


def test_repeating_and_giant_boxes_do_not_pay():
    giant = Objects.from_hbb(np.array([[0, 0, *SCENE.size]] * 4), list(LABELS))
    assert f1(row(giant)) == 0
    shifted = SCENE.objects.replaced(SCENE.objects.scale(1.02, 1.02).geometries_N)
    assert row(Objects.concat([SCENE.objects, shifted]))["tp"] == 4
    assert f1(row(Objects.concat([SCENE.objects, shifted]))) < f1(row(SCENE.objects)) == 1


def test_absent_classes_are_right_where_a_readable_answer_says_no_box_of_them():
    assert (row(SCENE.objects)["absent_asked"], row(SCENE.objects)["absent_right"]) == (1, 1)
    silent = PHRASE.score(DIALECT.read("", FRAME), ASKED, SCENE)
    assert (silent["absent_asked"], silent["absent_right"]) == (1, 0)
