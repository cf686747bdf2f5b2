"""Geo-R1's two detection scores, VOC's 11 points and COCO's, each over a whole file at once.

Source: github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/ovd_{voc,coco}_evaluation.py; the latter calls pycocotools.
All pairs of a prediction and a truth of one image and class are compared in one array operation; only where several
predictions and truths compete is matched by a loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from georefer.errors import InputError
from georefer.scoring.detection import COCO_THRESHOLDS
from georefer.training.rewards.published.reading import numbers_of
from georefer.training.rewards.published.vlm_r1 import greedy

VOC_THRESHOLDS = np.linspace(0.1, 1.0, 10)

_ELEVEN = np.linspace(0, 1, 11)
_LEVELS = np.linspace(0, 1, 101)
_AREAS = ((0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10))
"""Square pixels of COCO's size ranges: all, small, medium, large; both ends belong to a range."""

_MOST = 100
"""Predictions of an image and class that COCO looks at."""

_CAPPED = tuple(min(t, 1 - 1e-10) for t in COCO_THRESHOLDS)
_NAMES = ("mAP", "AP_50", "AP_75", "AP_small", "AP_m", "AP_l")


@dataclass(frozen=True, eq=False)
class Pool:
    """All truths and predictions of a file. Boxes are (x, y, width, height); places of images go by rising id.

    `cell` is the place of an image times the number of classes plus the place of a class. Predictions of a class that
    the truth does not name are left out: `kept_P` has the others' places in the file. `stray_P` and `stray_T` mark
    those on images that the truth does not list, whose places come last: VOC counts them, COCO does not.
    """

    names: tuple[str, ...]
    truths_T4: np.ndarray
    cell_T: np.ndarray
    area_T: np.ndarray
    crowd_T: np.ndarray
    zero_T: np.ndarray
    """Truths with the id 0, which pycocotools takes for no match: what hits them is a false positive."""
    boxes_P4: np.ndarray
    cell_P: np.ndarray
    score_P: np.ndarray
    kept_P: np.ndarray
    stray_P: np.ndarray
    stray_T: np.ndarray
    turn_P: np.ndarray
    """Place of the prediction's image by first appearance in the file, which decides ties in VOC."""
    pair_P: np.ndarray
    pair_T: np.ndarray
    iou_K: np.ndarray
    """Pairs of one cell in order of predictions, then truths, with IoU (no crowds)."""
    broken: tuple[int, ...]
    """Places in the file of predictions without a readable box or score, which become empty boxes."""

    @property
    def classes(self) -> int:
        return len(self.names)


