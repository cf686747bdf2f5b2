"""Each kind of expression, on scenes small enough to check by eye; English; settings that are refused."""

import numpy as np
import pytest

from georefer.building.phrases import PhraseSettings, expressions
from georefer.building.phrases.wording import as_words, filled, may_be_called
from georefer.geometry import Objects
from georefer.scenes import SceneRelation
from georefer.scenes.readers.star import PREDICATES
from georefer.tasks.nouns import article
from georefer.tasks.predicates import in_words

ALL = ("class", "attribute", "part", "area", "position", "size", "neighbour", "relation")


def texts(rows, others=(), settings=None, **given):
    """{object id: texts} for rows of (label, attributes, x1, y1, x2, y2) on 100 x 100 pixels; ids are row numbers."""
    found = expressions(
        objects(rows),
        objects(others, "o"),
        np.ones(len(rows)),
        (100, 100),
        settings or PhraseSettings(kinds=ALL),
        **given,
    )
    by_id: dict[str, list[str]] = {}
    for expression in found:
        by_id.setdefault(expression.object_id, []).append(expression.text)
    return by_id


def objects(rows, prefix=""):
    boxes_N4 = np.array([row[2:] for row in rows], dtype=float).reshape(-1, 4)
    ids = [f"{prefix}{k}" for k in range(len(rows))]
    return Objects.from_hbb(boxes_N4, [r[0] for r in rows], ids=ids, attributes=[r[1] for r in rows])


def square(label, x, y, side=10, **attributes):
    return (label, attributes, x, y, x + side, y + side)


def only(*kinds, **more):
    return PhraseSettings(kinds=kinds, **more)


def test_a_part_of_the_image_singles_out_by_a_margin():
    found = texts([square("ship", 10, 10), square("ship", 70, 10)], settings=only("part"))
    assert "the ship in the left half of the image" in found["0"]
    assert "the ship in the top right quarter of the image" in found["1"]
    # the second lies on the line between the halves: it is in neither, and may be in both
    assert not texts([square("ship", 10, 5), square("ship", 46, 5)], settings=only("part"))


def test_an_area_is_said_where_the_pixel_is_known_and_rivals_differ():
    rows = [square("ship", 10, 10, 20), square("ship", 60, 60, 10)]
    assert texts(rows, settings=only("area"), gsd_m=0.5) == {
        "0": ["the ship of about 100 m²"], "1": ["the ship of about 25 m²"],
    }  # fmt: skip
    assert not texts(rows, settings=only("area"))
    alike = [square("ship", 10, 10, 11), square("ship", 60, 60, 10)]
    assert not texts(alike, settings=only("area"), gsd_m=0.5)
    # what is cut by the edge may be as large as the other
    cut = [square("ship", 10, 10, 20), square("ship", 90, 60, 10)]
    assert not texts(cut, settings=only("area"), gsd_m=0.5)


def test_an_area_is_that_of_the_object_and_not_of_its_roof():
    rows = [square("ship", 10, 10, 20, sail="tin"), square("ship", 60, 10, 10, sail="tin"), square("ship", 40, 60, 20)]
    rows[2][1]["sail"] = "red"
    settings = PhraseSettings({"sail": "{label} with a {value} sail"}, kinds=("attribute", "area"))
    assert "the ship of about 100 m² with a tin sail" in texts(rows, settings=settings, gsd_m=0.5)["0"]


def test_a_large_area_has_separators():
    rows = [square("field", 5, 5, 60), square("field", 80, 80, 10)]
    assert texts(rows, settings=only("area"), gsd_m=1.0)["0"] == ["the field of about 3,600 m²"]


@pytest.mark.parametrize(
    ("predicate", "settings", "text"),
    [
        ("docked-alongside-with", {}, "the ship docked alongside the dock"),
        ("docked_at", {}, "the ship docked at the dock"),
        # the recipe says it better
        ("docked-at", {"predicates": {"docked-at": "moored at"}}, "the ship moored at the dock"),
    ],
)
def test_a_relation_singles_out(predicate, settings, text):
    rows = [square("ship", 10, 10), square("ship", 70, 70), square("dock", 22, 10)]
    relations = [SceneRelation("0", predicate, "2")]
    assert texts(rows, settings=only("relation", **settings), relations=relations) == {"0": [text]}


@pytest.mark.parametrize("predicate", PREDICATES)
def test_every_predicate_is_said_in_english(predicate):
    rows = [square("ship", 10, 10), square("ship", 70, 70), square("dock", 22, 10)]
    relations = [SceneRelation("0", predicate, "2")]
    assert texts(rows, settings=only("relation"), relations=relations) == {
        "0": [f"the ship {in_words(predicate)} the dock"]
    }


