"""Detection as Geo-R1 scores it: against what the scripts gave, against pycocotools, and quirk by quirk."""

import gzip
import json

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.geo_r1 import PROTOCOL
from georefer.evaluation.protocols.geo_r1_ovd import coco_scores, pooled, voc_scores
from georefer.scoring.greedy import match_coco
from georefer.training.rewards.published.vlm_r1 import greedy


@pytest.mark.shared
@pytest.mark.parametrize("order", ["reversed", "by_image_descending"])
def test_the_order_of_the_file_decides_as_published(golden, order):
    folder = golden / "geo-r1"
    truth, said = (json.loads((folder / f"ovd_constant_{name}.json").read_text()) for name in ("gt", "pred"))
    expected = json.loads(gzip.decompress((folder / "expected.json.gz").read_bytes()))["ovd_tie_order"][order]
    said = said[::-1] if order == "reversed" else sorted(said, key=lambda p: -p["image_id"])
    pool = pooled(truth, said)
    coco = coco_scores(pool, len(said))["eval_results"]
    found = {"voc_mAP": voc_scores(pool)["mAP@VOC"], "coco_mAP": coco["mAP"], "coco_AP50": coco["AP_50"]}
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.shared
def test_odd_cases_are_as_published(golden):
    rows = [json.loads(line) for line in (golden / "geo-r1" / "crashes.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["function"].startswith("ovd ")]
    assert len(rows) == 10
    for row in rows:
        pool = pooled(row["ground_truth"], row["predictions"])
        if row["function"] == "ovd voc":
            assert voc_scores(pool)["mAP@VOC"] == pytest.approx(row["result"]["mAP@VOC"], abs=1e-12), row["case"]
        elif row.get("exception"):
            assert pool.stray_P.any()
        else:
            whole = coco_scores(pool, len(row["predictions"]))
            result = row["result"][0] if isinstance(row["result"], list) else row["result"]
            assert whole["eval_results"] == pytest.approx(result, abs=1e-12), row["case"]


def truth_of(boxes, classes=("a", "b"), crowds=(), first_id=1):
    """A COCO truth of rows (image, class, box)."""
    images = [{"id": k} for k in sorted({image for image, *_ in boxes} | {1})]
    annotations = [
        {
            "id": k + first_id,
            "image_id": i,
            "category_id": c,
            "bbox": b,
            "area": b[2] * b[3],
            "iscrowd": int(k in crowds),
        }
        for k, (i, c, b) in enumerate(boxes)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": n} for k, n in enumerate(classes)],
    }


def said_of(boxes):
    return [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in boxes]


def made_up(seed):
    """Crowded images with near misses, duplicates, ties, crowds, boxes at the size limits and of no area."""
    rng = np.random.default_rng(seed)
    truths, said = [], []
    for image in range(1, 7):
        for _ in range(rng.integers(0, 6)):
            side = rng.choice([0, 8, 31, 32, 33, 95, 96, 97, 200], 2)
            truths.append((image, int(rng.integers(1, 3)), [*map(float, rng.integers(0, 150, 2)), *map(float, side)]))
    for image, kind, box in truths:
        for _ in range(rng.integers(0, 4)):
            moved = (np.array(box) + rng.integers(-6, 7, 4) * rng.integers(0, 2)).tolist()
            score = float(rng.choice([1.0, 0.5, round(rng.random(), 2)]))
            said.append((image, int(kind if rng.random() < 0.8 else 3 - kind), [*moved[:2], *np.abs(moved[2:])], score))
    said += [(1, 1, [300.0 + k, 0.0, 5.0, 5.0], 0.7) for k in range(120 * (seed % 2))]
    rng.shuffle(said)
    crowds = set(rng.integers(0, max(len(truths), 1), 2).tolist())
    truth = truth_of(truths, ("a", "b", "c"), crowds, first_id=int(seed % 3 > 0))  # the id 0 is in a third of them
    return truth, said_of([(i, c, [float(v) for v in b], s) for i, c, b, s in said])


@pytest.mark.parametrize("seed", range(12))
def test_twelve_numbers_equal_those_of_pycocotools(seed):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    truth, said = made_up(seed)
    theirs = coco.COCO()
    theirs.dataset = json.loads(json.dumps(truth))
    theirs.createIndex()
    evaluation = cocoeval.COCOeval(theirs, theirs.loadRes(json.loads(json.dumps(said))), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert coco_scores(pooled(truth, said), len(said))["stats12"] == pytest.approx(evaluation.stats.tolist(), abs=1e-9)


def ap_by_loops(truth, said, kind, threshold):
    """VOC's 11 points the long way round."""
    turns = {image: k for k, image in enumerate(dict.fromkeys(p["image_id"] for p in said))}
    truths = [a for a in truth["annotations"] if a["category_id"] == kind]
    ranked = [p for p in sorted(said, key=lambda p: turns[p["image_id"]]) if p["category_id"] == kind]
    taken, hits = set(), []
    for p in sorted(ranked, key=lambda p: -p["score"]):
        best, place = 0, None
        for k, a in enumerate(truths):
            (x, y, w, h), (u, v, r, s) = p["bbox"], a["bbox"]
            inter = max(0, min(x + w, u + r) - max(x, u)) * max(0, min(y + h, v + s) - max(y, v))
            union = w * h + r * s - inter
            if a["image_id"] == p["image_id"] and union > 0 and inter / union > best:
                best, place = inter / union, k
        hits.append(best >= threshold and place not in taken)
        taken |= {place} if best >= threshold else set()
    found = np.cumsum(hits)
    curve = [(n / len(truths), n / (k + 1e-10)) for k, n in enumerate(found, 1)] if truths else []
    return sum(max([p for r, p in curve if r >= level], default=0) for level in np.linspace(0, 1, 11)) / 11


@pytest.mark.parametrize("seed", range(6))
def test_eleven_points_equal_those_of_loops(seed):
    truth, said = made_up(seed)
    voc = voc_scores(pooled(truth, said))
    for kind, name in ((1, "a"), (2, "b"), (3, "c")):
        loops = [ap_by_loops(truth, said, kind, threshold) for threshold in np.linspace(0.1, 1.0, 10)]
        assert voc[name]["APs"] == pytest.approx(loops, abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_matching_lists_is_cocos_matching(seed):
    rng = np.random.default_rng(seed)
    iou_PT = np.round(rng.random((rng.integers(1, 7), rng.integers(1, 5))), 1)  # many ties
    ignored_T, crowd_T = rng.random(iou_PT.shape[1]) < 0.3, rng.random(iou_PT.shape[1]) < 0.2
    ignored_T |= crowd_T
    near = [[(iou, t) for t, iou in enumerate(row) if iou >= 0.5] for row in iou_PT.tolist()]
    found = greedy(near, 0.6, set(np.flatnonzero(ignored_T)), set(np.flatnonzero(crowd_T)))
    theirs_P = match_coco(iou_PT, np.ones(len(iou_PT)), 0.6, ignored_T=ignored_T, crowd_T=crowd_T)
    assert [-2 if t >= 0 and ignored_T[t] else t for t in found] == theirs_P.tolist()


A, B, FAR = [0.0, 0.0, 10.0, 10.0], [100.0, 0.0, 10.0, 10.0], [500.0, 0.0, 10.0, 10.0]


def both(truth, said):
    pool = pooled(truth, said)
    return voc_scores(pool), coco_scores(pool, len(said))


def test_false_alarms_behind_the_hits_are_free_and_before_them_are_not():
    truth = truth_of([(1, 1, A), (1, 1, B)], ("a",))
    hits, junk = [(1, 1, A, 1.0), (1, 1, B, 1.0)], [(1, 1, FAR, 1.0)] * 4
    assert both(truth, said_of(hits + junk))[1]["eval_results"]["mAP"] == pytest.approx(1)
    assert both(truth, said_of(junk + hits))[1]["eval_results"]["mAP"] == pytest.approx(2 / 6)


def test_an_epsilon_keeps_voc_below_one_and_classes_without_truth_count_as_nothing():
    voc, coco = both(truth_of([(1, 1, A)]), said_of([(1, 1, A, 1.0)]))
    assert voc["a"]["APs"][0] == 1 / (1 + 1e-10) and voc["a"]["APs"][0] < 1
    assert voc["b"]["mAP"] == 0 and voc["mAP@VOC"] == pytest.approx(0.5)
    assert coco["per_class_mAP_x100"] == pytest.approx({"a": 100.0, "b": None})


def test_no_area_matches_nothing_and_nobody_is_asked_for_crowds_in_coco():
    nothing = [0.0, 0.0, 0.0, 5.0]
    assert both(truth_of([(1, 1, nothing)]), said_of([(1, 1, nothing, 1.0)]))[1]["eval_results"]["mAP"] == 0
    truth = truth_of([(1, 1, A), (1, 1, B)], ("a",), crowds={1})
    voc, coco = both(truth, said_of([(1, 1, A, 1.0), (1, 1, B, 0.9)]))
    assert coco["eval_results"]["mAP"] == pytest.approx(1) and voc["mAP@VOC"] == pytest.approx(1)
    voc, coco = both(truth, said_of([(1, 1, A, 1.0)]))
    assert coco["eval_results"]["mAP"] == pytest.approx(1) and voc["mAP@VOC"] == pytest.approx(6 / 11)


def test_a_truth_with_the_id_0_is_never_found_by_coco():
    truth = truth_of([(1, 1, A)], ("a",), first_id=0)
    voc, coco = both(truth, said_of([(1, 1, A, 1.0)]))
    assert coco["eval_results"]["mAP"] == 0 and voc["mAP@VOC"] == pytest.approx(1)


def test_truths_on_images_that_are_not_listed_count_in_voc_alone():
    truth = truth_of([(1, 1, A), (2, 1, A)], ("a",))
    truth["images"] = [{"id": 1}]
    voc, coco = both(truth, said_of([(1, 1, A, 1.0)]))
    assert coco["eval_results"]["mAP"] == pytest.approx(1) and voc["mAP@VOC"] == pytest.approx(6 / 11)


def written(folder, truth, said, name="own"):
    (folder / f"{name}_gt.json").write_text(json.dumps(truth))
    (folder / f"{name}_pred.json.gz").write_bytes(gzip.compress(json.dumps(said).encode()))
    return folder


@pytest.mark.parametrize(
    "truths, said, crowds, reasons",
    [
        # a prediction within a crowd is a hit as published and left out strictly
        ([(1, 1, A), (1, 1, B)], [(1, 1, A, 1.0), (1, 1, B, 0.9)], {1}, {1: ("crowd-as-truth",)}),
        # the second one's best truth is taken, the other would do
        (
            [(1, 1, [0.0, 0.0, 10.0, 10.0]), (1, 1, [0.0, 0.0, 10.0, 7.0])],
            [(1, 1, A, 1.0), (1, 1, [0.0, 0.0, 10.0, 9.0], 0.9)],
            (),
            {1: ("best-truth-only",)},
        ),
        # equal scores: the worse box comes first
        (
            [(1, 1, A)],
            [(1, 1, [0.0, 0.0, 10.0, 6.0], 1.0), (1, 1, A, 1.0)],
            (),
            {0: ("file-order",), 1: ("file-order",)},
        ),
        ([(1, 1, A)], [(1, 1, A, 1.0), (1, 1, FAR, 0.5)], (), {}),
    ],
)
def test_rows_that_differ_say_why(tmp_path, truths, said, crowds, reasons):
    scores = PROTOCOL.score(written(tmp_path, truth_of(truths, ("a",), crowds), said_of(said)), {}, True)
    assert {row.id: row.reasons for row in scores.differing()} == reasons
    assert {b.measure for b in scores.beside} == {"VOC mAP", "COCO mAP", "COCO AP50", "F1@0.5"}


def test_strict_ap_does_not_depend_on_the_order_of_equal_scores(tmp_path):
    truth = truth_of([(1, 1, A), (1, 1, B)], ("a",))
    said = said_of([(1, 1, A, 1.0), (1, 1, B, 1.0)] + [(1, 1, FAR, 1.0)] * 4)
    values = []
    for name, rows in (("one", said), ("two", said[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        scores = PROTOCOL.score(written(folder, truth, rows), {}, True)
        values.append({b.measure: b.strict for b in scores.beside})
        assert scores.numbers["own"]["predictions"] == 6
    assert values[0] == pytest.approx(values[1])
    assert values[0]["COCO mAP"] < 0.5 and values[0]["F1@0.5"] == pytest.approx(0.5)


def test_where_cocos_loader_stops_is_said(tmp_path):
    said = [*said_of([(1, 1, A, 1.0), (9, 1, A, 1.0)]), {"image_id": 1, "category_id": 1, "bbox": ["x"], "score": 1}]
    scores = PROTOCOL.score(written(tmp_path, truth_of([(1, 1, A)], ("a",)), said), {}, True)
    assert {stop.id for stop in scores.stops} == {1, 2}
    assert scores.numbers["own"]["coco"]["eval_results"]["mAP"] == pytest.approx(1)


def test_the_truth_may_lie_elsewhere_and_must_be_one(tmp_path):
    truth = truth_of([(1, 1, A)], ("a",))
    (tmp_path / "answers.json").write_text(json.dumps(said_of([(1, 1, A, 1.0)])))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    numbers = PROTOCOL.score(tmp_path / "answers.json", {"gt": str(tmp_path / "truth.json")}, False).numbers
    assert numbers["ovd"]["voc"]["mAP@VOC"] == pytest.approx(1)
    (tmp_path / "alone_pred.json").write_text("[]")
    with pytest.raises(InputError, match="--set gt=FILE"):
        PROTOCOL.score(tmp_path / "alone_pred.json", {}, False)
    for broken in ({}, {**truth, "categories": [{}]}, {**truth, "annotations": [{"image_id": 1, "category_id": 1}]}):
        with pytest.raises(InputError):
            pooled(broken, [])
    for broken in ({}, [1], [{"image_id": [], "category_id": 1}], [{"category_id": 1}]):
        with pytest.raises(InputError):
            pooled(truth, broken)
