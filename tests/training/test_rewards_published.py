"""Published rewards: every reference row as the originals gave it, each quirk, and what the table gives for answers."""

import gzip
import json

import numpy as np
import pytest
import shapely

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.training.rewards import PUBLISHED, Reward, Truth, geo_r1_mask, guarded
from georefer.training.rewards.base import Together
from georefer.training.rewards.published import geo_r1, others, seg_zero, visionreasoner, vlm_r1, vlm_r1_text
from georefer.training.rewards.published.reading import inset_iou, think_answer_form

SIZE = (800, 800)
BOXES = [[100, 100, 200, 200], [300, 300, 400, 360], [600, 100, 700, 300]]


# --- reference rows --------------------------------------------------------------------------------------


def lines(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads(gzip.decompress((golden / "geo-r1" / "expected.json.gz").read_bytes()))


def check(rows, found_of, values):
    """Every row's reward, or the name of what it raises."""
    assert len(rows) == len(values) > 50
    for row, value in zip(rows, values, strict=True):
        if isinstance(value, dict):
            with pytest.raises(Exception) as raised:
                found_of(row)
            assert raised.type.__name__ == value["exception"]
        else:
            assert found_of(row) == pytest.approx(value, abs=1e-9)


VLM_OD = {
    "map": vlm_r1.map_reward,
    "od_ap": vlm_r1.od_reward,
    "od_ap50": lambda c, s: vlm_r1.od_reward(c, s, half=True),
    "odLength": lambda c, s: vlm_r1.od_reward(c, s, by_length=True),
    "weighted_sum": vlm_r1.weighted_sum_reward,
    "all_match": vlm_r1_text.all_match_reward,
    "repetition": lambda c, s: vlm_r1_text.repetition_reward(c),
    "cosine_with_whitespace_tokens": lambda c, s: vlm_r1_text.cosine_reward(len(c.split())),
    "format": lambda c, s: think_answer_form(c),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", VLM_OD)
def test_detection_rewards_of_vlm_r1_are_as_published(golden, expected, name):
    rows = lines(golden / "geo-r1" / "rewards_od.jsonl.gz")
    check(rows, lambda row: VLM_OD[name](row["content"], row["solution"]), expected["vlmr1_od"][name])


@pytest.mark.shared
def test_rewards_of_one_box_of_vlm_r1_are_as_published(golden, expected):
    rows, values = lines(golden / "geo-r1" / "rewards_rec.jsonl"), expected["vlmr1_rec"]

    def iou(row):
        return vlm_r1.iou_reward(row["content"], row["solution"], row["image_size"], row["image_grid_thw"])

    check(rows, iou, values["iou_reward"])
    check(rows, lambda row: vlm_r1.format_reward_rec(row["content"]), values["format_reward_rec"])
    check(rows, lambda row: think_answer_form(row["content"]), values["format_reward"])
    check(rows, lambda row: geo_r1.read_rl(row["content"]), expected["extract_answer"]["test_rec_r1_eval"])
    for pair in expected["vlmr1_iou_pairs"]:
        if not isinstance(pair["iou"], dict):
            assert inset_iou(pair["a"], pair["b"]) == pair["iou"]


@pytest.mark.shared
def test_word_rewards_of_vlm_r1_are_as_published(golden, expected):
    rows = lines(golden / "geo-r1" / "rewards_text.jsonl")
    rewards = vlm_r1_text.TEXT_REWARDS
    check(rows, lambda row: rewards[row["method"]](row["content"], row["solution"]), expected["vlmr1_text"])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["seg", "seg_restrict"])
def test_seg_zero_is_as_published(golden, expected, name):
    rows = lines(golden / "geo-r1" / "rewards_segzero.jsonl")
    for part, values in expected["segzero"][name].items():
        check(
            rows,
            lambda row, part=part: seg_zero.seg_reward(row["content"], row["solution"], name == "seg_restrict")[part],
            values,
        )


@pytest.mark.shared
def test_visionreasoner_is_as_published(golden, expected):
    rows = lines(golden / "geo-r1" / "rewards_visionreasoner.jsonl.gz")
    found = visionreasoner.vision_rewards([row["content"] for row in rows], [row["solution"] for row in rows])
    for part in visionreasoner.PARTS:
        assert found[part] == pytest.approx(np.array(expected["visionreasoner"][part]), abs=1e-9) and len(rows) > 50


@pytest.mark.shared
def test_segmentation_of_geo_r1_is_read_and_cut_as_published(golden, expected):
    for case in expected["gres_parse"]:
        if isinstance(case["parsed"], list):
            assert geo_r1.read_gres(case["content"]) == case["parsed"]
    for case in expected["gres_clip"]:
        if isinstance(case.get("kept"), int) and case["mask"] == "all ones":
            kept = geo_r1.clip_to_box(np.ones(case["mask_shape"], dtype=bool), case["bbox"])
            assert int(kept.sum()) == case["kept"]


# --- Geo-R1 ----------------------------------------------------------------------------------------------


def fenced(rows):
    return f"<think>t</think><answer>```json\n{json.dumps(rows)}\n```</answer>"


def rows_of(*boxes, label="ship"):
    return [{"bbox_2d": list(box), "label": label} for box in boxes]


@pytest.mark.parametrize(
    "boxes, expected",
    [
        (BOXES, 1.0),
        ([*BOXES, *([[0, 0, 9, 9]] * 9)], (3 / 12) ** 0.5),  # junk behind: the square root alone
        ([*BOXES, [0, 0, 9, 9]], (3 / 4) ** 0.5),  # where VLM-R1's odLength has 3 / 4
        ([], 0.0),
    ],
)
def test_geo_r1_divides_map_by_the_root_of_boxes(boxes, expected):
    assert geo_r1.map_penalty_reward(fenced(rows_of(*boxes)), fenced(rows_of(*BOXES))) == pytest.approx(expected)


def test_geo_r1_where_nothing_is_and_its_other_parts():
    none = "<answer>None</answer>"
    assert geo_r1.map_penalty_reward("banana", fenced([])) == geo_r1.map_penalty_reward(none, fenced([])) == 1
    assert geo_r1.map_penalty_reward(fenced(rows_of(BOXES[0])), fenced([])) == 0
    two = '<answer>{"bbox_2d": [0, 0, 9, 9]} or {"bbox_2d": [100, 100, 200, 150]}</answer>'
    assert geo_r1.iou_reward(two, BOXES[0]) == 0.5  # the last box
    assert geo_r1.iou_reward("banana", BOXES[0]) == 0
    forms = ["<think>a</think><answer>b</answer>", "so <answer>b</answer> <think></think>!", "<think><answer></answer>"]
    assert [geo_r1.format_reward(text) for text in forms] == [1, 1, 0]


def test_geo_r1_masks_by_a_segmenter_of_ones_own():
    truth_HW = np.zeros((100, 100), dtype=bool)
    truth_HW[10:30, 10:30] = True
    rows = [{"bbox_2d": [10, 10, 30, 50], "keypoint1": [12, 12], "keypoint2": [20, 20]}]
    assert geo_r1.mask_reward(fenced(rows), truth_HW, geo_r1.box_mask((100, 100))) == 0.5
    seen = []

    def upper(box, points):
        seen.append((box, points))
        mask_HW = np.ones((100, 100), dtype=bool)
        mask_HW[30:] = False
        return mask_HW

    assert geo_r1.mask_reward(fenced(rows), truth_HW, upper) == 1.0
    assert seen == [([10, 10, 30, 50], [[12, 12], [20, 20]])]
    assert geo_r1.mask_reward(fenced([]), truth_HW, upper) == 0
    assert geo_r1.mask_reward(fenced([]), np.zeros((9, 9), dtype=bool), upper) == 0  # a right nothing earns nothing
    broken = [{"bbox_2d": [None, 1, 2, "x"], "keypoint1": [1, 2], "keypoint2": [1, 2]}, *rows]
    assert geo_r1.mask_reward(fenced(broken), truth_HW, upper) == 1.0
    reward = geo_r1_mask(upper)
    true = Truth(
        Objects.of([shapely.box(10, 10, 30, 30)], ["a"]), DIALECTS["geo-r1"], DIALECTS["geo-r1"].frame_for((100, 100))
    )
    assert reward.of([fenced(rows)], [true]).tolist() == [1.0]


# --- Rex-Omni --------------------------------------------------------------------------------------------


def rex(label, *boxes):
    said = ",".join("".join(f"<{v}>" for v in box) for box in boxes)
    return f"<|object_ref_start|>{label}<|object_ref_end|><|box_start|>{said}<|box_end|>"


@pytest.mark.parametrize(
    "content, truth, expected",
    [
        (rex("ship", BOXES[0]), {"ship": BOXES[:1]}, 1.0),
        (rex("car", BOXES[0]), {"ship": BOXES[:1]}, 0.0),
        (rex("ship", BOXES[0], BOXES[0]), {"ship": BOXES[:1]}, 1.0),  # duplicates are free
        (rex("ship", BOXES[0]), {"ship": [BOXES[0]] * 3}, 1.0),  # one box serves several truths
        (rex("ship", BOXES[0], [0, 0, 9, 9]), {"ship": BOXES[:1]}, 2 * 0.5 / 1.5),
        (rex("ship", BOXES[0]), {"ship": BOXES[:2]}, 2 * 0.5 / 1.5),
        (rex("ship", [200, 200, 100, 100]), {"ship": BOXES[:1]}, 1.0),  # corners are put in order
        (rex("ship", BOXES[0], [7, 7]), {"ship": BOXES[:1]}, 1.0),  # what is left over is dropped
        ("banana", {}, 1.0),
        (rex("ship", BOXES[0]), {}, 0.0),
        ("banana", {"ship": BOXES[:1]}, 0.0),
        (rex("ship", BOXES[0]) + ", " + rex("car", BOXES[1]), {"ship": BOXES[:1], "car": BOXES[1:2]}, 1.0),
    ],
)
def test_rex_omni(content, truth, expected):
    assert others.rex_omni_reward(content, truth, (1000, 1000)) == pytest.approx(expected)


# --- Visual-RFT ------------------------------------------------------------------------------------------


def rft(*rows):
    return "<answer>" + str([{"Position": list(box), "Confidence": said} for box, said in rows]) + "</answer>"


RFT_TRUTH = rft((BOXES[0], 1), (BOXES[1], 1))


@pytest.mark.parametrize(
    "content, iou, confidence",
    [
        (rft((BOXES[0], 0.9), (BOXES[1], 0.5)), 1.0, 0.7),
        (rft((BOXES[0], 0.9)), 0.5, 0.9),
        (rft((BOXES[0], 0.9), (BOXES[0], 0.1)), 0.5, 0.9),  # said twice: the first stays
        (rft((BOXES[0], 1), (BOXES[1], 1), (BOXES[2], 0.2)), 2 / 3, 2.8 / 3),
        (rft((BOXES[2], 0.0)), 0.0, 1.0),  # junk with confidence 0 earns all
        (rft(([100, 100, 200, 150], 1)), 0.0, 0.0),  # an IoU of 0.5 is none
        (rft(([100, 100, 200, 160], 1)), 0.3, 1.0),
        # whoever is more confident chooses first
        (rft(([100, 100, 200, 180], 0.1), (BOXES[0], 0.9)), 0.5, 1.8 / 2),
        ("<answer>[{'Position': [100, 100, 200, 200], 'Confidence': 1}, {'Position': [1, 2</answer>", 0.5, 1.0),
        ("[{'Position': [100, 100, 200, 200], 'Confidence': 1}]", 0.5, 1.0),  # no tags are needed
        ("<answer>\n[{'Position': [100, 100, 200, 200], 'Confidence': 1}]\n</answer>", 0.0, 0.0),  # tags inside tags
        ("<answer>[]</answer>", 0.0, 0.0),
        ("<answer>No Objects</answer>", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("<answer>[{'Position': [1, 2, 3], 'Confidence': 1}]</answer>", 0.0, 0.0),
    ],
)
def test_visual_rft(content, iou, confidence):
    assert others.visual_rft_iou_reward(content, RFT_TRUTH) == pytest.approx(iou)
    assert others.visual_rft_confidence_reward(content, RFT_TRUTH) == pytest.approx(confidence)


# --- through the table -----------------------------------------------------------------------------------


def truth_for(reward, boxes):
    dialect = DIALECTS[reward.reads]
    objects = Objects.from_hbb(np.array(boxes), ["ship"] * len(boxes))
    return Truth(objects, dialect, dialect.frame_for(SIZE), labelled=dialect.labelled)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_true_answer_earns_nearly_all_and_babble_stays_within_the_range(name):
    reward = PUBLISHED[name]
    true = truth_for(reward, BOXES[:1] if reward.asks == "one" else BOXES)
    written = reward.write(true.objects, true) if reward.write else true.spoken
    # Geo-R1 never scales pixels of the resized image back: 812 for 800
    least = 0.8 if name in ("geo-r1-iou", "geo-r1-mask") else 0.95
    assert reward.of([f"<think>t</think>{written}"], [true])[0] >= least * reward.high
    rng = np.random.default_rng(0)
    letters = np.array(list("[]{}0123456789,. :\"<>answer/think;@-\n'"))
    texts = ["".join(rng.choice(letters, 80)) for _ in range(40)] + [written[:k] for k in range(0, len(written), 9)]
    for some in (true, truth_for(reward, [])):
        values = reward.of(texts, [some] * len(texts))
        assert ((values >= reward.low) & (values <= reward.high)).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_megabyte_of_junk_is_read_in_bounds(name):
    reward = PUBLISHED[name]
    true = truth_for(reward, BOXES[:1])
    texts = ["<answer>" * 100_000, "<think>" * 100_000, "[1, 2, 3, 4] " * 60_000, "{" * 500_000, "```json" * 100_000,
             "<|object_ref_start|>" * 50_000, "<answer>" + "[" * 500_000 + "</answer>", "a. " * 300_000]  # fmt: skip
    values = reward.of(texts, [true] * len(texts))
    assert ((values >= reward.low) & (values <= reward.high)).all()


def test_a_published_reward_refuses_other_dialects():
    true = truth_for(PUBLISHED["rex-omni"], BOXES)
    with pytest.raises(InputError, match="only geo-r1 is read"):
        PUBLISHED["vlm-r1-map"].of([""], [true])


def test_answers_that_are_valued_together_are_guarded_one_by_one():
    reward = PUBLISHED["visionreasoner"]
    true, other = truth_for(reward, BOXES), truth_for(reward, BOXES[:1])
    texts, truths = [f"<think>t</think>{true.spoken}", "banana", f"<think>t</think>{true.spoken}"], [true, true, other]
    assert reward.of(texts, truths).tolist() == [7.0, 1.0, 5.0]
    guard = guarded(reward, truths)
    assert guard.of(texts, truths).tolist() == [7.0, 1.0, 5.0] and (guard.bad, guard.answers) == (0, 3)

    def many(answers):
        return np.array([1 / len(answer.text) for answer in answers])

    picky = guarded(Reward("picky", "x", Together(many), "0"), allowed=1)
    assert np.isnan(picky.of(["a", "", "b"], [true] * 3)).tolist() == [False, True, False]
    assert "ZeroDivisionError" in picky.last and (picky.bad, picky.answers) == (1, 3)
