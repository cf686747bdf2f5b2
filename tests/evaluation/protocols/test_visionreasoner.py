"""VisionReasoner's reward: every row as the original gave it, quirk by quirk, and what an answer deserves instead."""

import gzip
import json
import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from georefer.errors import InputError
from georefer.evaluation.protocols.visionreasoner import FILE, PROTOCOL
from georefer.training.rewards.published.visionreasoner import MOST_OBJECTS, vision_reward


def objects(boxes, points=None):
    points = points or [[(b[0] + b[2]) // 2, (b[1] + b[3]) // 2] for b in boxes]
    return [{"bbox_2d": b, "point_2d": p} for b, p in zip(boxes, points, strict=True)]


def answer(rows):
    return f"<think>t</think><answer>{json.dumps(rows)}</answer>"


BOXES = [[0, 0, 100, 100], [300, 0, 400, 100]]
TRUTH = json.dumps(objects(BOXES))


@pytest.mark.shared
@pytest.mark.parametrize("beside", [False, True])
def test_every_row_is_as_published(golden, beside):
    expected = json.loads(gzip.decompress((golden / "geo-r1" / "expected.json.gz").read_bytes()))["visionreasoner"]
    scores = PROTOCOL.score(golden / "geo-r1", {}, beside)
    found = scores.numbers["visionreasoner"]
    assert set(found) == set(expected) and found["rows"] == len(scores.rows) == 220
    for name in ("total", "format", "accuracy", "non_repeat"):
        assert found[name] == pytest.approx(expected[name], abs=1e-9)
    if beside:
        assert len(scores.differing()) > 100
        assert all(row.reasons and set(row.reasons) <= set(PROTOCOL.quirks) for row in scores.differing())
        assert not any(row.reasons for row in scores.rows if not row.differs)


@pytest.mark.parametrize(
    "rows, form, accuracy",
    [
        (objects(BOXES), 3.0, 3.0),
        (objects(BOXES[::-1]), 3.0, 3.0),
        (objects(BOXES[:1]), 3.0, 1.5),
        (objects(BOXES * 2), 3.0, 1.5),
        (objects([[0, 0, 100, 140], BOXES[1]], [[50, 50], [350, 50]]), 3.0, 2.5),  # mean corner distance is 10
        (objects([[0, 0, 100, 139], BOXES[1]], [[50, 50], [350, 50]]), 3.0, 3.0),
        (objects(BOXES, [[50, 80], [350, 50]]), 3.0, 2.5),  # 30 px apart
        (objects(BOXES, [[50, 50], [299, 50]]), 3.0, 2.5),  # outside its own box
        (objects([[100, 100, 0, 0]], [[50, 50]]), 3.0, 0.0),  # swapped corners hold no point either
        ([{"bbox_2d": BOXES[0]}, *objects(BOXES[1:])], 2.5, 0.0),  # one object without a point, and all is lost
        ([{"bbox_2d": [1, 2, 3], "point_2d": [1, 2]}], 2.0, 0.0),
        ([{"bbox_2d": ["0", "0", "100", "100"], "point_2d": [1, 2]}], 3.0, 0.0),
        ([], 1.0, 0.0),
        (objects(BOXES)[0], 1.0, 0.0),  # an object in place of a list
        (5, 1.0, 0.0),
        ([float("nan")], 1.0, 0.0),
        ([{"bbox_2d": [float("nan"), 0, 100, 100], "point_2d": [50, 50]}], 3.0, 0.0),
    ],
)
def test_parts_of_the_reward(rows, form, accuracy):
    reward = vision_reward(answer(rows), TRUTH)
    assert (reward["format"], reward["accuracy"]) == pytest.approx((form, accuracy))
    assert reward["total"] == pytest.approx(form + accuracy + 1)


def test_the_last_pixel_is_counted_in():
    # 51 of 101 columns: above one half; 50 of 100 would not be
    rows = objects([[0, 0, 50, 100]], [[25, 50]])
    assert vision_reward(answer(rows), json.dumps(objects([[0, 0, 100, 100]])))["accuracy"] == 2.0


@pytest.mark.parametrize(
    "content, form, accuracy, repeats",
    [
        (f"<answer>{TRUTH}</answer>", 2.0, 3.0, 1.0),
        (TRUTH, 0.0, 0.0, 1.0),
        (f"<think></think><answer>```json\n{TRUTH}\n```</answer>", 1.0, 0.0, 1.0),
        (f"<think></think><answer>[]</answer><answer>{TRUTH}</answer>", 1.0, 0.0, 1.0),  # the first answer
        ("a. b. a. b", 0.0, 0.0, 0.0),
        ("a. b. a. c", 0.0, 0.0, 1.0),
    ],
)
def test_form_and_repetition(content, form, accuracy, repeats):
    reward = vision_reward(content, TRUTH)
    assert (reward["format"], reward["accuracy"], reward["non_repeat"]) == pytest.approx((form, accuracy, repeats))


def test_objects_beyond_the_cap_are_free():
    many = objects(BOXES[:1] + [[500, 500, 510, 510]] * (MOST_OBJECTS - 1))
    assert vision_reward(answer(many), TRUTH)["accuracy"] == vision_reward(answer(many * 3), TRUTH)["accuracy"] > 0


@pytest.mark.parametrize("count", [1, 2, 5, 10, 11, 30])
def test_points_of_crowded_boxes_are_those_of_the_rule(count):
    # ten are told pair by pair and eleven by arrays; boxes crowd, so that several compete for one
    rng = np.random.default_rng(count)
    for spread in (20, 200):
        corners_N2 = rng.integers(0, spread, (count, 2))
        true_N4 = np.hstack([corners_N2, corners_N2 + rng.integers(0, 60, (count, 2))])
        said_N4 = true_N4[rng.permutation(count)] + rng.integers(-9, 10, (count, 4))
        said, true = (objects(of.tolist()) for of in (said_N4, true_N4))
        said[0]["point_2d"] = [5000, 5000]  # outside its box
        worth_PT = np.array([[worth(a, b) for b in true] for a in said])
        expected = worth_PT[linear_sum_assignment(worth_PT, maximize=True)].sum() / count
        assert vision_reward(answer(said), json.dumps(true))["accuracy"] == pytest.approx(expected, abs=1e-12)


def worth(a, b):
    """Points of a pair, straight from the rule."""
    (x1, y1, x2, y2), (u1, v1, u2, v2), (x, y), (u, v) = a["bbox_2d"], b["bbox_2d"], a["point_2d"], b["point_2d"]
    inter = max(0, min(x2, u2) - max(x1, u1) + 1) * max(0, min(y2, v2) - max(y1, v1) + 1)
    union = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1) - inter
    near = abs(x1 - u1) + abs(y1 - v1) + abs(x2 - u2) + abs(y2 - v2) < 40
    at_point = math.dist((x, y), (u, v)) < 30 and x1 <= x <= x2 and y1 <= y <= y2
    return (inter > 0 and inter / union > 0.5) + near + at_point


@pytest.mark.parametrize("count", [1, 30])
def test_numbers_beyond_measure_are_compared_all_the_same(count):
    odd = [[float("nan"), 0, 9, 9], [-1e308, -1e308, 1e308, 1e308], [float("-inf"), 0, 9, 9]]
    rows = [*objects(BOXES * count), *[{"bbox_2d": box, "point_2d": [1, 1]} for box in odd]]
    accuracy = vision_reward(answer(rows), json.dumps(objects(BOXES * count)))["accuracy"]
    assert accuracy == pytest.approx(3 * 2 * count / len(rows))


def test_a_right_empty_answer_earns_nothing_for_it():
    assert vision_reward(answer([]), "[]")["accuracy"] == 0.0
    assert vision_reward(answer(objects(BOXES)), "no JSON")["accuracy"] == 0.0


def write(path, cases):
    path.write_text("\n".join(json.dumps({"id": k, "content": c, "solution": s}) for k, (c, s, *_) in enumerate(cases)))


def test_rows_say_why_they_differ(tmp_path):
    fence = f"<answer>```json\n{TRUTH}\n```</answer>"
    cases = [
        (answer(objects(BOXES)), TRUTH, 1.0, 1.0, ()),
        (answer(objects([[0, 0, 100, 95], BOXES[1]])), TRUTH, 1.0, 1.95 / 2, ("steps",)),
        (answer([]), "[]", 2 / 7, 1.0, ("form", "empty-is-nothing")),
        (fence, TRUTH, 1 / 7, 1.0, ("form", "whole-json")),
        ("<think>t</think><answer>so what</answer>", TRUTH, 2 / 7, 0.0, ("form",)),
        ("<think>t</think><answer>so what</answer>", "[]", 2 / 7, 0.0, ("form",)),
    ]
    write(tmp_path / FILE, cases)
    scores = PROTOCOL.score(tmp_path, {}, True)
    for row, (*_, published, strict, reasons) in zip(scores.rows, cases, strict=True):
        assert (row.published, row.strict) == pytest.approx((published, strict)) and row.reasons == reasons, row


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds none of"):
        PROTOCOL.score(tmp_path, {}, False)
    (tmp_path / FILE).write_text('{"id": 1, "content": "", "solution": ""}\n' * 2)
    with pytest.raises(InputError, match="more than once"):
        PROTOCOL.score(tmp_path, {}, False)
    (tmp_path / FILE).write_text('{"id": 1, "content": ""}')
    with pytest.raises(InputError, match="has no texts"):
        PROTOCOL.score(tmp_path, {}, False)


@pytest.mark.parametrize("junk", ["<answer>", "[", '{"bbox_2d": [1, 2, 3, 4], "point_2d": [1, 2]},', "a.", "</think> "])
def test_a_megabyte_of_junk_is_scored_in_time(tmp_path, junk):
    text = junk * (1_000_000 // len(junk))
    write(tmp_path / FILE, [(text, TRUTH), (f"<answer>[{text[:-1]}]</answer>", TRUTH)])
    assert PROTOCOL.score(tmp_path, {}, True).numbers["visionreasoner"]["accuracy"] == pytest.approx([0, 0], abs=0.02)
