"""Captions as a task: scored by what is so, whatever the wording, and no list games them."""

import dataclasses

import numpy as np
import pytest
from tests.data.small import LABELS, small_questions, small_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects
from georefer.tasks import TASKS, Asking

TASK = TASKS["caption"]
SCENE = small_scene(2)  # a building, a pool and two tanks
FRAME = Frame.resize(SCENE.size, SCENE.size)
(ASKED,) = small_questions(SCENE, ["caption"])
PLACES = [f"in the {down} {across}" for down in ("upper", "lower") for across in ("left", "right")]


def score(said, question=ASKED):
    return TASK.score(DIALECTS["georefer"].read(said, FRAME), question, SCENE)


def value(said, measure="f1", question=ASKED):
    top, bottom = TASK.measures[measure].terms([score(said, question)])
    return float(top[0] / bottom[0]) if bottom[0] else None


@pytest.mark.parametrize("measure", TASK.measures)
def test_the_truth_has_full_marks(measure):
    assert value(ASKED.answer_text, measure) == 1


def test_another_wording_is_as_good_and_has_less_of_the_words():
    other = ASKED.answer_text.replace("The image shows", "I can see").replace("Both", "These two")
    sentences = other.removesuffix(".").split(". ")
    said = ". ".join(sentences[::-1]) + "."
    assert value(said) == 1
    assert 0 < value(said, "rouge-l") < 1


@pytest.mark.parametrize(
    "said",
    [
        ", ".join(LABELS),  # every class
        ", ".join(f"one {label}" for label in LABELS),
        ". ".join(f"One or two {label}s {place}" for label in LABELS for place in PLACES),  # hedged
        ". ".join(f"One {label} {place}" for label in LABELS for place in PLACES),  # everything everywhere
        "There is a building. " * 300,  # repeated
        "The picture is a beautiful view from above with several things of interest.",
        "No building, no pool, no tank, no tree.",
    ],
)
def test_lists_and_hedges_do_not_pay(said):
    assert value(said) <= 0.6 < value(ASKED.answer_text)


def test_each_untruth_costs():
    true = value(ASKED.answer_text)
    for lie in ("There is a tree.", "There are nine pools.", "There is no building.", "A tree in the upper left."):
        assert value(f"{ASKED.answer_text} {lie}") < true


def test_more_true_statements_on_one_class_add_nothing():
    once = "There is one pool. "
    assert value(once * 50) == value(once) == pytest.approx(2 * 2 / (2 + 9))


def test_a_published_caption_is_compared_in_words_alone():
    published = dataclasses.replace(ASKED, params={"prompt": "Describe."}, answer_text="A pool by two tanks.")
    assert value("A pool by two tanks.", "f1", published) is None
    assert value("A pool by two tanks.", "rouge-l", published) == 1
    assert 0 < value("A pool by a house.", "rouge-l", published) < 1


def test_scenes_that_cannot_be_told_are_not_asked_about():
    empty = SCENE.__class__("e", SCENE.image, Objects.none(), SCENE.grid, "test")
    rng = np.random.default_rng(0)
    assert TASK.questions(empty, Asking(LABELS), rng) == []
    assert TASK.questions(SCENE, Asking(("pool", "tank")), rng) == []  # a building is there, and not to be asked about
    assert TASK.questions(SCENE, Asking(LABELS, per_task={"caption": 0}), rng) == []
    assert len(TASK.questions(SCENE, Asking(LABELS), rng)) == 1


def test_hostile_text_is_read_within_bounds():
    for said in ("pool " * 200_000, "(" * 1_000_000, "two or " * 150_000, "\ud800\x00" * 10_000):
        assert value(said) < 0.5
