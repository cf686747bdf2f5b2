"""Detection metrics against hand-computed cases, pycocotools, and the published scorers of Geo-R1."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from georefer.geometry import hbb_ioa, hbb_iou
from georefer.scoring.detection import (
    COCO_THRESHOLDS,
    COUNTING,
    PRESENCE,
    Ranked,
    average_precision,
    count_matches_at,
    counting_row,
    detection_ratios,
    iou_ratios,
    iou_row,
    mean_average_precision,
    pair_ious,
    prediction_ious,
    presence_row,
    size_stratum,
    truth_ious,
)
from georefer.scoring.greedy import (
    IGNORED,
    match_by_overlap,
    match_coco,
    match_unranked,
    match_voc,
    ranked_match,
    within_class,
)
from georefer.scoring.matching import match_optimal

METHODS = ("voc11", "area", "coco101")


def value(ratio, rows):
    top_R, bottom_R = ratio.terms(rows)
    return top_R.sum() / bottom_R.sum()


# --- precision, recall, F1, mean IoU ---------------------------------------------------------------------


def test_counts_at_thresholds_by_hand():
    iou_PT = np.array([[0.92, 0.0, 0.0], [0.0, 0.6, 0.0]])
    row = count_matches_at(iou_PT, (0.5, 0.75))
    assert (row["tp@0.5"], row["fp@0.5"], row["fn@0.5"]) == (2, 0, 1)
    assert (row["tp@0.75"], row["fp@0.75"], row["fn@0.75"]) == (1, 1, 2)
    ratios = detection_ratios((0.5, 0.75))
    assert value(ratios["precision@mean"], [row]) == pytest.approx((1 + 1 / 2) / 2)
    assert value(ratios["recall@mean"], [row]) == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert value(ratios["f1@mean"], [row]) == pytest.approx((4 / 5 + 2 / 5) / 2)


def test_the_ratio_of_mean_counts_is_the_mean_of_the_ratios():
    rng = np.random.default_rng(0)
    rows = [count_matches_at(rng.random(rng.integers(0, 7, 2))) for _ in range(30)]
    ratios = detection_ratios()
    for name in ("precision", "recall", "f1"):
        each = [value(ratios[f"{name}@{threshold:g}"], rows) for threshold in COCO_THRESHOLDS]
        assert value(ratios[f"{name}@mean"], rows) == pytest.approx(np.mean(each))


def test_f1_over_all_thresholds_greedy_and_optimal_within_classes_and_across():
    # prediction 0 overlaps truth 0 most, but prediction 1 reaches no other, and truth 1 would do for 0
    iou_PT = np.array([[0.9, 0.7, 0.0], [0.8, 0.0, 0.0], [0.0, 0.0, 0.97]])
    labels_P, labels_T = ["ship", "ship", "ship"], ["ship", "ship", "plane"]
    rules = {"optimal": match_optimal, "greedy": match_by_overlap, "ranked": ranked_match(np.array([0.9, 0.8, 0.7]))}
    across = {name: count_matches_at(iou_PT, match=rule) for name, rule in rules.items()}
    within = {
        name: count_matches_at(within_class(iou_PT, labels_P, labels_T), match=rule) for name, rule in rules.items()
    }
    assert [across[name]["tp@0.5"] for name in rules] == [3, 2, 2]
    assert [within[name]["tp@0.5"] for name in rules] == [2, 1, 1]
    ratios = detection_ratios()
    # optimal across: 3 of 3 up to 0.7, then 2 up to 0.9 (0.75-0.9: one ship and the plane), then the plane alone
    assert value(ratios["f1@mean"], [across["optimal"]]) == pytest.approx((5 * 3 + 4 * 2 + 1) / 10 / 3)
    assert value(ratios["f1@mean"], [across["greedy"]]) == pytest.approx((9 * 2 + 1) / 10 / 3)
    assert value(ratios["f1@mean"], [within["greedy"]]) == pytest.approx(9 * 1 / 10 / 3)


def test_counts_leave_out_ignored_predictions():
    row = count_matches_at(np.array([[0.9], [0.0]]), (0.5,), lambda iou_PT, threshold: np.array([0, IGNORED]))
    assert (row["tp@0.5"], row["fp@0.5"], row["fn@0.5"]) == (1, 0, 0)


def test_three_mean_ious_by_hand():
    iou_PT = np.array([[0.8, 0.3, 0.0], [0.6, 0.0, 0.0]])
    matched_P = match_optimal(iou_PT, 0.5)
    assert truth_ious(iou_PT, matched_P).tolist() == [0.8, 0.0, 0.0]
    assert truth_ious(iou_PT).tolist() == [0.8, 0.3, 0.0]
    assert prediction_ious(iou_PT, matched_P).tolist() == [0.8, 0.0]
    assert prediction_ious(iou_PT).tolist() == [0.8, 0.6]
    assert pair_ious(iou_PT, matched_P).tolist() == [0.8]
    rows = [iou_row(truth_ious(iou_PT), (0.3, 0.5))]
    assert value(iou_ratios()["miou"], rows) == pytest.approx(1.1 / 3)
    assert value(iou_ratios((0.3,))["acc@0.3"], rows) == pytest.approx(2 / 3)


def test_mean_ious_of_nothing():
    assert truth_ious(np.zeros((0, 2))).tolist() == [0, 0]
    assert prediction_ious(np.zeros((2, 0))).tolist() == [0, 0]
    assert iou_row(pair_ious(np.zeros((0, 0)), np.zeros(0, dtype=int))) == {"ious": 0, "iou_sum": 0, "iou_hits@0.5": 0}


# --- average precision -----------------------------------------------------------------------------------


def test_average_precision_by_hand():
    # hit, miss, hit of 4 truths: precision 1 up to recall 1/4, 2/3 up to 1/2, then 0
    given_ = ([0.9, 0.8, 0.7], [True, False, True], 4)
    assert average_precision(*given_, method="area") == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(*given_, method="voc11") == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)
    assert average_precision(*given_, method="coco101") == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", ["expected", "given"])
def test_average_precision_at_its_ends(method, ties):
    ap = partial(average_precision, method=method, ties=ties)
    assert ap(np.linspace(1, 0, 30), np.ones(30, dtype=bool), 30) == pytest.approx(1)
    assert ap(np.ones(30), np.ones(30, dtype=bool), 30) == pytest.approx(1)
    assert ap(np.ones(30), np.zeros(30, dtype=bool), 30) == 0
    assert ap([], [], 3) == 0
    assert np.isnan(ap([0.5], [False], 0))


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="coco101"):
        average_precision([1.0], [True], 1, method="coco100")


cases = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30)


@given(cases, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_expected_ties_lie_within_range_and_depend_on_no_order(case, missed, random):
    truths = max(1, sum(hit for _, hit in case) + missed)
    shuffled = case.copy()
    random.shuffle(shuffled)
    for method in METHODS:
        first, second = (
            average_precision([s for s, _ in rows], [h for _, h in rows], truths, method=method)
            for rows in (case, shuffled)
        )
        assert 0 <= first <= 1 + 1e-12
        assert first == pytest.approx(second, abs=1e-12)


@given(cases, st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_without_ties_both_tie_rules_agree(case, missed):
    hits_P, scores_P = [hit for _, hit in case], np.random.default_rng(len(case)).permutation(len(case))
    for method in METHODS:
        both = {
            average_precision(scores_P, hits_P, sum(hits_P) + missed + 1, method=method, ties=ties)
            for ties in ("expected", "given")
        }
        assert len(both) == 1


def test_expected_ties_are_means_over_all_orders():
    scores_P, hits_P = np.array([3, 2, 2, 2, 2, 1]), np.array([1, 1, 0, 0, 1, 1], dtype=bool)
    curves = []
    for order in permutations(range(1, 5)):
        found_R = np.cumsum(hits_P[[0, *order, 5]])
        curves.append(found_R / np.arange(1, 7))
    mean_R = np.mean(curves, axis=0)
    expected_R = np.array([1, 1.5, 2, 2.5, 3, 4]) / np.arange(1, 7)
    assert mean_R == pytest.approx(expected_R)
    envelope_R = np.maximum.accumulate(expected_R[::-1])[::-1]
    area = np.sum(np.diff([0, 1, 1.5, 2, 2.5, 3, 4]) / 5 * envelope_R)
    assert average_precision(scores_P, hits_P, 5, method="area") == pytest.approx(area)


def test_expected_ties_are_at_most_the_mean_over_orders():
    rng = np.random.default_rng(2)
    for _ in range(20):
        scores_P, hits_P = rng.integers(0, 3, 20), rng.random(20) < 0.5
        orders = [rng.permutation(20) for _ in range(300)]
        drawn = [average_precision(scores_P[o], hits_P[o], 12, method="area", ties="given") for o in orders]
        error = 4 * np.std(drawn) / np.sqrt(len(drawn))
        assert average_precision(scores_P, hits_P, 12, method="area") <= np.mean(drawn) + error


def test_without_confidences_the_area_is_precision_times_recall():
    hits_P = np.array([1] * 6 + [0] * 14, dtype=bool)
    assert average_precision(np.ones(20), hits_P, 10, method="area") == pytest.approx(6 / 20 * 6 / 10)
    # the order of a file would give anything between
    assert average_precision(np.ones(20), hits_P, 10, method="area", ties="given") == pytest.approx(0.6)
    assert average_precision(np.ones(20), hits_P[::-1], 10, method="area", ties="given") == pytest.approx(0.18)


@pytest.mark.parametrize("method", METHODS)
def test_without_confidences_no_order_decides_even_with_duplicates(method):
    rng = np.random.default_rng(5)
    # 0 and 1 fit truth 0, but only 1 fits truth 1: greedy matching finds one or both by their order
    iou_PT = np.array([[0.6, 0.0], [0.7, 0.6], [0.0, 0.0], [0.6, 0.0]])
    greedy, unranked = set(), set()
    for _ in range(20):
        order = rng.permutation(4)
        for match, found in ((match_coco, greedy), (match_unranked, unranked)):
            part = Ranked.of_image(iou_PT[order], np.ones(4), (0.5,), match=match)
            found.add(round(float(part.average_precisions(method=method)[0]), 12))
    assert len(greedy) == 2
    assert len(unranked) == 1


def test_the_mean_is_over_classes_with_truths():
    classes = {
        "ship": [Ranked.judged([0.9], [True], 1), Ranked.judged([], [], 1)],
        "plane": [Ranked.judged([0.5], [True], 1)],
        "bridge": [Ranked.judged([0.5], [False], 0)],
    }
    assert mean_average_precision(classes, method="area") == pytest.approx((0.5 + 1) / 2)
    assert np.isnan(mean_average_precision({"bridge": classes["bridge"]}))


def test_of_image_keeps_the_best_and_leaves_out_the_ignored():
    iou_PT = np.array([[0.0, 0.9], [0.9, 0.0], [0.0, 0.0]])
    scores_P = np.array([0.2, 0.9, 0.5])
    part = Ranked.of_image(iou_PT, scores_P, (0.5,), limit=2, ignored_T=np.array([True, False]))
    assert part.scores_P.tolist() == [0.9, 0.5]
    assert part.ignored_LP.tolist() == [[True, False]]
    assert not part.hits_LP.any()
    assert part.truths == 1
    empty = Ranked.of_image(np.zeros((0, 3)), np.zeros(0))
    assert (empty.hits_LP.shape, empty.truths) == ((10, 0), 3)


# --- beside the field's own code -------------------------------------------------------------------------


def boxes_of(rows):
    boxes_N4 = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes_N4[:, 2:] += boxes_N4[:, :2]
    return boxes_N4


def ranked_by_class(truth, predictions, thresholds, match, images, *, crowds=True, limit=None):
    """{class: [Ranked of each image]} of COCO annotations and predictions."""
    classes = {}
    for category in truth["categories"]:
        parts = []
        for image in images:
            here = {"image_id": image, "category_id": category["id"]}
            truths, found = (
                [row for row in rows if here.items() <= row.items()] for rows in (truth["annotations"], predictions)
            )
            boxes_P4, boxes_T4 = boxes_of(found), boxes_of(truths)
            iou_PT, how, ignored_T = hbb_iou(boxes_P4, boxes_T4), match, None
            if crowds:
                ignored_T = np.array([row.get("iscrowd", 0) == 1 for row in truths], dtype=bool)
                iou_PT = np.where(ignored_T, hbb_ioa(boxes_P4, boxes_T4), iou_PT)
                how = partial(match, crowd_T=ignored_T)
            scores_P = np.array([row["score"] for row in found])
            parts.append(Ranked.of_image(iou_PT, scores_P, thresholds, match=how, ignored_T=ignored_T, limit=limit))
        classes[category["name"]] = parts
    return classes


def random_set(rng, images=12):
    """COCO annotations with crowds, and predictions with ties, misses and duplicates."""
    annotations, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 8)):
            x, y, w, h = rng.integers(0, 60, 2).tolist() + rng.integers(5, 40, 2).tolist()
            category, crowd = int(rng.integers(1, 4)), int(rng.random() < 0.15)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": [x, y, w, h],
                 "area": w * h, "iscrowd": crowd}
            )  # fmt: skip
            for _ in range(rng.integers(0, 3)):
                box = (np.array([x, y, w, h]) + rng.integers(-3, 4, 4)).tolist()
                box[2:] = [max(1, side) for side in box[2:]]
                predictions.append(
                    {"image_id": image, "category_id": category if rng.random() < 0.8 else 1, "bbox": box,
                     "score": round(float(rng.random()), 1)}
                )  # fmt: skip
    categories = [{"id": i, "name": f"class {i}"} for i in (1, 2, 3, 4)]
    sizes = [{"id": i, "width": 100, "height": 100} for i in range(1, images + 1)]
    return {"images": sizes, "annotations": annotations, "categories": categories}, predictions


@pytest.mark.parametrize("seed", range(8))
def test_coco_average_precision_equals_pycocotools(seed):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    truth, predictions = random_set(np.random.default_rng(seed))
    with contextlib.redirect_stdout(io.StringIO()):
        index = coco.COCO()
        index.dataset = json.loads(json.dumps(truth))
        index.createIndex()
        theirs = cocoeval.COCOeval(index, index.loadRes(json.loads(json.dumps(predictions))), "bbox")
        theirs.evaluate(), theirs.accumulate(), theirs.summarize()
    images = [image["id"] for image in truth["images"]]
    classes = ranked_by_class(truth, predictions, COCO_THRESHOLDS, match_coco, images, limit=100)
    precision_LRK = theirs.eval["precision"][:, :, :, 0, -1]
    for k, parts in enumerate(classes.values()):
        ours_L = Ranked.pooled(parts).average_precisions(ties="given")
        assert np.nan_to_num(ours_L, nan=-1) == pytest.approx(precision_LRK[:, :, k].mean(axis=1), abs=1e-12)
    assert mean_average_precision(classes, ties="given") == pytest.approx(theirs.stats[0], abs=1e-12)


def golden_ovd(golden, name):
    folder = golden / "geo-r1"
    with gzip.open(folder / "expected.json.gz") as file:
        expected = json.load(file)[f"ovd_{name}"]
    truth, predictions = (json.loads((folder / f"ovd_{name}_{side}.json").read_text()) for side in ("gt", "pred"))
    return truth, predictions, expected


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scored", "constant"])
def test_the_published_voc_scorer(golden, name):
    truth, predictions, expected = golden_ovd(golden, name)
    # it takes crowds for truths, and breaks ties by the place in the prediction file
    images = list(dict.fromkeys([row["image_id"] for row in [*predictions, *truth["annotations"]]]))
    thresholds = [round(0.1 * step, 1) for step in range(1, 11)]
    classes = ranked_by_class(truth, predictions, thresholds, match_voc, images, crowds=False)
    compared = 0
    for label, parts in classes.items():
        ours_L = Ranked.pooled(parts).average_precisions(method="voc11", ties="given")
        # quirk: it gives 0 to a class without truths, and counts it in its mean
        assert np.nan_to_num(ours_L) == pytest.approx(expected["voc"][label]["APs"], abs=1e-9)
        compared += bool(np.isfinite(ours_L).all())
    assert compared == 8


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scored", "constant"])
def test_the_published_coco_scorer(golden, name):
    truth, predictions, expected = golden_ovd(golden, name)
    # quirk: pycocotools ignores a prediction turned inside out, whose area is negative, instead of calling it false
    upright = [row for row in predictions if row["bbox"][2] * row["bbox"][3] >= 0]
    assert len(upright) < len(predictions)
    images = sorted(image["id"] for image in truth["images"])
    classes = ranked_by_class(truth, upright, COCO_THRESHOLDS, match_coco, images, limit=100)
    assert mean_average_precision(classes, ties="given") == pytest.approx(expected["coco"]["stats12"][0], abs=1e-12)
    for label, parts in classes.items():
        published = expected["coco"]["per_class_mAP_x100"][label]
        ours = Ranked.pooled(parts).average_precisions(ties="given").mean() * 100
        assert np.isnan(ours) if published is None else ours == pytest.approx(published, abs=1e-9)


# --- counting, presence, size ----------------------------------------------------------------------------


def test_counting_by_hand():
    rows = [counting_row(4, 5), counting_row(3, 3), counting_row(2, 0)]
    measured = {name: value(ratio, rows) for name, ratio in COUNTING.items()}
    expected = {"mae": 1, "exact": 1 / 3, "relative_error": 0.1, "pooled_relative_error": 3 / 8}
    assert measured == pytest.approx(expected)


def test_presence_by_hand():
    said_truth = [(True, True), (True, False), (False, False), (None, False), (None, True), (False, True)]
    rows = [presence_row(said, truth) for said, truth in said_truth]
    measured = {name: value(ratio, rows) for name, ratio in PRESENCE.items()}
    assert measured == pytest.approx({"accuracy": 2 / 6, "hallucination": 1 / 3, "miss": 2 / 3})


def test_presence_takes_numpy_truth_values():
    assert presence_row(np.bool_(True), np.bool_(False)) == presence_row(True, False)


def test_size_strata():
    areas_N = [0, 1023.9, 1024, 9216, np.nan, np.inf]
    expected = ["<32 px", "<32 px", "32-96 px", ">=96 px", "unknown", ">=96 px"]
    assert size_stratum(areas_N).tolist() == expected
    assert size_stratum([3.9, 4, 25], (2,), "m").tolist() == ["<2 m", ">=2 m", ">=2 m"]
    assert size_stratum([]).tolist() == []


def test_bad_size_edges_are_refused():
    for edges in ((), (96, 32), (0, 32), (32, 32)):
        with pytest.raises(ValueError, match="rising"):
            size_stratum([1.0], edges)
    with pytest.raises(ValueError, match="unit"):
        size_stratum([1.0], unit="ft")
