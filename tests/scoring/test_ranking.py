"""Intervals of average precision, COCO's table beside pycocotools, and mAP_nc by hand."""

from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest

from georefer.geometry import hbb_ioa, hbb_iou
from georefer.scoring.detection import COCO_THRESHOLDS, Ranked, mean_average_precision
from georefer.scoring.ranking import (
    COCO_SIZES,
    CocoImage,
    coco_scores,
    estimate_average_precision,
    unranked_average_precision,
)

# --- intervals -------------------------------------------------------------------------------------------


def image_part(rng, thresholds=COCO_THRESHOLDS, ties=False):
    """Predictions of one image, some right, some ignored at some thresholds."""
    count = int(rng.integers(0, 6))
    hits_LP = rng.random((len(thresholds), count)) < 0.5
    ignored_LP = ~hits_LP & (rng.random((len(thresholds), count)) < 0.2)
    scores_P = rng.integers(0, 3, count) if ties else rng.random(count)
    return Ranked(scores_P.astype(float), hits_LP, ignored_LP, int(rng.integers(count, 8)))


@pytest.mark.parametrize("ties", ["expected", "given"])
@pytest.mark.parametrize("method", ["voc11", "area", "coco101"])
def test_the_value_and_every_draw_are_those_of_the_images_pooled_anew(method, ties):
    rng = np.random.default_rng(3)
    classes = {name: [image_part(rng, (0.5, 0.75), ties=ties == "expected") for _ in range(6)] for name in "ab"}
    found = estimate_average_precision(classes, list("uvwxyz"), method=method, ties=ties, draws=40, seed=7)
    assert found.value == pytest.approx(mean_average_precision(classes, method=method, ties=ties), abs=1e-12)
    again = np.random.default_rng(7)
    drawn_DC = [np.bincount(again.integers(0, 6, 6), minlength=6) for _ in range(40)]
    anew = [
        mean_average_precision(
            {name: [part for part, n in zip(parts, drawn_C, strict=True) for _ in range(n)]
             for name, parts in classes.items()}, method=method, ties=ties,
        )
        for drawn_C in drawn_DC
    ]  # fmt: skip
    assert [found.low, found.high] == pytest.approx(np.nanquantile(anew, [0.025, 0.975]), abs=1e-12)


