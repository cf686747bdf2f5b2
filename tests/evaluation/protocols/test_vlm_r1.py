"""VLM-R1's rewards: every row as the original gave it, quirk by quirk, and what an answer deserves instead."""

import gzip
import json

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.geo_r1_ovd import coco_scores, pooled
from georefer.evaluation.protocols.geo_r1_read import soft_f1
from georefer.evaluation.protocols.vlm_r1 import OD_REWARDS, PROTOCOL
from georefer.geometry import hbb_iou
from georefer.scoring.detection import Ranked
from georefer.training.rewards.published.reading import inset_iou, think_answer_form
from georefer.training.rewards.published.vlm_r1 import (
    format_reward_rec,
    image_ap,
    iou_reward,
    map_reward,
    od_reward,
    weighted_sum_reward,
)
from georefer.training.rewards.published.vlm_r1_text import (
    all_match_reward,
    choice_of,
    clean,
    cosine_reward,
    mcq_reward,
    repetition_reward,
    yes_no_reward,
)


def expected_of(golden):
    return json.loads(gzip.decompress((golden / "geo-r1" / "expected.json.gz").read_bytes()))


@pytest.mark.shared
@pytest.mark.parametrize("beside", [False, True])
def test_every_row_is_as_published(golden, beside):
    scores = PROTOCOL.score(golden / "geo-r1", {}, beside)
    expected = expected_of(golden)
    assert set(scores.numbers) == {"vlmr1_rec", "vlmr1_od", "vlmr1_text"}
    assert scores.numbers["vlmr1_text"] == expected["vlmr1_text"]
    for part in ("vlmr1_rec", "vlmr1_od"):
        assert set(scores.numbers[part]) == set(expected[part])
        for name, values in expected[part].items():
            raised = [k for k, v in enumerate(values) if isinstance(v, dict)] if isinstance(values, list) else []
            if raised:  # a whole list of numbers can be compared with a tolerance, one with exceptions in it cannot
                for mine, theirs in zip(scores.numbers[part][name], values, strict=True):
                    assert mine == (theirs if isinstance(theirs, dict) else pytest.approx(theirs, abs=1e-9)), name
            else:
                assert scores.numbers[part][name] == pytest.approx(values, abs=1e-9), name
            stopped = [s.id for s in scores.stops if s.part == part and s.why.startswith(f"{name} raises")]
            assert stopped == raised, name
    json.dumps(scores.numbers)
    if beside:
        assert len(scores.differing()) > 100
        assert all(row.reasons and set(row.reasons) <= set(PROTOCOL.quirks) for row in scores.differing())
        assert not any(row.reasons for row in scores.rows if not row.differs)


@pytest.mark.shared
def test_box_pairs_are_as_published(golden):
    pairs = expected_of(golden)["vlmr1_iou_pairs"]
    assert len(pairs) > 50
    for pair in pairs:
        if isinstance(pair["iou"], dict):
            with pytest.raises(ZeroDivisionError):
                inset_iou(pair["a"], pair["b"])
        else:
            assert inset_iou(pair["a"], pair["b"]) == pair["iou"]


# --- one box ---------------------------------------------------------------------------------------------

TRUTH = "<answer> [10, 10, 60, 60] </answer>"


def one(answer, size=(560, 560), grid=(1, 40, 40)):
    return iou_reward(answer, TRUTH, size, grid)


@pytest.mark.parametrize(
    "answer, reward",
    [
        ('<answer>{"bbox_2d": [10, 10, 60, 60]}</answer>', 1.0),
        ("<answer>[10, 10, 60, 60] or [1, 2, 3, 4]</answer>", 1.0),  # hedging is free
        ("<answer>[1, 2, 3, 4] or [10, 10, 60, 60]</answer>", 0.0),  # the first one counts
        ("<answer>[10, 10, 60, 60]</answer><answer>[1, 2, 3, 4]</answer>", 1.0),
        ("[10, 10, 60, 60]", 0.0),  # no tags
        ("<answer>[10.0, 10, 60, 60]</answer>", 0.0),  # whole numbers only
        ("<answer>[ 10, 10, 60, 60]</answer>", 0.0),  # no space after the bracket
        ("<answer>[60, 60, 10, 10]</answer>", 0.0),
        ("<answer>[59, 10, 100, 60]</answer>", 0.0),  # one pixel is shared
        (f"<answer>[{'9' * 5000}, 1, 2, 3]</answer>", 0.0),
    ],
)
def test_one_box(answer, reward):
    assert one(answer) == reward


