"""Captions against the objects that are there: what is read as a claim, and that no caption games the scores."""

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scoring import estimate
from georefer.scoring.captions.claims import ANYWHERE, Place, read_claims
from georefer.scoring.captions.grounded import (
    CLAIM_ACCURACY,
    CLASS_F1,
    CLASS_PRECISION,
    CLASS_RECALL,
    COLUMNS,
    COUNT_ACCURACY,
    COUNT_ERROR,
    COUNT_RECALL,
    DENIAL_ACCURACY,
    POSITION_ACCURACY,
    POSITION_RECALL,
    grounded_row,
)

NAMES = {
    "ship": ("vessel", "boat"), "building": ("house",), "storage-tank": ("oil tank",), "pond": (), "bus": (),
    "cherry": (), "car": ("vehicle",), "large-vehicle": ("truck",), "plane": (), "bridge": (),
}  # fmt: skip


def scene(*boxes):
    """(class, middle x, middle y) in an image of 100 x 100."""
    corners = np.array([[x - 2, y - 2, x + 2, y + 2] for _, x, y in boxes], dtype=float).reshape(-1, 4)
    return Objects.from_hbb(corners, [label for label, *_ in boxes])


TRUTH = scene(("ship", 10, 10), ("ship", 20, 15), ("ship", 90, 90), ("building", 50, 50), ("pond", 80, 20))
HONEST = "Two ships in the upper left and a third ship. One building in the center of the image, a pond on the right."


def value(ratio, caption, truth=TRUTH):
    top, bottom = ratio.terms([grounded_row(caption, truth, (100, 100), NAMES)])
    return float(top[0] / bottom[0]) if bottom[0] else None


@pytest.mark.parametrize(
    "caption, named, denied",
    [
        ("A ship.", {"ship"}, set()),
        ("SHIPS and Boats", {"ship"}, set()),
        ("a shipyard, a friendship, building-like", {"building"}, set()),  # whole words; a hyphen is a blank
        ("two buses, some cherries and an oil tank", {"bus", "cherry", "storage-tank"}, set()),
        ("a storage tank, storage-tanks", {"storage-tank"}, set()),
        ("large vehicles", {"large-vehicle"}, set()),  # the longer name, not also "car"
        ("There are no ships.", set(), {"ship"}),
        ("No large ships, boats or cars are visible", set(), {"ship", "car"}),
        ("no ships and three cars", {"car"}, {"ship"}),
        ("no ships but a car", {"car"}, {"ship"}),
        ("a harbour without boats; cars", {"car"}, {"ship"}),
        ("neither ships nor planes", set(), {"ship", "plane"}),
        ("there isn't any ship", set(), {"ship"}),
        ("not a single ship", set(), {"ship"}),
        ("free of cars, an absence of planes", set(), {"car", "plane"}),
        ("ships are not visible, the pond is absent", set(), {"ship", "pond"}),
        ("zero ships", set(), {"ship"}),
        ("no fewer than three ships", {"ship"}, set()),
        ("no doubt ships", {"ship"}, set()),
        ("No ships in the upper left.", set(), set()),  # there may be some elsewhere
        ("a picture of the coast", set(), set()),
    ],
)
def test_classes_are_read(caption, named, denied):
    claims = read_claims(caption, NAMES)
    assert {label for label, claim in claims.items() if claim.present} == named
    assert {label for label, claim in claims.items() if claim.absent} == denied


@pytest.mark.parametrize(
    "caption, counts",
    [
        ("three ships", {3}),
        ("3 large white ships", {3}),
        ("twenty-five ships", {25}),
        ("1,200 ships", {1200}),
        ("ships (4)", {4}),
        ("a pair of ships", {2}),
        ("a single ship", {1}),
        ("about ten ships", {10}),
        ("two or three ships", {2, 3}),
        ("2-3 ships", {2, 3}),
        ("two, three or maybe four ships", {2, 3, 4}),
        ("two ships. Three ships.", {2, 3}),
        ("two ships. Two ships.", {2}),
        ("several ships, a ship, some ships", set()),
        ("at least two ships", set()),
        ("3.5 ships", set()),
        ("two houses near ships", set()),  # the number is that of the houses
        ("3 m from ships", set()),
        ("in 2020, ships", set()),
    ],
)
def test_counts_are_read(caption, counts):
    assert read_claims(caption, NAMES)["ship"].counts.get(ANYWHERE, set()) == counts


@pytest.mark.parametrize(
    "caption, places",
    [
        ("a ship in the upper left", {(-1, -1)}),
        ("a ship in the bottom-right corner of the image", {(1, 1)}),
        ("In the top left of the picture, a ship", {(-1, -1)}),
        ("the left ship", {(-1, None)}),
        ("a ship on the left", {(-1, None)}),
        ("a ship at the centre", {(0, 0)}),
        ("a ship in the middle of the image", {(0, 0)}),
        ("a ship on the center left", {(-1, 0)}),
        ("a ship near the lower edge", {(None, 1)}),
        ("a ship in the upper left, a ship in the lower right", {(-1, -1), (1, 1)}),
        ("a ship to the left of the house", set()),  # a relation
        ("a ship on the top of a hill, in the centre of the harbour", set()),
        ("a ship right next to the quay", set()),
        ("a ship on the right next to the quay", set()),
        ("a ship near the city center hall", set()),
        ("a ship in the north-west", set()),  # north need not be up
        ("a ship, and a car on the left", set()),  # the car's
        ("a ship and the left car", set()),
    ],
)
def test_places_are_read(caption, places):
    assert read_claims(caption, NAMES)["ship"].places == {Place(*place) for place in places}