def pooled(truth: Any, predictions: Any) -> Pool:
    """A COCO truth and a list of predictions, as read from JSON; InputError where they are no such things."""
    images, annotations, categories = _tables(truth)
    if not isinstance(predictions, list) or not all(isinstance(p, dict) for p in predictions):
        raise InputError("the predictions are no list of objects with image_id, category_id, bbox and score")
    try:
        class_of = {id_: place for place, id_ in enumerate(sorted(categories))}
        known = sorted({image["id"] for image in images})
        image_of = {id_: place for place, id_ in enumerate(known)}
        turns: dict[Any, int] = {}
        for p in predictions:
            turns.setdefault(p["image_id"], len(turns))
        for id_ in [a["image_id"] for a in annotations] + list(turns):
            image_of.setdefault(id_, len(image_of))
        marked = [(image_of[a["image_id"]], class_of.get(a["category_id"]), a) for a in annotations]
        kept = [k for k, p in enumerate(predictions) if p["category_id"] in class_of]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"truth or predictions lack a usable id ({error}); COCO's image_id and category_id are expected"
        ) from error
    held = [(image, kind, a) for image, kind, a in marked if kind is not None]
    truths_T4 = np.array([_truth_box(a) for *_, a in held], dtype=np.float64).reshape(-1, 4)
    count = len(class_of)
    cell_T = np.array([image * count + kind for image, kind, _ in held], dtype=np.int64)
    area_T = np.array([_area(a) for *_, a in held], dtype=np.float64)
    chosen = [predictions[k] for k in kept]
    read = [(numbers_of(p.get("bbox"), 4), numbers_of([p.get("score")], 1)) for p in chosen]
    image_P = [image_of[p["image_id"]] for p in chosen]
    cell_P = np.array(
        [i * count + class_of[p["category_id"]] for i, p in zip(image_P, chosen, strict=True)], dtype=np.int64
    )
    boxes_P4 = np.array([box or (0, 0, 0, 0) for box, _ in read], dtype=np.float64).reshape(-1, 4)
    pair_P, pair_T = _pairs(cell_P, cell_T)
    return Pool(
        names=tuple(categories[id_] for id_ in class_of),
        truths_T4=truths_T4,
        cell_T=cell_T,
        area_T=area_T,
        crowd_T=np.array([bool(a.get("iscrowd")) for *_, a in held], dtype=bool),
        zero_T=np.array([a.get("id") == 0 for *_, a in held], dtype=bool),
        boxes_P4=boxes_P4,
        cell_P=cell_P,
        score_P=np.array([score[0] if score else 0.0 for _, score in read], dtype=np.float64),
        kept_P=np.array(kept, dtype=np.int64),
        stray_P=np.array(image_P, dtype=np.int64) >= len(known),
        stray_T=cell_T >= len(known) * count,
        turn_P=np.array([turns[p["image_id"]] for p in chosen], dtype=np.int64),
        pair_P=pair_P,
        pair_T=pair_T,
        iou_K=_overlap(boxes_P4[pair_P], truths_T4[pair_T]),
        broken=tuple(k for k, (box, score) in zip(kept, read, strict=True) if box is None or score is None),
    )


def _tables(truth: Any) -> tuple[list[dict], list[dict], dict[Any, str]]:
    if isinstance(truth, dict):
        tables = [truth.get(name) for name in ("images", "annotations", "categories")]
        if all(isinstance(table, list) and all(isinstance(row, dict) for row in table) for table in tables):
            images, annotations, categories = tables
            try:
                return images, annotations, {row["id"]: str(row["name"]) for row in categories}  # type: ignore
            except (KeyError, TypeError) as error:
                raise InputError(f"a category of the truth lacks {error}; id and name are expected") from error
    raise InputError("the truth has no lists images, annotations and categories; a COCO file is expected")


def _truth_box(annotation: dict) -> list[float]:
    if (box := numbers_of(annotation.get("bbox"), 4)) is None:
        raise InputError(f"an annotation has the box {annotation.get('bbox')!r}; x, y, width and height are expected")
    return box


def _area(annotation: dict) -> float:
    given = numbers_of([annotation.get("area")], 1)
    return given[0] if given else annotation["bbox"][2] * annotation["bbox"][3]


