"""All classes of a scene: items of a list, counted over all answers; naming everything does not pay."""

import numpy as np
import pytest
from tests.data.small import LABELS, small_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects
from georefer.scenes import Question
from georefer.tasks import TASKS, Asking
from georefer.tasks.multilabel import MAX_OFFERED, items

TASK = TASKS["multilabel"]
SCENE = small_scene(2)
FRAME = Frame.resize(SCENE.size, SCENE.size)


def score(said, truth="building, pool", **params):
    question = Question("q", SCENE.id, "multilabel", params, answer_text=truth)
    row = TASK.score(DIALECTS["georefer"].read(said, FRAME), question, SCENE)
    return row["tp"], row["fp"], row["fn"], row["right"]


def asked(objects, labels, seed=0):
    scene = SCENE.__class__("s", SCENE.image, objects, SCENE.grid, "test")
    return TASK.questions(scene, Asking(labels), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("said", "tp", "fp", "fn", "right"),
    [
        ("building, pool", 2, 0, 0, 1),
        ("Pools, the building.", 1, 1, 1, 0),  # another word is another class
        ("POOL,building", 2, 0, 0, 1),  # in any order and case
        ("pool\nbuilding", 2, 0, 0, 1),  # one a line
        ("building", 1, 0, 1, 0),
        ("building, building, building", 1, 0, 1, 0),  # repeating adds nothing
        ("building, pool, tank, tree", 2, 2, 0, 0),  # naming everything costs precision
        ("building or pool", 0, 1, 2, 0),  # one item
        ("none", 0, 0, 2, 0),
        ("none, building, pool", 2, 1, 0, 0),
        ("", 0, 0, 2, 0),
        (", , ,", 0, 0, 2, 0),
        (" ".join(["building"] * 300), 0, 1, 2, 0),  # too long to be a class
    ],
)
def test_items_are_counted_once(said, tp, fp, fn, right):
    assert score(said) == (tp, fp, fn, right)


def test_nothing_there_is_said_so():
    (question,) = asked(Objects.none(), LABELS)
    assert question.answer_text == "none"
    assert score("none", "none") == (0, 0, 0, 1)
    assert score("", "none") == (0, 0, 0, 0)
    assert score("pool", "none") == (0, 1, 0, 0)


def test_names_with_commas_are_kept_whole_and_the_mark_tells_nothing():
    labels = ("Church", "Fort, bunker, casemate", "Silo")
    boxes = np.array([[0, 0, 9, 9], [20, 20, 30, 30]])
    (both,) = asked(Objects.from_hbb(boxes, ["Fort, bunker, casemate", "Church"]), labels)
    assert both.answer_text == "Church; Fort, bunker, casemate"
    assert score(both.answer_text, both.answer_text, **both.params) == (2, 0, 0, 1)
    (other,) = asked(Objects.from_hbb(boxes, ["Church", "Silo"]), labels)
    assert other.answer_text == "Church; Silo"
    assert "semicolons" in TASK.prompt(other, DIALECTS["georefer"], FRAME)


def test_a_large_taxonomy_is_offered_in_part_with_everything_that_is_there():
    labels = tuple(f"class {i}" for i in range(200))
    (question,) = asked(Objects.from_hbb(np.array([[0, 0, 9, 9]]), ["class 77"]), labels)
    assert len(question.params["labels"]) == MAX_OFFERED and "class 77" in question.params["labels"]
    assert "class 77" in TASK.prompt(question, DIALECTS["georefer"], FRAME)


def test_junk_is_read_within_bounds():
    assert len(items("a1," * 400_000, ",")) == 1
    assert score(", ".join(map(str, range(100_000))))[0] == 0
