"""The tables of predicates: whole, without contradiction, and certain of nothing that they do not know."""

import dataclasses

import pytest
from tests.data.related import related_scene

from georefer.building.relations.settings import ROLES
from georefer.building.relations.table import RELATIONS
from georefer.scenes import SceneRelation
from georefer.scenes.readers.star import CLASSES, PREDICATES
from georefer.tasks.predicates import (
    ANTONYMS,
    WORDS,
    cannot_hold,
    exclude_each_other,
    holds_both_ways,
    in_words,
    relations_of,
    rivals,
)


def test_there_are_16_pairs_of_opposites_among_the_predicates():
    words = [*ANTONYMS, *ANTONYMS.values()]
    assert len(ANTONYMS) == 16 and len(set(words)) == 32 and set(words) <= set(PREDICATES)


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        ("approach", "away from", True),
        ("Away_From", "approach", True),  # names are compared plainly, in either order
        ("parallelly parked on", "isolatedly parked on", True),
        ("parallelly parked on", "incorrectly parked on", False),  # both can hold
        ("approach", "approach", False),
        ("parallelly parked on", "parallelly docked at", False),
        ("swims in", "approach", False),  # unknown
    ],
)
def test_which_predicates_exclude_each_other(one, other, excluded):
    assert exclude_each_other(one, other) == excluded == exclude_each_other(other, one)
    assert (other in rivals(one)) == (excluded and other in PREDICATES)


def test_what_excludes_is_mutual_and_known():
    for name in PREDICATES:
        assert name not in rivals(name)
        assert all(name in rivals(other) for other in rivals(name))


@pytest.mark.parametrize(
    ("subject", "predicate", "object_", "senseless"),
    [
        ("ship", "parallelly docked at", "dock", False),
        ("car", "parallelly docked at", "dock", True),
        ("dock", "parallelly docked at", "ship", True),  # the wrong way round
        ("lattice_tower", "within same line of", "lattice tower", False),
        ("stadium", "parked alongside with", "car", True),
        ("submarine", "parallelly docked at", "car", False),  # a class of which nothing is known
        ("car", "swims in", "dock", False),  # a predicate of which nothing is known
        ("car", "adjacent", "stadium", False),  # may hold between anything
    ],
)
def test_which_classes_a_predicate_can_join(subject, predicate, object_, senseless):
    assert cannot_hold(subject, predicate, object_) == senseless


def test_every_predicate_can_hold_between_some_classes():
    for name in PREDICATES:
        assert any(not cannot_hold(one, name, other) for one in CLASSES for other in CLASSES)


def test_directions():
    assert holds_both_ways("adjacent") and holds_both_ways("parked_alongside_with")
    assert not holds_both_ways("over") and not holds_both_ways("swims in")


def test_relations_without_both_ends_or_with_themselves_are_left_out():
    scene = related_scene()
    found = relations_of(scene)
    assert len(found) == len(scene.relations) - 2
    doubled = dataclasses.replace(scene, relations=(*scene.relations, SceneRelation("car 1", "Approach", "plane 2")))
    assert len(relations_of(doubled)) == len(found)


def test_what_a_build_finds_can_hold_and_has_the_same_opposite():
    """Nothing that is measured from shapes may ever be offered as senseless, and both rooms know the same opposites."""
    seen = 0
    opposite = {**ANTONYMS, **{other: one for one, other in ANTONYMS.items()}}
    for name, relation in RELATIONS.items():
        assert relation.antonym == opposite.get(name)
        assert holds_both_ways(name) or not relation.symmetric
        for ends in relation.pairs:
            ones, others = ([label for label, roles in ROLES.items() if role in roles] or [role] for role in ends)
            assert not any(cannot_hold(one, name, other) for one in ones for other in others)
            seen += len(ones) * len(others)
    assert seen > 1000


NO_VERB = frozenset(("adjacent", "close", "at", "on", "in", "over", "around"))


@pytest.mark.parametrize("name", PREDICATES)
def test_predicates_are_said_in_english_between_nouns_of_any_number(name):
    """With "is", with "are" and without: "run along", "in the different lane with" and "adjacent the pool" are none."""
    words = in_words(name).split()
    first = next(word for word in words if word != "not" and not word.endswith("ly"))
    assert first.endswith(("ing", "ed")) or first in NO_VERB
    said = " ".join(words)
    assert "the different" not in said and "alongside with" not in said and "within" not in words
    assert ("same" in words) <= (words[-1] == "as") and ("different" in words) <= (words[-1] == "from")
    assert words[0] != "adjacent" or words[-1] == "to"
    assert ("not" in name.split()) == ("not" in words)


def test_no_two_predicates_are_said_alike():
    assert len({in_words(name) for name in PREDICATES}) == len(PREDICATES) and set(WORDS) <= set(PREDICATES)


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        ("run along", "running along"),
        ("Run_Along", "running along"),  # as other projects spell it
        ("docked-alongside-with", "docked alongside"),
        ("over", "over"),
        ("moored_at", "moored at"),  # no predicate of STAR
        ("Half-Hidden by", "Half Hidden by"),
    ],
)
def test_predicates_by_their_words(predicate, said):
    assert in_words(predicate) == said
