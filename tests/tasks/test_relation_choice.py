"""Single choice about relations: rotations, options that are false for a reason, questions without an answer."""

import dataclasses
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from tests.data.promises import check_promises, frame_of, headline, score
from tests.data.related import CLASSES, related_asking, related_scene

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes import SceneRelation
from georefer.scenes.readers.star import PREDICATES
from georefer.tasks import Asking
from georefer.tasks.given import stored
from georefer.tasks.predicates import ANTONYMS, cannot_hold, in_words
from georefer.tasks.relation_choice import OPTIONS, TYPES, UNCLEAR, Facts, RelationChoice, Statement, circular

TASK, SCENE = RelationChoice(), related_scene()


def questions_of(seed=0, scene=SCENE, **limits):
    return TASK.questions(scene, related_asking(scene, **limits), np.random.default_rng(seed))


def groups_of(questions):
    groups = defaultdict(list)
    for question in questions:
        groups[question.params["group"]].append(question)
    return groups


MANY = [question for seed in range(30) for question in questions_of(seed)]


def test_promises_in_every_dialect():
    check_promises(TASK, DIALECTS, questions_of(), SCENE)


def test_every_rotation_is_asked_once():
    for seed in range(10):
        for group, questions in groups_of(questions_of(seed)).items():
            options = questions[0].params["options"]
            count = len(options)
            assert count == len(set(options)) == len(questions) <= OPTIONS and count >= 3
            assert [q.params["rotation"] for q in questions] == list(range(count))
            for shift, question in enumerate(questions):
                assert question.id == f"{group}/{shift}"
                assert question.params["options"] == options[shift:] + options[:shift]
            right = {q.params["options"]["ABCD".index(q.answer_text)] for q in questions}
            assert len(right) == 1 and {q.answer_text for q in questions} == set("ABCD"[:count])


def test_circular_accuracy_needs_every_rotation_right():
    questions = questions_of()
    gold = circular((q, q.answer_text) for q in questions)
    always = circular((q, "A") for q in questions)
    assert set(gold) == set(groups_of(questions))
    assert all(row["circular"] == 1 for row in gold.values())
    assert all((row["circular"], row["right"]) == (0, 1) for row in always.values())
    with pytest.raises(InputError, match="each of A to D was expected"):
        circular((q, q.answer_text) for q in questions[1:])


def test_all_types_are_asked_and_place_their_ends():
    seen = Counter(q.params["type"] for q in MANY)
    assert set(seen) == set(TYPES)
    ends = {
        "relationship": {"subject_px", "object_px"},
        "object": {"subject_px"},
        "subject": {"object_px"},
        "exist": set(),
    }
    for question in MANY:
        assert {name for name in question.params if name.endswith("_px")} == ends[question.params["type"]]
        prompt = TASK.prompt(question, DIALECTS["georefer"], frame_of(SCENE))
        assert all(
            f"{letter}. {text}" in prompt for letter, text in zip("ABCD", question.params["options"], strict=False)
        )
        places = DIALECTS["georefer"].read(prompt.splitlines()[0], frame_of(SCENE)).objects
        assert len(places) == len(ends[question.params["type"]])


ARRANGED = ("parallelly", "randomly", "isolatedly")


@pytest.mark.parametrize("predicate", PREDICATES)
@pytest.mark.parametrize(
    ("subject", "begins"),
    [("car", "The car is "), ("storage_tank", "The storage tank is "), ("Watercourses", "The Watercourses are "),
     ("grass", "The grass is ")],
)  # fmt: skip
def test_statements_agree_in_number(predicate, subject, begins):
    assert str(Statement(subject, predicate, "dock")) == f"{begins}{in_words(predicate)} the dock."


def said(text):
    """Subject, predicate and object of an option's sentence, independently of how it was made."""
    inner = re.fullmatch(r"The (\w+) is (.+) the (\w+)\.", text)
    subject, object_ = inner[1], inner[3]
    predicate = next(p for p in PREDICATES if in_words(p) == inner[2])
    return subject, predicate, object_


def test_no_wrong_option_is_true_and_each_is_false_for_a_reason():
    """Brute force over the scene's relations and its objects."""
    label = {o.id: o.label for o in SCENE.objects}
    facts = [(r.subject, r.predicate, r.object) for r in SCENE.relations if r.object in label]
    opposite = {**ANTONYMS, **{other: one for one, other in ANTONYMS.items()}}
    ids = {str(shape["shape"]): id_ for id_, shape in zip(label, stored(SCENE.objects), strict=True)}
    reasons = Counter()
    for question in MANY:
        for letter, text in zip("ABCD", question.params["options"], strict=False):
            if letter == question.answer_text or text == UNCLEAR:
                continue
            subject, predicate, object_ = said(text)
            assert (subject, predicate, object_) not in {
                (label[s], p, label[o]) for s, p, o in facts if question.params["type"] == "exist"
            }
            if not {subject, object_} <= set(label.values()):
                reasons["absent"] += 1
            elif cannot_hold(subject, predicate, object_):
                reasons["senseless"] += 1
            else:
                # only where both ends are given, and something that is true of them excludes it
                assert question.params["type"] == "relationship"
                ends = [ids[str(question.params[f"{end}_px"]["shape"])] for end in ("subject", "object")]
                both_ways = [ends, ends[::-1]] if "on" not in predicate.split() else [ends]
                true = {p for s, p, o in facts if [s, o] in both_ways}
                arranged = {f"{how} {where}" for how in ARRANGED for where in ("parked on", "docked at")}
                assert predicate not in true
                assert opposite.get(predicate) in true or (predicate in arranged and arranged & true)
                reasons["excluded"] += 1
    assert min(reasons[name] for name in ("absent", "senseless", "excluded")) > 20


