"""Florence-2's location tokens: boxes, rings, and which of them eight tokens are."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from tests.dialects.boxes import SHIPS, boxes_in_scenes, check_golden_boxes, check_promises, check_round_trip
from tests.dialects.promises import check_own_words, golden_rows, kinds_of_problems

from georefer.dialects.florence import Florence2Dialect
from georefer.geometry import Frame, Objects
from georefer.geometry.repair import repaired

DIALECT = Florence2Dialect()
FRAME = Frame.resize((1000, 1000), (768, 768))
RING = shapely.Polygon([(100, 100), (300, 100), (300, 300), (200, 300), (200, 200), (100, 200)])


def locs(*steps):
    return "".join(f"<loc_{step}>" for step in steps)


def test_golden_boxes(golden):
    assert check_golden_boxes(golden, DIALECT) == 10


def test_golden_rings(golden):
    rows = list(golden_rows(golden, "florence-2-poly"))
    for row, expected, frame in rows:
        reading = DIALECT.read(row["text"], frame)
        rings = [np.reshape(ring, (-1, 2)) for ring in expected["rings"]]
        # the random rings cross themselves, so what is compared is the area they mean, and their corners
        parts = shapely.multipolygons(shapely.polygons([shapely.linearrings(ring) for ring in rings]))
        whole = repaired(np.array([parts if len(rings) > 1 else shapely.Polygon(rings[0])], dtype=object))[0]
        geometry = reading.objects.geometries_N[0]
        assert list(reading.objects.kinds_N) == ["polygon"]
        assert shapely.equals_exact(geometry.normalize(), whole.normalize(), 1e-9)
        assert np.abs(np.array(geometry.bounds) - shapely.MultiPoint(np.concatenate(rings)).bounds).max() <= 1e-9
        assert list(reading.objects.labels_N) == expected["labels"] and not reading.problems
    assert len(rows) == 4


def test_promises():
    check_promises(DIALECT)
    check_promises(DIALECT, Objects.of([RING, RING.envelope], ["a", "b"], kind=["polygon", "hbb"]), FRAME)


@given(case=boxes_in_scenes())
def test_round_trip(case):
    check_round_trip(DIALECT, *case)


def test_cells_are_floored_and_mean_their_middles():
    box, text = Objects.from_hbb(np.array([[10.9, 20, 300.1, 1000]]), ["ship"]), "ship" + locs(10, 20, 300, 999)
    assert DIALECT.write(box, FRAME) == text
    assert np.allclose(DIALECT.read(text, FRAME).objects.hbb_N4, [[10.5, 20.5, 300.5, 999.5]])


def test_rings_are_written_in_marks_and_their_parts_parted():
    corners_232 = np.array([[(1, 1), (9, 1), (9, 9)], [(20, 20), (30, 20), (30, 30)]])
    two = Objects.of([shapely.multipolygons(shapely.polygons(corners_232))], ["pond"])
    text = DIALECT.write(two, FRAME)
    middles = check_own_words(DIALECT, two, FRAME).objects
    assert len(middles) == 1 and middles.geometries_N[0].area == pytest.approx(two.geometries_N[0].area)
    assert text == f"pond<poly>{locs(1, 1, 9, 1, 9, 9)}<sep>{locs(20, 20, 30, 20, 30, 30)}</poly>"
    with pytest.raises(ValueError, match="rings"):
        DIALECT.write(Objects.of([shapely.Polygon()], ["pond"]), FRAME)


@pytest.mark.parametrize(
    "steps, kinds",
    [
        ((10, 20, 300, 400), ["hbb"]),
        ((300, 400, 10, 20), ["hbb"]),
        ((10, 20, 300, 400, 500, 20, 600, 90), ["hbb", "hbb"]),
        ((10, 20, 300, 20, 300, 90, 10, 90), ["polygon"]),
        ((10, 20, 300, 30, 290, 90, 5, 80), ["polygon"]),
        ((10, 20, 300, 20, 300, 90), ["polygon"]),
        ((10, 20, 300, 20, 300), []),
    ],
)  # fmt: skip
def test_the_count_of_tokens_and_their_order_say_what_they_are(steps, kinds):
    reading = DIALECT.read("ship" + locs(*steps), FRAME)
    assert list(reading.objects.kinds_N) == kinds
    assert reading.readable or kinds_of_problems(reading) == {"wrong-count"}


def test_a_cut_off_answer_keeps_what_is_whole():
    boxes = DIALECT.read("ship" + locs(10, 20, 300, 400, 500, 20, 600, 90, 7, 8), FRAME)
    assert len(boxes.objects) == 2 and kinds_of_problems(boxes) == {"wrong-count"}
    rings = DIALECT.read(f"pond<poly>{locs(1, 1, 90, 1, 90, 90)}<sep>{locs(200, 200, 300, 200)}", FRAME)
    assert len(rings.objects) == 1 and kinds_of_problems(rings) == {"truncated"}


def test_marks_around_the_answer_are_passed_over():
    reading = DIALECT.read("</s><s>" + DIALECT.write(SHIPS, FRAME) + "</s>", FRAME)
    assert list(reading.objects.labels_N) == ["ship", "ship", "small car"]
    assert kinds_of_problems(reading) == {"off-grammar"}
