"""Answers of real models with published scores: georefer's own geometry and matching give the same.

VRSBench answers of ISRO-GeoNLI (oriented boxes, VQA) and SpaceNet building footprints of solaris, both beside the
checkout. What the code does with them is tested elsewhere too; here it meets numbers that somebody else computed.
"""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import shapely

from georefer.dialects import DIALECTS
from georefer.geometry import obb_iou, obb_iou_pairs, overlap_pairs, polygon_iou
from georefer.scenes import Question
from georefer.scoring import match_coco, match_voc, read_choice
from georefer.tasks import TASKS

pytestmark = pytest.mark.shared


def json_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- oriented boxes --------------------------------------------------------------------------------------


def test_oriented_boxes_as_corners_have_the_published_iou(shared_data):
    rows = json_lines(shared_data / "vrsbench-model-outputs" / "geoground_obb_quads.jsonl")
    assert len(rows) >= 13
    truth_N, said_N = (
        shapely.polygons(np.array([row[key] for row in rows])) for key in ("ground_truth_bbox", "predicted_bbox")
    )
    published = [row["iou"] for row in rows]
    assert overlap_pairs(truth_N, said_N) == pytest.approx(published, abs=1e-3)
    assert np.diagonal(polygon_iou(truth_N, said_N)) == pytest.approx(published, abs=1e-3)


def test_oriented_boxes_as_middle_sides_and_angle_have_the_published_iou(shared_data):
    rows = json_lines(shared_data / "vrsbench-model-outputs" / "qwen_sam_obb_cxcywha.jsonl")
    assert len(rows) >= 9
    truth_N5, said_N5 = (np.array([row[key] for row in rows]) for key in ("ground_truth_obb", "predicted_obb"))
    published = [row["iou"] for row in rows]
    assert obb_iou_pairs(truth_N5, said_N5) == pytest.approx(published, abs=1e-3)
    # (w, h, 90) is (h, w, 0): the pairing must not depend on how a rectangle is said
    swapped_N5 = truth_N5[:, [0, 1, 3, 2, 4]] + [0, 0, 0, 0, 90]
    assert obb_iou_pairs(swapped_N5, said_N5) == pytest.approx(published, abs=1e-3)
    assert np.diagonal(obb_iou(truth_N5, said_N5)) == pytest.approx(published, abs=1e-3)
    # taken for anticlockwise the turned one is another box, so the agreement says something
    turned = [i for i, row in enumerate(rows) if row["predicted_obb"][4] % 90]
    mirrored_N5 = said_N5 * [1, 1, 1, 1, -1]
    assert turned and np.abs(obb_iou_pairs(truth_N5, mirrored_N5) - published)[turned].max() > 1e-2


# --- words -----------------------------------------------------------------------------------------------

CHOICES = {
    "expressway-toll-station": ["expressway-toll-station", "bridge", "building"],
    "Yes": ["Yes", "No"],
    "2": ["1", "2", "3"],
    "Middle right": ["Middle right", "Bottom", "Top left"],
    "Smaller": ["Smaller", "Larger"],
    "Right": ["Right", "Left"],
}


@pytest.fixture(scope="module")
def spoken(shared_data):
    rows = json_lines(shared_data / "vrsbench-model-outputs" / "vqa_answers.jsonl")
    assert {row["ground_truth"] for row in rows} >= set(CHOICES)
    return rows


def test_a_yes_with_a_reason_is_a_yes_and_prose_is_neither(spoken):
    dialect = DIALECTS["geochat-cw"]
    task, frame = TASKS["presence"], dialect.frame_for((512, 512))
    for row in spoken:
        reading = dialect.read(row["prediction"], frame)
        counts = task.score(reading, Question("q", "s", "presence", {"label": "vehicle"}, answer_text="yes"), None)
        expected = float(row["ground_truth"] == "Yes")
        assert counts["right"] == counts["readable"] == expected, row


def test_wrong_words_are_never_the_right_choice(spoken):
    for row in spoken:
        if row["ground_truth"] not in CHOICES:
            continue
        options = CHOICES[row["ground_truth"]]
        right = options.index(row["ground_truth"])
        assert read_choice(row["ground_truth"], options).index == right
        if row["ground_truth"] != "Yes":  # all others are wrong, some of them naming the right words on the way
            assert read_choice(row["prediction"], options).index != right


