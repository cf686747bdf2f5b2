"""DeepSeek-VL2's nested lists in tags, 0-999."""

import numpy as np
from hypothesis import given
from tests.dialects.boxes import FRAME, SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.deepseek import DeepSeekVL2Dialect

DIALECT = DeepSeekVL2Dialect()


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_promises():
    assert DIALECT.write(SHIPS[2:], FRAME) == "<|ref|>small car<|/ref|><|det|>[[200, 500, 400, 799]]<|/det|>"
    check_promises(DIALECT)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_999_is_the_far_edge():
    text = "<|grounding|><|ref|>ship<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>"
    reading = DIALECT.read(text, FRAME)
    assert np.array_equal(reading.objects.hbb_N4, [[0, 0, 640, 480]]) and not reading.problems
    assert kinds_of_problems(DIALECT.read(text.replace("999]", "1000]"), FRAME)) == {"out-of-range"}


def test_the_tags_of_internvl_are_not_labels_here():
    reading = DIALECT.read("<ref>ship</ref><box>[[0, 0, 999, 999]]</box>", FRAME)
    assert list(reading.objects.labels_N) == [""] and kinds_of_problems(reading) == {"off-grammar"}
