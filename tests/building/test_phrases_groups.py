"""Phrases of several objects and of none, and classes of a taxonomy, on scenes small enough to check by eye."""

from collections import Counter

import numpy as np
import pytest

from georefer.building.mapping import Words
from georefer.building.phrases import KINDS, PhraseSettings, attribute_values, expressions, group_expressions
from georefer.building.phrases.view import Classes
from georefer.building.phrases.wording import fixed_noun, plural
from georefer.geometry import Objects
from georefer.scenes import SceneRelation

COLOUR = {"colour": "{value} {label}"}
ABOVE = {
    "building": frozenset({"building"}), "house": frozenset({"house", "building"}), "shop": frozenset({"shop"}),
    "villa": frozenset({"villa", "house", "building"}), "hotel": frozenset({"hotel", "building", "shop"}),
}  # fmt: skip


def objects(rows, prefix=""):
    """Objects from (label, x, y, side, attributes); ids are row numbers."""
    boxes_N4 = np.array([[x, y, x + side, y + side] for _, x, y, side, _ in rows], dtype=float).reshape(-1, 4)
    ids = [f"{prefix}{k}" for k in range(len(rows))]
    return Objects.from_hbb(boxes_N4, [r[0] for r in rows], ids=ids, attributes=[r[4] for r in rows])


def row(label, x, y, side=10, **attributes):
    return label, x, y, side, attributes


def groups(rows, others=(), templates=COLOUR, kinds=KINDS, most=200, words=None, values=None, **more):
    """{text: ids} of all that can be said; texts without "all" and counts, unless these are needed."""
    share = more.pop("empty", 0.5)
    settings = PhraseSettings(templates, kinds, groups=most, empty_groups=share, predicates={"at": "moored at"})
    shown = (objects(rows), objects(others, "o"), np.ones(len(rows)), (100, 100), settings)
    found = group_expressions(*shown, words=words, values=values, rng=np.random.default_rng(0), **more)
    return {plain(g): g.object_ids for g in found}


def plain(group):
    text = group.text.replace("all ", "the ", 1)
    if {fact[0] for fact in group.facts} & {"position", "size"}:
        return text
    return next((text.replace(f"{fact[1]} ", "", 1) for fact in group.facts if fact[0] == "count"), text)


def singles(rows, above=None, levels=1, **given):
    settings = PhraseSettings(COLOUR, ("class", "attribute", "neighbour", "relation"), levels=levels)
    found = expressions(
        objects(rows), Objects.none(), np.ones(len(rows)), (100, 100), settings, above=above or ABOVE, **given
    )
    return {(e.text, e.object_id) for e in found}


FLEET = [
    row("ship", 10, 10, colour="red"), row("ship", 30, 70, colour="red"), row("ship", 70, 20, 20, colour="blue"),
    row("ship", 70, 70, 20, colour="blue"), row("tank", 50, 10, colour="green"),
]  # fmt: skip


def test_several_are_named_by_what_only_they_have():
    found = groups(FLEET)
    assert found["the red ships"] == ("0", "1")
    assert found["the two largest ships"] == ("2", "3")
    assert found["the two leftmost ships"] == ("0", "1")
    assert found["the ships in the top half of the image"] == ("0", "2")
    assert found["the ships"] == ("0", "1", "2", "3")
    # one is not several, and is asked for by a phrase of its own
    assert not any(len(ids) == 1 for ids in found.values())
    assert not any("tank" in text and ids for text, ids in found.items())


def test_none_is_named_where_there_are_such_things_but_surely_none_like_this():
    found = groups(FLEET, values={"ship": {"colour": ("red", "blue", "green")}, "tank": {"colour": ("green",)}})
    empty = {text for text, ids in found.items() if not ids}
    assert {"the green ship", "the green ships"} & empty
    assert {"the tank in the left half of the image", "the tanks in the left half of the image"} & empty
    # nothing says that a tank can be blue, and no plane is there at all
    assert not any("blue tank" in text or "plane" in text for text in empty)
    # "green" alone is enough to have none
    assert not any("green ship" in text and "half" in text for text in empty)


