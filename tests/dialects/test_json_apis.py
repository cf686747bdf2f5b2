"""Gemini's JSON and Moondream's dict."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from tests.dialects.boxes import SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import check_own_words, kinds_of_problems

from georefer.dialects.gemini import GeminiDialect
from georefer.dialects.moondream import MoondreamDialect
from georefer.geometry import Frame, Objects

GEMINI, MOONDREAM = GeminiDialect(), MoondreamDialect()
FRAME = Frame.resize((1000, 500), (336, 336))
both = pytest.mark.parametrize("dialect", [GEMINI, MOONDREAM], ids=lambda d: d.name)
MIXED = Objects.concat([SHIPS, Objects.of([shapely.Point(200, 150)], ["mast"], kind="point")])


@both
def test_golden(golden, dialect):
    assert check_golden_boxes(golden, dialect) == 10


@both
@given(case=boxes_in_scenes())
def test_boxes_come_back(dialect, case):
    if len(case[1]):
        check_round_trip(dialect, *case)


@both
def test_promises(dialect):
    check_promises(dialect)
    back = check_own_words(dialect, MIXED, FRAME).objects
    assert list(back.kinds_N) == ["hbb", "hbb", "hbb", "point"]
    assert shapely.distance(back.geometries_N[3], shapely.Point(200, 150)) <= max(dialect.steps.error_px(FRAME))


# --- Gemini ----------------------------------------------------------------------------------------------


def test_gemini_says_y_first_even_in_points():
    objects = Objects.of([shapely.box(100, 50, 200, 250), shapely.Point(300, 400)], ["a", "b"], kind=["hbb", "point"])
    text = GEMINI.write(objects, FRAME)
    assert text == (
        '```json\n[\n  {"box_2d": [100, 100, 500, 200], "label": "a"},\n  {"point": [800, 300], "label": "b"}\n]\n```'
    )
    assert np.allclose(GEMINI.read(text, FRAME).objects.hbb_N4, objects.hbb_N4)


@pytest.mark.parametrize("length", [40, 5_000, 40_000])
def test_gemini_masks_are_passed_over_however_long(length):
    mask = "data:image/png;base64," + "iVBO/+w=" * (length // 8)
    row = '{"box_2d": [%d, 0, 500, 200], "mask": "' + mask + '", "label": "x"}'
    text = f"```json\n[{row % 0}, {row % 9}]\n```"
    reading = GEMINI.read(text, FRAME)
    assert len(reading.objects) == 2 and list(reading.objects.labels_N) == ["x", "x"] and not reading.problems
    cut = GEMINI.read(text[: length + 200], FRAME)  # within the second mask: both boxes were said
    assert len(cut.objects) == 2 and kinds_of_problems(cut) == {"truncated"}


def test_gemini_labels():
    labels = ['a "b" \\ c', "it's", "{[,]}", "вода 湖", "a\nb", ""]
    objects = Objects.from_hbb(np.arange(24).reshape(6, 4) * [10, 10, 30, 12] + [0, 0, 50, 50], labels)
    assert list(check_own_words(GEMINI, objects, FRAME).objects.labels_N) == labels
    with pytest.raises(ValueError, match="padded"):
        GEMINI.write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [" x"]), FRAME)


@pytest.mark.parametrize(
    "text, kind",
    [
        ('[{"box_2d": [10, 20, 30]}]', "wrong-count"),
        ('[{"point": [10, 20, 30]}]', "wrong-count"),
        ('[{"bbox_2d": [10, 20, 30, 40]}]', "unreadable"),  # another family's key is no box of this one
        ('[{"box_2d": [10, 20, 30, 40.5]}]', "not-integer"),
        ('[{"box_2d": [30, 40, 10, 20]}]', "swapped"),
        ('[{"box_2d": [30, 40, 1010, 200]}]', "out-of-range"),
        ('[{"box_2d": [10, 20, 30, 40]}, {"box_2d": [10, 20', "truncated"),
        ('Here: [{"box_2d": [10, 20, 30, 40]}]', "off-grammar"),
    ],
)
def test_gemini_problems(text, kind):
    assert kind in kinds_of_problems(GEMINI.read(text, FRAME))


@pytest.mark.parametrize("text", ["[]", "```json\n[]\n```", " [ ]\n", "None"])
def test_gemini_nothing(text):
    assert GEMINI.read(text, FRAME).says_none


@both
def test_a_thousand_shapes_are_read_and_more_are_lost(dialect):
    boxes_N4 = np.array([[i % 100 * 10, i // 100 * 40, i % 100 * 10 + 9, i // 100 * 40 + 30] for i in range(1001)])
    frame = Frame.resize((1000, 1000), (336, 336))
    for count, kinds in ((1000, set()), (1001, {"too-many"})):
        objects = Objects.from_hbb(boxes_N4[:count], ["x"] * count)
        reading = dialect.read(dialect.write(objects, frame, labelled=False), frame)
        assert len(reading.objects) == 1000 and kinds_of_problems(reading) == kinds


def test_a_dict_around_the_rows_is_no_row():
    reading = GEMINI.read('{"objects": [{"box_2d": [1, 2, 30, 40]}], "count": 1}', FRAME)
    assert len(reading.objects) == 1 and kinds_of_problems(reading) == {"off-grammar"}


# --- Moondream -------------------------------------------------------------------------------------------


def test_moondream_is_the_dict_of_the_api():
    text = MOONDREAM.write(Objects.from_hbb(np.array([[154, 0, 1000, 250]]), ["x"]), FRAME)
    assert text == '{"objects": [{"x_min": 0.154, "y_min": 0.0, "x_max": 1.0, "y_max": 0.5}]}'
    points = MOONDREAM.write(Objects.of([shapely.Point(650, 210)], ["x"], kind="point"), FRAME)
    assert points == '{"points": [{"x": 0.65, "y": 0.42}]}' and json.loads(points)


def test_moondream_doubles_are_read_whole():
    text = '{"objects":[{"x_min":0.26009374856948853,"y_min":5.9e-05,"x_max":0.5728123188018799,"y_max":1}]}'
    reading = MOONDREAM.read(text, FRAME)
    expected = [0.26009374856948853 * 1000, 5.9e-05 * 500, 0.5728123188018799 * 1000, 500]
    assert np.abs(reading.objects.hbb_N4[0] - expected).max() < 1e-9 and not reading.problems
    answered = '{"request_id": "2025-03-25_point_1", "points": [{"x": 0.65, "y": 0.42}]}'
    assert not MOONDREAM.read(answered, FRAME).problems


@pytest.mark.parametrize(
    "text", ['{"objects": []}', '{"points":[]}', '{"request_id": "a-1", "objects": []}', "{'objects': []}"]
)
def test_moondream_nothing(text):
    assert MOONDREAM.read(text, FRAME).says_none


@pytest.mark.parametrize(
    "text, boxes, kind",
    [
        # percent or pixels are another convention: clipped, said so, and never scaled by guess
        ('{"objects": [{"x_min": 10, "y_min": 20, "x_max": 30, "y_max": 40}]}', 0, "out-of-range"),
        ('{"objects": [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.3}]}', 0, "unreadable"),
        ('{"objects": [{"x_min": 0.5, "y_min": 0.2, "x_max": 0.3, "y_max": 0.6}]}', 1, "swapped"),
        ('{"objects": [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.6}, {"x_min": 0.', 1, "truncated"),
        ("{'objects': [{'x_min': 0.1, 'y_min': 0.2, 'x_max': 0.3, 'y_max': 0.6}]}", 1, "off-grammar"),
        ('{"objects": [{"x_min": "nan", "y_min": 0.2, "x_max": NaN, "y_max": 0.6}]}', 0, "unreadable"),
    ],
)
def test_moondream_problems(text, boxes, kind):
    reading = MOONDREAM.read(text, FRAME)
    assert len(reading.objects) == boxes and kind in kinds_of_problems(reading)
