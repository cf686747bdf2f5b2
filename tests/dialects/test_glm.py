"""GLM-4.xV's list within box marks."""

import numpy as np
import pytest
from hypothesis import given
from tests.dialects.boxes import FRAME, SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.glm import GLM4VDialect

DIALECT = GLM4VDialect()
BOX = "<|begin_of_box|>[[100, 100, 500, 500]]<|end_of_box|>"


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_promises():
    assert DIALECT.write(SHIPS[:1], FRAME) == BOX
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    # the frame of the family refuses scenes that are thinner than 1 : 200; these are not
    check_round_trip(DIALECT, *case) if max(case[0]) < 200 * min(case[0]) else None


@pytest.mark.parametrize(
    "text, problems",
    [
        (f"<think>it may be [[1, 2, 3, 4]] or {BOX}</think><answer>{BOX}</answer>", set()),
        ("<think>perhaps [[1, 2, 3, 4]]</think> [[100, 100, 500, 500]]", set()),
        (f"it may be {BOX.replace('100', '9')}</think>{BOX}", {"off-grammar"}),
        (f"It is [[1, 2, 3, 4]], no: {BOX}.", {"off-grammar"}),
    ],
)
def test_boxes_that_are_only_thought_of_do_not_count(text, problems):
    reading = DIALECT.read(text, FRAME)
    assert np.allclose(reading.objects.hbb_N4, [[64, 48, 320, 240]])
    assert kinds_of_problems(reading) == problems


def test_a_thought_without_an_end_is_no_answer():
    reading = DIALECT.read(f"<think>is it {BOX}", FRAME)
    assert not reading.readable and kinds_of_problems(reading) == {"truncated"}


def test_a_sentence_around_is_no_problem():
    assert not DIALECT.read(f"\nThe second bottle is at {BOX}.", FRAME).problems


@pytest.mark.parametrize(
    "text",
    ["[]", "<|begin_of_box|>None<|end_of_box|>", "none.", "<think>a ship?</think>\n[]", "<think>none</think> None"],
)
def test_ways_to_say_nothing(text):
    assert DIALECT.read(text, FRAME).says_none


def test_nothing_that_is_only_thought_is_not_said():
    assert not DIALECT.read("<think>None</think> a ship", FRAME).says_none
