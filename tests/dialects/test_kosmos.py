"""Kosmos-2's cells."""

import numpy as np
import pytest
from hypothesis import given
from tests.dialects.boxes import boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.kosmos import Kosmos2Dialect
from georefer.geometry import Frame, Objects

DIALECT = Kosmos2Dialect()
FRAME = Frame.resize((32, 32), (224, 224))


def answer(first, last):
    return f"<grounding><phrase> ship</phrase><object><patch_index_{first:04d}><patch_index_{last:04d}></object>"


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_promises():
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


@pytest.mark.parametrize(
    "cells, box",
    [
        ((33, 99), [1.5, 1.5, 3.5, 3.5]),
        ((33, 35), [1, 1, 4, 2]),
        ((33, 97), [1, 1, 2, 4]),
        ((33, 33), [1, 1, 2, 2]),
        ((0, 1023), [0.5, 0.5, 31.5, 31.5]),
    ],
)  # fmt: skip
def test_middles_of_cells_but_whole_cells_in_one_row_or_column(cells, box):
    reading = DIALECT.read(answer(*cells), FRAME)
    assert np.array_equal(reading.objects.hbb_N4, [box]) and not reading.problems
    assert DIALECT.write(reading.objects, FRAME) == answer(*cells)


def test_an_edge_between_cells_belongs_to_the_box():
    assert DIALECT.write(Objects.from_hbb(np.array([[1, 1, 3, 3]]), ["ship"]), FRAME) == answer(33, 66)
    assert DIALECT.write(Objects.from_hbb(np.array([[5, 5, 5, 5]]), ["ship"]), FRAME) == answer(165, 165)


def test_swapped_cells_of_one_row_mean_the_cells_between_them():
    reading = DIALECT.read(answer(35, 33), FRAME)
    assert np.array_equal(reading.objects.hbb_N4, [[1, 1, 4, 2]]) and kinds_of_problems(reading) == {"swapped"}


def test_cells_beyond_the_grid_are_clipped_or_lost():
    assert "out-of-range" in kinds_of_problems(DIALECT.read(answer(33, 1100), FRAME))
    assert not DIALECT.read(answer(2000, 3000), FRAME).readable


def test_a_phrase_is_the_label_of_its_own_object_only():
    text = answer(33, 99) + " and<object><patch_index_0040><patch_index_0400></object> here."
    reading = DIALECT.read(text, FRAME)
    assert list(reading.objects.labels_N) == ["ship", ""] and not reading.problems


def test_a_lone_cell_is_lost():
    reading = DIALECT.read(answer(33, 99)[:-9] + "</delimiter_of_multi_objects/><patch_index_0040>", FRAME)
    assert len(reading.objects) == 1 and kinds_of_problems(reading) == {"truncated"}