def test_the_box_is_scaled_back_from_the_processors_image():
    assert one("<answer>[10, 10, 60, 60]</answer>", size=(1120, 1120)) == pytest.approx(40 * 40 / (2500 + 10000 - 1600))
    assert one("<answer>[5, 5, 30, 30]</answer>", size=(1120, 1120)) == 1.0
    with pytest.raises(IndexError):
        iou_reward("x", "no tags", (1, 1), (1, 1, 1))


@pytest.mark.parametrize(
    "answer, rec, form",
    [
        ('<think>t</think><answer>{"b": [1, 2, 3, 4]}</answer>', 1.0, 1.0),
        ('x <think>t</think> <answer>{"b": [1, 2, 3, 4]}</answer> y', 1.0, 0.0),  # anything around passes
        ('<think>t</think><answer>{"b": [1.5, 2, 3, 4]}</answer>', 0.0, 1.0),
        ("<think>t</think><answer>[1, 2, 3, 4]</answer>", 0.0, 1.0),  # no braces
        ('<think></think>so<answer>{"b": [1, 2, 3, 4]}</answer>', 0.0, 0.0),
        ("<think></think><answer></answer>", 0.0, 1.0),
        ("<think></answer>", 0.0, 0.0),
    ],
)
def test_forms(answer, rec, form):
    assert format_reward_rec(answer) == rec and think_answer_form(answer) == form


# --- detection -------------------------------------------------------------------------------------------

BOXES = [[0, 0, 60, 60], [100, 0, 160, 60], [200, 0, 260, 60], [300, 0, 360, 60]]
JUNK = [[1000, 500 + 50 * k, 1040, 540 + 50 * k] for k in range(4)]


def items(boxes, label="plane"):
    return [{"bbox_2d": box, "label": label} for box in boxes]


def fenced(rows):
    return f"<think>t</think><answer>```json\n{json.dumps(rows)}\n```</answer>"


def detection(rows, truths=BOXES):
    """mAP, mAP by length and the weighted sum of an answer."""
    answer, solution = fenced(rows), fenced(items(truths))
    rewards = od_reward(answer, solution), od_reward(answer, solution, by_length=True)
    return *rewards, weighted_sum_reward(answer, solution)


@pytest.mark.parametrize(
    "rows, rewards",
    [
        (items(BOXES), (1.0, 1.0, 1.0)),
        (items(BOXES + JUNK), (1.0, 0.5, 0.925)),  # alarms behind the hits are free
        (items(JUNK + BOXES), (0.5, 0.25, 0.925)),  # before them they are not
        (items(BOXES) + items(JUNK, "yeti"), (1.0, 0.5, 0.925)),  # unknown labels are dropped
        (items(BOXES[:2]), (51 / 101, 51 / 101, 0.575)),
        (items(BOXES[:2] * 2), (51 / 101, 51 / 101, 0.5)),  # padded with duplicates up to the number of truths
        (items(BOXES, "ship"), (0.0, 0.0, 0.3)),
        (items(BOXES, "PLANE"), (0.0, 0.0, 1.0)),  # capitals matter here and not there
        (items([b[::-1] for b in BOXES]), (0.0, 0.0, 0.0)),
        ([1, "x", None, *items(BOXES)], (1.0, 4 / 7, 0.7 + 0.3 * (1 - 3 / 14))),
    ],
)
def test_detection_rewards(rows, rewards):
    assert detection(rows) == pytest.approx(rewards)


def test_where_nothing_is_asked_for_any_text_is_right():
    solution = "<answer>None</answer>"
    assert od_reward("<answer>banana</answer>", solution) == od_reward("<answer>None</answer>", solution) == 1.0
    assert od_reward("banana", solution) == 0.0 and map_reward("banana", solution) == 1.0
    assert weighted_sum_reward("<answer>none.</answer>", solution) == 1.0
    assert weighted_sum_reward("<answer>banana</answer>", solution) == 0.0
    with pytest.raises(TypeError):
        od_reward("<answer>x</answer>", "no tags")


