import itertools

import numpy as np
import pytest

from georefer.building.phrases import PhraseSettings, expressions
from georefer.geometry import Objects

SETTINGS = PhraseSettings({"colour": "{value} {label}"})
SIZE = (100, 100)


def objects(*rows):
    """Objects from (label, colour or None, x, y) of 10 x 10 pixels."""
    boxes = np.array([[x, y, x + 10, y + 10] for _, _, x, y in rows], dtype=float).reshape(-1, 4)
    attributes = [{} if colour is None else {"colour": colour} for _, colour, _, _ in rows]
    return Objects.from_hbb(boxes, [r[0] for r in rows], attributes=attributes)


def phrases(targets, others=None, visible=None, settings=SETTINGS, size=SIZE):
    visible_N = np.ones(len(targets)) if visible is None else np.array(visible)
    found = expressions(targets, Objects.none() if others is None else others, visible_N, size, settings)
    return {(e.text, e.object_id) for e in found}


def test_a_lone_object_is_named_by_its_class():
    assert ("the ship", "0") in phrases(objects(("ship", "red", 10, 10), ("plane", "red", 50, 50)))


def test_an_attribute_singles_out():
    found = phrases(objects(("ship", "red", 10, 10), ("ship", "blue", 50, 50)))
    assert ("the red ship", "0") in found and ("the blue ship", "1") in found
    assert not any(text == "the ship" for text, _ in found)


def test_what_is_barely_visible_still_makes_a_phrase_ambiguous():
    sliver = objects(("ship", "red", 95, 50))
    found = phrases(objects(("ship", "red", 10, 10)), others=sliver)
    assert not any(text in ("the ship", "the red ship") for text, _ in found)


def test_an_unknown_attribute_may_be_the_same_one():
    found = phrases(objects(("ship", "red", 10, 10), ("ship", None, 50, 50)))
    assert not any(text == "the red ship" for text, _ in found)


def test_positions_need_a_margin():
    clear = phrases(objects(("ship", None, 10, 10), ("ship", None, 50, 12)))
    assert {("the leftmost ship", "0"), ("the rightmost ship", "1")} <= clear
    assert not any("topmost" in text or "bottommost" in text for text, _ in clear)


def test_sizes_need_a_margin_and_whole_objects():
    boxes = np.array([[10, 10, 30, 30], [50, 50, 60, 60]], dtype=float)
    assert ("the largest ship", "0") in phrases(Objects.from_hbb(boxes, ["ship"] * 2))
    cut = boxes + np.array([0, 40, 0, 40])  # the small one now ends at the edge: who knows how large it is
    assert not any("est ship" in t and "most" not in t for t, _ in phrases(Objects.from_hbb(cut, ["ship"] * 2)))


def test_a_neighbour_must_be_clearly_the_nearest():
    found = phrases(objects(("ship", None, 10, 10), ("ship", None, 80, 80), ("tank", None, 22, 10)))
    assert ("the ship next to the tank", "0") in found
    between = phrases(objects(("ship", None, 10, 10), ("ship", None, 34, 10), ("tank", None, 22, 10)))
    assert not any("next to" in text for text, _ in between)


def test_what_hardly_shows_is_no_landmark():
    rows = objects(("ship", None, 10, 10), ("ship", None, 80, 80))
    tank = objects(("tank", None, 22, 10))
    assert not any("next to" in text for text, _ in phrases(rows, others=tank))


def test_objects_that_are_mostly_hidden_are_not_asked_about():
    assert not phrases(objects(("ship", "red", 10, 10)), visible=[0.5])


@pytest.mark.parametrize("seed", range(40))
def test_every_expression_fits_one_object_only_by_brute_force(seed):
    """An independent reading of the phrases: every phrase is checked against all visible objects."""
    rng = np.random.default_rng(seed)
    rows = [
        (rng.choice(["ship", "tank"]), rng.choice(["red", "blue"]), *rng.choice(range(0, 90, 6), 2))
        for _ in range(rng.integers(1, 9))
    ]
    everything = objects(*rows)
    shown, hidden = everything[: len(rows) - 1], everything[len(rows) - 1 :]
    for text, id_ in phrases(shown, others=hidden):
        assert fitting(text, rows) == [int(id_)], (text, rows)


def fitting(text, rows):
    """Indices of the rows that a phrase fits, by a plain reading of its words."""
    head, _, anchor = text.partition(" next to ")
    words = head.removeprefix("the ").split()
    names = [
        i for i, row in enumerate(rows) if row[0] == words[-1] and (row[1] in words or not {"red", "blue"} & {*words})
    ]
    centre = {i: (rows[i][2], rows[i][3]) for i in range(len(rows))}
    if anchor:
        (j,) = fitting(anchor, rows)
        return [min(names, key=lambda i: gap(centre[i], centre[j]))]
    extremes = {"leftmost": (0, min), "rightmost": (0, max), "topmost": (1, min), "bottommost": (1, max)}
    for word, (axis, choose) in extremes.items():
        if word in words:
            best = choose(centre[i][axis] for i in names)
            return [i for i in names if centre[i][axis] == best]
    return names


def gap(a, b):
    return np.hypot(*(max(abs(p - q) - 10, 0) for p, q in itertools.zip_longest(a, b)))
