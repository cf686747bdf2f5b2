"""BCS: by hand, with unreadable answers, with two signals, and with the ceiling of a dialect."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from georefer.dialects import DIALECTS
from georefer.geometry import OBB, Objects
from georefer.scoring.consistency import (
    PAIRS,
    consistency_ratios,
    consistency_row,
    one_shape,
    pair_name,
    perfect_answers,
)

RATIOS = consistency_ratios()
BOX = shapely.box(0, 0, 10, 10)
HALF = shapely.box(0, 0, 10, 5)
FAR = shapely.box(50, 50, 60, 60)


def value(name, rows):
    top_R, bottom_R = RATIOS[name].terms(rows)
    return top_R.sum() / bottom_R.sum() if bottom_R.sum() else np.nan


def test_three_pairs_and_their_mean_by_hand():
    diamond = shapely.Polygon([(5, 0), (10, 5), (5, 10), (0, 5)])  # the box around it counts, not its area
    row = consistency_row({"hbb": BOX, "obb": diamond, "mask": HALF})
    assert [value(f"bcs:{pair_name(*pair)}", [row]) for pair in PAIRS] == pytest.approx([1, 0.5, 0.5])
    assert value("bcs", [row]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("lost", [None, shapely.Polygon()])
def test_what_cannot_be_read_counts_0_in_its_pairs_and_is_reported(lost):
    rows = [consistency_row({"hbb": BOX, "obb": BOX, "mask": lost}), consistency_row(dict.fromkeys(
        ("hbb", "obb", "mask"), BOX))]  # fmt: skip
    assert value("bcs", rows) == pytest.approx((1 + 0 + 0 + 3) / 6)
    assert value("bcs:hbb-mask", rows) == 0.5
    assert value("bcs:read", rows) == pytest.approx(1)  # among what could be read there is no disagreement
    assert [value(f"unread:{signal}", rows) for signal in ("hbb", "obb", "mask")] == [0, 0, 0.5]


def test_grounded_counts_a_pair_as_far_as_both_agree_with_the_truth():
    everywhere = {"hbb": FAR, "obb": FAR, "mask": FAR}
    row = consistency_row(everywhere, truth=BOX)
    assert (value("bcs", [row]), value("grounded", [row])) == (1, 0)
    row = consistency_row({"hbb": BOX, "obb": HALF}, truth=BOX)
    assert (value("bcs", [row]), value("grounded", [row])) == (0.5, 0.5)
    row = consistency_row({"hbb": HALF, "obb": HALF}, truth=BOX)
    assert (value("bcs", [row]), value("grounded", [row])) == (1, 0.5)


def test_two_lost_answers_do_not_agree():
    row = consistency_row({"hbb": None, "obb": None})
    assert value("bcs", [row]) == 0 and np.isnan(value("bcs:read", [row]))


def test_a_run_of_two_signals_has_one_pair():
    rows = [consistency_row({"hbb": BOX, "obb": HALF}), consistency_row({"hbb": BOX, "obb": FAR})]
    assert value("bcs", rows) == value("bcs:hbb-obb", rows) == pytest.approx(0.25)
    assert np.isnan(value("bcs:hbb-mask", rows)) and np.isnan(value("unread:mask", rows))


def test_the_order_of_signals_is_of_no_consequence():
    said = {"hbb": BOX, "obb": HALF, "mask": FAR}
    assert consistency_row(said) == consistency_row(dict(reversed(said.items())))


def test_less_than_two_signals_or_a_ceiling_of_others_is_refused():
    with pytest.raises(ValueError, match="two signals"):
        consistency_row({"hbb": BOX})
    with pytest.raises(ValueError, match="a ceiling must hold the same"):
        consistency_row({"hbb": BOX, "mask": BOX}, {"hbb": BOX, "obb": BOX})


def test_several_shapes_are_no_answer_about_one_thing():
    dialect = DIALECTS["georefer"]
    frame = dialect.frame_for((100, 100))
    assert one_shape(dialect.read("[0, 0, 100, 100]", frame)).bounds == pytest.approx((0, 0, 10, 10), abs=0.01)
    for text in ("[0, 0, 100, 100] [0, 0, 900, 900]", "none", "a car", ""):
        assert one_shape(dialect.read(text, frame)) is None


# --- ceilings --------------------------------------------------------------------------------------------


def turned_rectangles(side, count=80, image=800):
    rng = np.random.default_rng(0)
    centres_N2, headings_N = rng.uniform(0.55 * side, image - 0.55 * side, (count, 2)), rng.uniform(0, 180, count)
    return [OBB(x, y, side, side / 2.5, a).to_polygon() for (x, y), a in zip(centres_N2, headings_N, strict=True)]


def ceilings(dialect, shapes):
    frame = dialect.frame_for((800, 800))
    answers = [perfect_answers(dialect, shape, frame) for shape in shapes]
    return [consistency_row(said, said) for said in answers]


@pytest.mark.parametrize(
    ("name", "side", "measured"),
    [
        # what was measured for GeoGround's text, perfect answers about objects of aspect 2.5 in an image of 800 px
        ("geoground", 40, 0.36), ("geoground", 80, 0.52), ("geoground", 160, 0.66), ("geoground", 320, 0.79),
        ("geoground-32", 40, 0.46), ("geoground-32", 80, 0.63), ("geoground-32", 160, 0.78),
        ("geoground-32", 320, 0.87),
    ],
)  # fmt: skip
def test_the_ceiling_of_geoground_is_far_below_1(name, side, measured):
    rows = ceilings(DIALECTS[name], turned_rectangles(side))
    assert value("ceiling", rows) == pytest.approx(measured, abs=0.02)
    # a perfect model in that text reaches all of its ceiling
    assert value("bcs", rows) == value("ceiling", rows) and value("of_ceiling", rows) == 1


def test_our_own_text_leaves_room_to_agree():
    rows = ceilings(DIALECTS["georefer"], turned_rectangles(40, 40))
    assert value("ceiling", rows) > 0.95


def test_part_of_a_ceiling_by_hand():
    ceiling = {"hbb": BOX, "obb": HALF}
    row = consistency_row({"hbb": BOX, "obb": shapely.box(0, 0, 10, 2.5)}, ceiling)
    assert value("bcs", [row]) == pytest.approx(0.25) and value("ceiling", [row]) == pytest.approx(0.5)
    assert value("of_ceiling", [row]) == pytest.approx(0.5)


def test_only_what_a_dialect_can_say_is_asked_and_what_its_steps_lose_is_none():
    shape = shapely.box(100.2, 100.2, 104.8, 130)  # half a hundredth of the width across
    said = perfect_answers(DIALECTS["geoground"], shape, DIALECTS["geoground"].frame_for((800, 800)))
    assert set(said) == {"hbb", "obb", "mask"} and said["obb"] is None
    boxes_only = next(dialect for dialect in DIALECTS.values() if dialect.kinds == {"hbb"})
    assert set(perfect_answers(boxes_only, shape, boxes_only.frame_for((800, 800)))) == {"hbb"}


def test_holes_and_parts_are_masks_as_they_are():
    ring = shapely.box(100, 100, 300, 300) - shapely.box(150, 150, 250, 250)
    said = perfect_answers(DIALECTS["georefer"], ring, DIALECTS["georefer"].frame_for((800, 800)))
    assert said["mask"].area == pytest.approx(ring.area, rel=0.1)
    assert Objects.of([said["mask"]], ["x"]).hbb_N4[0] == pytest.approx([100, 100, 300, 300], abs=1)
