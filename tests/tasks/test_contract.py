"""What every task promises in every dialect: gold scores 1, nothing scores 0, and tricks do not pay."""

from __future__ import annotations

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
import shapely
import shapely.affinity
from tests.data.dialects import BOXED
from tests.data.small import ABOVE, BORNE, LABELS, kinds_scene, small_questions, small_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects
from georefer.scenes import Question
from georefer.scoring import estimate
from georefer.tasks import TASKS, Asking, truth


def holds(task, dialect):
    """Whether a dialect can say the answers finely enough: the grids of masks are too coarse for the small scenes."""
    form = TASKS[task].form
    if task == "phrase" and not DIALECTS[dialect].labelled:
        return False  # which box is of which class cannot be said
    return form is None or bool(set(form.kinds) & DIALECTS[dialect].kinds - {"mask"})


HERE = [name for name, task in TASKS.items() if not hasattr(task, "given") and "relation" not in type(task).__module__
        and "graph" not in type(task).__module__]  # fmt: skip
"""The others need outlines or relations, which the small scenes lack: their own tests hold them to the same."""

PAIRS = [pair for pair in product(HERE, BOXED) if holds(*pair)]
SCENES = [small_scene(number, (160, 120) if number % 2 else (96, 96)) for number in range(4)]
OF_KINDS = [kinds_scene("kinds", "house", "church", "house", "pool"), kinds_scene("bare", "building", "house", "pool")]
"""Asked about with a taxonomy, slivers and thoughts."""
IN_WORDS = ("vqa", "classification", "multilabel", "caption", "region-caption")
"""Tasks whose answers are words, not one of a few."""

GARBAGE = (
    "",
    " ",
    "[",
    "[[[]]]",
    "\x00\ud800",
    "I cannot see the image.",
    "[1, 2, 3]",
    "{" * 500,
    "yesno",
    "999999999",
)


def frame_of(scene):
    return Frame.resize(scene.size, (224, 224))


def questions_of(task):
    """(question, scene) of one task over all scenes; a test that would run over nothing fails here."""
    found = [(question, scene) for scene in SCENES for question in small_questions(scene, (task,))]
    more = {"labels": BORNE, "above": ABOVE, "slivers": frozenset({"pool"}), "think": True}
    found += [(question, scene) for scene in OF_KINDS for question in small_questions(scene, (task,), **more)]
    assert found, f"the small scenes ask no question of {task}"
    return found


def score(task, dialect, text, question, scene):
    return TASKS[task].score(DIALECTS[dialect].read(text, frame_of(scene)), question, scene)


def headline(task, rows):
    ratio = next(iter(TASKS[task].measures.values()))
    return estimate(ratio, rows, [str(index) for index in range(len(rows))], draws=10).value


def gold_text(task, dialect, question, scene):
    return TASKS[task].answer(question, scene, DIALECTS[dialect], frame_of(scene))


@pytest.mark.parametrize(("task", "dialect"), PAIRS)
def test_the_gold_answers_score_1(task, dialect):
    rows = [score(task, dialect, gold_text(task, dialect, q, scene), q, scene) for q, scene in questions_of(task)]
    assert headline(task, rows) == 1.0
    assert all(row["readable"] == 1.0 for row in rows)


@pytest.mark.parametrize(("task", "dialect"), PAIRS)
@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_never_raises_and_scores_0(task, dialect, text):
    rows = [score(task, dialect, text, question, scene) for question, scene in questions_of(task)]
    assert headline(task, rows) == 0.0
    # any few words can be read as a short answer, if a wrong one
    assert all(row["readable"] == 0.0 for row in rows) or task in IN_WORDS


@pytest.mark.parametrize(("task", "dialect"), PAIRS)
def test_every_measure_is_a_share(task, dialect):
    texts = [*GARBAGE, "none", "yes", "no", "[0, 0, 1000, 1000]", "[0, 0, 500, 500], [10, 10, 400, 400]"]
    for text, (question, scene) in product(texts, questions_of(task)):
        row = score(task, dialect, text, question, scene)
        for ratio in TASKS[task].measures.values():
            top, bottom = ratio.terms([row])
            assert 0 <= top[0] <= bottom[0] * (1 + 1e-12)


