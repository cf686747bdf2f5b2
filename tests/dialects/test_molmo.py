"""Molmo's points."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from tests.dialects.boxes import SHIPS, check_promises
from tests.dialects.promises import golden_rows, kinds_of_problems

from georefer.dialects.molmo import MolmoDialect
from georefer.geometry import Frame, Objects

DIALECT = MolmoDialect()
FRAME = Frame.resize((1000, 1000), (336, 336))
POINTS = SHIPS.replaced(shapely.centroid(SHIPS.geometries_N), "point")
unit = st.floats(0, 1)


def points(*xy, label="ship"):
    return Objects.of(shapely.points(np.array(xy, dtype=float)), [label] * len(xy), kind="point")


def test_golden(golden):
    rows = list(golden_rows(golden, "molmo"))
    for row, expected, frame in rows:
        reading = DIALECT.read(row["text"], frame)
        xy_N2 = shapely.get_coordinates(reading.objects.geometries_N)
        assert xy_N2.shape == np.reshape(expected["points"], (-1, 2)).shape
        assert np.abs(xy_N2 - np.reshape(expected["points"], (-1, 2))).max(initial=0) <= 1e-9
        assert kinds_of_problems(reading) == ({"unreadable"} if "dropped" in expected["note"] else set())
        assert reading.says_none == (not expected["points"])
    assert len(rows) == 10


def test_promises():
    check_promises(DIALECT, POINTS)


@given(
    size=st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    xy=st.lists(st.tuples(unit, unit), min_size=1, max_size=6),
)
def test_points_come_back_within_half_a_step(size, xy):
    frame = DIALECT.frame_for(size)
    xy_N2 = np.array(xy) * size
    reading = DIALECT.read(DIALECT.write(points(*xy_N2), frame), frame)
    back_N2 = shapely.get_coordinates(reading.objects.geometries_N)
    for place in xy_N2:
        assert (np.abs(back_N2 - place) <= np.array(DIALECT.steps.error_px(frame)) * (1 + 1e-6)).all(axis=1).any()
    assert kinds_of_problems(reading) <= {"duplicate"}


def test_points_of_a_label_share_a_tag_and_are_sorted():
    text = '<points x1="12.3" y1="45.6" x2="70.0" y2="1.0" x3="70.0" y3="8.1" alt="ship">ship</points>'
    ships = points((700, 81), (700, 10), (123, 456))
    assert DIALECT.write(ships, FRAME) == text
    car = points((100, 1000), label="car")
    assert DIALECT.write(Objects.concat([ships, car]), FRAME) == (
        text + '<point x="10.0" y="100.0" alt="car">car</point>'
    )


def test_the_older_form_is_read():
    reading = DIALECT.read("p=123,456", FRAME)
    assert np.allclose(shapely.get_coordinates(reading.objects.geometries_N), [[123, 456]]) and not reading.problems


def test_beyond_100_percent_is_dropped_not_clipped():
    reading = DIALECT.read('<points x1="10.0" y1="20.0" x2="350" y2="120" alt="a">a</points>', FRAME)
    assert len(reading.objects) == 1 and kinds_of_problems(reading) == {"unreadable"}


def test_running_text_around_a_tag_is_no_problem():
    reading = DIALECT.read('Counting the <point x="10.0" y="20.0" alt="ship">ship</point> shows a total of 1.', FRAME)
    assert list(reading.objects.labels_N) == ["ship"] and not reading.problems


def test_a_cut_off_tag_keeps_its_whole_points():
    reading = DIALECT.read('<points x1="10.0" y1="20.0" x2="30.0" y2="4', FRAME)
    assert len(reading.objects) == 1 and kinds_of_problems(reading) == {"truncated"}


def test_what_is_no_number_is_lost():
    assert "not-a-number" in kinds_of_problems(DIALECT.read('<point x="a" y="1.0" alt="b">b</point>', FRAME))


@pytest.mark.parametrize("label", ['a"b', "<", ""])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        DIALECT.write(points((1, 1), label=label), FRAME)


def test_boxes_are_refused():
    with pytest.raises(ValueError, match="says point, not hbb"):
        DIALECT.write(SHIPS, FRAME)
