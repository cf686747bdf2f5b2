"""Angle conventions: the same rectangle in every one, and no angle outside its range."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from georefer.geometry.angles import CONVENTIONS, AngleConvention, RotatedBox, from_convention, to_convention
from georefer.geometry.rotated import obb_corners
from georefer.geometry.shapes import OBB

ends = st.sampled_from([-360.0, -180.0, -135.0, -90.0, -45.0, 0.0, 45.0, 90.0, 135.0, 180.0, 270.0, 360.0, 450.0])
nearly = st.sampled_from([0.0, 1e-20, -1e-20, 1e-300, -1e-300, 5e-15, -5e-15, 1e-9, -1e-9])
headings = st.one_of(st.floats(-1e4, 1e4), st.tuples(ends, nearly).map(sum), ends.map(lambda a: np.nextafter(a, 1e9)),
                     ends.map(lambda a: np.nextafter(a, -1e9)))  # fmt: skip
sides = st.one_of(st.floats(0, 500), st.sampled_from([0.0, 20.0]))
obbs = st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), sides, sides, headings)
every = pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)


def same_rectangle(a_5, b_5):
    """Both corner sets, one matched to the other."""
    a_42, b_42 = obb_corners(np.array([a_5]))[0], obb_corners(np.array([b_5]))[0]
    apart_44 = np.abs(a_42[:, None] - b_42[None]).max(axis=2)
    return apart_44.min(axis=0).max() < 1e-9 and apart_44.min(axis=1).max() < 1e-9


@every
@given(obb=obbs)
@example(obb=(0.0, 0.0, 4.0, 2.0, -1e-20))  # -1e-20 % 360 == 360.0
@example(obb=(0.0, 0.0, 2.0, 4.0, -1e-20))
@example(obb=(0.0, 0.0, 4.0, 2.0, float(np.nextafter(90.0, 0))))  # its radians round to pi / 2
@example(obb=(0.0, 0.0, 3.0, 3.0, 90.0))
def test_the_rectangle_stays_and_the_angle_is_in_range(convention, obb):
    there_N5 = to_convention(np.array([obb]), convention)
    box = RotatedBox(*there_N5[0].tolist(), convention)  # refuses what is out of range or has the short side first
    assert math.copysign(1, box.angle) == 1 or box.angle < 0  # never -0.0
    back_5 = from_convention(there_N5, convention)[0]
    assert 0 <= back_5[4] < 360
    assert same_rectangle(obb, back_5)
    # what is in its convention already does not change any more
    again_5 = to_convention(back_5[None], convention)[0]
    assert same_rectangle(from_convention(again_5[None], convention)[0], obb)


@pytest.mark.parametrize("name", ["heading", "detectron2"])
@given(obb=obbs)
def test_a_full_turn_keeps_the_front_and_the_sides(name, obb):
    convention = CONVENTIONS[name]
    box = RotatedBox.of(OBB(*obb), convention)
    assert (box.w, box.h) == obb[2:4]
    assert (box.to_obb().heading_deg - obb[4] + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("heading", (20, 60, 100)), ("le90", (60, 20, 10)), ("le135", (60, 20, 10)), ("oc", (60, 20, 10)),
        ("detectron2", (20, 60, -100)), ("le90_rad", (60, 20, math.radians(10))),
    ],
)  # fmt: skip
def test_one_box_in_every_convention(name, expected):
    box = RotatedBox.of(OBB(5, 6, 20, 60, 100), CONVENTIONS[name])
    assert (box.w, box.h, box.angle) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "heading_deg", "angle"),
    [
        ("heading", 360, 0), ("heading", -90, 270), ("le90", 90, -90), ("le90", 180, 0), ("le135", 135, -45),
        ("le135", 134, 134), ("oc", 0, 90), ("oc", 90, 90), ("oc", 1e-20, 1e-20), ("oc", -1e-20, 90),
        ("detectron2", 180, -180), ("detectron2", 90, -90), ("heading", -1e-20, 0), ("oc_rad", 180, math.pi / 2),
    ],
)  # fmt: skip
def test_the_ends_of_ranges(name, heading_deg, angle):
    assert RotatedBox.of(OBB(0, 0, 4, 2, heading_deg), CONVENTIONS[name]).angle == angle


@given(st.floats(1, 500), st.floats(1, 500), st.floats(0.01, 90))
def test_oc_is_what_opencv_draws(w, h, angle):
    expected_42 = cv2.boxPoints(((10.0, 20.0), (w, h), angle))
    row = from_convention(np.array([[10.0, 20.0, w, h, angle]]), CONVENTIONS["oc"])
    corners_42 = obb_corners(row)[0]
    assert max(np.abs(corners_42 - p).max(axis=1).min() for p in expected_42) < 1e-3  # OpenCV computes in float32


@pytest.mark.parametrize(
    ("numbers", "name", "message"),
    [
        ((0, 0, 4, 2, 90.0), "le90", r"angle 90.0 is outside \[-90, 90\) deg.*le90.*to_convention"),
        ((0, 0, 4, 2, 0.0), "oc", r"outside \(0, 90\] deg"),
        ((0, 0, 4, 2, -1.0), "heading", "outside"),
        ((0, 0, 4, 2, math.nan), "heading", "outside"),
        ((0, 0, 2, 4, 10.0), "le90", "longer side first"),
        ((0, 0, 4, 2, 10.0), "le90_rad", "rad"),
    ],
)
def test_a_box_that_its_convention_cannot_hold_is_refused(numbers, name, message):
    with pytest.raises(ValueError, match=message):
        RotatedBox(*numbers, CONVENTIONS[name])


def test_arrays_of_another_convention_are_refused_but_not_float32():
    with pytest.raises(ValueError, match="2 of 3 angles are outside"):
        from_convention(np.array([[0, 0, 4, 2, a] for a in (0.1, 45, 80)]), CONVENTIONS["le90_rad"])
    with pytest.raises(ValueError, match="longer side first"):
        from_convention(np.array([[0, 0, 2, 4, 10.0]]), CONVENTIONS["le90"])
    rounded = np.float32(-np.pi / 2)  # below -pi / 2
    assert from_convention(np.array([[0, 0, 4, 2, rounded]]), CONVENTIONS["le90_rad"])[0, 4] == pytest.approx(270)


def test_a_convention_must_hold_every_rectangle_once():
    with pytest.raises(ValueError, match="exactly one angle"):
        AngleConvention("half", 0, 180, "left", False, "deg", True)


def test_no_boxes_and_no_numbers():
    assert to_convention([], CONVENTIONS["le90"]).shape == (0, 5)
    assert np.isnan(to_convention([[0, 0, 4, 2, np.nan]], CONVENTIONS["oc"])[0, 4])
    assert to_convention([[0, 0, -4, 2, 30]], CONVENTIONS["oc"])[0].tolist() == [0, 0, 4, 2, 30]
