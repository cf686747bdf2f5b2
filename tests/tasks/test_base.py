"""What is known of a class: present, listed, counted, absent or unsure, on a taxonomy where a class has two parents."""

import numpy as np
import pytest
from tests.data.small import ABOVE, BORNE, PARENTS, kinds_scene

from georefer.scenes.taxonomy import all_above
from georefer.tasks import TASKS, Asking

CLASSES = sorted(PARENTS)


def asked(slivers=(), **more):
    return Asking(BORNE, above=ABOVE, slivers=frozenset(slivers), absent=9, **more)


def states(known):
    """The state of every class by its name: the strongest that holds."""
    named = {"counted": known.counted, "listed": known.listed, "present": known.present, "absent": known.absent}
    return {label: next((n for n, labels in named.items() if label in labels), "unsure") for label in CLASSES}


@pytest.mark.parametrize(
    ("labels", "slivers", "expected"),
    [
        # nothing is there
        ((), (), dict.fromkeys(CLASSES, "absent")),
        # a church is a building and heritage, but no house and no ruin
        (("church",), (), {"church": "counted", "building": "counted", "heritage": "counted"}),
        (("house", "pool"), (), {"house": "counted", "building": "counted", "pool": "counted", "water": "counted"}),
        # a bare building may be a house or a church, and by that heritage; a ruin it is not
        (("building",), (), {"building": "counted", "house": "unsure", "church": "unsure", "heritage": "unsure"}),
        # beside a house that is one, houses are there, but which they are is not known
        (
            ("building", "house"), (),
            {"building": "counted", "house": "present", "church": "unsure", "heritage": "unsure"},
        ),
        # bare heritage may be a church, and by that a building
        (
            ("heritage", "house"), (),
            {"heritage": "counted", "ruin": "unsure", "church": "unsure", "building": "present", "house": "counted"},
        ),
        # slivers are neither absent nor counted, at any level; what is asked about is listed all the same
        ((), ("church",), {"church": "unsure", "building": "unsure", "heritage": "unsure"}),
        (("house",), ("church",), {"house": "counted", "building": "listed", "church": "unsure", "heritage": "unsure"}),
        (("house",), ("house",), {"house": "listed", "building": "listed"}),
        # a bare sliver may be anything that a building may be
        (
            ("house",), ("building",),
            {"house": "listed", "building": "listed", "church": "unsure", "heritage": "unsure"},
        ),
        (("pool",), ("tank",), {"pool": "counted", "water": "counted", "tank": "unsure"}),
    ],
)  # fmt: skip
def test_the_state_of_every_class(labels, slivers, expected):
    scene = kinds_scene("kinds", *labels)
    assert states(asked(slivers).known(scene)) == dict.fromkeys(CLASSES, "absent") | expected


def test_every_level_is_askable_in_a_fixed_order():
    assert asked().askable == (*BORNE, "heritage", "water")
    assert Asking(("b", "a")).askable == ("b", "a")


def test_an_object_answers_to_all_that_it_is_a_kind_of():
    scene = kinds_scene("kinds", "house", "church", "building", "pool")
    found = {label: "".join(asked().labelled(scene, label).ids_N) for label in CLASSES}
    assert found == {
        "building": "012", "house": "0", "church": "1", "heritage": "1", "water": "3", "pool": "3",
        "ruin": "", "tank": "",
    }  # fmt: skip


