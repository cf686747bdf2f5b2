"""Relation detection, relation reasoning and object reasoning: their promises, reading, and that tricks do not pay."""

import gzip
import json
import re

import numpy as np
import pytest
from tests.data.promises import check_promises, frame_of, headline, score
from tests.data.related import CLASSES, related_asking, related_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Objects
from georefer.scenes.readers.star import PREDICATES
from georefer.tasks import OBB_FORM, OUTLINE, Asking, truth
from georefer.tasks.relation import ObjectReasoning, RelationDetection, RelationReasoning, read_predicates

SCENE = related_scene()
DETECTION, REASONING = RelationDetection(), RelationReasoning()
OBJECTS, ORIENTED = ObjectReasoning(), ObjectReasoning("object-reasoning-obb", OBB_FORM)
ALL = (DETECTION, REASONING, OBJECTS, ORIENTED)


def questions_of(task, seed=0, scene=SCENE, **limits):
    return task.questions(scene, related_asking(scene, **limits), np.random.default_rng(seed))


def of_pair(task, subject, object_):
    return next(q for q in questions_of(task) if (q.params["subject"], q.params.get("object")) == (subject, object_))


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_promises_in_every_dialect(task):
    dialects = [n for n, d in DIALECTS.items() if task.form is None or set(task.form.kinds) & d.kinds]
    assert {"georefer", "geoground"} <= set(dialects) and ("fit-rs" in dialects) == (task is not OBJECTS)
    check_promises(task, dialects, questions_of(task), SCENE)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_questions_are_drawn_alike_and_bounded(task):
    limit = {task.name.replace("-", "_"): 3}
    assert questions_of(task, **limit) == questions_of(task, **limit)
    assert len(questions_of(task, **limit)) == 3
    silent = SCENE.__class__("silent", SCENE.image, SCENE.objects, SCENE.grid, "test")
    assert questions_of(task, scene=silent) == []


def test_the_shapes_of_a_region_are_in_the_prompt_as_the_dialect_says_them():
    for task, dialect in ((DETECTION, "qwen2-vl"), (REASONING, "fit-rs"), (ORIENTED, "fit-rs"), (OBJECTS, "qwen2-vl")):
        for question in questions_of(task):
            prompt = task.prompt(question, DIALECTS[dialect], frame_of(SCENE))
            read = DIALECTS[dialect].read(prompt, frame_of(SCENE)).objects.to_hbb()
            ids = [question.params[end] for end in ("subject", "object") if end in question.params]
            gold = SCENE.objects.with_ids(ids).to_hbb()
            assert np.abs(read.hbb_N4 - gold.hbb_N4).max() < 12


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("approach, away from", ["approach", "away from"]),
        ("Approach; Away_From.", ["approach", "away from"]),
        ("approach and away from", ["approach", "away from"]),
        ("- approach\n- away from\n", ["approach", "away from"]),
        ("1. approach\n2) away from", ["approach", "away from"]),
        ("approach, approach", ["approach"]),
        ("a <approach> b, a <away from> b", ["approach", "away from"]),
        # marks are no names, with which a wrong predicate was once right
        ("<ref>car</ref> is <rel>approach</rel> <ref>car</ref>", ["approach"]),
        ("none", []),
        ("", []),
        ("approach, " * 3000, []),  # too long to be an answer
    ],
)
def test_reading_predicates(text, names):
    assert list(read_predicates(text)) == names


def test_saying_every_predicate_does_not_pay_and_contradicts_itself():
    for task in (DETECTION, REASONING):
        rows = []
        for question in questions_of(task):
            lead = "" if task is DETECTION else "subject: car; object: apron; relation: "
            if task is REASONING:
                lead = question.answer_text.rpartition(":")[0] + ": "
            rows.append(score(task, "georefer", lead + ", ".join(PREDICATES), question, SCENE))
        assert headline(task, rows) < 0.05 and headline(task, rows, "recall") == 1
        assert headline(task, rows, "contradictory") == 1


