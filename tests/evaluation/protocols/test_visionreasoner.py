"""VisionReasoner's reward: every row as the original gave it, quirk by quirk, and what an answer deserves instead."""

import gzip
import json
import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from georefer.errors import InputError
from georefer.evaluation.protocols.visionreasoner import FILE, PROTOCOL
from georefer.training.rewards.published.visionreasoner import PARTS, vision_reward, vision_rewards
from georefer.training.rewards.published.visionreasoner_read import MOST_OBJECTS, read_objects


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


@pytest.mark.parametrize("count", [1, 2, 5, 11, 30])
def test_points_of_crowded_boxes_are_those_of_the_rule(count):
    # boxes crowd, so that several compete for one; the widest spread leaves most pairs far apart
    rng = np.random.default_rng(count)
    contents, solutions, expected = [], [], []
    for spread in (20, 60, 200, 2000, 40_000):
        corners_N2 = rng.integers(0, spread, (count, 2))
        true_N4 = np.hstack([corners_N2, corners_N2 + rng.integers(0, 60, (count, 2))])
        true = objects(true_N4.tolist())
        # a point far from its box on either side
        true[-1]["point_2d"] = [spread, 0]
        for _ in range(11):
            # some are said twice, and some not
            said_N4 = true_N4[rng.integers(0, count, count)] + rng.integers(-9, 10, (count, 4))
            said = objects(said_N4.tolist())
            said[0]["point_2d"] = [5000, 5000]  # outside its box
            said[-1]["point_2d"] = [spread + 20, 3]
            worth_PT = np.array([[worth(a, b) for b in true] for a in said])
            expected.append(worth_PT[linear_sum_assignment(worth_PT, maximize=True)].sum() / count)
            contents.append(answer(said))
            solutions.append(json.dumps(true))
    assert vision_rewards(contents, solutions)["accuracy"] == pytest.approx(expected, abs=1e-12)


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


def test_many_answers_earn_what_each_earns_alone():
    rng = np.random.default_rng(0)
    solutions = [TRUTH, "[]", "no JSON", json.dumps(objects([[k, k, k + 40, k + 30] for k in range(0, 700, 9)]))]
    some = [json.loads(solutions[3])[k : k + 1 + k % 11] for k in range(40)]
    some += [objects(BOXES), [], 5, [{"bbox_2d": BOXES[0]}]]
    contents = [answer(rows) for rows in some * 13] + ["a. a. a", "<answer>" + "[" * 5_000 + "</answer>"]
    # answers to several truths, in any order, and more than are worked out at once
    asked = [solutions[k] for k in rng.integers(0, 4, len(contents))]
    together = vision_rewards(contents, asked)
    assert len(contents) > 512 and len(set(together["accuracy"])) > 10
    for k, pair in enumerate(zip(contents, asked, strict=True)):
        assert vision_reward(*pair) == {part: together[part][k] for part in PARTS}
    assert [len(values) for values in vision_rewards([], []).values()] == [0] * 4


ONE = '{"bbox_2d": [10, 0, 9999, 14], "point_2d": [11, 12]}'


@pytest.mark.parametrize(
    "text",
    [
        f"[{ONE}]",
        f"[{ONE}, {ONE}, {ONE}]",
        f"[{ONE}]".replace(", ", ",").replace(',"point', ', "point'),  # as the prompt writes it
        f"[{ONE}, {ONE}]".replace("10,", "10 ,"),
        f"[{ONE}]".replace(": [10", ":[10"),
        f"[{ONE}]".replace("[10", "[ 10"),
        f"[{ONE}]".replace("0, ", "0,  "),
        f"[{ONE}]".replace("0, ", "0,\n"),
        f"[{ONE}]".replace("10,", "-10,"),
        f"[{ONE}]".replace("10,", "10.5,"),
        f"[{ONE}]".replace("10,", "1e1,"),
        f"[{ONE}]".replace("9999", "12345"),
        f"[{ONE}]".replace("9999", "1234567890123456789012345"),
        f"[{ONE}]".replace("9999", "1" + "0" * 400),  # no float
        f"[{ONE}]".replace("9999", "NaN"),
        f"[{ONE}]".replace("9999", "true"),
        f"[{ONE}]".replace("9999", '"9"'),
        f"[{ONE}]".replace("10,", "010,"),  # no JSON, from here on
        f"[{ONE}]".replace("0, ", "00, ", 1),
        f"[{ONE}]".replace("10,", "1 0,"),
        f"[{ONE}]".replace("10,", ","),
        f"[{ONE}]".replace("10,", ",").replace("{", "{5"),
        f"[{ONE}]".replace("10,", ",").replace("[{", "[5{"),
        f"[{ONE}]".replace("10,", ",").replace(": [", ":5 [", 1),
        f"[{ONE}]".replace("12]", "]5"),
        f"[{ONE}]".replace("14]", "]14"),
        f"[{ONE}]".replace("12]", "12] so]"),
        f"[{ONE}, {ONE}]".replace("12]}, ", "12] so]}, "),
        f"[{ONE}, {ONE}]".replace("}, {", "} {"),
        f"[{ONE}, {ONE}]".replace("}, {", "},, {"),
        f"[{ONE}, {ONE}]".replace("}, {", "}, 5, {"),
        f"[{ONE}]".replace("10, 0, 9999, 14], ", "10, 0, 9999], ").replace("[11", "[14, 11"),  # three and three
        f"[{ONE}]".replace("], ", ", 5], "),
        f"[{ONE}]".replace("10, 0", "10] 0"),
        f"[{ONE}]".replace("bbox_2d", "bbox_2e"),
        f"[{ONE}]".replace("bbox_2d", "bbox_22d"),
        f"[{ONE}]".replace("point_2d", "point_d2"),
        f"[{ONE}]".replace("bbox", "x").replace("point", "bbox").replace("x", "point"),
        f"[{ONE}, {ONE}]".replace("}, {", "}, {").replace("point_2d", "bbox_2d", 1),
        f'[{ONE}, {{"bbox_2d": [1, 2, 3, 4]}}, {{"bbox_2d": [1, 2, 3, 4]}}]',
        '[{"bbox_2d": []}]',
        '[{"bbox_2d": [1, 2, 3, 4, 5, 6, 7, 8]}]',
        f"[{ONE}]".replace("10,", "\u0661\u0660,"),  # digits, of other scripts
        f"[{ONE}]" * 2,
        f"[{ONE}",
        f"{ONE}]",
        f"[{', '.join([ONE] * 120)}]",
        f"[{', '.join([ONE] * 121)}]",
    ],
)
def test_a_list_is_read_as_json_reads_it(text):
    # among others, whose numbers must stay theirs, and so many that arrays read them
    listed, _ = read_objects([f"[{ONE}]", text, f"[{ONE}, {ONE}]"] * 8)
    own = [listed.at(slice(k, k + 1)).lined_up().rows_6N.T for k in range(24)]
    assert np.array_equal(own[1], np.reshape(judged(text), (-1, 6)), equal_nan=True)
    assert own[0].tolist() == [[10, 0, 9999, 14, 11, 12]] and own[2].tolist() == own[0].tolist() * 2
    assert all(np.array_equal(one, own[k % 3], equal_nan=True) for k, one in enumerate(own))


