"""Rewards of our own: what they are worth in plain cases, groups, guards, names, columns."""

import json
from itertools import pairwise

import numpy as np
import pytest
import shapely
from shapely import affinity

from georefer.dialects import DIALECTS
from georefer.errors import ConfigError, InputError
from georefer.geometry import OBB, Frame, GeoGrid, Objects
from georefer.scenes import Question, Scene, SceneRelation
from georefer.tasks import OBB_FORM, OUTLINE, TASKS
from georefer.tasks.relation import ends_params
from georefer.training.rewards import OURS, REWARDS, Answer, Reward, Truth, answers_of, guarded, load_reward
from georefer.training.rewards.base import CLEAN, clean_boxes
from georefer.training.rewards.ours import set_score, wasserstein

SIZE = (800, 800)
SPEAKS = DIALECTS["georefer"]
FRAME = Frame.resize(SIZE, SIZE, 800)  # a number is a pixel
BOXES = [[100, 100, 200, 200], [300, 300, 400, 360], [600, 100, 700, 300]]


def truth_of(boxes, dialect=SPEAKS, frame=FRAME, labels=None, **more):
    return Truth(Objects.from_hbb(np.array(boxes), labels or ["ship"] * len(boxes)), dialect, frame, **more)


def said(*boxes):
    return " ".join(str(list(box)) for box in boxes) or "none"


def value(name, text, truth):
    return float(OURS[name].of([text], [truth])[0])


# --- sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (said(*BOXES), 1.0),
        (said(*BOXES[::-1]), 1.0),  # order is of no account
        (said(*BOXES[:2]), 2 * 2 / 5),  # one missed
        (said(*BOXES, [0, 700, 50, 750]), 2 * 3 / 7 * 3 / 4),  # one too many costs more than one missed
        (said(*BOXES, BOXES[0]), 2 * 3 / 7 * 3 / 4),  # said twice, though the reader drops it
        (said(*BOXES, [5, 5, 5, 9]), 2 * 3 / 7 * 3 / 4),  # a box of no area is one too many as well
        (said([100, 100, 200, 150]), 2 * 0.5 / 4),
        (said([0, 0, 800, 800]), 2 * (20000 / 640000) / 4),
        ("none", 0.0),
        ("banana", 0.0),
        ("", 0.0),
    ],
)
def test_a_set_is_worth_its_pairs(text, expected):
    assert value("f1", text, truth_of(BOXES)) == pytest.approx(expected, abs=1e-9)


def test_pairs_are_the_best_ones_and_not_the_first_ones():
    true = truth_of([[0, 0, 100, 100], [50, 0, 150, 100]])
    # the first box fits both truths, the second one only the first: greedy pairing would lose
    text = said([25, 0, 125, 100], [0, 0, 90, 100])
    assert value("f1", text, true) == pytest.approx((0.6 + 0.9) * 2 / 4, abs=1e-9)


@pytest.mark.parametrize("text, expected", [("none", 1.0), ("banana", 0.0), ("", 0.0), ("[1, 2, 30, 40]", 0.0)])
@pytest.mark.parametrize("name", ["f1", "f1-tiny", "iou", "iou-tiny", "consistency"])
def test_where_nothing_is_only_an_explicit_none_earns(name, text, expected):
    assert value(name, text, truth_of([])) == expected


def test_labels_count_where_they_are_asked():
    boxes, labels = BOXES[:2], ["ship", "car"]
    right, swapped = ("ship {}; car {}".format(*pair) for pair in (boxes, boxes[::-1]))
    assert value("f1", right, truth_of(boxes, labels=labels, labelled=True)) == 1
    assert value("f1", swapped, truth_of(boxes, labels=labels, labelled=True)) == 0
    assert value("f1", swapped, truth_of(boxes, labels=labels)) == 1
    assert value("f1", "Ship {}; CAR {}".format(*boxes), truth_of(boxes, labels=labels, labelled=True)) == 1


def test_saying_k_candidates_earns_less_than_choosing_one():
    for k in range(2, 30):
        assert set_score(1.0, k, 1) < 1 / k
    # torn about all objects of which none is missed
    for count in range(1, 20):
        assert set_score(count, 2 * count, count) < set_score(count / 2, count, count)