@pytest.mark.parametrize("task", HERE)
def test_questions_name_their_scene_and_are_asked_in_words(task):
    found = questions_of(task)
    assert len({question.id for question, _ in found}) == len(found)
    for question, scene in found:
        assert question.scene_id == scene.id
        assert TASKS[task].prompt(question, DIALECTS["georefer"], frame_of(scene)).strip()
        assert set(question.answer_ids) <= set(scene.objects.ids_N)


@pytest.mark.parametrize("dialect", BOXED)
@pytest.mark.parametrize("task", ["detection", "grec"])
def test_what_is_absent_is_answered_by_saying_so(task, dialect):
    absent = [(q, scene) for q, scene in questions_of(task) if not q.answer_ids]
    assert absent
    for question, scene in absent:
        gold = score(task, dialect, gold_text(task, dialect, question, scene), question, scene)
        box = DIALECTS[dialect].write(Objects.from_hbb([[9, 9, 50, 50]], ["x"]), frame_of(scene), labelled=False)
        said = score(task, dialect, box, question, scene)
        silent = score(task, dialect, "", question, scene)
        assert (gold["absent_asked"], gold["absent_right"], gold["fp"]) == (1, 1, 0)
        assert (said["absent_right"], said["fp"]) == (0, 1)
        # silence is not an answer
        assert silent["absent_right"] == 0


@pytest.mark.parametrize(("task", "dialect"), [pair for pair in PAIRS if pair[0] in ("rec", "rec-obb", "res")])
def test_hedging_does_not_pay_in_rec(task, dialect):
    for question, scene in questions_of(task):
        said = TASKS[task].form.of(scene.objects, DIALECTS[dialect])
        hedged = score(task, dialect, DIALECTS[dialect].write(said, frame_of(scene), labelled=False), question, scene)
        assert len(scene.objects) > 1
        assert (hedged["hit"], hedged["iou"], hedged["inter"]) == (0, 0, 0)


def test_every_form_is_asked_in_some_dialect_and_scored_as_it_is():
    """An oriented box and an outline are compared by their true areas: their bounding box is not good enough."""
    strip = shapely.affinity.rotate(shapely.box(20, 55, 140, 65), 45)
    scene = SCENES[1].__class__(
        "strip", SCENES[1].image, Objects.of([strip], ["road"], kind="polygon"), SCENES[1].grid, "test"
    )
    for task, kind in (("rec", "hbb"), ("rec-obb", "obb"), ("res", "polygon")):
        assert {dialect for name, dialect in PAIRS if name == task}
        question = Question("q", scene.id, task, {"expression": "the road"}, scene.objects.ids_N)
        exact = score(task, "georefer", gold_text(task, "georefer", question, scene), question, scene)
        box = DIALECTS["georefer"].write(scene.objects.to_hbb(), frame_of(scene), labelled=False)
        boxed = score(task, "georefer", box, question, scene)
        assert exact["hit"] == 1 and exact["inter"] / exact["union"] == pytest.approx(exact["iou"])
        assert boxed["hit"] == (kind == "hbb")


@pytest.mark.parametrize("task", ["rec-obb", "detection-obb", "grec-obb"])
def test_the_oriented_box_of_an_outline_is_right_however_little_of_it_the_outline_fills(task):
    corner = shapely.union_all([shapely.box(20, 10, 130, 16), shapely.box(20, 10, 26, 110)])
    scene = dataclasses.replace(SCENES[1], objects=Objects.of([corner], ["road"], kind="polygon"))
    question = Question("q", scene.id, task, {"expression": "the road", "label": "road"}, scene.objects.ids_N)
    row = score(task, "georefer", gold_text(task, "georefer", question, scene), question, scene)
    assert corner.area < 0.2 * corner.minimum_rotated_rectangle.area
    assert headline(task, [row]) == 1