def test_images_of_one_scene_are_drawn_together():
    rng = np.random.default_rng(0)
    good = Ranked.judged([0.9] * 4, [True] * 4, 4)
    bad = Ranked.judged([0.9] * 4, [False] * 4, 4)
    parts = [good if rng.random() < 0.5 else bad for _ in range(20) for _ in [0]]
    parts = [part for part in parts for _ in range(5)]
    widths = {}
    for name, images in (("scene", [str(i // 5) for i in range(100)]), ("image", [str(i) for i in range(100)])):
        found = estimate_average_precision({"a": parts}, images, draws=300)
        widths[name] = found.high - found.low
    assert widths["scene"] > 1.6 * widths["image"]


def test_the_interval_holds_the_value_and_shrinks_with_images():
    rng = np.random.default_rng(1)
    widths = []
    for count in (20, 320):
        parts = [image_part(rng, (0.5,)) for _ in range(count)]
        found = estimate_average_precision({"a": parts}, [str(i) for i in range(count)], draws=300)
        assert found.low <= found.value <= found.high
        widths.append(found.high - found.low)
    assert 2.2 < widths[0] / widths[1] < 8  # 4, give or take


def test_most_intervals_hold_the_average_precision_of_the_whole_population():
    rng = np.random.default_rng(6)

    def drawn(count):
        parts = []
        for _ in range(count):
            truths = int(rng.poisson(4)) + 1
            hits = rng.binomial(truths, 1 / (1 + np.exp(-rng.normal())))  # each image has a difficulty of its own
            false = int(rng.poisson(2))
            scores_P = np.concatenate([rng.normal(1.5, 1, hits), rng.normal(0, 1, false)])
            parts.append(Ranked.judged(scores_P, [True] * hits + [False] * false, truths))
        return parts

    truth = mean_average_precision({"a": drawn(20_000)})
    held = 0
    for _ in range(100):
        found = estimate_average_precision({"a": drawn(60)}, [str(i) for i in range(60)], draws=150)
        held += found.low <= truth <= found.high
    assert 85 <= held <= 99


def test_a_class_without_truths_does_not_count_and_none_at_all_is_nan():
    parts = [Ranked.judged([0.5], [True], 1), Ranked.judged([], [], 0)]
    nowhere = [Ranked.judged([0.9], [False], 0)] * 2
    found = estimate_average_precision({"a": parts, "b": nowhere}, ["x", "y"], draws=50)
    # draws of the second image alone have nothing to find and are left out
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert math.isnan(estimate_average_precision({"b": nowhere}, ["x", "y"]).value)


def test_parts_that_are_not_one_an_image_are_refused():
    with pytest.raises(ValueError, match="one of each image"):
        estimate_average_precision({"a": [Ranked.judged([], [], 0)]}, ["x", "y"])


# --- COCO ------------------------------------------------------------------------------------------------


def coco_set(rng, images=10, classes=3):
    """COCO truth with crowds, areas that are not those of boxes, and more than 100 predictions in an image."""
    annotations, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 9)):
            side = float(rng.choice([12, 32, 60, 96, 150]))  # 32 and 96: on the edges of the sizes
            x, y, w, h = *rng.integers(0, 200, 2).tolist(), side, side * float(rng.choice([1, 1, 1.5]))
            area = w * h * float(rng.choice([1, 1, 0.6]))
            category = int(rng.integers(1, classes + 1))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": [x, y, w, h],
                 "area": area, "iscrowd": int(rng.random() < 0.15)}
            )  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                moved = np.array([x, y, w, h]) + rng.normal(0, 0.05 * side, 4)
                predictions.append((image, category, [*moved[:2], *np.maximum(moved[2:], 1)]))
        for _ in range(140 if image == 1 else 4):
            predictions.append((image, int(rng.integers(1, 3)), [*rng.uniform(0, 200, 2), *rng.uniform(4, 150, 2)]))
    rows = [
        {"image_id": image, "category_id": category, "bbox": [float(v) for v in box],
         "score": round(float(rng.random()), 2)}
        for image, category, box in predictions
    ]  # fmt: skip
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, classes + 2)]  # the last is never there
    sizes = [{"id": i, "width": 400, "height": 400} for i in range(1, images + 1)]
    return {"images": sizes, "annotations": annotations, "categories": categories}, rows


def corners(rows):
    boxes_N4 = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    return np.column_stack([boxes_N4[:, :2], boxes_N4[:, :2] + boxes_N4[:, 2:]])


def coco_classes(truth, predictions):
    classes = {}
    for category in truth["categories"]:
        images = []
        for image in truth["images"]:
            here = {"image_id": image["id"], "category_id": category["id"]}
            truths, found = (
                [row for row in rows if here.items() <= row.items()] for rows in (truth["annotations"], predictions)
            )
            crowd_T = np.array([row["iscrowd"] == 1 for row in truths], dtype=bool)
            said_P4, true_T4 = corners(found), corners(truths)
            iou_PT = np.where(crowd_T, hbb_ioa(said_P4, true_T4), hbb_iou(said_P4, true_T4))
            areas_P = np.array([row["bbox"][2] * row["bbox"][3] for row in found], dtype=np.float64)
            areas_T = np.array([row["area"] for row in truths], dtype=np.float64)
            images.append(CocoImage(iou_PT, np.array([row["score"] for row in found]), areas_P, areas_T, crowd_T))
        classes[category["name"]] = images
    return classes


@pytest.mark.parametrize("seed", range(6))
def test_all_twelve_numbers_equal_pycocotools(seed):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    truth, predictions = coco_set(np.random.default_rng(seed))
    with contextlib.redirect_stdout(io.StringIO()):
        index = coco.COCO()
        index.dataset = json.loads(json.dumps(truth))
        index.createIndex()
        theirs = cocoeval.COCOeval(index, index.loadRes(json.loads(json.dumps(predictions))), "bbox")
        theirs.evaluate(), theirs.accumulate(), theirs.summarize()
    ours = coco_scores(coco_classes(truth, predictions))
    assert len({round(value, 6) for value in ours.values()}) >= 9  # a set that tells the numbers apart
    assert list(ours.values()) == pytest.approx(theirs.stats.tolist(), abs=1e-12)