def judged(text):
    """Rows of a text by JSON itself, [] where it holds no list of boxes and points."""
    try:
        lists = [(item["bbox_2d"], item["point_2d"]) for item in json.loads(text)]
        rows = [[*box, *point] for box, point in lists[:MOST_OBJECTS] if (len(box), len(point)) == (4, 2)]
        usable = len(rows) == min(len(lists), MOST_OBJECTS) and {type(v) for row in rows for v in row} <= {int, float}
        return [[float(v) for v in row] for row in rows] if usable else []
    except (ValueError, KeyError, TypeError, OverflowError):
        return []


@pytest.mark.parametrize(
    "said, true, points",
    [
        # boxes far apart, and points beside their boxes' middles that are 15 px apart
        (([0, 0, 100, 100], [95, 50]), ([400, 0, 500, 100], [110, 50]), 1),
        (([0, 0, 100, 100], [50, 95]), ([0, 400, 100, 500], [50, 110]), 1),
        (([0, 0, 900, 100], [895, 50]), ([900, 0, 990, 100], [905, 50]), 1),
        # middles of wide boxes are 90 px apart at an IoU of 0.54
        (([0, 0, 299, 299], [150, 150]), ([90, 0, 389, 299], [240, 150]), 1),
        (([0, 0, 299, 299], [150, 150]), ([0, 90, 299, 389], [150, 240]), 1),
        (([0, 0, 29_999, 9], [9, 9]), ([9_990, 0, 39_989, 9], [9_999, 9]), 1),
        # beyond the ends of the search
        (([-90_000, 0, -89_901, 99], [-89_950, 50]), ([-90_000, 0, -89_901, 99], [-89_950, 50]), 3),
        (([90_000, 0, 90_099, 99], [90_050, 50]), ([90_000, 0, 90_099, 99], [90_050, 50]), 3),
        (([90_000, 0, 90_099, 99], [90_050, 50]), ([90_400, 0, 90_499, 99], [90_450, 50]), 0),
        (([-1e300, 0, 1e300, 99], [50, 50]), ([0, 0, 99, 99], [50, 50]), 1),
        # what is no number
        (([0, 0, 100, 100], [50, 50]), ([float("nan"), 0, 9, 9], [50, 50]), 1),
        (([0, 0, 100, 100], [50, 50]), ([0, 0, 100, 100], [float("nan"), 50]), 2),
        (([float("-inf"), 0, float("inf"), 100], [950, 50]), ([900, 0, 999, 99], [950, 50]), 1),
        (([0, 0, 9, 9], [5, 5]), ([float("inf"), 0, 9, 9], [5, 5]), 1),
    ],
)
def test_no_pair_that_earns_something_is_passed_over(said, true, points):
    pair = [[{"bbox_2d": box, "point_2d": point}] for box, point in (said, true)]
    assert vision_reward(answer(pair[0]), json.dumps(pair[1]))["accuracy"] == points
    # of so many pairs, only those that are near are worked out
    many = [answer(objects(BOXES * 20)), answer(pair[0])] * 4
    solutions = [json.dumps(objects(BOXES * 20)), json.dumps(pair[1])] * 4
    assert vision_rewards(many, solutions)["accuracy"][1::2].tolist() == [points] * 4


def test_objects_beyond_the_cap_count_for_the_form():
    rows = [*objects(BOXES[:1] * 120), {"bbox_2d": [1, 2], "point_2d": [1, 2]}]
    assert vision_reward(answer(rows), TRUTH)["format"] == pytest.approx(1 + 241 / 121)


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
