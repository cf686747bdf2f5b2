"""Rex-Omni's coordinate tokens."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from tests.dialects.boxes import SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import kinds_of_problems

from georefer.dialects.rex_omni import RexOmniDialect
from georefer.geometry import Frame, Objects

DIALECT = RexOmniDialect()
FRAME = Frame.resize((999, 999), (980, 980))
RING = shapely.Polygon([(100, 100), (300, 100), (300, 300), (200, 300), (200, 200), (100, 200)])


def answer(*shapes, end="<|box_end|>"):
    said = ",".join("".join(f"<{step}>" for step in shape) for shape in shapes)
    return f"<|object_ref_start|>ship<|object_ref_end|><|box_start|>{said}{end}"


def test_golden(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_promises():
    check_promises(DIALECT)
    mixed = Objects.of([RING, shapely.Point(40, 50), RING.envelope], ["a", "a", "b"], kind=["polygon", "point", "hbb"])
    check_promises(DIALECT, mixed, FRAME)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    # the frame of the family refuses scenes that are thinner than 1 : 200; these are not
    check_round_trip(DIALECT, *case) if max(case[0]) < 200 * min(case[0]) else None


def test_numbers_are_cut_off_and_999_is_the_far_edge():
    box = Objects.from_hbb(np.array([[10.99, 20, 300, 999]]), ["ship"])
    assert DIALECT.write(box, FRAME) == answer((10, 20, 300, 999))
    assert np.allclose(DIALECT.read(answer((10, 20, 300, 999)), FRAME).objects.hbb_N4, [[10, 20, 300, 999]])


def test_the_count_of_tokens_says_the_kind():
    reading = DIALECT.read(answer((5, 6), (10, 20, 300, 400), (10, 20, 300, 20, 300, 90), (1, 2, 3)), FRAME)
    assert list(reading.objects.kinds_N) == ["point", "hbb", "polygon"]
    assert kinds_of_problems(reading) == {"wrong-count"}


@pytest.mark.parametrize("cut, kept", [((7, 8), 1), ((7, 8, 90, 80), 2), ((7, 8, 90, 8, 90, 80), 1)])
def test_a_cut_off_shape_is_kept_only_as_a_box(cut, kept):
    reading = DIALECT.read(answer((10, 20, 300, 400), cut, end=""), FRAME)
    assert list(reading.objects.kinds_N) == ["hbb"] * kept and kinds_of_problems(reading) == {"truncated"}


def test_none_of_a_label_among_others():
    nothing = "<|object_ref_start|>car<|object_ref_end|><|box_start|>None<|box_end|>"
    assert DIALECT.read(nothing, FRAME).says_none and not DIALECT.read(nothing, FRAME).problems
    reading = DIALECT.read(answer((10, 20, 300, 400)) + ", " + nothing, FRAME)
    assert not reading.says_none and not reading.problems and len(reading.objects) == 1


def test_two_rings_cannot_be_said():
    two = shapely.MultiPolygon([RING, shapely.box(500, 500, 600, 600)])
    with pytest.raises(ValueError, match="one ring"):
        DIALECT.write(Objects.of([two], ["x"]), FRAME)


@pytest.mark.parametrize("label", ["a<b", ""])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        DIALECT.write(Objects.from_hbb(SHIPS.hbb_N4[:1], [label]), FRAME)