def test_a_pair_with_several_relations_wants_them_all():
    question = of_pair(DETECTION, "plane 1", "plane 2")
    assert question.answer_text == "parking in the same apron with, within safe distance of"
    half = score(DETECTION, "georefer", "within safe distance of", question, SCENE)
    opposite = score(DETECTION, "georefer", "within safe distance of, within danger distance of", question, SCENE)
    assert (half["tp"], half["fp"], half["fn"]) == (1, 0, 1)
    assert (opposite["fp"], opposite["contradictory"], opposite["pairs"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "counts", "classes"),
    [
        ("subject: car; object: apron; relation: randomly parked on", (1, 0, 0), 1),
        ("Subject: car\nObject: apron\nRelations: randomly parked on", (1, 0, 0), 1),
        (
            "subject: car, object: apron, the relationships between them are: <rel>randomly parked on</rel>",
            (1, 0, 0),
            1,
        ),
        ("subject: car, object: apron, relation: approach", (0, 1, 1), 1),
        ("subject: truck; object: apron; relation: randomly parked on", (0, 1, 1), 0),  # wrong classes cost
        ("subject: apron; object: car; relation: randomly parked on", (0, 1, 1), 0),
        ("subject: car; subject: truck; object: apron; relation: randomly parked on", (0, 1, 1), 0),  # hedged
        ("relation: randomly parked on", (0, 1, 1), 0),
        ("subject: car; object: apron", (0, 0, 1), 1),
        ("", (0, 0, 1), 0),
    ],
)
def test_reasoning_is_right_only_with_both_classes(text, counts, classes):
    row = score(REASONING, "georefer", text, of_pair(REASONING, "car 1", "apron"), SCENE)
    assert (row["tp"], row["fp"], row["fn"]) == counts
    assert row["classes_right"] == classes


def test_object_reasoning_counts_every_object_once():
    question = next(q for q in questions_of(OBJECTS) if q.params["subject"] == "plane 1")
    gold = truth(question, SCENE).to_hbb()
    for many, false in ((Objects.concat([gold, gold.replaced(gold.scale(1.02, 1.02).geometries_N)]), len(gold)),):
        text = DIALECTS["georefer"].write(many, frame_of(SCENE), labelled=False)
        row = score(OBJECTS, "georefer", text, question, SCENE)
        assert (row["tp"], row["fp"]) == (len(gold), false)
    # an upright box around a turned object is not its oriented box
    plane = next(q for q in questions_of(ORIENTED) if q.answer_ids == ("ship 2",))
    boxed = DIALECTS["georefer"].write(truth(plane, SCENE).to_hbb(), frame_of(SCENE), labelled=False)
    assert score(ORIENTED, "georefer", boxed, plane, SCENE)["tp"] == 0
    with pytest.raises(ValueError, match="BOX or OBB_FORM"):
        ObjectReasoning("wrong", OUTLINE)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_junk_is_read_in_bounds(task):
    question = questions_of(task)[0]
    for junk in ("subject: a" * 100_000, "<rel>" * 200_000, "and " * 250_000, "a,b;" * 250_000, "<a" * 500_000):
        assert score(task, "georefer", junk, question, SCENE)["tp"] == 0


def test_a_benchmark_brings_its_own_words():
    for task in ALL:
        question = questions_of(task)[0]
        own = question.__class__(question.id, SCENE.id, task.name, {**question.params, "prompt": "[refer] it"})
        assert task.prompt(own, DIALECTS["georefer"], frame_of(SCENE)) == "[refer] it"


def test_an_empty_scene_is_asked_nothing():
    empty = SCENE.__class__("empty", SCENE.image, Objects.none(), SCENE.grid, "test", relations=SCENE.relations)
    assert not any(task.questions(empty, Asking(CLASSES), np.random.default_rng(0)) for task in ALL)


@pytest.mark.shared
def test_predicates_of_published_answers_are_read(golden):
    """What an independent pattern finds in FIT-RS' own answers to relation detection and reasoning."""
    seen = 0
    with gzip.open(golden / "fit" / "complex_comprehension.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            if row["category"] not in ("task2", "task3"):
                continue
            pattern = r"<rel>([^<>]+)</rel>" if "<rel>" in row["ground_truth"] else r"<([^<>]+)>"
            wanted = set(re.findall(pattern, row["ground_truth"]))
            if wanted and wanted <= set(PREDICATES):
                assert set(read_predicates(row["ground_truth"])) == wanted
                seen += 1
    assert seen > 50