def test_right_options_are_true_and_some_questions_have_none():
    label = {o.id: o.label for o in SCENE.objects}
    true = {(label[r.subject], r.predicate, label[r.object]) for r in SCENE.relations if r.object in label}
    unanswerable = 0
    for question in MANY:
        assert UNCLEAR in question.params["options"]
        right = question.params["options"]["ABCD".index(question.answer_text)]
        if right == UNCLEAR:
            unanswerable += 1
            assert not {said(text) for text in question.params["options"] if text != UNCLEAR} & true
        else:
            assert said(right) in true
    assert 0.15 < unanswerable / len(MANY) < 0.35


@pytest.mark.parametrize(
    ("statement", "false"),
    [
        (Statement("car", "randomly parked on", "apron"), False),  # true
        (Statement("apron", "randomly parked on", "car"), True),  # senseless
        (Statement("car", "isolatedly parked on", "apron"), False),  # of another car it may be true
        (Statement("car", "isolatedly parked on", "apron", "car 1", "apron"), True),  # excluded for this one
        (Statement("car", "isolatedly parked on", "apron", "car 2", "apron"), False),  # nothing is known of that one
        (Statement("car", "adjacent", "apron", "car 1", "apron"), False),  # not annotated is not false
        (Statement("tank", "adjacent", "apron"), True),  # there is no tank
        (Statement("car", "not parked alongside with", "car", "car 2", "car 1"), True),  # known the other way round
        (Statement("airplane", "within danger distance of", "airplane", "plane 1", "plane 2"), True),
        (Statement("airplane", "approach", "airplane", "plane 1", "plane 2"), False),
    ],
)
def test_what_is_certainly_false(statement, false):
    assert Facts(SCENE).is_false(statement) == false


def test_of_two_objects_of_one_class_either_may_be_meant_first():
    statement = Statement("car", "away from", "car", "car 1", "car 2")
    for relations, false in (((("car 1", "car 2"),), False), ((("car 1", "car 2"), ("car 2", "car 1")), True)):
        told = tuple(SceneRelation(one, "approach", other) for one, other in relations)
        assert Facts(dataclasses.replace(SCENE, relations=told)).is_false(statement) == false


def test_of_unknown_predicates_only_classes_are_doubted():
    relations = (SceneRelation("car 1", "left of", "apron"), SceneRelation("ship 1", "left of", "dock"))
    scene = dataclasses.replace(SCENE, relations=relations)
    found = [q for seed in range(20) for q in questions_of(seed, scene)]
    assert found and {q.params["type"] for q in found} == {"object", "subject", "exist"}
    absent = {"stadium", "tank"}
    for question in found:
        right = question.params["options"]["ABCD".index(question.answer_text)]
        for text in set(question.params["options"]) - {right, UNCLEAR}:
            assert absent & set(re.findall(r"\w+", text))


@pytest.mark.parametrize(
    ("hidden", "unsure"),
    [
        ({"slivers": frozenset({"tank"})}, "tank"),
        # a bare ship may be one
        ({"above": {"tank": frozenset({"tank", "ship"}), "ship": frozenset({"ship"})}}, "tank"),
    ],
)
def test_nothing_is_false_for_want_of_a_class_that_is_perhaps_there(hidden, unsure):
    told = {True: 0, False: 0}
    for seed in range(30):
        for more in ({}, hidden):
            asking = dataclasses.replace(related_asking(SCENE), **more)
            for question in TASK.questions(SCENE, asking, np.random.default_rng(seed)):
                for option in question.params["options"]:
                    ends = option != UNCLEAR and said(option)
                    if ends and unsure in (ends[0], ends[2]) and not cannot_hold(*ends):
                        told[bool(more)] += 1
    assert told[False] > 0 == told[True]


def test_questions_are_drawn_alike_and_groups_stay_whole():
    assert questions_of(3) == questions_of(3) and questions_of(3) != questions_of(4)
    for limit in (0, 2, 3, 9, 10**6):
        found = questions_of(relation_choice=limit)
        assert len(found) <= limit
        assert bool(found) == (limit >= 9) or limit == 3
        for questions in groups_of(found).values():
            assert len(questions) == len(questions[0].params["options"])
    silent = dataclasses.replace(SCENE, relations=())
    assert questions_of(scene=silent) == []
    empty = dataclasses.replace(SCENE, objects=Objects.none())
    assert TASK.questions(empty, Asking(CLASSES), np.random.default_rng(0)) == []


def test_refusing_is_counted_both_ways():
    refused = [score(TASK, "georefer", UNCLEAR, q, SCENE) for q in MANY]
    gold = [score(TASK, "georefer", q.answer_text, q, SCENE) for q in MANY]
    assert headline(TASK, refused, "refusal-recall") == 1 == headline(TASK, gold, "refusal-precision")
    assert headline(TASK, refused, "refusal-precision") == headline(TASK, refused) < 0.35
    assert headline(TASK, gold, "refusal-recall") == 1


def test_naming_every_option_is_no_choice_and_the_text_of_one_is():
    for question in MANY[:100]:
        for text in ("A, B, C and D", "A or B", " ".join(question.params["options"])):
            assert score(TASK, "georefer", text, question, SCENE)["right"] == 0
        right = question.params["options"]["ABCD".index(question.answer_text)]
        assert score(TASK, "georefer", right, question, SCENE)["right"] == 1


def test_a_benchmark_brings_its_own_words():
    question = questions_of()[0]
    own = dataclasses.replace(question, params={**question.params, "prompt": "As published?"})
    assert TASK.prompt(own, DIALECTS["georefer"], frame_of(SCENE)).startswith("As published?")
