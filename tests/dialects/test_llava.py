"""LLaVA-1.5's shares of the padded square."""

import numpy as np
from hypothesis import given
from tests.dialects.boxes import boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.llava import LLaVA15Dialect
from georefer.geometry import Frame, Objects

DIALECT = LLaVA15Dialect()
WIDE = DIALECT.frame_for((1000, 500))


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT, padded=True) == 10


def test_promises():
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_shares_count_along_the_padded_square():
    whole = Objects.from_hbb(np.array([[0, 0, 1000, 500]]), [""])
    assert DIALECT.write(whole, WIDE) == "[0.00, 0.25, 1.00, 0.75]"
    assert np.allclose(DIALECT.read("[0.10, 0.30, 0.20, 0.40]", WIDE).objects.hbb_N4, [[100, 50, 200, 150]])


def test_a_box_in_the_padding_is_clipped_and_noted():
    reading = DIALECT.read("[0.10, 0.10, 0.20, 0.40]", WIDE)
    assert np.allclose(reading.objects.hbb_N4, [[100, 0, 200, 150]])
    assert kinds_of_problems(reading) == {"out-of-range"}


def test_three_decimals_are_read_and_per_mille_is_not_guessed():
    frame = Frame.square_padded((512, 512), 336)
    reading = DIALECT.read("[0.125, 0.250, 0.375, 0.500]", frame)
    assert np.allclose(reading.objects.hbb_N4, [[64, 128, 192, 256]]) and not reading.problems
    assert not DIALECT.read("[125, 250, 375, 500]", frame).readable
