"""Strict scores of Geo-R1's own files beside the published ones, and why a row differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from georefer.evaluation.protocols.base import Beside, Row
from georefer.evaluation.protocols.geo_r1_ovd import Pool, voc_claims
from georefer.evaluation.protocols.geo_r1_read import said, upright
from georefer.geometry.overlap import hbb_ioa, hbb_iou
from georefer.scoring.detection import COCO_THRESHOLDS, Ranked, count_matches_at, detection_ratios
from georefer.scoring.greedy import IGNORED, match_coco, match_unranked, match_voc
from georefer.scoring.masks import segmentation_row
from georefer.training.rewards.published.reading import numbers_of

_VOC = tuple(np.linspace(0.1, 1.0, 10).tolist())


# --- REC -------------------------------------------------------------------------------------------------


def rec(
    results: Sequence[Mapping[str, Any]], iou_N: np.ndarray, thresholds: Sequence[float]
) -> tuple[list[Row], list[Beside]]:
    """Right at IoU >= 0.5 of boxes as areas, corners in either order, beside right at > 0.5 of the script's."""
    rows, strict_N = [], np.zeros(len(results))
    for number, (result, published) in enumerate(zip(results, iou_N.tolist(), strict=True)):
        predicted, truth = _floats(result.get("extracted_answer")), _floats(result.get("ground_truth"))
        if predicted is not None and truth is not None:
            strict_N[number] = hbb_iou(upright(predicted), upright(truth))[0, 0]
        strict = strict_N[number]
        reasons = []
        if published <= 0.5 <= strict:
            if published == 0.5:
                reasons.append("strictly-above")
            elif predicted is not None and (predicted[0] > predicted[2] or predicted[1] > predicted[3]):
                reasons.append("swapped-corners")
            else:
                reasons.append("one-pixel" if published == 0 else "strictly-above")
        elif published > 0.5 > strict:
            reasons.append("swapped-corners")
        rows.append(Row("rec", number, float(published > 0.5), float(strict >= 0.5), tuple(reasons)))
    measures = [
        Beside(
            "rec", f"acc@{t:g}", 100 * float(np.mean(iou_N > t)) if rows else 0.0,
            100 * float(np.mean(strict_N >= t)) if rows else 0.0,
        )
        for t in thresholds
    ]  # fmt: skip
    return rows, measures


def _floats(box: Any) -> list[float] | None:
    """Four finite numbers, also those that are texts, as the script reads them."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        return numbers_of([float(v) for v in box], 4)
    except (TypeError, ValueError, OverflowError):
        return None


def parsed(part: str, rows: Sequence[Mapping[str, Any]], boxes: Sequence[Any]) -> list[Row]:
    """Whether the RL parser finds a box, beside whether our own reader finds exactly one in the answer."""
    found = []
    for row, box in zip(rows, boxes, strict=True):
        count = len(said(row["content"], "geo-r1")[0])
        published, strict = float(box is not None and any(box)), float(count == 1)
        reason = "whole-numbers" if strict else "first-or-last-box" if count else "any-numbers"
        found.append(Row(part, row["id"], published, strict, (reason,) if published != strict else ()))
    return found


# --- OVD -------------------------------------------------------------------------------------------------


def voc_hits(pool: Pool) -> np.ndarray:
    """Whether VOC's rule calls each prediction a hit at IoU 0.5."""
    best_P, before_P, _ = voc_claims(pool)
    return (best_P >= 0.5) & (before_P < 0.5)


def ovd(part: str, pool: Pool, hits_P: np.ndarray, numbers: Mapping[str, Any]) -> tuple[list[Row], list[Beside]]:
    """Hits at IoU 0.5 with crowds left out, and AP over random order among equal scores; F1 at 0.5."""
    ranked = len(set(pool.score_P.tolist())) > 1
    parts: dict[int, dict[str, list[Ranked]]] = {c: {"coco": [], "voc": []} for c in range(pool.classes)}
    verdict_P: list[tuple[float | None, tuple[str, ...]]] = [(0.0, ())] * len(hits_P)
    counts = []
    for cell, here_P, here_T in _cells(pool):
        iou_PT, crowd_T = _ious(pool, here_P, here_T), pool.crowd_T[here_T]
        rule = partial(match_coco, crowd_T=crowd_T) if ranked else match_unranked
        scores_P = pool.score_P[here_P]
        for name, thresholds in (("coco", COCO_THRESHOLDS), ("voc", _VOC)):
            one = Ranked.of_image(iou_PT, scores_P, thresholds, match=rule, ignored_T=crowd_T)
            parts[cell % pool.classes][name].append(one)
        counts.append(count_matches_at(iou_PT[:, ~crowd_T], (0.5,), _leaving_out(iou_PT[:, crowd_T])))
        strict_P = rule(iou_PT, scores_P, 0.5, ignored_T=crowd_T)
        for place, value in zip(here_P, _verdicts(hits_P[here_P], strict_P, iou_PT, scores_P, crowd_T), strict=True):
            verdict_P[place] = value
    rows = [
        Row(part, k, float(hit), *verdict)
        for k, hit, verdict in zip(pool.kept_P.tolist(), hits_P.tolist(), verdict_P, strict=True)
    ]
    coco = numbers["coco"]["eval_results"]
    top, bottom = detection_ratios((0.5,))["f1@0.5"].terms(counts) if counts else (np.zeros(1), np.zeros(1))
    return rows, [
        Beside(part, "VOC mAP", numbers["voc"]["mAP@VOC"], _mean_ap(parts, "voc")),
        Beside(part, "COCO mAP", coco["mAP"], _mean_ap(parts, "coco")),
        Beside(part, "COCO AP50", coco["AP_50"], _mean_ap(parts, "coco", 0)),
        Beside(part, "F1@0.5", None, float(top.sum() / bottom.sum()) if bottom.sum() else None),
    ]