@pytest.mark.parametrize(
    ("extra", "others", "gone"),
    [
        (row("ship", 10, 40), (), "the red ships"),  # its colour is unknown
        (row("ship", 10, 44, colour="red"), (), "the red ships in the top half of the image"),  # it is in neither half
        (None, [row("ship", 97, 50, 3, colour="red")], "the red ships"),  # a sliver surely fits and is not asked for
        (None, [row("ship", 97, 50, 3)], "the red ships"),  # a sliver may fit
        (row("boat ship", 10, 40, colour="red"), (), "the red ships"),  # somebody may call it a ship
        (row("ship", 0, 40, 20, colour="grey"), (), "the two largest ships"),  # it is cut, so its size is unknown
        (row("ship", 10, 40, 18, colour="grey"), (), "the two largest ships"),  # the next one is too like them
    ],
)  # fmt: skip
def test_one_that_is_open_drops_the_phrase(extra, others, gone):
    rows = [*FLEET, extra] if extra else FLEET
    assert gone not in groups(rows, others)


def test_what_may_be_there_is_not_none():
    values = {"ship": {"colour": ("green",)}}
    for rows in ([*FLEET, row("ship", 10, 40)], [*FLEET[:4], row("ship", 97, 50, 3)]):
        assert not {"the green ship", "the green ships"} & set(groups(rows, values=values))


def test_next_to_a_landmark_is_near_or_far_and_nothing_between():
    rows = [row("ship", 10, 10), row("ship", 10, 34), row("ship", 70, 70), row("dock", 10, 22)]
    assert groups(rows, kinds=("class", "neighbour"))["the ships next to the dock"] == ("0", "1")
    rows[2] = row("ship", 30, 22)  # 10 of 100 pixels away
    assert "the ships next to the dock" not in groups(rows, kinds=("class", "neighbour"))


def test_several_are_related_to_one_thing():
    rows = [row("ship", 10, 10), row("ship", 10, 34), row("ship", 70, 70), row("dock", 10, 22)]
    held = [SceneRelation("0", "at", "3"), SceneRelation("1", "at", "3")]
    assert groups(rows, kinds=("class", "relation"), relations=held)["the ships moored at the dock"] == ("0", "1")
    unsure = [("2", "at", "3")]
    assert "the ships moored at the dock" not in groups(rows, relations=held, unsure=unsure)
    # a relation that nobody found proves no absence
    one = [row("ship", 70, 70), row("dock", 10, 22), row("tank", 10, 34)]
    assert not any("moored" in text for text in groups(one, relations=[SceneRelation("2", "at", "1")]))


def test_nouns_of_attributes_have_a_plural_too():
    rows = [
        row("building", 10, 10, roof="red"),
        row("building", 70, 10, roof="red"),
        row("building", 10, 70, roof="tin"),
    ]
    assert groups(rows, templates={"roof": "{value} roofed building"})["the red roofed buildings"] == ("0", "1")
    rows = [
        row("building", 10, 10, use="barn"),
        row("building", 70, 10, use="barn"),
        row("building", 10, 70, use="inn"),
    ]
    assert groups(rows, templates={"use": "{value}"})["the barns"] == ("0", "1")
    # a church of which the roof is known may be meant as well
    rows = [*rows, row("church", 40, 40, use="barn")]
    assert "the barns" not in groups(rows, templates={"use": "{value}"})