@pytest.mark.parametrize("form, kind", [(OBB_FORM, "obb"), (OUTLINE, "polygon"), (OUTLINE, "mask")])
def test_other_shapes_are_compared_by_their_true_areas(form, kind):
    turned = OBB(300, 300, 200, 60, 30).to_polygon()
    shape = turned if kind == "obb" else shapely.box(100, 100, 260, 260).difference(shapely.box(100, 100, 180, 180))
    true = Truth(Objects.of([shape], ["ship"], kind=kind), SPEAKS, FRAME, form)
    assert value("f1", true.spoken, true) == value("iou", true.spoken, true) > 0.95
    assert value("f1", said([int(v) for v in shape.bounds]), true) < 0.85  # the box around it is not it
    moved = true.objects.replaced([affinity.translate(shape, 30, 0)])
    worse = value("f1", SPEAKS.write(moved, FRAME, labelled=False), true)
    assert 0 < worse < value("f1-tiny", true.spoken, true)


# --- one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (said(BOXES[0]), 1.0),
        (said([100, 100, 200, 150]), 0.5),
        (said(BOXES[0], [100, 100, 200, 150]), 0.5),  # the worst counts, so hedging costs
        (said(BOXES[0], BOXES[1]), 0.0),
        (said(BOXES[0], BOXES[0]), 0.0),  # one is asked for
        ("none", 0.0),
        ("banana", 0.0),
    ],
)
def test_one_shape(text, expected):
    assert value("iou", text, truth_of(BOXES[:1])) == pytest.approx(expected, abs=1e-9)


def test_a_reward_of_one_object_refuses_several():
    with pytest.raises(InputError, match="3 true objects"):
        OURS["iou"].of([""], [truth_of(BOXES)])


# --- tiny ------------------------------------------------------------------------------------------------


def test_a_missed_tiny_target_still_says_how_near_it_was():
    true = truth_of([[100, 100, 106, 106]])
    near = [value("iou-tiny", said([100 + d, 100, 106 + d, 106]), true) for d in range(0, 60, 3)]
    assert near[0] == 1.0 and near[2] == pytest.approx(np.exp(-6 / 8)) and near[4] > 0.2
    assert all(a > b > 0 for a, b in pairwise(near))
    assert value("iou", said([106, 100, 112, 106]), true) == 0  # where IoU says nothing
    sizes = [value("iou-tiny", said([103 - h, 103 - h, 103 + h, 103 + h]), true) for h in (3, 6, 12, 48, 100)]
    assert all(a > b for a, b in pairwise(sizes)) and sizes[-1] < 0.001


def test_large_targets_are_judged_by_overlap_alone_and_those_between_by_both():
    text = said([100 + 20, 100, 200 + 20, 200])
    assert value("iou-tiny", text, truth_of(BOXES[:1])) == value("iou", text, truth_of(BOXES[:1]))
    middle = truth_of([[100, 100, 120, 120]])
    text = said([110, 100, 130, 120])
    assert (
        value("iou", text, middle)
        < value("iou-tiny", text, middle)
        == pytest.approx((1 / 3 + np.exp(-10 / 20)) / 2, abs=1e-9)
    )


def test_distance_of_normal_distributions_is_that_of_matrices():
    rng = np.random.default_rng(0)
    boxes_N5 = np.column_stack([rng.uniform(0, 50, (6, 4)) + 1, rng.uniform(0, 360, 6)])

    def covariance(box):
        turn = np.radians(box[4])
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return turned @ np.diag((box[2:4] / 2) ** 2) @ turned.T

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(np.sqrt(values)) @ vectors.T

    found_NM = wasserstein(boxes_N5, boxes_N5)
    for i, a in enumerate(boxes_N5):
        for j, b in enumerate(boxes_N5):
            common = root(root(covariance(a)) @ covariance(b) @ root(covariance(a)))
            square = ((a[:2] - b[:2]) ** 2).sum() + np.trace(covariance(a) + covariance(b) - 2 * common)
            assert found_NM[i, j] == pytest.approx(np.sqrt(max(square, 0)), abs=1e-5)


# --- three shapes of one object --------------------------------------------------------------------------


def three(box, turned, outline):
    shapes = zip((box, turned, outline), ("hbb", "obb", "mask"), strict=True)
    objects = Objects.of([box, turned, outline], ["ship"] * 3, kind=[kind for _, kind in shapes])
    return SPEAKS.write(objects, FRAME, labelled=False)