def one_image(sides_P, sides_T, pairs):
    iou_PT = np.zeros((len(sides_P), len(sides_T)))
    for prediction, truth, iou in pairs:
        iou_PT[prediction, truth] = iou
    areas_P, areas_T = np.square(np.array(sides_P, float)), np.square(np.array(sides_T, float))
    return CocoImage(iou_PT, np.linspace(0.9, 0.5, len(sides_P)), areas_P, areas_T, np.zeros(len(sides_T), dtype=bool))


def test_sizes_by_hand():
    # a small one found, a large one missed; a false medium one, and a false small one ranked last
    scores = coco_scores({"a": [one_image([20, 50, 15], [20, 200], [(0, 0, 0.99)])]})
    assert scores["APsmall"] == 1 and scores["ARsmall"] == 1
    assert scores["APlarge"] == 0 and math.isnan(scores["APmedium"])
    assert scores["AR1"] == scores["AR100"] == 0.5
    assert scores["AP50"] == pytest.approx(51 / 101)


def test_a_small_prediction_that_finds_a_large_truth_is_ignored_among_the_small():
    image = one_image([30, 20], [33, 20], [(0, 0, 0.8), (1, 1, 0.9)])
    part = image.ranked((0.5,), size=COCO_SIZES["small"])
    assert part.ignored_LP.tolist() == [[True, False]]
    assert part.hits_LP.tolist() == [[False, True]] and part.truths == 1


def test_the_limit_keeps_the_first_before_sizes_are_told_apart():
    image = one_image([100, 20], [20], [(1, 0, 0.9)])
    assert not image.ranked((0.5,), size=COCO_SIZES["small"], limit=1).hits_LP.any()
    assert image.ranked((0.5,), size=COCO_SIZES["small"], limit=2).hits_LP.any()


# --- without confidences ---------------------------------------------------------------------------------


def test_unranked_is_precision_times_recall_of_each_class():
    two_of_three = np.array([[0.9, 0, 0, 0], [0, 0.8, 0, 0], [0, 0, 0, 0]])  # P 2/3, R 2/4
    all_of_one = np.array([[0.7]])
    found = unranked_average_precision({"a": [(two_of_three, None)], "b": [(all_of_one, None)]})
    assert found.value == pytest.approx((2 / 3 * 2 / 4 + 1) / 2)
    assert found.cutoff is None


def test_the_order_of_an_answer_and_junk_after_it_gain_nothing():
    rng = np.random.default_rng(0)
    iou_PT = np.where(np.eye(12, 8) > 0, 0.9, 0.0)
    values = set()
    for _ in range(10):
        values.add(round(unranked_average_precision({"a": [(rng.permutation(iou_PT), None)]}).value, 12))
    assert values == {round(8 / 12, 12)}
    junk = np.vstack([iou_PT, np.zeros((188, 8))])
    assert unranked_average_precision({"a": [(junk, None)]}).value == pytest.approx(8 / 200)


def test_a_detector_gets_its_best_cutoff_for_all_classes_together():
    iou_PT, scores_P = np.array([[0.9, 0.0], [0.0, 0.9], [0.0, 0.0]]), np.array([0.6, 0.42, 0.3])
    found = unranked_average_precision({"a": [(iou_PT, scores_P)]})
    assert (found.value, found.cutoff) == (1.0, 0.35)  # the lowest of 0.35 and 0.4, which are alike
    other = (np.array([[0.9]]), np.array([0.2]))
    found = unranked_average_precision({"a": [(iou_PT, scores_P)], "b": [other]})
    assert (found.value, found.cutoff) == ((pytest.approx((2 / 3 + 1) / 2)), 0.1)


def test_unranked_without_truths_is_nan():
    assert math.isnan(unranked_average_precision({"a": [(np.zeros((2, 0)), None)]}).value)
    assert math.isnan(unranked_average_precision({}).value)