def test_a_count_that_is_said_is_that_of_the_answer():
    settings = PhraseSettings(COLOUR, KINDS, groups=40, empty_groups=0.3)
    shown = (objects(FLEET), Objects.none(), np.ones(5), (100, 100), settings)
    found = [g for seed in range(20) for g in group_expressions(*shown, rng=np.random.default_rng(seed))]
    counted = [(g, fact[1]) for g in found for fact in g.facts if fact[0] == "count"]
    numbers = {2: "two", 3: "three", 4: "four"}
    assert counted and all(numbers[len(g.object_ids)] == word and f"the {word} " in g.text for g, word in counted)
    for group in found:
        narrowing = [fact for fact in group.facts if fact[0] != "count"]
        assert group.level == len(narrowing) and group.by in {fact[0] for fact in narrowing}
        assert group.distractors == (4 if "ship" in group.text else 1) - len(group.object_ids)
    # the number of a phrase does not tell whether there is something
    forms = Counter(len(g.facts[0]) for g in found if not g.object_ids)
    assert min(forms[2], forms[3]) > 0.3 * sum(forms.values())


def test_so_many_are_drawn_by_the_seed_and_so_many_are_empty():
    settings = PhraseSettings(COLOUR, KINDS, groups=3, empty_groups=0.25)
    shown = (objects(FLEET), Objects.none(), np.ones(5), (100, 100))
    drawn = [group_expressions(*shown, settings, rng=np.random.default_rng(seed)) for seed in range(200)]
    assert all(len(found) <= 3 for found in drawn) and len({str(found) for found in drawn}) > 100
    share = np.mean([not g.object_ids for found in drawn for g in found])
    assert 0.18 < share < 0.32
    assert drawn[7] == group_expressions(*shown, settings, rng=np.random.default_rng(7))
    for empty in (0.0, 1.0):
        only = PhraseSettings(COLOUR, KINDS, groups=3, empty_groups=empty)
        assert {not g.object_ids for g in group_expressions(*shown, only, rng=np.random.default_rng(0))} == {
            bool(empty)
        }


def test_without_groups_nothing_is_drawn():
    rng = np.random.default_rng(0)
    shown = (objects(FLEET), Objects.none(), np.ones(5), (100, 100))
    assert group_expressions(*shown, PhraseSettings(COLOUR), rng=rng) == []
    assert rng.random() == np.random.default_rng(0).random()
    with pytest.raises(ValueError, match="rng"):
        group_expressions(*shown, PhraseSettings(COLOUR, groups=1))


def test_values_of_an_area_are_the_most_frequent_of_each_class():
    rows = [row("ship", 0, 0, colour=c) for c in ("red", "blue", "red", None, True)] + [row("tank", 0, 0, colour="tin")]
    assert attribute_values([objects(rows)], PhraseSettings(COLOUR, groups=1)) == {
        "ship": {"colour": ("red", "blue")}, "tank": {"colour": ("tin",)},
    }  # fmt: skip


# --- a taxonomy ---------------------------------------------------------------------------------------------


def test_an_object_is_called_by_its_class_and_by_the_one_above():
    rows = [row("house", 10, 10), row("tank", 70, 70)]
    assert singles(rows) >= {("the house", "0"), ("the building", "0"), ("the tank", "1")}
    # two levels up only where that is asked for
    villa = [row("villa", 10, 10)]
    assert {text for text, _ in singles(villa)} == {"the villa", "the house"}
    assert {text for text, _ in singles(villa, levels=2)} == {"the villa", "the house", "the building"}
    assert {text for text, _ in singles(villa, levels=0)} == {"the villa"}
    # without a taxonomy a house is a house
    assert singles(rows, above={"x": frozenset({"x"})}) == {("the house", "0"), ("the tank", "1")}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("house", "building"), set()),  # the building may be a house
        (("house", "villa"), set()),  # a villa is a house, which may be a villa
        (("house", "shop"), {("the house", "0"), ("the shop", "1")}),  # no house is a shop, but a shop may be a hotel
        (("building", "shop"), set()),  # and both may be one
        (("villa", "hotel"), {("the villa", "0"), ("the house", "0"), ("the hotel", "1"), ("the shop", "1")}),
    ],
)
def test_what_may_be_of_a_class_is_a_rival(labels, said):
    assert singles([row(labels[0], 10, 10), row(labels[1], 70, 70)]) == said