def test_box_oriented_box_and_mask_agree_with_each_other_and_with_the_truth():
    shape = OBB(300, 300, 200, 80, 30).to_polygon()
    true = Truth(Objects.of([shape], ["ship"], kind="mask"), SPEAKS, FRAME, OUTLINE)
    box, whole = shapely.box(*shape.bounds), shapely.box(0, 0, 800, 800)
    right = value("consistency", three(box, shape, shape), true)
    assert right > 0.85
    assert value("consistency", three(whole, whole, whole), true) < 0.1  # agrees with itself alone
    assert value("consistency", three(box, box, box), true) < 0.6
    far = affinity.translate(shape, 200, 200)
    assert 0 < value("consistency", three(box, shape, far), true) < 0.5  # one pair of three is right
    assert value("consistency", said([int(v) for v in box.bounds]), true) == 0
    with pytest.raises(InputError, match="one kind of shape"):
        OURS["consistency"].of([""], [truth_of(BOXES[:1], DIALECTS["qwen3-vl"])])


# --- relations -------------------------------------------------------------------------------------------


def graph_truth():
    objects = Objects.from_hbb(np.array(BOXES), ["ship", "ship", "car"])
    relations = (SceneRelation("0", "approach", "1"), SceneRelation("2", "approach", "0"))
    scene = Scene("s", b"", objects, GeoGrid.none(*SIZE), "train", {}, relations)
    question = Question("q", "s", "image-graph", {}, ("0", "1", "2"))
    return Truth.of(question, scene, SPEAKS, FRAME)


def test_a_graph_is_worth_its_relations():
    true = graph_truth()
    shapes = "ship [100, 100, 200, 200] [300, 300, 400, 360]; car [600, 100, 700, 300]\n"
    both = "ship 1 | approach | ship 2\ncar 3 | approach | ship 1"
    assert value("graph", shapes + both, true) == 1
    assert value("graph", shapes + both.splitlines()[0], true) == pytest.approx(2 / 3)
    assert value("graph", shapes + both + "\nship 2 | approach | car 3", true) == pytest.approx(4 / 5 * 2 / 3)
    half = shapes.replace("[600, 100, 700, 300]", "[600, 100, 700, 200]")
    assert value("graph", half + both, true) == pytest.approx(2 * 1.5 / 4)  # the worse end counts
    assert value("graph", shapes + both.replace("car 3", "plane 3"), true) == pytest.approx(2 * 1 / 4)
    assert value("graph", shapes, true) == value("graph", "banana", true) == 0
    with pytest.raises(InputError, match="no task of relations"):
        OURS["graph"].of([""], [truth_of(BOXES)])


def test_predicates_between_two_places():
    scene = graph_truth().scene
    task = TASKS["relation-detection"]
    question = Question("q", "s", task.name, ends_params(scene, "0", "1"), answer_text="approach")
    true = Truth.of(question, scene, SPEAKS, FRAME)
    assert value("relation", "approach", true) == 1
    assert value("relation", "approach, away from", true) == pytest.approx(2 / 3 / 2)
    assert value("relation", "away from", true) == value("relation", "", true) == 0


# --- words, form, length ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("6", 1.0), ("3", 0.5), ("There are 6.", 1.0), ("12", 0.5), ("0", 0.0),
        ("6 or 7", 0.0), ("six", 0.0), ("banana", 0.0), ("", 0.0), ("9" * 30, 0.0), ("-6", 0.0), ("6.5", 0.0),
        ("<think>perhaps 4</think><answer>6</answer>", 1.0),
    ],
)  # fmt: skip
def test_counts(text, expected):
    assert value("count", text, truth_of([], text="6")) == expected


def test_a_count_of_nothing_is_0_said():
    assert [value("count", text, truth_of([], text="0")) for text in ("0", "1", "none")] == [1, 0, 0]
    with pytest.raises(InputError, match="no answer that is a number"):
        OURS["count"].of([""], [truth_of([], text="many")])


GEO = DIALECTS["geo-r1"]
ANSWER = '<answer>```json\n[\n    {"bbox_2d": [1, 2, 30, 40], "label": "ship"}\n]\n```</answer>'


@pytest.mark.parametrize(
    "text, thinks, expected",
    [
        (ANSWER, False, 1.0),
        ("<think>I look.</think>" + ANSWER, True, 1.0),
        (ANSWER, True, 0.0),  # a thought is asked for
        ("<think>I look.</think>" + ANSWER, False, 0.0),  # none is
        (f"<think>{ANSWER}</think>{ANSWER}", True, 0.0),  # tags in the thought
        ("<think>a</think>" + ANSWER + ANSWER, True, 0.0),
        ("<think>a</think>" + ANSWER + " So.", True, 0.0),
        ("<think>a</think><answer>None</answer>", True, 1.0),
        ("<think>a</think><answer>banana</answer>", True, 0.0),
        ("", False, 0.0),
    ],
)
def test_form_is_strict(text, thinks, expected):
    assert value("format", text, truth_of(BOXES, GEO, thinks=thinks)) == expected