def _pairs(cell_P: np.ndarray, cell_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (K,) of all predictions and truths of one cell; truths of a cell stay in the order given."""
    order_T = np.argsort(cell_T, kind="stable")
    first_P = np.searchsorted(cell_T[order_T], cell_P, side="left")
    count_P = np.searchsorted(cell_T[order_T], cell_P, side="right") - first_P
    pair_P = np.repeat(np.arange(len(cell_P)), count_P)
    nth_K = np.arange(len(pair_P)) - np.repeat(np.cumsum(count_P) - count_P, count_P)
    return pair_P, order_T[first_P[pair_P] + nth_K]


def _overlap(boxes_K4: np.ndarray, truths_K4: np.ndarray, crowd_K: np.ndarray | None = None) -> np.ndarray:
    """IoU (K,) of pairs of boxes (x, y, width, height), 0 where they share nothing; IoA with crowds."""
    low_K2 = np.maximum(boxes_K4[:, :2], truths_K4[:, :2])
    high_K2 = np.minimum(boxes_K4[:, :2] + boxes_K4[:, 2:], truths_K4[:, :2] + truths_K4[:, 2:])
    inter_K = np.prod(np.maximum(high_K2 - low_K2, 0.0), axis=1)
    own_K = np.prod(boxes_K4[:, 2:], axis=1)
    union_K = own_K + np.prod(truths_K4[:, 2:], axis=1) - inter_K
    if crowd_K is not None:
        union_K = np.where(crowd_K, own_K, union_K)
    return np.divide(inter_K, union_K, out=np.zeros_like(inter_K), where=(inter_K > 0) & (union_K > 0))


# --- VOC, 11 points --------------------------------------------------------------------------------------


def voc_scores(pool: Pool) -> dict[str, Any]:
    """11-point AP per class at IoU 0.1, ... 1 and the means, all as the script prints them, with its 1e-10."""
    results: dict[str, Any] = {}
    best_P, before_P, order_R = voc_claims(pool)
    kind_R = pool.cell_P[order_R] % max(pool.classes, 1)
    truths_C = np.bincount(pool.cell_T % max(pool.classes, 1), minlength=pool.classes)
    for place, name in enumerate(pool.names):
        mine_R = order_R[kind_R == place]
        hits_LR = (best_P[mine_R] >= VOC_THRESHOLDS[:, None]) & (before_P[mine_R] < VOC_THRESHOLDS[:, None])
        aps = [0.0] * len(VOC_THRESHOLDS)
        if truths_C[place] and len(mine_R):
            aps = _eleven_points(hits_LR, int(truths_C[place]))
        results[name] = {"APs": aps, "mAP": float(np.mean(aps))}
    results["mAP@VOC"] = float(np.mean([row["mAP"] for row in results.values()])) if results else 0.0
    return results


def voc_claims(pool: Pool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best IoU (P,) of each prediction, the best IoU of those before it with its truth, and places by rank.

    A prediction is a hit at every threshold above the second and up to the first.
    """
    count = len(pool.boxes_P4)
    best_P, truth_P = np.zeros(count), np.full(count, -1)
    met_K = pool.iou_K > 0
    pair_P, pair_T, iou_K = pool.pair_P[met_K], pool.pair_T[met_K], pool.iou_K[met_K]
    np.maximum.at(best_P, pair_P, iou_K)
    top_K = iou_K == best_P[pair_P]
    places, first = np.unique(pair_P[top_K], return_index=True)
    truth_P[places] = pair_T[top_K][first]
    order_R = np.lexsort((np.arange(count), pool.turn_P, -pool.score_P))
    before_P, taken = np.zeros(count), dict[int, float]()
    claims = zip(order_R.tolist(), truth_P[order_R].tolist(), best_P[order_R].tolist(), strict=True)
    for place, truth, best in claims:
        if truth >= 0:
            before_P[place] = taken.get(truth, 0.0)
            taken[truth] = max(before_P[place], best)
    return best_P, before_P, order_R


def _eleven_points(hits_LR: np.ndarray, truths: int) -> list[float]:
    found_LR = np.cumsum(hits_LR.astype(np.float64), axis=1)
    recall_LR = found_LR / truths
    precision_LR = found_LR / (np.arange(1, hits_LR.shape[1] + 1, dtype=np.float64) + 1e-10)
    envelope_LR = np.maximum.accumulate(precision_LR[:, ::-1], axis=1)[:, ::-1]
    aps = []
    for recall_R, envelope_R in zip(recall_LR, envelope_LR, strict=True):
        reached = np.searchsorted(recall_R, _ELEVEN, side="left")
        aps.append(sum(envelope_R[reached[reached < len(envelope_R)]].tolist()) / 11)
    return aps


# --- COCO ------------------------------------------------------------------------------------------------


def coco_scores(pool: Pool, predictions: int) -> dict[str, Any]:
    """COCO's twelve numbers and AP in percent per class (None without truth), as the script gives them.

    For an empty list of predictions the script stops before scoring and gives six zeros.
    """
    if predictions == 0:
        return {"eval_results": dict.fromkeys(_NAMES, 0)}
    precision_ALSC, recall_AMLC = _coco_curves(pool)

    def mean(values: np.ndarray) -> float:
        return float(np.mean(values[values > -1])) if (values > -1).any() else -1.0

    half, three_quarters = 0, 5
    stats = [mean(precision_ALSC[0]), mean(precision_ALSC[0, half]), mean(precision_ALSC[0, three_quarters])]
    stats += [mean(precision_ALSC[a]) for a in (1, 2, 3)]
    stats += [mean(recall_AMLC[0, m]) for m in (0, 1, 2)] + [mean(recall_AMLC[a, 2]) for a in (1, 2, 3)]
    by_class = [mean(precision_ALSC[0, :, :, c]) for c in range(pool.classes)]
    return {
        "eval_results": dict(zip(_NAMES, stats[:6], strict=True)),
        "per_class_mAP_x100": {
            name: None if value == -1 else value * 100 for name, value in zip(pool.names, by_class, strict=True)
        },
        "stats12": stats,
    }


def _coco_curves(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Precision (areas, thresholds, 101 recalls, classes) and recall (areas, 1/10/100, thresholds, classes), or -1."""
    count, thresholds = pool.classes, len(_CAPPED)
    precision_ALSC = np.full((len(_AREAS), thresholds, len(_LEVELS), count), -1.0)
    recall_AMLC = np.full((len(_AREAS), 3, thresholds, count), -1.0)
    order_R, rank_R = _coco_order(pool)
    verdict_ALP = _coco_verdicts(pool, order_R)
    by_score_R = np.argsort(-pool.score_P[order_R], kind="stable")
    order_R, rank_R = order_R[by_score_R], rank_R[by_score_R]
    kind_R = pool.cell_P[order_R] % max(count, 1)
    for a, (low, high) in enumerate(_AREAS):
        counts_T = ~(pool.stray_T | pool.crowd_T | (pool.area_T < low) | (pool.area_T > high))
        truths_C = np.bincount(pool.cell_T[counts_T] % max(count, 1), minlength=count)
        for c in np.flatnonzero(truths_C).tolist():
            here = kind_R == c
            verdict_LR, rank_C = verdict_ALP[a][:, order_R[here]], rank_R[here]
            precision_ALSC[a, :, :, c] = _interpolated(verdict_LR, int(truths_C[c]))
            for m, most in enumerate((1, 10, _MOST)):
                recall_AMLC[a, m, :, c] = (verdict_LR[:, rank_C < most] == 1).sum(axis=1) / truths_C[c]
    return precision_ALSC, recall_AMLC


def _coco_order(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Places by cell, then falling score, then file, of the first 100 of each cell on known images; and their ranks."""
    order_R = np.lexsort((np.arange(len(pool.score_P)), -pool.score_P, pool.cell_P))
    order_R = order_R[~pool.stray_P[order_R]]
    cell_R = pool.cell_P[order_R]
    rank_R = np.arange(len(order_R)) - np.searchsorted(cell_R, cell_R, side="left")
    return order_R[rank_R < _MOST], rank_R[rank_R < _MOST]


def _coco_verdicts(pool: Pool, order_R: np.ndarray) -> np.ndarray:
    """Verdicts (areas, thresholds, P): 1 a hit, 0 a false positive, -1 left out."""
    low_A, high_A = np.array(_AREAS).T[:, :, None]
    own_P = np.prod(pool.boxes_P4[:, 2:], axis=1)
    missed_A1P = np.where((own_P < low_A) | (own_P > high_A), -1, 0)[:, None]
    shape = (len(_AREAS), len(_CAPPED), len(own_P))
    if not len(pool.cell_T) or not len(order_R):
        return np.broadcast_to(missed_A1P, shape)
    ignored_AT = pool.crowd_T | (pool.area_T < low_A) | (pool.area_T > high_A)
    truth_ALP = _coco_matches(pool, order_R, ignored_AT)
    ignored_ALP = ignored_AT[np.arange(len(_AREAS))[:, None, None], truth_ALP]
    found_ALP = np.where(ignored_ALP, -1, np.where(pool.zero_T[truth_ALP], missed_A1P, 1))
    return np.where(truth_ALP >= 0, found_ALP, missed_A1P)


def _coco_matches(pool: Pool, order_R: np.ndarray, ignored_AT: np.ndarray) -> np.ndarray:
    """Truth (areas, thresholds, P) of each prediction, or -1: one operation for pairs that nobody else claims."""
    truth_ALP = np.full((len(_AREAS), len(_CAPPED), len(pool.cell_P)), -1)
    place_P = np.full(len(pool.cell_P), -1)
    place_P[order_R] = np.arange(len(order_R))
    crowd_K, iou_K = pool.crowd_T[pool.pair_T], pool.iou_K
    if crowd_K.any():
        iou_K = _overlap(pool.boxes_P4[pool.pair_P], pool.truths_T4[pool.pair_T], crowd_K)
    near_K = (iou_K >= _CAPPED[0]) & (place_P[pool.pair_P] >= 0)
    pair_P, pair_T, iou_K = pool.pair_P[near_K], pool.pair_T[near_K], iou_K[near_K]
    alone_K = (np.bincount(pair_P, minlength=1)[pair_P] == 1) & (np.bincount(pair_T, minlength=1)[pair_T] == 1)
    reach_LK = iou_K[alone_K] >= np.array(_CAPPED)[:, None]
    truth_ALP[:, :, pair_P[alone_K]] = np.where(reach_LK, pair_T[alone_K], -1)
    near: dict[int, dict[int, list[tuple[float, int]]]] = defaultdict(lambda: defaultdict(list))
    triples = zip(pair_P[~alone_K].tolist(), pair_T[~alone_K].tolist(), iou_K[~alone_K].tolist(), strict=True)
    for p, t, iou in triples:
        near[int(pool.cell_P[p])][p].append((iou, t))
    out_A = [set(np.flatnonzero(ignored_T).tolist()) for ignored_T in ignored_AT]
    crowds = set(np.flatnonzero(pool.crowd_T).tolist())
    columns: list[list[list[int]]] = [[[] for _ in _CAPPED] for _ in _AREAS]
    contested: list[int] = []
    for group in near.values():
        ranked = sorted(group, key=place_P.__getitem__)
        contested += ranked
        _contest([group[p] for p in ranked], out_A, crowds, columns)
    if contested:
        truth_ALP[:, :, contested] = columns
    return truth_ALP


def _contest(
    near: list[list[tuple[float, int]]], out_A: list[set[int]], crowds: set[int], columns: list[list[list[int]]]
) -> None:
    """Add the truths of predictions that share some to each area's and threshold's column; equal tasks are done once.

    Predictions come in order of rank.
    """
    truths = {t for row in near for _, t in row}
    ious = sorted(iou for row in near for iou, _ in row)
    below_L = [bisect_left(ious, threshold) for threshold in _CAPPED]
    done: dict[tuple[frozenset[int], int], list[int]] = {}
    for out, of_L in zip(out_A, columns, strict=True):
        ignored = frozenset(truths & out)
        for threshold, below, column in zip(_CAPPED, below_L, of_L, strict=True):
            key = (ignored, below)
            if key not in done:
                done[key] = greedy(near, threshold, ignored, crowds)
            column += done[key]


def _interpolated(verdict_LR: np.ndarray, truths: int) -> np.ndarray:
    """Precision (thresholds, 101) at COCO's recall levels."""
    precision_LS = np.zeros((len(verdict_LR), len(_LEVELS)))
    if not verdict_LR.shape[1]:
        return precision_LS
    found_LR = np.cumsum(verdict_LR == 1, axis=1).astype(np.float64)
    asked_LR = np.cumsum(verdict_LR >= 0, axis=1).astype(np.float64)
    precision_LR = found_LR / (asked_LR + np.spacing(1))
    envelope_LR = np.maximum.accumulate(precision_LR[:, ::-1], axis=1)[:, ::-1]
    for level, (recall_R, envelope_R) in enumerate(zip(found_LR / truths, envelope_LR, strict=True)):
        reached = np.searchsorted(recall_R, _LEVELS, side="left")
        reached = reached[reached < len(envelope_R)]
        precision_LS[level, : len(reached)] = envelope_R[reached]
    return precision_LS
