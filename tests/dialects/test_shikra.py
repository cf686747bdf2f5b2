"""Shikra's brackets."""

import numpy as np
import pytest
from hypothesis import given
from tests.dialects.boxes import SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.shikra import ShikraDialect
from georefer.geometry import Frame, Objects

DIALECT = ShikraDialect()
FRAME = Frame.square_padded((1000, 1000), 336)


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT, padded=True) == 10


def test_promises():
    text = "ship[0.064,0.048,0.320,0.240;0.320,0.096,0.512,0.432] small car[0.128,0.240,0.256,0.384]"
    assert DIALECT.write(SHIPS, FRAME) == text
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_spaces_after_commas_are_repaired_and_noted():
    """Shikra's own reader finds nothing in this."""
    reading = DIALECT.read("ship[0.100, 0.200, 0.300, 0.400]", FRAME)
    assert np.allclose(reading.objects.hbb_N4, [[100, 200, 300, 400]])
    assert kinds_of_problems(reading) == {"off-grammar"}


def test_labels_stand_in_running_text():
    reading = DIALECT.read("A ship[0.100,0.200,0.300,0.400], a car[0.500,0.200,0.600,0.400] here.", FRAME)
    assert list(reading.objects.labels_N) == ["A ship", "a car"] and not reading.problems


def test_a_cut_off_bracket_keeps_its_whole_boxes():
    reading = DIALECT.read("ship[0.100,0.200,0.300,0.400;0.500,0.200,0.600,0.400;0.7", FRAME)
    assert len(reading.objects) == 2 and kinds_of_problems(reading) == {"truncated"}
    assert list(reading.objects.labels_N) == ["ship", "ship"]


@pytest.mark.parametrize("label", ["a[1]", "", ", a", ".b"])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        DIALECT.write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [label]), FRAME)