def test_length_falls_from_one_and_a_half_times_the_true_answer():
    true = truth_of(BOXES)
    room = 1.5 * len(true.spoken) + 120
    values = [value("length", "x" * int(room * f), true) for f in (0, 0.5, 1, 1.5, 2, 50)]
    assert values == pytest.approx([1, 1, 1, 0.5, 0, 0], abs=0.01)


# --- groups, guards, columns, names ----------------------------------------------------------------------


def test_a_group_shares_its_truth_and_several_rewards_one_reading():
    true = truth_of(BOXES)
    texts = [said(*BOXES), said(*BOXES[:1]), "banana"]
    answers = answers_of(texts, [true] * 3)
    together = [OURS[name].of(answers, [true] * 3).tolist() for name in ("f1", "format", "f1-tiny")]
    assert together == [OURS[name].of(texts, [truth_of(BOXES)] * 3).tolist() for name in ("f1", "format", "f1-tiny")]
    assert answers[0].reading is answers[0].reading and true.boxes_T4 is true.boxes_T4
    with pytest.raises(ValueError, match="2 answers came with 1 truths"):
        OURS["f1"].of(["", ""], [true])


@pytest.mark.parametrize("name", [n for n, r in OURS.items() if r.asks in ("set", "one")])
def test_the_true_answer_earns_all_and_babble_stays_within_the_range(name):
    rng = np.random.default_rng(0)
    for dialect in ("georefer", "geo-r1", "qwen2.5-vl", "rex-omni", "visual-rft", "geoground"):
        frame = DIALECTS[dialect].frame_for(SIZE)
        true = truth_of(BOXES[:1], DIALECTS[dialect], frame)
        assert value(name, true.spoken, true) > 0.9
        letters = np.array(list('[]{}0123456789,. :"<>answer/think;@-\n'))
        texts = ["".join(rng.choice(letters, 60)) for _ in range(60)] + [true.spoken[:k] for k in range(0, 60, 3)]
        values = OURS[name].of(texts, [true] * len(texts))
        assert ((values >= 0) & (values <= 1)).all()


def test_a_megabyte_of_junk_is_read_in_bounds():
    true = truth_of(BOXES[:1])
    texts = ["[1, 2, 3, 4] " * 80_000, "<answer>" * 120_000, "[" * 1_000_000, "1 " * 500_000, "<think>" * 140_000]
    for name in ("f1", "f1-tiny", "iou", "format", "length", "consistency"):
        assert (OURS[name].of(texts, [true] * len(texts)) <= 1).all()


@pytest.mark.parametrize("name", list(CLEAN))
def test_clean_answers_are_read_at_once_as_the_dialect_reads_them(name):
    rng = np.random.default_rng(0)
    dialect, letters, clean = DIALECTS[name], list('0123456789[], ."x-+@{}'), 0
    for k in range(400):
        frames = (
            dialect.frame_for((800, 640)),
            Frame.letterbox((800, 640), (512, 512)),
            Frame.resize((800, 640), (300, 900)),
        )
        corners_N2, sides_N2 = rng.uniform(0, 700, (k % 5 + 1, 2)), rng.uniform(3, 120, (k % 5 + 1, 2))
        labels = rng.choice(
            ["ship", "Storage tank", "big_car", "a 1", "b 2, 3, 4, 5"], 9, p=[0.4, 0.3, 0.2, 0.05, 0.05]
        )
        boxes_N4 = np.clip(np.hstack([corners_N2, corners_N2 + sides_N2]), 0, (800, 640, 800, 640))
        text = dialect.write(
            Objects.from_hbb(boxes_N4, list(labels[: len(boxes_N4)])), frames[k % 3], labelled=k % 2 == 0
        )
        text = "<think>4 of [1, 2, 3, 4] and 5 6 7 8</think>" + text if k % 7 == 0 else text
        for _ in range(k % 3):  # damage of one letter, put in or put in place of another
            at = int(rng.integers(len(text)))
            text = text[:at] + str(rng.choice(letters)) + text[at + int(rng.integers(2)) :]
        found = clean_boxes(text, dialect, frames[k % 3])
        if found is not None:
            reading, clean = dialect.read(text, frames[k % 3]), clean + 1
            assert not reading.problems and np.array_equal(reading.areas.hbb_N4, found[0])
            assert [label.strip() for label in reading.areas.labels_N] == [label.strip() for label in found[1]]
    assert clean > 80
    for text in (
        "",
        "[1, 2, 3, 4] [1, 2, 3, 4]",
        "[9, 2, 3, 4]",
        "[1, 2, 3, 4, 5, 6]",
        "[1, 2, 3, 4 @ 5]",
        dialect.nothing,
    ):
        assert clean_boxes(text, dialect, FRAME) is None


