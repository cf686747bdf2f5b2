"""Generalised referring: several objects or none, in every form, and nothing pays but the right answer."""

import numpy as np
import pytest
from tests.data.promises import check_promises, frame_of, gold_text, headline, score
from tests.data.related import related_asking, related_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Objects
from georefer.tasks import TASKS, GroupExpression

SCENE = related_scene()
NAMES = ("grec", "grec-obb", "gres")


def questions_of(name, **limits):
    return TASKS[name].questions(SCENE, related_asking(SCENE, **limits), np.random.default_rng(0))


def by_ids(name):
    """Questions by how many objects they mean."""
    return {len(q.answer_ids): q for q in questions_of(name)}


def written(objects, name="grec"):
    form = TASKS[name].form
    return DIALECTS["georefer"].write(form.of(objects, DIALECTS["georefer"]), frame_of(SCENE), labelled=False)


def value(name, measure, text, question):
    return headline(TASKS[name], [score(TASKS[name], "georefer", text, question, SCENE)], measure)


@pytest.mark.parametrize("name", NAMES)
def test_promises_in_every_dialect(name):
    kinds = set(TASKS[name].form.kinds) - {"mask"}
    # a hundredth of a side is too coarse for the ships
    fine = [
        n for n, d in DIALECTS.items() if kinds & d.kinds and (d.steps.top in ("frame", "shown") or d.steps.top > 500)
    ]
    assert "georefer" in fine
    check_promises(TASKS[name], fine, questions_of(name), SCENE)


def test_what_is_asked():
    found = questions_of("grec")
    assert [(q.params["expression"], q.answer_ids) for q in found] == [
        ("the airplanes", ("plane 1", "plane 2")),
        ("all ships at the dock", ("ship 1", "ship 2")),
        ("the stadium", ()),
        ("the vehicles and the apron", ("apron", "car 1", "car 2")),  # in reading order
    ]
    assert len(questions_of("grec", grec=2)) == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("measure", TASKS["grec"].measures)
def test_the_truth_has_full_marks_on_all_measures(name, measure):
    rows = [
        score(TASKS[name], "georefer", gold_text(TASKS[name], "georefer", q, SCENE), q, SCENE)
        for q in questions_of(name)
    ]
    assert headline(TASKS[name], rows, measure) >= (0.97 if measure in ("giou", "ciou") else 1)


@pytest.mark.parametrize(
    ("said", "meant", "f1", "giou", "n_acc", "t_acc"),
    [
        # said of so many objects (ids), the headline, and the measures of generalised segmentation
        (("plane 1", "plane 2"), 2, 1, 1, None, 1),
        (("plane 1",), 2, 2 / 3, 0.5, None, 1),  # one of two
        (("plane 1", "plane 2", "dock", "ship 1"), 2, 2 / 3, 0.5, None, 1),  # two right, two wrong
        ((), 2, 0, 0, None, 0),  # "none" where something is meant
        ((), 0, 1, 1, 1, None),
        (("plane 1",), 0, 0, 0, 0, None),  # something where nothing is meant
    ],
)
def test_part_of_the_answer_has_part_of_the_marks(said, meant, f1, giou, n_acc, t_acc):
    question = next(q for q in questions_of("grec") if len(q.answer_ids) == meant)
    text = written(SCENE.objects.with_ids(said))
    assert value("grec", "f1", text, question) == pytest.approx(f1)
    assert value("grec", "giou", text, question) == pytest.approx(giou, abs=0.16)
    for measure, expected in (("n-acc", n_acc), ("t-acc", t_acc)):
        found = value("grec", measure, text, question)
        assert np.isnan(found) if expected is None else found == expected


@pytest.mark.parametrize("text", ["", "I see nothing of the kind.", "[", "there is none"])
def test_silence_is_not_saying_nothing(text):
    empty = by_ids("grec")[0]
    assert [value("grec", measure, text, empty) for measure in ("f1", "giou", "n-acc")] == [0, 0, 0]


def test_hedging_does_not_pay():
    for name in NAMES:
        for question in questions_of(name):
            everything = written(SCENE.objects, name)
            assert value(name, "f1", everything, question) < 0.8
            both = f"none {written(SCENE.objects[:1], name)}"  # "none", and something all the same
            assert value(name, "n-acc", both, question) != 1
            if not question.answer_ids:
                assert value(name, "f1", both, question) == value(name, "f1", everything, question) == 0
    always_none = [score(TASKS["grec"], "georefer", "none", q, SCENE) for q in questions_of("grec")]
    assert headline(TASKS["grec"], always_none) == 1 / 4  # the share of questions that mean nothing


def test_one_large_box_around_all_that_is_meant_is_no_answer():
    question = by_ids("grec")[2]
    around = Objects.from_hbb(np.array([[0, 0, 512, 512]]), ["x"])
    assert value("grec", "f1", written(around), question) == 0
    assert value("grec", "giou", written(around), question) < 0.2


def test_overlapping_shapes_count_their_ground_once():
    question = by_ids("gres")[2]
    twice = Objects.concat([SCENE.objects.with_ids(question.answer_ids)] * 2)
    shifted = twice.replaced([*twice.geometries_N[:2], *twice[2:].scale(1.002, 1.002).geometries_N])
    assert value("gres", "giou", written(shifted, "gres"), question) > 0.95
    assert value("gres", "f1", written(shifted, "gres"), question) < 1


def test_level_and_distractors_are_kept():
    one = GroupExpression(("car 1", "car 2"), "the cars", "class", 2, 5)
    asking = related_asking(SCENE).__class__(("car",), groups=(one,))
    (question,) = TASKS["gres"].questions(SCENE, asking, np.random.default_rng(0))
    assert question.params == {"expression": "the cars", "by": "class", "level": 2, "distractors": 5}