def test_a_relation_that_the_recipe_does_not_word_is_not_said():
    rows = [square("ship", 10, 10), square("ship", 70, 70), square("dock", 22, 10)]
    settings = only("relation", predicates={"near": ""})
    assert not texts(rows, settings=settings, relations=[SceneRelation("0", "near", "2")])


def test_a_relation_to_one_of_several_has_an_article():
    rows = [square("ship", 10, 10), square("ship", 70, 70), square("oil dock", 22, 10), square("oil dock", 40, 40)]
    relations = [SceneRelation("0", "docked-at", "2")]
    assert texts(rows, settings=only("relation"), relations=relations) == {"0": ["the ship docked at an oil dock"]}
    # the other ship is at the other dock
    both = [*relations, SceneRelation("1", "docked-at", "3")]
    assert not texts(rows, settings=only("relation"), relations=both)


def test_a_relation_to_one_of_the_same_class_is_to_another():
    rows = [square("ship", 10, 10, colour="red"), square("ship", 22, 10, colour="blue")]
    rows.append(square("ship", 70, 70, colour="red"))
    settings = PhraseSettings({"colour": "{value} {label}"}, kinds=("attribute", "relation"))
    tied = [SceneRelation("0", "tied-to", "1")]
    assert texts(rows, settings=settings, relations=tied)["0"] == ["the ship tied to the blue ship"]
    # the other of the two may as well be said to be tied to another ship
    rows.append(square("ship", 85, 40, colour="blue"))
    assert texts(rows, settings=settings, relations=tied)["0"] == ["the red ship tied to another ship"]


def test_a_relation_that_may_hold_of_a_rival_proves_nothing():
    rows = [square("ship", 10, 10), square("ship", 70, 70), square("dock", 22, 10)]
    relations = [SceneRelation("0", "docked-at", "2")]
    assert not texts(rows, settings=only("relation"), relations=relations, unsure=[("1", "docked-at", "2")])
    # so is one of a ship about as near to the dock
    close = [*rows, square("ship", 22, 22)]
    assert not texts(close, settings=only("relation"), relations=relations)
    # relations of slivers are unknown
    assert not texts(rows, [square("ship", 95, 50, 4)], only("relation"), relations=relations)
    assert not texts(rows, [square("dock", 95, 50, 4)], only("relation"), relations=relations)


def test_facts_combine_and_none_is_spare():
    rows = [
        square("ship", 10, 10, colour="red"),
        square("ship", 70, 10, colour="red"),
        square("ship", 10, 70, colour="blue"),
        square("ship", 70, 70, colour="blue"),
    ]
    settings = PhraseSettings({"colour": "{value} {label}"}, kinds=("attribute", "part"))
    found = texts(rows, settings=settings)["0"]
    assert "the red ship in the left half of the image" in found
    assert "the ship in the top left quarter of the image" in found
    assert "the red ship in the top left quarter of the image" not in found
    assert all("top half" not in text for text in found)  # red and top half are the same two
    loose = PhraseSettings({"colour": "{value} {label}"}, kinds=("attribute", "part"), minimal=False)
    assert "the red ship in the top left quarter of the image" in texts(rows, settings=loose)["0"]


def test_level_and_distractors_say_how_hard_an_expression_is():
    rows = [square("ship", 10, 10), square("ship", 70, 10), square("tank", 40, 40)]
    found = expressions(
        objects(rows), objects([square("ship", 97, 60, 3)], "o"), np.ones(3), (100, 100), PhraseSettings()
    )
    measured = {e.text: (e.by, e.level, e.distractors, e.facts) for e in found}
    assert measured["the tank"] == ("class", 1, 0, (("class", "tank"),))
    assert measured["the leftmost ship"] == ("position", 2, 2, (("class", "ship"), ("position", "leftmost")))


def test_two_attributes_nest_in_the_order_of_the_recipe():
    rows = [
        square("building", 10, 10, roof="red", use="barn"),
        square("building", 70, 10, roof="red", use="house"),
        square("building", 10, 70, roof="grey", use="barn"),
    ]
    settings = PhraseSettings({"use": "{value}", "roof": "{value} roofed {label}"}, kinds=("attribute",))
    assert "the red roofed barn" in texts(rows, settings=settings)["0"]


def test_a_broader_name_fits_what_is_named_closer():
    # a storage tank is a tank, and a building under construction a building
    rows = [square("tank", 10, 10), square("storage tank", 70, 70)]
    assert texts(rows, settings=only("class")) == {"1": ["the storage tank"]}
    rows = [square("building", 10, 10), square("building under construction", 70, 70)]
    assert texts(rows, settings=only("class")) == {"1": ["the building under construction"]}
    # a taxonomy knows what words do not show; what is only known to be a vehicle may be a car
    rows = [square("vehicle", 10, 10), square("car", 70, 70)]
    above = {"car": frozenset({"car", "vehicle"}), "vehicle": frozenset({"vehicle"})}
    assert texts(rows, settings=only("class"), above=above) == {}