def test_a_guard_counts_bad_values_and_stops():
    true = truth_of(BOXES)
    bad = {"raises": lambda a: 1 / 0, "nan": lambda a: float("nan"), "leaves": lambda a: 1.5, "no": lambda a: None}
    for name, score in bad.items():
        reward = Reward(name, "bad", score, "0")
        with pytest.raises(InputError, match=f"reward {name} "):
            guarded(reward, [true])
        guard = guarded(reward, allowed=2)
        assert np.isnan(guard.of(["", "x"], [true] * 2)).all() and (guard.bad, guard.answers) == (2, 2)
        with pytest.raises(InputError, match="bad value 3 of 3 where 2 are allowed"):
            guard.of([""], [true])
    good = guarded(OURS["f1"], [true])
    assert good.of([said(*BOXES)], [true]).tolist() == [1.0] and good.bad == 0
    # only some answers are bad
    picky = guarded(Reward("picky", "x", lambda a: 1.0 if a.text else 2.0, "0"), allowed=9)
    assert np.isnan(picky.of(["a", "", "b"], [true] * 3)).tolist() == [False, True, False]


def test_a_guard_says_at_the_start_that_a_dialect_cannot_hold_the_shape():
    outline = Truth(Objects.of([shapely.box(0, 0, 9, 9)], ["ship"]), DIALECTS["qwen3-vl"], FRAME, OUTLINE)
    with pytest.raises(InputError, match="choose another dialect"):
        guarded(OURS["f1"], [outline])


def test_rewards_from_outside(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from georefer.training.rewards import Reward\n"
        "def score(answer):\n    'Half, always.'\n    return 0.5\n"
        "made = Reward('made', 'x', score, '0.5')\n"
        "seven = 7\n"
    )
    true = truth_of(BOXES)
    found = load_reward(f"{tmp_path}/mine.py:score")
    assert found.of([""], [true]).tolist() == [0.5] and found.says == "Half, always."
    assert load_reward(f"{tmp_path}/mine.py:made").name == "made"
    assert load_reward("georefer.training.rewards.ours:sets").of([said(*BOXES)], [true]).tolist() == [1.0]
    assert load_reward("f1") is REWARDS["f1"]
    for wrong in ("f2", f"{tmp_path}/mine.py:nothing", f"{tmp_path}/mine.py:seven", f"{tmp_path}/no.py:a", "no.such:a"):
        with pytest.raises(ConfigError):
            load_reward(wrong)


def test_a_truth_travels_as_text():
    shape = OBB(300, 300, 200, 60, 30).to_polygon()
    for true in (
        truth_of(BOXES, labels=["a", "b", "c"], labelled=True),
        Truth(Objects.of([shape], ["ship"], kind="obb"), DIALECTS["geoground"], FRAME, OBB_FORM),
        truth_of([], text="6"),
        truth_of([], GEO, thinks=True),
    ):
        again = Truth.from_json(true.to_json())
        assert again is Truth.from_json(true.to_json())  # a group shares it
        assert again.to_json() == true.to_json() and again.spoken == true.spoken
        assert (again.dialect, again.frame, again.form, again.thinks) == (
            true.dialect, true.frame, true.form, true.thinks,
        )  # fmt: skip
    for broken in ("", "{}", "[1]", json.dumps({"objects": 3}), "[" * 100_000):
        with pytest.raises(InputError, match="a text that Truth"):
            Truth.from_json(broken)


def test_the_truth_of_a_tasks_question():
    scene = Scene("s", b"", Objects.from_hbb(np.array(BOXES), ["ship"] * 3), GeoGrid.none(*SIZE), "train")
    question = Question("q", "s", "detection", {"label": "ship", "thought": "There are 3 ships."}, ("0", "2"))
    true = Truth.of(question, scene, GEO, GEO.frame_for(SIZE))
    assert true.thinks and len(true.objects) == 2 and not true.labelled
    text = TASKS["detection"].answer(question, scene, GEO, true.frame)
    assert value("format", text, true) == 1 and value("f1", text, true) > 0.98
    assert isinstance(Answer(text, true).reading.objects, Objects)
