"""Settings from TOML, the table of predicates, and relations of chips."""

import pytest
from tests.building.relations.scenes import random_scene

from georefer.building.relations import (
    RELATIONS,
    RelationIndex,
    RelationSettings,
    find_relations,
    relations_page,
    tile_relations,
)
from georefer.building.relations.settings import ROLES
from georefer.config import load_settings, to_plain
from georefer.errors import ConfigError
from georefer.scenes.readers.star import CLASSES, PREDICATES
from georefer.scenes.schema import SceneRelation

TOML = """
margin = 0.2
only = ["adjacent", "within danger distance of"]
[roles]
"Einfamilienhaus" = ["building"]
[allowed]
adjacent = [["building", "building"]]
[[distances]]
subject = "building"
object = "tankstelle"
danger_m = 10
safe_m = 40
"""


def test_a_recipe_says_roles_pairs_and_distances(tmp_path):
    (tmp_path / "relations.toml").write_text(TOML)
    settings = load_settings(RelationSettings, tmp_path / "relations.toml")
    assert settings.pairs("adjacent") == (("building", "building"),)
    assert settings.pairs("within danger distance of") == (("building", "tankstelle"),)
    assert settings.roles == {"Einfamilienhaus": ("building",)} and settings.wants("adjacent")
    assert not settings.wants("over") and to_plain(settings)["margin"] == 0.2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("margin = 0.5", "margin is 0.5"),
        ("parallel_deg = 0", "parallel_deg is 0"),
        ("adjacent_m = inf", "adjacent_m is inf"),
        ('only = ["near"]', "'near' is none of the predicates"),
        ('only = ["supply to"]', "'supply to' cannot be derived from shapes"),
        ('allowed = { "working on" = [] }', "'working on' cannot be derived"),
        ('allowed = { "within safe distance of" = [] }', "distances"),
        ('distances = [{ subject = "a", object = "b", danger_m = 5, safe_m = 5 }]', "danger_m 5"),
        ("partner = 3", "did you mean 'partners'"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, line, message):
    (tmp_path / "relations.toml").write_text(line)
    with pytest.raises(ConfigError, match=message):
        load_settings(RelationSettings, tmp_path / "relations.toml")


def test_the_table_holds_the_58_with_16_pairs_of_antonyms_and_6_that_shapes_cannot_give():
    assert tuple(RELATIONS) == PREDICATES
    by_group = {group: sum(r.group == group for r in RELATIONS.values()) for group in ("heading", "network")}
    assert by_group == {"heading": 8, "network": 6}
    without = [name for name, relation in RELATIONS.items() if relation.reason]
    assert len(without) == 6 and all(RELATIONS[name].group == "appearance" for name in without)
    opposed = {frozenset((name, r.antonym)) for name, r in RELATIONS.items() if r.antonym}
    assert len(opposed) == 16 and all(RELATIONS[RELATIONS[a].antonym].antonym == a for pair in opposed for a in pair)
    for name, relation in RELATIONS.items():
        assert bool(relation.rule) != bool(relation.reason), name
        assert bool(relation.pairs) == (relation.reason is None and relation.group != "distance"), name


def test_every_role_in_the_table_is_played_by_some_class():
    settings = RelationSettings()
    played = {role for roles in ROLES.values() for role in roles} | set(CLASSES)
    assert {role for name in RELATIONS for pair in settings.pairs(name) for role in pair} <= played


def test_the_page_names_every_predicate_and_why_some_cannot_be_derived():
    page = relations_page()
    for name, relation in RELATIONS.items():
        assert f"| {name} | {relation.rule or '*not from shapes: ' + str(relation.reason)}" in page
    assert "58 predicates 52 follow" in page


# --- chips --------------------------------------------------------------------------------------------------

CHAIN = [SceneRelation("a", "adjacent", "b", {"gap_m": 1.0}), SceneRelation("b", "adjacent", "a", {"gap_m": 1.0}),
         SceneRelation("b", "over", "c"), SceneRelation("c", "pass under", "b")]  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "visible", "kept"),
    [
        (("a", "b", "c"), {}, [0, 1, 2, 3]),
        (("c", "b"), {}, [3, 2]),  # in the order of the chip
        (("a", "c"), {}, []),  # both ends must be there
        (("a", "b", "c"), {"c": 0.54}, [0, 1]),
        (("a", "a", "b"), {"b": 1.0}, [0, 1]),
        ((), {}, []),
    ],
)
def test_a_chip_has_the_relations_of_what_it_keeps(ids, visible, kept):
    assert list(tile_relations(CHAIN, ids, visible)) == [CHAIN[k] for k in kept]


def test_a_clipped_end_is_named_in_the_evidence():
    found = tile_relations(CHAIN, ("a", "b"), {"b": 0.8})
    assert [r.evidence for r in found] == [
        {"gap_m": 1.0, "clipped": ["object"]},
        {"gap_m": 1.0, "clipped": ["subject"]},
    ]
    assert CHAIN[0].evidence == {"gap_m": 1.0}


def test_an_index_serves_many_chips_as_one_by_one():
    shapes, labels, ids, headings = random_scene(5)
    relations = find_relations(shapes, labels, ids, None, headings)
    index = RelationIndex(relations)
    for start in range(0, 60, 20):
        chip = ids[start : start + 30]
        expected = {(r.subject, r.predicate, r.object) for r in relations if r.subject in chip and r.object in chip}
        assert {(r.subject, r.predicate, r.object) for r in index.tile(chip)} == expected
        assert index.tile(chip) == tile_relations(relations, chip)