def test_a_value_that_is_a_class_elsewhere_is_not_said():
    rows = [square("building", 10, 10, use="hangar"), square("building", 70, 10, use="house"), square("hangar", 40, 60)]
    found = texts(rows, settings=PhraseSettings({"use": "{value}"}, kinds=("class", "attribute")))
    assert found == {"1": ["the house"]}


def test_two_attributes_with_the_same_words_are_told_apart_or_not_used():
    rows = [square("building", 10, 10, roof="red", wall="grey"), square("building", 70, 10, roof="blue", wall="red")]
    settings = PhraseSettings({"roof": "{value} {label}", "wall": "{value} {label}"}, kinds=("attribute",))
    assert not any("red" in text for found in texts(rows, settings=settings).values() for text in found)


def test_numbers_that_nearly_tie_are_not_used():
    settings = PhraseSettings({"storeys": "{value} storey {label}"}, kinds=("attribute",))
    tie = [square("house", 10, 10, storeys=10), square("house", 70, 10, storeys=11)]
    assert not texts(tie, settings=settings)
    clear = [square("house", 10, 10, storeys=2), square("house", 70, 10, storeys=11.0)]
    assert texts(clear, settings=settings) == {"0": ["the 2 storey house"], "1": ["the 11 storey house"]}


def test_a_value_that_may_be_a_slip_of_the_pen_is_no_difference():
    settings = PhraseSettings({"roof": "{label} with a {value} roof"}, kinds=("attribute",))
    assert not texts(
        [square("hut", 10, 10, roof="concerte"), square("hut", 70, 10, roof="concrete")], settings=settings
    )
    found = texts([square("hut", 10, 10, roof="tin"), square("hut", 70, 10, roof="tile")], settings=settings)
    assert found == {"0": ["the hut with a tin roof"], "1": ["the hut with a tile roof"]}


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("storage_tank", "the storage tank"),
        ("Ground Track Field", "the Ground Track Field"),
        ("quai\n«{value}»", "the quai «{value}»"),
        ("{0.real}", "the {0.real}"),
        ("bâtiment 50 %", "the bâtiment 50 %"),
        ("建物", "the 建物"),
        ("a\u202eb\x00", "the a b"),
        ("<box>[[1,2]]</box>", "the <box>[[1,2]]</box>"),
        ("(", "the ("),
        ("_", None),  # nothing is left to be said
        ("", None),
    ],
)
def test_labels_with_odd_characters(label, text):
    found = texts([square(label, 10, 10), square("ship", 70, 70)], settings=only("class"))
    assert found.get("0") == (None if text is None else [text])


@pytest.mark.parametrize(
    "labels", [("storage_tank", "storage tank"), ("Ship", "ship"), ("fishing-boat", "fishing boat"), ("ships", "ship")]
)
def test_labels_that_sound_alike_are_one_class(labels):
    assert not texts([square(labels[0], 10, 10), square(labels[1], 70, 70)], settings=only("class"))


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{label} with a {value} roof", "orange", "ship with an orange roof"),
        ("{label} with an {value} roof", "red", "ship with a red roof"),
        ("{value}  {label}", "red", "red ship"),
        ("{value} {label}", "{label}", "{label} ship"),  # a value is never read as a template
    ],
)
def test_templates_are_filled_with_the_right_article(template, value, text):
    assert filled(template, value, "ship") == text


@pytest.mark.parametrize("noun", ["", "?", "  "])
def test_articles_of_nothing_are_no_error(noun):
    assert article(noun) in ("a", "an")


def test_names_are_compared_by_whole_words():
    assert may_be_called("tank", "storage tank") and not may_be_called("storage tank", "tank")
    assert not may_be_called("tank", "septank")
    assert as_words(" a_b\t c ") == "a b c"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": ("colour",)},
        {"facts": 9},
        {"facts": -1},
        {"per_object": -1},
        {"attributes": {"colour": "{value.__class__} {label}"}},
        {"attributes": {"colour": "{value!r}"}},
        {"attributes": {"colour": "{value:>99999999}"}},
        {"attributes": {"colour": "{label}"}},  # says nothing of the value
        {"attributes": {"colour": "{value"}},
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong):
    with pytest.raises(ValueError):
        PhraseSettings(**wrong)


def test_some_of_each_objects_expressions_are_drawn_by_the_seed():
    rows = [square("ship", 10, 10, 5), square("ship", 70, 70, 20)]
    settings = PhraseSettings(kinds=ALL, per_object=2)
    draws = [texts(rows, settings=settings, rng=np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
    assert draws[0] == draws[1] and len({str(d) for d in draws}) > 1
    assert all(len(found) == 2 for draw in draws for found in draw.values())
    with pytest.raises(ValueError, match="rng"):
        texts(rows, settings=settings)


def test_an_empty_scene_has_nothing_to_say():
    assert texts([]) == {}
