"""Scenes in words: everything said is so, nothing is left out, and the English is right."""

import re
import tomllib
from importlib.resources import files

import numpy as np
import pytest
import shapely

from georefer.geometry import Objects
from georefer.scoring.captions import grounded_row
from georefer.tasks.description import describe, is_proved, plural, spoken, spoken_names

SIZE = (200, 160)
SLUGS = (
    "plane", "ship", "storage-tank", "baseball_diamond", "bridge", "large-vehicle", "A220", "Boeing 737", "bus",
    "person", "aircraft", "factory", "church",
)  # fmt: skip


def groundset():
    """GroundSet's names, with their commas, brackets and signs, from leaf to root."""

    def names(node):
        for name in node:
            yield name
            yield from names(node[name]) if isinstance(node, dict) else ()

    text = files("georefer.scenes").joinpath("taxonomies/groundset.toml").read_text(encoding="utf-8")
    return tuple(dict.fromkeys(names(tomllib.loads(text))))


def random_objects(seed, labels):
    """1 to 60 boxes of 1 to 9 classes, anywhere or on a lattice with the lines between the places."""
    rng = np.random.default_rng(seed)
    count, some = int(rng.integers(1, 60 if seed % 3 == 0 else 9)), rng.choice(labels, int(rng.integers(1, 10)))
    anywhere = rng.uniform(0.02, 0.98, (count, 2))
    part_N2 = rng.choice([0.1, 0.25, 0.5, 0.6, 0.9], (count, 2)) if seed % 5 == 0 else anywhere
    half_N2 = rng.integers(2, 60, (count, 2)) / 4
    boxes_N4 = np.c_[part_N2 * SIZE - half_N2, part_N2 * SIZE + half_N2]
    return Objects.from_hbb(boxes_N4, [some[i % len(some)] for i in range(count)])


def told(*rows, labels=(), size=SIZE):
    """The description of (label, x, y, side) squares."""
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for _, x, y, s in rows], dtype=float)
    return describe(Objects.from_hbb(boxes, [row[0] for row in rows]), size, np.random.default_rng(0), labels=labels)


@pytest.mark.parametrize("labels", [SLUGS, groundset()], ids=["slugs", "groundset"])
def test_every_statement_is_true_and_nothing_is_left_out(labels):
    for seed in range(300):
        objects = random_objects(seed, labels)
        text = describe(objects, SIZE, np.random.default_rng(seed), labels=labels)
        if "Watercourses" in objects.labels_N and not text:
            continue  # the plural of GroundSet's class "Watercourse"; nothing else is left untold
        row = grounded_row(text, objects, SIZE, spoken_names(labels))
        assert row["there"] == row["named"] == row["named_right"] == row["classes_counted"] == row["classes_placed"]
        assert row["count_error"] == 0 and row["count_right"] == row["counted"] > 0, text
        assert row["position_right"] == row["positioned"] > 0
        assert is_proved(row) and row["denied"] == 0


def test_numbers_and_places_are_those_of_the_objects_by_another_reading():
    """Read by a pattern instead of by the claims that the description is proved with."""
    sides = {"left": (0, -1), "right": (0, 1), "upper": (1, -1), "lower": (1, 1)}
    numbers = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    words = {word: number for number, word in enumerate(numbers, 1)}
    pattern = re.compile(r"(\w+) ships? (?:(?:is|are) )?in the (upper|lower|left|right) (left|right|half)")
    seen = 0
    for seed in range(200):
        objects = random_objects(3 * seed, ["ship"])
        text = describe(objects, SIZE, np.random.default_rng(0))
        middle_N2 = (objects.hbb_N4[:, :2] + objects.hbb_N4[:, 2:]) / 2 / SIZE - 0.5
        for number, *where in pattern.findall(text):
            signs = [sides[word] for word in where if word in sides]
            there = np.logical_and.reduce([middle_N2[:, axis] * sign > 0 for axis, sign in signs])
            if number.isdigit() or number in words:
                assert there.sum() == (words.get(number) or int(number)), text
                seen += 1
            else:  # "an object ... a ship in the upper left", "the ship", "both ships"
                assert there.any()
    assert seen > 200


def test_a_scene_is_told_from_the_overview_to_the_rest():
    text = told(
        ("pool", 20, 20, 50), ("tank", 150, 30, 10), ("tank", 160, 40, 10), ("tree", 20, 150, 9), ("tree", 180, 20, 9)
    )
    overview, main, *rest = text.removesuffix(".").split(". ")
    assert overview.endswith("one pool, two tanks and two trees")
    assert main == "The object that takes up the most room is a pool in the upper left, with about 6 % of the image"
    assert rest == [
        "The pool is in the upper left", "Both tanks are in the upper right",
        "There is one tree in the upper right and one tree in the lower left",
    ]  # fmt: skip


