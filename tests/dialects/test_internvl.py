"""InternVL's nested lists in tags."""

import numpy as np
import pytest
from hypothesis import given
from tests.dialects.boxes import FRAME, SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.internvl import InternVLDialect
from georefer.geometry import Frame, Objects

DIALECT = InternVLDialect()
TEXT = (
    "<ref>ship</ref><box>[[100, 100, 500, 500], [500, 200, 800, 900]]</box>\n"
    "<ref>small car</ref><box>[[200, 500, 400, 800]]</box>"
)


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_promises():
    assert DIALECT.write(SHIPS, FRAME) == TEXT
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_numbers_are_cut_off_not_rounded():
    frame = Frame.resize((1000, 1000), (448, 448))
    box = Objects.from_hbb(np.array([[0.99, 1.01, 999.99, 1000]]), ["a"])
    assert DIALECT.write(box, frame) == "<ref>a</ref><box>[[0, 1, 999, 1000]]</box>"


@pytest.mark.parametrize(
    "text", ["[[100, 100, 500, 500]]", "[100,100,500,500]", "<ref>ship</ref> [[100, 100, 500, 500]]"]
)
def test_a_list_without_tags_is_read_and_said_to_be_off(text):
    reading = DIALECT.read(text, FRAME)
    assert np.allclose(reading.objects.hbb_N4, [[64, 48, 320, 240]])
    assert kinds_of_problems(reading) == {"off-grammar"}


def test_a_sentence_and_a_fence_around_are_no_problem():
    """As in the documented detection data."""
    reading = DIALECT.read(f"Sure, I will detect all objects.\n\n```\n{TEXT}\n```", FRAME)
    assert list(reading.objects.labels_N) == ["ship", "ship", "small car"] and not reading.problems


def test_shares_of_one_are_not_guessed():
    """The authors' evaluation takes [0.1, 0.2, 0.3, 0.4] for shares of the image; here they are what they say."""
    reading = DIALECT.read("<ref>ship</ref><box>[[0.1, 0.2, 0.3, 0.4]]</box>", FRAME)
    assert kinds_of_problems(reading) == {"not-integer"} and reading.objects.hbb_N4.max() < 1


def test_a_bracket_in_a_label_is_no_box():
    reading = DIALECT.read("<ref>hangar [1, 2, 3, 4]</ref><box>[[100, 100, 500, 500]]</box>", FRAME)
    assert list(reading.objects.labels_N) == ["hangar [1, 2, 3, 4]"] and not reading.problems


def test_what_is_damaged_is_lost_alone():
    reading = DIALECT.read("<ref>ship</ref><box>[[1, 2, 3], [1, 2, x, 4], [100, 100, 500, 500], [5, 6", FRAME)
    assert len(reading.objects) == 1 and list(reading.objects.labels_N) == ["ship"]
    assert kinds_of_problems(reading) == {"wrong-count", "not-a-number", "truncated"}


@pytest.mark.parametrize("label", ["a<b", "", " a", "a\nb", "x" * 201])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        DIALECT.write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [label]), FRAME)