def test_the_first_fence_counts_here_and_the_last_one_there():
    both = "<answer>" + "".join(f"```json\n{json.dumps(items(b))}\n```" for b in (BOXES, JUNK)) + "</answer>"
    assert od_reward(both, fenced(items(BOXES))) == 0.0 and weighted_sum_reward(both, fenced(items(BOXES))) == 1.0


def test_a_missing_label_stops_the_first_pair_and_is_borrowed_by_later_ones():
    rows = [{"bbox_2d": BOXES[0]}, *items(BOXES[1:2])]
    with pytest.raises(UnboundLocalError):
        weighted_sum_reward(fenced(rows[:1]), fenced(items(BOXES)))
    assert weighted_sum_reward(fenced(rows[:1]), fenced(items(BOXES)), lenient=True) == 0.3 * (1 - 0.75 / 2)
    later = [*items(BOXES[:1]), {"bbox_2d": [100, 0, 160, 50]}]
    worth = (1 + 50 / 60) / 4
    assert weighted_sum_reward(fenced(later), fenced(items(BOXES))) == pytest.approx(0.7 * worth + 0.3 * 0.75)


def test_ap_of_one_image_is_cocos():
    truths = [*items(BOXES[:3]), *items(BOXES[3:], "ship"), *items([[0, 0, 50, 40]], "ship")]
    said = [
        *items([[0, 0, 60, 45], [0, 0, 60, 60], [101, 3, 160, 63]]),
        *items([[0, 4, 52, 41], [9, 9, 19, 19]], "ship"),
    ]
    classes = {"plane": 1, "ship": 2}

    def rows(of):
        return [
            {"image_id": 1, "category_id": classes[i["label"]], "bbox": [x, y, u - x, v - y], "score": 1.0, "id": k}
            for k, i in enumerate(of, 1)
            for x, y, u, v in [i["bbox_2d"]]
        ]

    table = [{"id": k, "name": name} for name, k in classes.items()]
    pool = pooled({"images": [{"id": 1}], "annotations": rows(truths), "categories": table}, rows(said))
    coco = coco_scores(pool, len(said))["eval_results"]
    assert image_ap(said, truths) == pytest.approx(coco["mAP"], abs=1e-12)
    assert image_ap(said, truths, half=True) == pytest.approx(coco["AP_50"], abs=1e-12)


@pytest.mark.parametrize("count", [1, 4, 7, 30])
def test_ap_of_crowded_boxes_is_that_of_cocos_matching(count):
    # some boxes have one truth to themselves and others compete for one; few are told pair by pair, many by arrays
    rng = np.random.default_rng(count)
    corners_N2 = rng.integers(0, 90 * count**0.5, (count, 2))
    true_N4 = np.hstack([corners_N2, corners_N2 + rng.integers(20, 60, (count, 2))])
    said_N4 = np.vstack([true_N4, true_N4])[rng.permutation(2 * count)] + rng.integers(-4, 5, (2 * count, 4))
    ranked = Ranked.of_image(hbb_iou(said_N4, true_N4), np.ones(2 * count), limit=100)
    expected = ranked.average_precisions(method="coco101", ties="given").mean()
    assert image_ap(items(said_N4.tolist()), items(true_N4.tolist())) == pytest.approx(expected, abs=1e-12)


def test_solutions_are_kept_and_not_changed():
    solution, rows = fenced(items(BOXES)), items(BOXES[:1])
    first = [map_reward(fenced(said), solution) for said in (rows, items(BOXES), [])]
    assert first == [map_reward(fenced(said), solution) for said in (rows, items(BOXES), [])]
    assert first[1] == pytest.approx(1) and first[2] == 0
    with pytest.raises(KeyError):  # a solution without labels, at the first answer and at the next
        map_reward(fenced(rows), fenced([{"bbox_2d": BOXES[0]}]))
    with pytest.raises(KeyError):
        map_reward(fenced(rows), fenced([{"bbox_2d": BOXES[0]}]))


def test_a_box_with_one_pair_of_corners_swapped_is_free():
    # its area is negative, which COCO takes for a size that nobody asks about
    rows = items([[40, 0, 0, 40]]) + items(BOXES)
    assert image_ap(rows, items(BOXES)) == pytest.approx(1)