def test_prose_holds_no_shape_in_any_dialect(spoken):
    for dialect in DIALECTS.values():
        frame = dialect.frame_for((512, 512))
        assert not any(len(dialect.read(row["prediction"], frame).objects) for row in spoken), dialect.name


# --- buildings -------------------------------------------------------------------------------------------

MISSED_UPSTREAM = {"AOI_5_Khartoum_img130": 2}
"""Truth polygons that the published scorer dropped without a word: its FN is so many less."""


def polygons_of(path):
    """(polygons, confidences) by chip; `POLYGON EMPTY` makes a chip without any."""
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            shapes, confidences = found.setdefault(row["ImageId"], ([], []))
            shape = shapely.force_2d(shapely.from_wkt(row["PolygonWKT_Pix"]))
            if not shape.is_empty:
                shapes.append(shape)
                confidences.append(float(row.get("Confidence") or 1.0))
    return found


@pytest.fixture(scope="module")
def buildings(shared_data):
    folder = shared_data / "spacenet-samples" / "vegas-buildings-predictions"
    return folder, polygons_of(folder / "SN2_sample_truth.csv"), polygons_of(folder / "SN2_sample_preds.csv")


def counts_of(truths, found, chip):
    shapes_T = np.array(truths.get(chip, ([], []))[0], dtype=object)
    shapes_P, confidences_P = found.get(chip, ([], []))
    iou_PT = polygon_iou(np.array(shapes_P, dtype=object), shapes_T)
    matched_P = match_coco(iou_PT, np.array(confidences_P), 0.5)
    hits = int((matched_P >= 0).sum())
    # VOC's rule differs only where a prediction's best truth is taken, which is not so here
    assert hits == int((match_voc(iou_PT, np.array(confidences_P), 0.5) >= 0).sum())
    return {"TruePos": hits, "FalsePos": len(shapes_P) - hits, "FalseNeg": len(shapes_T) - hits}


def test_buildings_have_the_published_counts_per_chip_and_per_city(buildings):
    folder, truths, found = buildings
    with (folder / "SN2_test_results_full.csv").open(newline="") as file:
        published = list(csv.DictReader(file))
    assert len(published) == 6
    cities = {}
    for row in published:
        chip = row["imageID"]
        counts = counts_of(truths, found, chip)
        dropped = MISSED_UPSTREAM.get(chip, 0)
        assert counts == {
            "TruePos": int(row["TruePos"]),
            "FalsePos": int(row["FalsePos"]),
            "FalseNeg": int(row["FalseNeg"]) + dropped,
        }, chip
        cities.setdefault(row["AOI"], Counter()).update(counts)
        cities[row["AOI"]]["dropped"] += dropped
    assert counts_of(truths, found, "AOI_5_Khartoum_img130")["FalseNeg"] == 34
    with (folder / "SN2_test_results.csv").open(newline="") as file:
        vegas, khartoum = csv.DictReader(file)
    for row, city in ((vegas, cities["AOI_2_Vegas"]), (khartoum, cities["AOI_5_Khartoum"])):
        assert (city["TruePos"], city["FalsePos"]) == (int(row["TruePos"]), int(row["FalsePos"]))
        missed = city["FalseNeg"] - city["dropped"]
        assert missed == int(row["FalseNeg"])
        assert 2 * city["TruePos"] / (2 * city["TruePos"] + city["FalsePos"] + missed) == pytest.approx(
            float(row["F1Score"])
        )


def test_each_building_has_the_published_iou(buildings):
    """That is the highest IoU among the predictions that overlap no other building more; 0 where there is none."""
    folder, truths, found = buildings
    published = {}
    with (folder / "SN2_sample_iou_by_building.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not shapely.from_wkt(row["PolygonWKT_Pix"]).is_empty:
                published.setdefault(row["ImageId"], []).append(float(row["iou_score"]))
    assert sum(map(len, published.values())) >= 171
    for chip, scores_T in published.items():
        iou_PT = polygon_iou(np.array(found[chip][0], dtype=object), np.array(truths[chip][0], dtype=object))
        best_T = np.zeros(iou_PT.shape[1])
        if iou_PT.size:
            np.maximum.at(best_T, iou_PT.argmax(axis=1), iou_PT.max(axis=1))
        assert best_T == pytest.approx(scores_T, abs=1e-6), chip