def _leaving_out(crowd_iou_PC: np.ndarray) -> Callable[[np.ndarray, float], np.ndarray]:
    """Optimal matching that leaves out predictions which only a crowd explains."""

    def match(iou_PT: np.ndarray, threshold: float) -> np.ndarray:
        matched_P = match_unranked(iou_PT, np.zeros(len(iou_PT)), threshold)
        in_crowd_P = (crowd_iou_PC >= threshold).any(axis=1)
        return np.where((matched_P < 0) & in_crowd_P, IGNORED, matched_P)

    return match


def _cells(pool: Pool) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
    """Each image and class with the places of its predictions (by rank in VOC's file order) and of its truths."""
    order_P = np.lexsort((np.arange(len(pool.cell_P)), pool.turn_P, pool.cell_P))
    order_T = np.argsort(pool.cell_T, kind="stable")
    for cell in np.union1d(pool.cell_P, pool.cell_T).tolist():
        first_P, last_P = np.searchsorted(pool.cell_P[order_P], [cell, cell + 1])
        first_T, last_T = np.searchsorted(pool.cell_T[order_T], [cell, cell + 1])
        yield cell, order_P[first_P:last_P], order_T[first_T:last_T]


def _ious(pool: Pool, here_P: np.ndarray, here_T: np.ndarray) -> np.ndarray:
    """IoU (P, T), with crowds the part of the prediction inside."""
    boxes_P4, truths_T4 = pool.boxes_P4[here_P].copy(), pool.truths_T4[here_T].copy()
    boxes_P4[:, 2:] += boxes_P4[:, :2]
    truths_T4[:, 2:] += truths_T4[:, :2]
    return np.where(pool.crowd_T[here_T], hbb_ioa(boxes_P4, truths_T4), hbb_iou(boxes_P4, truths_T4))


def _verdicts(
    hits_P: np.ndarray, strict_P: np.ndarray, iou_PT: np.ndarray, scores_P: np.ndarray, crowd_T: np.ndarray
) -> list[tuple[float | None, tuple[str, ...]]]:
    """Strict verdicts and what of VOC's rule changes them: crowds, then the best truth only, then the file's order."""
    counts_T = ~crowd_T
    without_P = match_voc(iou_PT[:, counts_T], scores_P, 0.5) >= 0
    with_next_P = match_coco(iou_PT[:, counts_T], scores_P, 0.5) >= 0
    found: list[tuple[float | None, tuple[str, ...]]] = []
    for k, hit in enumerate(hits_P.tolist()):
        reasons = []
        if hit != without_P[k] or strict_P[k] == IGNORED:
            reasons.append("crowd-as-truth")
        if without_P[k] != with_next_P[k]:
            reasons.append("best-truth-only")
        if strict_P[k] != IGNORED and with_next_P[k] != (strict_P[k] >= 0):
            reasons.append("file-order")
        strict = None if strict_P[k] == IGNORED else float(strict_P[k] >= 0)
        found.append((strict, tuple(reasons) if strict is None or strict != hit else ()))
    return found


def _mean_ap(parts: Mapping[int, Mapping[str, list[Ranked]]], name: str, level: int | None = None) -> float | None:
    """Mean AP over classes with truth and over thresholds, or at one of them; order among equal scores is random."""
    method = "coco101" if name == "coco" else "voc11"
    values = []
    for kinds in parts.values():
        if sum(one.truths for one in kinds[name]):
            whole = Ranked.pooled(kinds[name])
            aps_L = whole.average_precisions(method=method, ties="expected")  # type: ignore[arg-type]
            values.append(float(aps_L.mean()) if level is None else float(aps_L[level]))
    return float(np.mean(values)) if values else None


# --- GRES ------------------------------------------------------------------------------------------------


def gres(
    ids: Sequence[Any], iou_N: np.ndarray, inter_N: np.ndarray, union_N: np.ndarray, numbers: Mapping[str, Any]
) -> tuple[list[Row], list[Beside]]:
    """ReLA's convention: a right "there is nothing" is 1. The file has no areas of its own, so N-acc is not known."""
    strict_N = [segmentation_row(i, u, i)["mask_iou"] for i, u in zip(inter_N.tolist(), union_N.tolist(), strict=True)]
    rows = [
        Row("gres", id_, float(iou), strict, ("union-empty",) if union == 0 else ())
        for id_, iou, strict, union in zip(ids, iou_N, strict_N, union_N, strict=True)
    ]
    measures = [
        Beside("gres", "gIoU", numbers["overall_gIoU"], float(np.mean(strict_N))),
        Beside("gres", "cIoU", numbers["overall_cIoU"], numbers["overall_cIoU"]),
    ]
    return rows, measures