# --- words -----------------------------------------------------------------------------------------------


def test_words():
    assert clean("x<answer>A\nb \n c.</answer>") == "a b  c"
    assert all_match_reward("<answer>Red\ncar.</answer>", "red car") == 1.0
    assert choice_of("I think A, but B.") == "A"  # the first B is that of "but"
    assert choice_of("nothing") is None and choice_of("b") == "B"
    assert mcq_reward("<answer>B</answer>", "B: a car") == 1.0 and mcq_reward("", "A") == 0.0
    assert mcq_reward("(D)", "D") == 0.0  # a bracket is no mark
    assert yes_no_reward("I know", "No") == 1.0 and yes_no_reward("eyes", "yes") == 1.0
    assert yes_no_reward("maybe", "perhaps") == 1.0  # missing on both sides
    assert yes_no_reward("yes", "<answer>no\n</answer> yes") == 0.0
    assert cosine_reward(0) == 1.0 and cosine_reward(1024) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "content, reward",
    [
        (fenced(items(BOXES)), 0.0),
        (fenced(items(BOXES[:2] * 2)), -0.5),
        (f"```\n{json.dumps(items(BOXES[:1] * 4))}\n```", -0.75),
        (f"so {json.dumps(items(BOXES[:1] * 4))} it is", -0.75),
        ("```json\n[{'bbox_2d': [1, 2], 'label': 'a'}, {'bbox_2d': [1, 2], 'label': 'a'}]\n```", -0.5),  # repaired
        ("a b c d e f " * 2, -1 / 7),
        ("a b", 0.0),
        ("", 0.0),
        (fenced([{"a": 1}]), 0.0),
    ],
)
def test_repetition(content, reward):
    assert repetition_reward(content) == pytest.approx(reward)
    with pytest.raises(TypeError):
        repetition_reward("```json\n[1]\n```")


# --- files -----------------------------------------------------------------------------------------------


def write(path, rows):
    path.write_text("\n".join(json.dumps({"id": k, **row}) for k, row in enumerate(rows)))


def od_rows(cases):
    return [{"content": content, "solution": solution} for content, solution, *_ in cases]


def test_detection_rows_say_why_they_differ(tmp_path):
    solution = fenced(items(BOXES))
    cases = [
        (solution, solution, ()),
        (fenced(items(BOXES + JUNK)), solution, ("file-order", "late-alarms-free")),
        (fenced(items(BOXES) + items(JUNK, "yeti")), solution, ("unknown-labels-free",)),
        (f"<answer>{json.dumps(items(BOXES))}</answer>", solution, ("fence-and-tags",)),
        ("<answer>banana</answer>", "<answer>None</answer>", ("anything-is-none",)),
        ("<answer>None</answer>", "<answer>None</answer>", ()),
        (fenced(items([[0, 0, 60, 20], *BOXES[1:]])), solution, ("steps-of-iou",)),
    ]
    write(tmp_path / "rewards_od.jsonl", od_rows(cases))
    scores = PROTOCOL.score(tmp_path, {}, True)
    for row, (*_, reasons) in zip(scores.rows, cases, strict=True):
        assert set(reasons) <= set(row.reasons) and bool(reasons) == row.differs, row
    by_id = {row.id: row for row in scores.rows}
    assert by_id[1].strict == pytest.approx(2 * 4 / 12) and by_id[3].strict == 1.0 and by_id[4].strict == 0.0


def test_one_box_rows_say_why_they_differ(tmp_path):
    cases = [
        ('<answer>{"bbox_2d": [10, 10, 60, 60]}</answer>', ()),
        ('<answer>[{"bbox_2d": [10, 10, 60, 60]}, {"bbox_2d": [1, 2, 3, 4]}]</answer>', ("first-box",)),
        ('<answer>{"bbox_2d": [10.5, 10, 60, 60]}</answer>', ("whole-numbers",)),
        ('<answer>{"bbox_2d": [60, 60, 10, 10]}</answer>', ("swapped-corners",)),
        ('<answer>{"bbox_2d": [59, 10, 100, 60]}</answer>', ("one-pixel",)),
        ('<answer>{"bbox_2d": [10, 10, 60, 900]}</answer>', ("no-clipping",)),
        ("<answer>the size is [10, 10, 60, 60]</answer>", ("any-numbers",)),
    ]
    frame = {"image_size": [560, 560], "image_grid_thw": [1, 40, 40], "solution": TRUTH}
    write(tmp_path / "rewards_rec.jsonl", [{"content": content, **frame} for content, _ in cases])
    scores = PROTOCOL.score(tmp_path / "rewards_rec.jsonl", {}, True)
    assert [row.reasons for row in scores.rows] == [reasons for _, reasons in cases]
    assert [row.published for row in scores.rows[:3]] == [1.0, 1.0, 0.0]
    assert scores.rows[1].strict == pytest.approx(2 / 3)


