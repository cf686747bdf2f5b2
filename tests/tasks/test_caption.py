"""Captions as a task: scored by what is so, whatever the wording, and no list games them."""

import dataclasses
import re

import numpy as np
import pytest
from tests.data.small import ABOVE, BORNE, LABELS, kinds_scene, small_questions, small_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects
from georefer.tasks import TASKS, Asking
from georefer.tasks.description import describe

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


# --- what slivers and wider classes hide ------------------------------------------------------------------


def asked_with(labels, slivers=(), classes=BORNE, **more):
    scene = kinds_scene("kinds", *labels)
    asking = Asking(classes, slivers=frozenset(slivers), **more)
    (question,) = TASK.questions(scene, asking, np.random.default_rng(0))
    return question, scene


def worth(said, question, scene, measure="f1"):
    row = TASK.score(DIALECTS["georefer"].read(said, FRAME), question, scene)
    top, bottom = TASK.measures[measure].terms([row])
    return float(top[0] / bottom[0])


@pytest.mark.parametrize(
    ("labels", "slivers", "above", "overview"),
    [
        (("house", "house", "pool"), (), {}, "two houses and one pool"),
        # slivers of a class: at least so many; of another: nothing more is said
        (("house", "house", "pool"), ("house",), {}, "at least two houses and one pool"),
        (("house", "house", "pool"), ("tank",), {}, "two houses and one pool"),
        # a bare building may be a house, and a house is a building
        (("building", "house", "pool"), (), ABOVE, "at least one building, at least one house and one pool"),
        (("house", "church", "pool"), (), ABOVE, "one house, one church and one pool"),
        # a sliver of a wider class
        (("house", "church", "pool"), ("building",), ABOVE, "at least one house, at least one church and one pool"),
        (("house", "tank", "pool"), ("water",), ABOVE, "one house, one tank and at least one pool"),
    ],
)
def test_numbers_are_said_where_they_are_known(labels, slivers, above, overview):
    question, scene = asked_with(labels, slivers, above=above)
    first = question.answer_text.split(". ")[0]
    told = re.sub("^(The image shows|This is a view of|Seen from above are|The scene holds) ", "", first)
    parts = {*re.split(r", | and ", told)}
    assert parts == {*re.split(r", | and ", overview)}
    assert worth(question.answer_text, question, scene) == 1
    bounded = {part.split()[-1].replace("houses", "house") for part in parts if part.startswith("at least")}
    assert bounded == set(question.params.get("uncounted", ()))


def test_a_number_said_of_what_is_not_counted_is_neither_right_nor_wrong():
    question, scene = asked_with(("house", "house", "pool"), ("house",))
    for number in ("Two", "Three", "Nine"):
        said = f"{question.answer_text} {number} houses are there."
        assert worth(said, question, scene) == worth(said, question, scene, "counts") == 1
    assert worth(f"{question.answer_text} Nine pools are there.", question, scene) < 1


def test_a_class_that_is_perhaps_there_is_no_lie():
    for labels, slivers, above, free in (
        (("house",), ("tank",), {}, "tank"),
        (("church",), (), ABOVE, "building"),
        (("building",), (), ABOVE, "house"),
    ):
        question, scene = asked_with(labels, slivers, above=above)
        assert worth(f"{question.answer_text} There is a {free}.", question, scene) == 1
        assert worth(f"{question.answer_text} There is a ruin.", question, scene) < 1


def test_what_stands_out_is_said_of_the_whole_alone():
    labels = tuple(f"kind{letter}" for letter in "abcdefg")
    boxes_N4 = np.array([[8 + 10 * i, 8 + 10 * i, 14 + 10 * i, 15 + 10 * i] for i in range(len(labels))])
    boxes_N4[0, 2:] += 60
    objects = Objects.from_hbb(boxes_N4, labels)
    whole, part = (describe(objects, (160, 120), np.random.default_rng(0), whole=whole) for whole in (True, False))
    assert "seven kinds" in whole and "takes up the most room" in whole
    assert "many kinds" in part and "most room" not in part


# --- regions ----------------------------------------------------------------------------------------------

REGION = TASKS["region-caption"]


def test_every_clear_object_is_told_with_its_place():
    scene = kinds_scene("kinds", "house", "church", "pool")
    found = REGION.questions(scene, Asking(BORNE, above=ABOVE), np.random.default_rng(0))
    assert [q.answer_text for q in found] == [
        "A house in the upper left. It takes up about 6 % of the image.",
        "A church in the centre. It takes up about 6 % of the image.",
        "A pool in the centre. It takes up about 6 % of the image.",
    ]
    assert "[38, 167, 225, 500]" in REGION.prompt(found[0], DIALECTS["georefer"], Frame.resize((160, 120), (160, 120)))
    assert len(REGION.questions(scene, Asking(BORNE, per_task={"region-caption": 1}), np.random.default_rng(0))) == 1


@pytest.mark.parametrize(
    ("said", "f1"),
    [
        ("In the upper left lies a house.", 1),
        ("A house, which is a building, in the upper left.", 1),  # so it is
        ("A house.", 2 / 3),  # where is not said
        ("A house in the lower right.", 2 / 4),
        ("A pool in the upper left.", 0),  # the pool is elsewhere
        ("A house or a church or a tank in the upper left.", 2 / (1 + 3 + 2)),  # hedged: two lies, and the place of one
        ("Something in the upper left.", 0),
    ],
)
def test_a_region_caption_is_held_against_its_object_alone(said, f1):
    scene = kinds_scene("kinds", "house", "church", "pool")
    question = REGION.questions(scene, Asking(BORNE, above=ABOVE), np.random.default_rng(0))[0]
    row = REGION.score(DIALECTS["georefer"].read(said, FRAME), question, scene)
    top, bottom = REGION.measures["f1"].terms([row])
    assert top[0] / bottom[0] == pytest.approx(f1)