def test_an_honest_caption_is_right():
    row = grounded_row(HONEST, TRUTH, (100, 100), NAMES)
    assert tuple(row) == COLUMNS
    assert value(CLASS_F1, HONEST) == value(COUNT_ACCURACY, HONEST) == value(POSITION_ACCURACY, HONEST) == 1
    assert value(CLAIM_ACCURACY, HONEST) == 1 and value(COUNT_ERROR, HONEST) == 0
    assert value(COUNT_RECALL, HONEST) == pytest.approx(2 / 3)
    assert value(POSITION_RECALL, HONEST) == 1


def test_listing_all_classes_costs_precision():
    everything = "There are " + ", ".join(NAMES)
    assert value(CLASS_RECALL, everything) == 1
    assert value(CLASS_PRECISION, everything) == pytest.approx(3 / len(NAMES))
    assert value(CLASS_F1, everything) < value(CLASS_F1, "ships") + 0.01


def test_repeating_adds_nothing():
    once = grounded_row("Three ships on the left.", TRUTH, (100, 100), NAMES)
    assert grounded_row("Three ships on the left. " * 50, TRUTH, (100, 100), NAMES) == once


@pytest.mark.parametrize("caption", ["", "A nice view.", "several of them in the upper left", "42"])
def test_saying_nothing_recalls_nothing(caption):
    assert value(CLASS_RECALL, caption) == value(COUNT_RECALL, caption) == value(POSITION_RECALL, caption) == 0
    assert value(CLASS_PRECISION, caption) is None and value(CLAIM_ACCURACY, caption) is None


@pytest.mark.parametrize(
    "caption", ["two or three ships", "3-4 ships", "three ships, four ships", "three ships (4)", "1, 2, 3 ships"]
)
def test_hedged_numbers_are_wrong(caption):
    assert value(COUNT_ACCURACY, caption) == 0 and value(COUNT_ERROR, caption) == 1
    assert value(COUNT_ACCURACY, "three ships") == 1
    assert value(COUNT_ERROR, "four ships") == 0.25


def test_saying_and_denying_is_wrong_twice():
    row = grounded_row("There are ships. There are no ships.", TRUTH, (100, 100), NAMES)
    assert (row["named"], row["denied"], row["claims_right"]) == (1, 1, 0)
    assert value(DENIAL_ACCURACY, "no planes") == 1 and value(DENIAL_ACCURACY, "no ships") == 0
    assert value(CLASS_RECALL, "no planes, no cars") == 0  # denying recalls nothing


def test_listing_what_is_absent_adds_nothing():
    absent = "No planes, cars, buses or bridges."
    assert value(CLAIM_ACCURACY, absent) is None
    # a plane that is both said and denied is wrong twice
    assert value(CLAIM_ACCURACY, f"A plane, a ship. {absent}") == pytest.approx(1 / 3)
    assert value(CLAIM_ACCURACY, "A plane, a ship.") == value(CLAIM_ACCURACY, "A plane, a ship. No cars.") == 0.5
    assert value(CLAIM_ACCURACY, "A ship, but no pond.") == 0.5


def test_every_place_named_is_a_claim():
    everywhere = "a pond in the upper left, upper right, lower left, lower right, and in the center"
    assert value(POSITION_ACCURACY, everywhere) == 0.2
    assert value(POSITION_RECALL, everywhere) == 0
    assert value(POSITION_ACCURACY, "a plane in the center") == 0  # there is none


def test_a_number_with_a_place_is_that_of_the_place():
    assert value(COUNT_ACCURACY, "two ships in the upper left") == 1
    assert value(COUNT_ACCURACY, "three ships in the upper left") == 0
    assert value(COUNT_ACCURACY, "Two ships in the upper left. One ship in the lower right.") == 1


def test_empty_scene_and_interval():
    assert value(CLASS_PRECISION, "a ship", Objects.none()) == 0
    rows = [grounded_row(text, TRUTH, (100, 100), NAMES) for text in ("a ship", "a plane", HONEST)]
    found = estimate(CLASS_PRECISION, rows, ["a", "b", "c"])
    assert found.value == pytest.approx(4 / 5) and found.low <= found.value <= found.high


def test_a_label_without_names_is_refused():
    with pytest.raises(InputError, match="holds 'zeppelin'"):
        grounded_row("", scene(("zeppelin", 5, 5)), (100, 100), NAMES)


def test_hostile_captions_are_read_in_bounded_time():
    for junk in ("no " * 300_000, "ship," * 200_000, "3 " * 500_000, "upper left " * 90_000, "(" * 1_000_000):
        grounded_row(junk, TRUTH, (100, 100), NAMES)