def test_text_rows_and_methods_that_ask_a_model(tmp_path):
    rows = [
        {"method": "yes_no", "content": "I know", "solution": "no"},
        {"method": "mcq", "content": "(D)", "solution": "D"},
        {"method": "llm", "content": "D", "solution": "D"},
        {"method": "all_match", "content": "D", "solution": "D"},
    ]
    write(tmp_path / "rewards_text.jsonl", rows)
    scores = PROTOCOL.score(tmp_path, {}, True)
    assert scores.numbers["vlmr1_text"] == [1.0, 0.0, None, 1.0]
    assert [stop.id for stop in scores.stops] == [2]
    assert [row.reasons for row in scores.rows] == [("yes-within-words",), ("letters",), (), ()]


def test_broken_files_are_refused_and_broken_solutions_listed(tmp_path):
    file = tmp_path / "rewards_od.jsonl"
    file.write_text('{"id": 1, "content": "x", "solution": "y"}\n{"id": 1, "content": "x", "solution": "y"}')
    with pytest.raises(InputError, match="more than once"):
        PROTOCOL.score(file, {}, False)
    assert PROTOCOL.score(file, {"partial": "yes"}, True).numbers["vlmr1_od"]["od_ap"] == [0.0, 0.0]
    write(file, [{"content": fenced(items(BOXES)), "solution": "<answer>```json\n[{}]\n```</answer>"}])
    scores = PROTOCOL.score(file, {}, True)
    assert set(scores.numbers["vlmr1_od"]["map"][0]) == {"exception"} and {stop.id for stop in scores.stops} == {0}
    write(file, [{"content": 3, "solution": ""}])
    with pytest.raises(InputError, match="has no texts"):
        PROTOCOL.score(file, {}, False)
    write(tmp_path / "rewards_rec.jsonl", [{"content": "", "solution": TRUTH}])
    with pytest.raises(InputError, match="lacks image_size"):
        PROTOCOL.score(tmp_path / "rewards_rec.jsonl", {}, False)
    with pytest.raises(InputError, match="holds none of"):
        PROTOCOL.score(tmp_path / "nothing", {}, False)


@pytest.mark.parametrize(
    "junk",
    ["<answer>", "```json", "```", "[{", '{"bbox_2d": [1, 2, 3, 4], "label": "plane"},', "A. ", "<think></think>"],
)
def test_a_megabyte_of_junk_is_scored_in_time(tmp_path, junk):
    text = junk * (1_000_000 // len(junk))
    rows = [{"content": c, "solution": fenced(items(BOXES))} for c in (text, f"<answer>```json\n[{text}]```</answer>")]
    write(tmp_path / "rewards_od.jsonl", rows)
    scores = PROTOCOL.score(tmp_path, {}, True)
    assert set(scores.numbers["vlmr1_od"]) == {"rows", *OD_REWARDS}
    assert format_reward_rec(text) == 0.0 and one(text) == 0.0
    mcq_reward(text, "A")
    yes_no_reward(text, "yes")


def test_what_boxes_deserve():
    assert soft_f1([], []) == 1.0 and soft_f1([], BOXES) == 0.0 and soft_f1(BOXES, []) == 0.0
    assert soft_f1(BOXES, BOXES) == pytest.approx(1) and soft_f1(BOXES * 2, BOXES) == pytest.approx(2 / 3)
    assert soft_f1(BOXES[:1], BOXES[:1], ["a"], ["b"]) == 0.0
    assert soft_f1(BOXES * 200, BOXES) == 0.0
