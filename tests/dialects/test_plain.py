"""The short way to Objects gives what the long way gives, to the last bit, and leaves to it what has to be repaired."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from georefer.dialects import DIALECTS
from georefer.dialects.plain import MOST_PLAIN
from georefer.geometry import Frame, Objects

FRAMES = {
    "stretched": Frame.resize((841, 613), (672, 448)),
    "letterboxed": Frame.letterbox((841, 613), (672, 672)),  # numbers reach beyond the scene
    "padded": Frame.square_padded((613, 841), 336),
    "cropped": Frame.centre_crop((841, 613), (224, 224)),
}
PER_MILLE, PIXELS, CELLS, DECIMALS, POINTS = "georefer", "qwen2.5-vl", "florence-2", "shikra", "visionreasoner"


def made(count: int) -> Objects:
    """Boxes within what every frame shows, no two alike, some of one number's width."""
    rng = np.random.default_rng(3)
    corners_N2 = rng.uniform(150, 400, (count, 2))
    return Objects.from_hbb(
        np.hstack([corners_N2, corners_N2 + rng.uniform(2, 150, (count, 2))]), ["ship", "pier"] * (count // 2)
    )


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("name", [PER_MILLE, PIXELS, CELLS, DECIMALS, POINTS])
def test_few_are_read_as_many_are(name, frame):
    dialect, objects = DIALECTS[name], made(2 * MOST_PLAIN)
    texts = [dialect.write(objects[[place]], frame, labelled=False) for place in range(len(objects))]
    alone = [dialect.read(text, frame) for text in texts]
    # all in one answer are more than the short way takes
    many = dialect.read(dialect.write(objects, frame, labelled=False), frame).objects
    found = {shape.wkb: kind for shape, kind in zip(many.geometries_N, many.kinds_N, strict=True)}
    assert len(many) > MOST_PLAIN
    for reading in alone:
        for shape, kind in zip(reading.objects.geometries_N, reading.objects.kinds_N, strict=True):
            assert found[shape.wkb] == kind


def test_columns_are_those_that_objects_have():
    text = '<answer>[{"bbox_2d": [10, 20, 30, 40], "point_2d": [15, 25]}]</answer>'
    dialect, frame = DIALECTS[POINTS], Frame.resize((840, 840), (840, 840))
    reading = dialect.read(text, frame)
    same = Objects.of([shapely.box(10, 20, 30, 40), shapely.Point(15, 25)], ["", ""], kind=["hbb", "point"])
    assert not reading.problems and reading.spans == ((9, 60), (9, 60))
    assert [(one.subject, one.predicate, one.object) for one in reading.relations] == [(0, "point", 1)]
    for column in ("ids_N", "labels_N", "kinds_N", "geometries_N", "attributes_N"):
        ours, theirs = getattr(reading.objects, column), getattr(same, column)
        assert ours.dtype == theirs.dtype and ours.tolist() == theirs.tolist()
    assert np.isnan(reading.objects.scores_N).all() and reading.objects.scores_N.dtype == np.float64


def test_columns_belong_to_their_reading():
    first, second = (DIALECTS[PER_MILLE].read("ship [1, 2, 3, 4]", FRAMES["stretched"]).objects for _ in range(2))
    for column in ("ids_N", "labels_N", "kinds_N"):
        getattr(first, column)[0] = "other"
        assert getattr(second, column)[0] != "other"
    first.attributes_N[0]["seen"] = True
    assert second.attributes_N[0] == {}


@pytest.mark.parametrize(
    ("text", "kinds", "problems"),
    [
        ("[1, 2, 3, 4] [5, 6, 7, 8]", 2, []),
        ("[1, 2, 3, 4] [1, 2, 3, 4]", 1, ["duplicate"]),
        ("[1, 2, 3, 4] [3, 2, 1, 4]", 1, ["swapped", "duplicate"]),
        ("[1, 2, 3.5, 4]", 1, ["not-integer"]),
        ("[1, 2, 3, 1001]", 1, ["out-of-range"]),
        ("[-1, 2, 3, 4]", 1, ["out-of-range"]),
        ("[1, 2, 1, 4]", 0, ["empty-shape"]),
        ("[0, 0, 1000, 1000]", 1, []),  # the whole range
    ],
)
def test_whatever_is_wrong_is_still_noted(text, kinds, problems):
    reading = DIALECTS[PER_MILLE].read(text, FRAMES["stretched"])
    assert len(reading.objects) == kinds and [problem.kind for problem in reading.problems] == problems


@pytest.mark.parametrize(
    ("text", "labels", "problems"),
    [
        ('```json\n[{"bbox_2d": [1, 2, 3, 4], "label": " ship "}]\n```', ["ship"], []),
        ('I see [{"bbox_2d": [1, 2, 3, 4]}] there', [""], ["off-grammar"]),
        ('[{"bbox_2d": [1, 2, 3, 4]}] [{"bbox_2d": [5, 6, 7, 8]}]', ["", ""], ["off-grammar"]),  # two lists
        ('[{"bbox_2d": [1, 2, 3, 4], "point_2d": [2, 3], "label": "ship"}]', ["ship"] * 2, ["off-grammar"]),
        ('[{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [5, 6, 7, 8]}]', [""], ["off-grammar"]),  # the first of two counts
        ('[{"bbox_2d": [1, 2, 3, 4], "point_2d": [2, 3, 4]}]', [""], ["wrong-count"]),
        ('[{"bbox_2d": [1, 2, 3]}, {"bbox_2d": [1, 2, 3, 4]}]', [""], ["wrong-count", "unreadable"]),
        ('[{"bbox_2d": [1, 2, 3, 4], "name": "ship"}]', [""], ["off-grammar"]),
        ('[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6', [""], ["truncated"]),
        ('[{"bbox_2d": [1, 2, 3, 4]}', [""], ["truncated"]),
    ],
)
def test_rows_of_json_that_are_plain_and_that_are_not(text, labels, problems):
    reading = DIALECTS[PIXELS].read(text, FRAMES["stretched"])
    assert reading.objects.labels_N.tolist() == labels
    assert [problem.kind for problem in reading.problems] == problems
