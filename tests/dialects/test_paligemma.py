"""PaliGemma's location tokens."""

import numpy as np
import pytest
from hypothesis import given
from tests.dialects.boxes import FRAME, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import golden_rows, kinds_of_problems

from georefer.dialects.paligemma import PaliGemmaDialect, seg_codes
from georefer.geometry import Frame, Objects

DIALECT = PaliGemmaDialect()


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT, "paligemma", "paligemma-seg") == 20


def test_codes_of_masks_are_found(golden):
    for row, expected, _ in golden_rows(golden, "paligemma-seg"):
        assert seg_codes(row["text"]) == expected["seg_codes"]


def test_promises():
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_y_comes_first_and_1023_is_the_far_edge():
    frame = Frame.resize((1023, 1023), (448, 448))
    box = Objects.from_hbb(np.array([[50, 100, 600, 1023]]), ["ship"])
    assert DIALECT.write(box, frame) == "<loc0100><loc0050><loc1023><loc0600> ship"
    assert np.allclose(DIALECT.read(DIALECT.write(box, frame), frame).objects.hbb_N4, [[50, 100, 600, 1023]])


def test_what_is_damaged_is_lost_alone():
    text = "<loc0001><loc0002><loc0003> a ; <loc0100> <loc0050> <loc0500> <loc0600> ship ; <loc0007><loc0008>"
    reading = DIALECT.read(text, FRAME)
    assert list(reading.objects.labels_N) == ["ship"]
    assert kinds_of_problems(reading) == {"wrong-count", "truncated"}


def test_tokens_of_florence_are_not_read():
    assert not DIALECT.read("ship<loc_10><loc_20><loc_300><loc_400>", FRAME).readable


@pytest.mark.parametrize("label", ["a;b", "<", ""])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        DIALECT.write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [label]), FRAME)
