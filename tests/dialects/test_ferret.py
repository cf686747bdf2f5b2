"""Ferret's phrases with brackets."""

import numpy as np
import pytest
from hypothesis import given
from tests.dialects.boxes import FRAME, SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip

from georefer.dialects.ferret import FerretDialect
from georefer.geometry import Frame, Objects

DIALECT = FerretDialect()


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_promises():
    text = "ship [100, 100, 500, 500], ship [500, 200, 800, 900], small car [200, 500, 400, 800]"
    assert DIALECT.write(SHIPS, FRAME) == text
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_numbers_are_cut_off_not_rounded():
    frame = Frame.resize((1000, 1000), (336, 336))
    box = Objects.from_hbb(np.array([[0.99, 1.01, 999.99, 1000]]), ["a, b"])
    assert DIALECT.write(box, frame) == "a, b [0, 1, 999, 1000]"


def test_labels_may_hold_commas_and_are_shared_by_neighbours():
    reading = DIALECT.read("ship, red [1, 2, 3, 4] [5, 6, 7, 8], a car [10, 20, 30, 40].", FRAME)
    assert list(reading.objects.labels_N) == ["ship, red", "ship, red", "a car"]


@pytest.mark.parametrize("label", ["a[1]", "", ", a"])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        DIALECT.write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [label]), FRAME)