def random_parents(rng):
    """Classes with up to three parents each, among those before them."""
    names = [f"c{i}" for i in range(int(rng.integers(2, 9)))]
    return {
        name: tuple(sorted(rng.choice(names[:i], min(i, int(rng.integers(3))), replace=False)))
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize("seed", range(150))
def test_against_every_way_that_things_may_be(seed):
    """By brute force: whatever an object of a class may be by the taxonomy, it is in some world, and no other."""
    rng = np.random.default_rng(seed)
    parents = random_parents(rng)
    above = all_above(parents)
    labels = [str(name) for name in rng.choice(list(parents), int(rng.integers(4)))]
    slivers = {str(name) for name in rng.choice(list(parents), int(rng.integers(2)))}
    known = Asking(tuple(parents), above=above, slivers=frozenset(slivers)).known(kinds_scene("random", *labels))
    for name in parents:
        # for each thing, whether it is of the class, in every world that its label allows
        worlds = [{name in above[k] for k in parents if own in above[k]} for own in labels]
        hidden = [{name in above[k] for k in parents if own in above[k]} for own in slivers]
        is_present = any(world == {True} for world in worlds)
        is_listed = is_present and all(len(world) == 1 for world in worlds)
        assert (name in known.present) == is_present
        assert (name in known.listed) == is_listed
        assert (name in known.counted) == (is_listed and all(world == {False} for world in hidden))
        assert (name in known.absent) == all(world == {False} for world in (*worlds, *hidden))


def test_without_a_taxonomy_and_slivers_all_that_is_there_is_counted():
    known = Asking(BORNE).known(kinds_scene("kinds", "house", "building"))
    assert known.present == known.listed == known.counted == ("building", "house")
    assert known.absent == ("church", "pool", "ruin", "tank")


BARE = kinds_scene("bare", "building", "house", "pool", "pool")


@pytest.mark.parametrize(
    ("task", "slivers", "asked_of"),
    [
        # houses are there, but not which; churches and heritage may be
        ("detection", (), {"building": 2, "pool": 2, "water": 2, "ruin": 0, "tank": 0}),
        ("segment", ("pool",), {"building": 2, "pool": 2, "water": 2, "ruin": 0, "tank": 0}),
        ("detection", ("tank",), {"building": 2, "pool": 2, "water": 2, "ruin": 0}),
        ("vqa", (), {"building": "2", "pool": "2", "water": "2", "ruin": "0", "tank": "0"}),
        ("vqa", ("pool", "ruin"), {"building": "2", "tank": "0"}),  # neither pools nor ruins are counted, nor heritage
        ("vqa", ("church",), {"pool": "2", "water": "2", "ruin": "0", "tank": "0"}),  # one more building, perhaps
        ("presence", (), {"house": "yes", "pool": "yes", "ruin": "no", "tank": "no"}),
        ("presence", ("tank",), {"house": "yes", "ruin": "no"}),
    ],
)
def test_what_is_asked_at_every_level(task, slivers, asked_of):
    found = TASKS[task].questions(BARE, asked(slivers), np.random.default_rng(1))
    said = {q.params["label"]: len(q.answer_ids) if q.answer_text is None else q.answer_text for q in found}
    if task == "presence":  # as many with yes as with no, which ones is drawn
        assert {label for label, answer in said.items() if answer == "yes"} <= {"building", "house", "pool", "water"}
        assert {label for label, answer in said.items() if answer == "no"} == {
            k for k, v in asked_of.items() if v == "no"
        }
    else:
        assert said == asked_of


@pytest.mark.parametrize(
    ("there", "more", "said"),
    [
        (("house",), {}, {"house": "yes"}),
        ((), {}, {"house": "no"}),
        ((), {"slivers": frozenset({"house"})}, {}),  # perhaps it is there
        (("house",), {"absent": 0}, {}),
        (("house",), {"per_task": {"presence": 0}}, {}),
        # what it is a kind of is there with it and missing with it
        (("house",), {"absent": 2, "above": ABOVE}, {"house": "yes", "building": "yes"}),
        ((), {"absent": 2, "above": ABOVE}, {"house": "no", "building": "no"}),
    ],
)
def test_presence_of_the_only_class_is_asked_where_it_is_and_where_it_is_not(there, more, said):
    asking = Asking(**{"labels": ("house",), "absent": 1, **more})
    found = TASKS["presence"].questions(kinds_scene("one", *there), asking, np.random.default_rng(0))
    assert {q.params["label"]: q.answer_text for q in found} == said and len(found) == len(said)


def test_no_option_and_no_class_of_a_list_is_unsure():
    for slivers in ((), ("tank",), ("church",)):
        known = asked(slivers).known(BARE)
        for seed in range(20):
            rng = np.random.default_rng(seed)
            for question in TASKS["choice"].questions(BARE, asked(slivers), rng):
                assert question.params["label"] in known.present
                assert set(question.params["options"]) - {question.params["label"]} <= set(known.absent)
            (listed,) = TASKS["multilabel"].questions(BARE, asked(slivers), rng)
            assert set(listed.params["labels"]) == {*known.present, *known.absent}
            assert set(listed.answer_text.split(", ")) == set(known.present)


def test_classes_asked_for_together_share_no_object_and_name_it_as_asked():
    scene = kinds_scene("kinds", "house", "church", "house", "pool")
    seen = set()
    for seed in range(20):
        for question in TASKS["phrase"].questions(scene, asked(), np.random.default_rng(seed)):
            assert len(set(question.answer_ids)) == len(question.answer_ids)
            owners = {label: set(asked().labelled(scene, label).ids_N) for label in question.params["labels"]}
            assert set(question.answer_ids) == set().union(*owners.values())
            for own, label in question.params.get("called", {}).items():
                assert label in ABOVE[own] - {own}
            seen.update(label for label, ids in owners.items() if ids)
    assert seen == {"house", "church", "building", "heritage", "pool", "water"}


def test_wider_classes_of_a_region_have_part_of_the_credit():
    scene = kinds_scene("kinds", "church", "pool", "tank")
    found = {q.answer_text: q for q in TASKS["classification"].questions(scene, asked(), np.random.default_rng(0))}
    assert found["church"].params["accepted"] == {"building": 0.5, "heritage": 0.5}
    assert found["pool"].params["accepted"] == {"water": 0.5}
    assert "accepted" not in found["tank"].params