@pytest.mark.parametrize(
    ("roofs", "said"),
    [
        (("red", "tin"), {"0", "1"}),
        (("red", "red"), set()),
        (("red", None), set()),  # the hotel is a building, and nobody knows its roof
    ],
)
def test_a_noun_that_a_template_ends_with_is_that_of_all_its_kinds(roofs, said):
    rows = [row("villa", 10, 10, roof=roofs[0]), row("hotel", 70, 70, roof=roofs[1]), row("shop", 40, 40, roof="straw")]
    settings = PhraseSettings({"roof": "{value} roofed building"}, ("attribute",), levels=2)
    found = expressions(objects(rows), Objects.none(), np.ones(3), (100, 100), settings, above=ABOVE)
    assert {e.object_id for e in found if "red" in e.text or "tin" in e.text} == said


def test_groups_are_named_at_every_level():
    rows = [row("house", 10, 10), row("villa", 70, 10), row("building", 10, 70), row("tank", 70, 70)]
    found = groups(rows, kinds=("class", "part"), above=ABOVE)
    assert found["the buildings"] == ("0", "1", "2")
    assert found["the houses in the top half of the image"] == ("0", "1")
    # the building may be a house, and a villa
    assert "the houses" not in found
    assert not any("villa" in text and "bottom half" in text for text in found)


def test_relations_and_landmarks_are_said_by_their_own_class():
    rows = [row("house", 10, 10), row("shop", 22, 10), row("house", 70, 70)]
    assert ("the house near the shop", "0") in singles(rows, relations=[SceneRelation("0", "near", "1")])
    # what may be of the class is no landmark
    rows = [row("house", 10, 10), row("house", 70, 70), row("building", 22, 10)]
    assert not any("next to" in text for text, _ in singles(rows))


def test_a_synonym_that_is_another_class_makes_a_rival():
    rows = [row("home", 10, 10), row("house", 70, 70)]
    assert ("the home", "0") in singles(rows)
    assert ("the home", "0") not in singles(rows, words={"house": Words("house", "houses", ("home",))})


def test_levels_follow_a_class_with_several_parents():
    classes = Classes(ABOVE, {})
    assert classes.upward("villa", 9) == ["villa", "house", "building"]
    assert classes.upward("hotel", 1) == ["hotel", "building", "shop"]
    assert classes.upward("unheard of", 3) == ["unheard of"]
    assert classes.possible("shop") == {"shop", "hotel", "building"}


# --- English ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("ship", "ships"), ("tennis court", "tennis courts"), ("storage tank", "storage tanks"), ("church", "churches"),
        ("factory", "factories"), ("railway", "railways"), ("gas works", "gas works"), ("", ""),
        ("building under construction", "buildings under construction"), ("glass roof", "glass roofs"),
        ("place of worship", "places of worship"), ("aircraft", "aircraft"), ("fire station", "fire stations"),
        ("water", "water"), ("ruins", "ruins"), ("vegetation", "vegetation"), ("crane (old)", "cranes (old)"),
        ("fisherman", "fishermen"), ("bus", "buses"),
    ],
)  # fmt: skip
def test_plurals(noun, many):
    assert plural(noun) == many


def test_a_plural_that_is_known_is_taken():
    assert plural("cattle shed", "byres") == "byres"
    # a regular one made by a rule is not better than ours
    assert plural("building under construction", "building under constructions") == "buildings under construction"
    rows = [row("goose", 10, 10), row("goose", 70, 70)]
    assert "the geese" in groups(
        rows, words={"goose": Words("goose", "geese", ())}, kinds=("class",), most=1, empty=0.0
    )


@pytest.mark.parametrize(
    ("template", "noun"),
    [("{value} roofed building", "building"), ("{value}", ""), ("{value} {label}", ""), ("a {value} shed ", "shed")],
)
def test_the_noun_of_a_template(template, noun):
    assert fixed_noun(template) == noun