@pytest.mark.parametrize(
    ("said", "truth_text", "right"),
    [
        ("3", "3", 1),
        ("Three.", "3", 1),  # numbers are words or digits
        ("the harbour", "Harbour", 1),
        ("1,200 m", "1,200 m", 1),
        ("two or three", "2", 0),  # hedged
        ("3", "33", 0),
        ("", "0", 0),
        ("there are exactly three of them in the lower part of the image as far as I see", "3", 0),  # no short answer
    ],
)
def test_short_answers(said, truth_text, right):
    question = Question("q", SCENES[0].id, "vqa", {"label": "pool"}, answer_text=truth_text)
    assert score("vqa", "georefer", said, question, SCENES[0])["right"] == right


def test_naming_every_option_is_no_choice():
    for question, scene in questions_of("choice"):
        for said in ("A, B, C and D", "A or B", " ".join(question.params["options"])):
            assert score("choice", "georefer", said, question, scene)["right"] == 0
        text = question.params["options"]["ABCD".index(question.answer_text)]
        assert score("choice", "georefer", f"It is {text}.", question, scene)["right"] == 1


def test_a_benchmark_brings_its_own_words():
    for task in HERE:
        question, scene = questions_of(task)[0]
        own = dataclasses.replace(question, params={**question.params, "prompt": "[refer] as published"})
        assert TASKS[task].prompt(own, DIALECTS["georefer"], frame_of(scene)).startswith("[refer] as published")


@pytest.mark.parametrize("dialect", BOXED)
@pytest.mark.parametrize("task", ["detection", "grec"])
def test_duplicates_do_not_pay_in_detection(task, dialect):
    for question, scene in questions_of(task):
        gold = truth(question, scene).to_hbb()
        shifted = Objects.concat([gold, gold.replaced(gold.scale(1.03, 1.03).geometries_N)])
        for said in (Objects.concat([gold] * 3), shifted):  # word for word, and moved a little
            text = DIALECTS[dialect].write(said, frame_of(scene), labelled=False)
            row = score(task, dialect, text, question, scene)
            assert row["tp"] == len(gold)
            read = DIALECTS[dialect].read(text, frame_of(scene)).areas
            assert row["fp"] == len(read) - len(gold) == (0 if said is not shifted else row["fp"])


@pytest.mark.parametrize(
    ("text", "truth_is_yes", "right", "readable"),
    [
        ("yes", True, 1, 1),
        ("Yes.", True, 1, 1),
        ("No, there is none", False, 1, 1),
        ("yes", False, 0, 1),
        ("There is one, yes", True, 0, 0),  # the first word decides, and it is neither
        ("yesterday", True, 0, 0),
        ("none", False, 0, 0),
        ("yes or no", True, 0, 0),  # both at once are no answer
        ("No / yes.", False, 0, 0),
        ("Yes, no", True, 0, 0),
        ("Yes, no doubt", True, 1, 1),
        ("no, not one", False, 1, 1),
    ],
)
def test_presence_takes_the_first_word(text, truth_is_yes, right, readable):
    asked = [(q, s) for q, s in questions_of("presence") if (q.answer_text == "yes") == truth_is_yes]
    assert asked
    for question, scene in asked:
        row = score("presence", "georefer", text, question, scene)
        assert (row["right"], row["readable"]) == (right, readable)


def test_saying_always_the_same_is_right_half_the_time():
    rows = [score("presence", "georefer", "yes", question, scene) for question, scene in questions_of("presence")]
    assert headline("presence", rows) == 0.5
    hallucination = TASKS["presence"].measures["hallucination"]
    assert estimate(hallucination, rows, ["a"] * len(rows), draws=10).value == 1.0


def test_a_scene_without_objects_is_asked_only_about_what_is_absent():
    empty = SCENES[0].__class__("empty", SCENES[0].image, Objects.none(), SCENES[0].grid, "test")
    rng = np.random.default_rng(0)
    for task in TASKS.values():
        for question in task.questions(empty, Asking(LABELS), rng):
            row = task.score(DIALECTS["georefer"].read("none", frame_of(empty)), question, empty)
            assert not math.isnan(sum(row.values()))
            assert question.answer_ids == ()