NUMBER = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[0-9]+"
WRONG = re.compile(
    r"\bare (?:at least )?one (?!.* and )|\bthere are [^.]*? \(1\) in|"  # one thing are
    rf"\b(?:is|There is) (?:at least )?(?:{NUMBER}|both|all)\b|"  # several things is
    r"\bone (?:\w+ )?(?:people|watercourses|tanks|forests)\b|"  # several as one
    r"\bwaters\b|\bgrasses\b|\b(?:one|two) (?:water|tall grass)\b|"  # what has no number
    rf"\b(?:{NUMBER}) (?:at least )?(?:tank|forest|orchard)\b|\ba [aeio]|\ban [^aeioh]|"
    r"^(?:[A-Z]\w+ )+(?:is|are) (?:one|two|at)",  # an opening that would have to agree
)
SCENES = {
    "one": [("forest", 30, 30, 20)],
    "two": [("forest", 30, 30, 20), ("forest", 150, 130, 20)],
    "one and two": [("orchard", 30, 30, 50), ("tank", 150, 30, 9), ("tank", 160, 130, 9)],
    "three, one of them on a line between": [("tank", 20, 20, 9), ("tank", 30, 120, 9), ("tank", 100, 80, 9)],
    "more than one on the lines": [("tank", x, y, 9) for x, y in ((20, 20), (30, 120), (100, 50), (100, 80))],
    "a plural": [("Watercourses", 30, 30, 20)],
    "people": [("people", 30, 30, 20), ("people", 150, 130, 20), ("tank", 10, 10, 5)],
    "nothing that can be counted": [("water", 30, 30, 20), ("tall grass", 150, 130, 20), ("water", 150, 30, 20)],
    "a list": [("Fort, bunker, casemate", 30, 30, 20), ("Fort, bunker, casemate", 150, 130, 20)],
    "many kinds": [(label, 20 * k + 10, 30, 5) for k, label in enumerate(("forest", *"pqrstuv"))],
}  # fmt: skip


@pytest.mark.parametrize("rows", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize("uncounted", [False, True])
def test_every_opening_and_sentence_is_in_english(rows, uncounted):
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for _, x, y, s in rows], dtype=float)
    objects = Objects.from_hbb(boxes, [row[0] for row in rows])
    openings = set()
    for seed in range(40):
        more = {"uncounted": [rows[0][0]], "whole": False} if uncounted else {}
        text = describe(objects, SIZE, np.random.default_rng(seed), **more)
        assert text and not (wrong := WRONG.search(text)), (wrong, text)
        openings.add(" ".join(text.split()[:3]))
    assert openings == {"The image shows", "This is a", "The view from", "The scene holds"}


def test_who_else_there_is_is_one_or_several():
    one, several = (told(*SCENES[name]) for name in list(SCENES)[3:5])
    assert "Two tanks are in the left half, and another elsewhere." in one
    assert "and others elsewhere." in several


def test_what_takes_up_the_most_room_must_stand_out():
    alike = told(("pool", 30, 30, 40), ("tank", 150, 30, 39))
    assert "room" not in alike
    by_class = told(("pool", 30, 30, 40), ("pool", 30, 130, 40), ("tank", 150, 30, 40))
    assert "Most room is taken up by pools, with about 10 % of the image." in by_class
    half_outside = told(("pool", 0, 80, 80), ("tank", 150, 30, 70))
    assert "room is a tank" in half_outside  # only what shows counts


def test_classes_that_overlap_themselves_are_measured_once():
    assert "about 5 %" in told(("pool", 30, 30, 40), ("pool", 30, 30, 40), ("tank", 150, 30, 9))


def test_many_classes_are_not_counted_in_the_overview():
    rows = [("tree", 10 * i + 5, 30, 5) for i in range(9)] + [(label, 150, 120, 5) for label in "pqrstuv"]
    first, *rest = told(*rows).split(". ")
    assert first.endswith("objects of eight kinds, most of them trees")
    assert "Nine trees are in the upper left" in rest


def test_a_name_that_does_not_bend_is_listed_with_its_number():
    text = told(("Fort, bunker, casemate", 20, 20, 9), ("Fort, bunker, casemate", 30, 20, 9))
    assert "fort, bunker, casemate (2)" in text and "casemates" not in text


def test_a_plural_that_is_another_class_is_not_used():
    for labels in (("Watercourse", "Watercourses"), ("Watercourses", "Watercourse")):
        text = told(("Watercourse", 20, 20, 9), ("Watercourse", 30, 20, 9), labels=labels)
        assert "watercourse (2)" in text and "watercourses" not in text


def test_nothing_and_what_cannot_be_proved_are_not_told():
    assert describe(Objects.none(), SIZE, np.random.default_rng(0)) == ""
    # a stop ends a sentence for the reader, two classes of one spelling are one for it
    assert told(("St. Mary's", 20, 20, 9)) == ""
    assert told(("storage-tank", 20, 20, 9), ("storage_tank", 150, 20, 9)) == ""


def test_shapes_that_cross_themselves_are_told():
    bow = shapely.Polygon([(10, 10), (60, 60), (60, 10), (10, 60)])
    assert "the pool" in describe(Objects.of([bow], ["pool"]), SIZE, np.random.default_rng(0)).lower()


@pytest.mark.parametrize(
    ("label", "many"),
    [
        ("ship", "ships"),
        ("storage-tank", "storage tanks"),
        ("Sports_field", "sports fields"),
        ("church", "churches"),
        ("bus", "buses"),
        ("factory", "factories"),
        ("runway", "runways"),
        ("aircraft", "aircraft"),
        ("standing person", "standing people"),  # by the last word
        ("A220", "A220s"),  # names keep their capitals
        ("", "s"),
    ],
)
def test_plurals(label, many):
    assert plural(label) == many


def test_a_table_of_ones_own_comes_first():
    own = {"Agricultural land": "areas of farmland", "roof": "rooves"}
    assert plural("Agricultural land", own) == "areas of farmland"
    assert plural("red roof", own) == "red rooves"
    objects = Objects.from_hbb(np.array([[0, 0, 9, 9], [20, 0, 29, 9]]), ["Agricultural land"] * 2)
    assert "two areas of farmland" in describe(objects, SIZE, np.random.default_rng(0), irregulars=own)


@pytest.mark.parametrize(
    ("label", "said"),
    [("Water tower", "water tower"), ("large-vehicle", "large vehicle"), ("Boeing 737", "boeing 737")],
)
def test_names_are_spoken(label, said):
    assert spoken(label) == said
