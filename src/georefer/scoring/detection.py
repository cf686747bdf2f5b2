"""Detection metrics from IoU matrices: counts by threshold, mean IoU, average precision, counting, presence, size.

What can be a ratio of sums over answers comes as a function that makes one answer's `Row`, and one that names the
`Ratio`s over such rows. Average precision is no such ratio: it ranks the predictions of all images together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from georefer.scoring.greedy import IGNORED, GreedyRule, by_score, match_coco
from georefer.scoring.matching import match_optimal
from georefer.scoring.ratio import Ratio, Row

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""IoU 0.5, 0.55, ... 0.95, to the last bit those of pycocotools."""

ApMethod = Literal["voc11", "area", "coco101"]
"""voc11: mean interpolated precision at recall 0, 0.1, ... 1 (VOC 2007). area: the exact area under the interpolated
curve (VOC 2010 and later). coco101: mean at recall 0, 0.01, ... 1 (COCO). Interpolated precision at a recall is the
largest precision at that or any higher recall."""

TieRule = Literal["expected", "given"]
"""What predictions of one score are worth: see `average_precision`."""

SizeUnit = Literal["px", "m"]


# --- precision, recall, F1 -------------------------------------------------------------------------------


def count_matches_at(
    iou_PT: np.ndarray,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    match: Callable[[np.ndarray, float], np.ndarray] = match_optimal,
) -> Row:
    """True and false positives and false negatives of one answer: "tp@0.5", ... and their means "tp@mean".

    `match(iou_PT, threshold)` gives the truth of each prediction, or a negative number: `match_optimal`, or greedily
    `match_by_overlap`, or by confidence `ranked_match(scores_P)`. `IGNORED` predictions are left out; the truths they
    belong to should not be among the columns. Matching asks no class: pass the overlaps through
    `greedy.within_class` for counts that do.
    """
    predictions, truths = iou_PT.shape
    row: dict[str, float] = {}
    for threshold in thresholds:
        matched_P = match(iou_PT, threshold)
        hits, asked = float((matched_P >= 0).sum()), predictions - float((matched_P == IGNORED).sum())
        row |= {_at("tp", threshold): hits, _at("fp", threshold): asked - hits, _at("fn", threshold): truths - hits}
    for name in ("tp", "fp", "fn"):
        row[f"{name}@mean"] = float(np.mean([row[_at(name, threshold)] for threshold in thresholds]))
    return row


def detection_ratios(thresholds: Sequence[float] = COCO_THRESHOLDS) -> dict[str, Ratio]:
    """Ratios "precision@0.5", "recall@0.5", "f1@0.5", ... and "...@mean" over rows of `count_matches_at`.

    The ratio of mean counts is the mean of the ratios here, because no denominator depends on the threshold: they
    are all predictions, all truths, and both together. (With `IGNORED` predictions that holds only for recall.)
    """
    ratios = {}
    for at in [*(_at("", threshold) for threshold in thresholds), "@mean"]:
        tp, fp, fn = f"tp{at}", f"fp{at}", f"fn{at}"
        ratios[f"precision{at}"] = Ratio({tp: 1}, {tp: 1, fp: 1})
        ratios[f"recall{at}"] = Ratio({tp: 1}, {tp: 1, fn: 1})
        ratios[f"f1{at}"] = Ratio({tp: 2}, {tp: 2, fp: 1, fn: 1})
    return ratios


# --- mean IoU, accuracy ----------------------------------------------------------------------------------


def truth_ious(iou_PT: np.ndarray, matched_P: np.ndarray | None = None) -> np.ndarray:
    """IoU (T,) of each truth with its matched prediction, 0 where there is none: misses cost, extra answers do not.

    Without `matched_P` it is the best prediction, which may serve several truths.
    """
    if matched_P is None:
        return iou_PT.max(axis=0, initial=0.0)
    iou_T = np.zeros(iou_PT.shape[1])
    taken_P = matched_P >= 0
    iou_T[matched_P[taken_P]] = iou_PT[taken_P, matched_P[taken_P]]
    return iou_T


def prediction_ious(iou_PT: np.ndarray, matched_P: np.ndarray | None = None) -> np.ndarray:
    """IoU (P,) of each prediction with its matched truth, 0 where there is none: extra answers cost, misses do not.

    Without `matched_P` it is the best truth, which may serve several predictions.
    """
    if matched_P is None:
        return iou_PT.max(axis=1, initial=0.0)
    iou_P = np.zeros(len(iou_PT))
    taken_P = matched_P >= 0
    iou_P[taken_P] = iou_PT[taken_P, matched_P[taken_P]]
    return iou_P


def pair_ious(iou_PT: np.ndarray, matched_P: np.ndarray) -> np.ndarray:
    """IoU of the matched pairs alone: how exact the found ones are, neither misses nor extra answers cost."""
    taken_P = matched_P >= 0
    return iou_PT[taken_P, matched_P[taken_P]]


def iou_row(iou_N: np.ndarray, thresholds: Sequence[float] = (0.5,)) -> Row:
    """IoUs of one answer as a row: how many, their sum, and how many have IoU >= each threshold."""
    hits = {_at("iou_hits", threshold): float((iou_N >= threshold).sum()) for threshold in thresholds}
    return {"ious": float(len(iou_N)), "iou_sum": float(np.sum(iou_N)), **hits}


def iou_ratios(thresholds: Sequence[float] = (0.5,)) -> dict[str, Ratio]:
    """Ratios "miou" and "acc@0.5", ... over rows of `iou_row`."""
    accuracies = {
        _at("acc", threshold): Ratio({_at("iou_hits", threshold): 1}, {"ious": 1}) for threshold in thresholds
    }
    return {"miou": Ratio({"iou_sum": 1}, {"ious": 1}), **accuracies}


# --- average precision -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ranked:
    """Judged predictions of one class, of one image or of many together: all that average precision needs.

    `hits_LP` says at each of L IoU thresholds which predictions are true, `ignored_LP` which are left out.
    """

    scores_P: np.ndarray
    hits_LP: np.ndarray
    ignored_LP: np.ndarray
    truths: int

    @classmethod
    def judged(cls, scores_P: Sequence[float], hits_P: Sequence[bool], truths: int) -> Ranked:
        """Of scores and verdicts at one threshold."""
        hits_LP = np.asarray(hits_P, dtype=bool).reshape(1, -1)
        return cls(np.asarray(scores_P, dtype=np.float64), hits_LP, np.zeros_like(hits_LP), truths)

    @classmethod
    def of_image(
        cls,
        iou_PT: np.ndarray,
        scores_P: np.ndarray,
        thresholds: Sequence[float] = COCO_THRESHOLDS,
        *,
        match: GreedyRule = match_coco,
        ignored_T: np.ndarray | None = None,
        limit: int | None = None,
    ) -> Ranked:
        """Of one image's predictions and truths of one class, matched greedily.

        `limit` keeps the predictions of highest score (COCO: 100). To mark crowds pass
        `match=partial(match_coco, crowd_T=...)` and mark them in `ignored_T` too. `IGNORED` predictions are kept and
        left out of the ranking at that threshold.
        """
        kept = by_score(scores_P)[:limit]
        scores_P, iou_PT = np.asarray(scores_P, dtype=np.float64)[kept], iou_PT[kept]
        matched_LP = np.array([match(iou_PT, scores_P, t, ignored_T=ignored_T) for t in thresholds])
        matched_LP = matched_LP.reshape(len(thresholds), len(kept))
        truths = iou_PT.shape[1] - (0 if ignored_T is None else int(np.sum(ignored_T)))
        return cls(scores_P, matched_LP >= 0, matched_LP == IGNORED, truths)

    @classmethod
    def pooled(cls, parts: Sequence[Ranked]) -> Ranked:
        """All images (one or more) together."""
        return cls(
            np.concatenate([part.scores_P for part in parts]),
            np.concatenate([part.hits_LP for part in parts], axis=1),
            np.concatenate([part.ignored_LP for part in parts], axis=1),
            sum(part.truths for part in parts),
        )

    def average_precisions(self, *, method: ApMethod = "coco101", ties: TieRule = "expected") -> np.ndarray:
        """Average precision (L,) at each threshold; NaN where there are no truths."""
        return np.array(
            [
                average_precision(self.scores_P[~ignored_P], hits_P[~ignored_P], self.truths, method=method, ties=ties)
                for hits_P, ignored_P in zip(self.hits_LP, self.ignored_LP, strict=True)
            ]
        )


def average_precision(
    scores_P: np.ndarray,
    hits_P: np.ndarray,
    truths: int,
    *,
    method: ApMethod = "coco101",
    ties: TieRule = "expected",
) -> float:
    """Area under the interpolated precision-recall curve, within [0, 1]; NaN where there are no truths.

    Predictions of equal score have no order, and any order that a file happens to have decides the result: with
    all scores equal, true ones first give 1 however many false ones follow. With ties "expected" the curve is that
    of expected precision and recall at each rank over random order among equal scores: of k predictions with a true
    ones each counts a / k of a hit. That is exact (at one rank both are linear in the hits; the idea is McSherry and
    Najork's, ECIR 2008). Interpolation is applied to that curve, so this is not quite the mean over orders of the
    interpolated result, but at most that, as the mean of a maximum is at least the maximum of means. With all
    scores equal (mAP_nc) "area" is precision x recall. Verdicts are taken as they are; those of greedy matching
    depend on the order of equal scores when several predictions fit one truth, those of `match_unranked` do not.

    "given" keeps the order of equal scores, as pycocotools and the VOC kits do.
    """
    if method not in get_args(ApMethod) or ties not in get_args(TieRule):
        known = ", ".join((*get_args(ApMethod), *get_args(TieRule)))
        raise ValueError(f"method {method!r} with ties {ties!r} is not known; known: {known}")
    if truths == 0:
        return np.nan
    scores_P, order_R = np.asarray(scores_P), by_score(scores_P)
    hits_1R = np.asarray(hits_P, dtype=np.float64)[None, order_R]
    return float(sorted_average_precisions(scores_P[order_R], hits_1R, truths, method, ties)[0])


def sorted_average_precisions(
    scores_R: np.ndarray, hits_LR: np.ndarray, truths: int, method: ApMethod, ties: TieRule
) -> np.ndarray:
    """`average_precision` (L,) of predictions that lie in falling order, judged at L thresholds; truths above 0."""
    if not hits_LR.shape[1]:
        return np.zeros(len(hits_LR))
    found_LR = _expected_hits(scores_R, hits_LR) if ties == "expected" else np.cumsum(hits_LR, axis=1, dtype=float)
    precision_LR, recall_LR = found_LR / np.arange(1, len(scores_R) + 1), found_LR / truths
    envelope_LR = np.maximum.accumulate(precision_LR[:, ::-1], axis=1)[:, ::-1]
    if method == "area":
        return np.sum(np.diff(recall_LR, prepend=0.0, axis=1) * envelope_LR, axis=1)
    # the levels are the rounded numbers of the original code: 3 of 10 found falls short of its level 0.3
    levels = np.linspace(0, 1, 11 if method == "voc11" else 101)
    reached_L = [np.searchsorted(recall_R, levels, side="left") for recall_R in recall_LR]
    return np.array([np.append(e_R, 0.0)[reached].mean() for e_R, reached in zip(envelope_LR, reached_L, strict=True)])


def mean_average_precision(
    classes: Mapping[str, Sequence[Ranked]], *, method: ApMethod = "coco101", ties: TieRule = "expected"
) -> float:
    """Mean over thresholds and over the classes that have truths; NaN where none has.

    Each class comes as its images' `Ranked`, all of the same thresholds. A class that is predicted but nowhere true
    does not count, as in VOC and COCO: report its false positives by precision.
    """
    values = [
        Ranked.pooled(parts).average_precisions(method=method, ties=ties).mean()
        for parts in classes.values()
        if sum(part.truths for part in parts)
    ]
    return float(np.mean(values)) if values else np.nan


def _expected_hits(scores_R: np.ndarray, hits_LR: np.ndarray) -> np.ndarray:
    """Mean number of hits (L, R) up to each rank over random order among equal scores; whole numbers between them."""
    apart_R = (scores_R[1:] != scores_R[:-1]) & ~(np.isnan(scores_R[1:]) & np.isnan(scores_R[:-1]))
    if apart_R.all():
        return np.cumsum(hits_LR, axis=1, dtype=float)
    starts_G = np.flatnonzero(np.concatenate(([True], apart_R)))
    sizes_G = np.diff(np.append(starts_G, len(scores_R)))
    hits_LG = np.add.reduceat(hits_LR, starts_G, axis=1, dtype=float)
    before_LG = np.cumsum(hits_LG, axis=1) - hits_LG
    group_R = np.repeat(np.arange(len(starts_G)), sizes_G)
    rank_R = np.arange(1, len(scores_R) + 1) - starts_G[group_R]
    return before_LG[:, group_R] + rank_R * hits_LG[:, group_R] / sizes_G[group_R]


# --- counting, presence, size ----------------------------------------------------------------------------


def counting_row(predicted: float, truth: float) -> Row:
    """One answer to "how many": its error, whether it is exact, and its error relative to a truth above 0."""
    error = abs(float(predicted) - float(truth))
    return {
        "counts": 1.0,
        "count_truth": float(truth),
        "count_error": error,
        "count_exact": float(error == 0),
        "count_positive": float(truth > 0),
        "count_relative": error / truth if truth > 0 else 0.0,
    }


COUNTING: Mapping[str, Ratio] = MappingProxyType(
    {
        "mae": Ratio({"count_error": 1}, {"counts": 1}),
        "exact": Ratio({"count_exact": 1}, {"counts": 1}),
        "relative_error": Ratio({"count_relative": 1}, {"count_positive": 1}),
        "pooled_relative_error": Ratio({"count_error": 1}, {"count_truth": 1}),
    }
)
"""Over rows of `counting_row`. The relative error is a mean over answers whose truth is above 0; pooled, it is all
errors by all truths, so that large counts weigh more and objects counted where none are cost too."""


def presence_row(said: bool | None, truth: bool) -> Row:
    """One answer to "is there any"; None (unreadable) is wrong but says nothing that is not there."""
    there, yes, no = bool(truth), said is not None and bool(said), said is not None and not said
    return {
        "presence_asked": 1.0,
        "presence_right": float(yes if there else no),
        "presence_absent": float(not there),
        "presence_invented": float(yes and not there),
        "presence_present": float(there),
        "presence_missed": float(there and not yes),
    }


PRESENCE: Mapping[str, Ratio] = MappingProxyType(
    {
        "accuracy": Ratio({"presence_right": 1}, {"presence_asked": 1}),
        "hallucination": Ratio({"presence_invented": 1}, {"presence_absent": 1}),
        "miss": Ratio({"presence_missed": 1}, {"presence_present": 1}),
    }
)
"""Over rows of `presence_row`. Hallucination: said to be there among all that is absent."""


def size_stratum(areas_N: np.ndarray, edges: Iterable[float] = (32.0, 96.0), unit: SizeUnit = "px") -> np.ndarray:
    """Names (N,) of size classes like "<32 px", "32-96 px", ">=96 px"; "unknown" for areas that are NaN.

    Areas are in squared units (px or m); edges are sides of squares in that unit, as COCO's 32 and 96 px. An edge
    belongs to the larger class. (COCO counts an area of exactly 32 x 32 in both.)
    """
    if unit not in get_args(SizeUnit):
        raise ValueError(f"unit {unit!r} is not known; known: {', '.join(get_args(SizeUnit))}")
    sides = [float(edge) for edge in edges]
    if not sides or sides != sorted(set(sides)) or sides[0] <= 0:
        raise ValueError(f"size edges {sides} are not positive and rising; pass sides such as (32, 96)")
    between = [f"{low:g}-{high:g} {unit}" for low, high in pairwise(sides)]
    names = np.array([f"<{sides[0]:g} {unit}", *between, f">={sides[-1]:g} {unit}", "unknown"])
    areas_N = np.asarray(areas_N, dtype=np.float64)
    place_N = np.searchsorted(np.square(sides), areas_N, side="right")
    return names[np.where(np.isnan(areas_N), len(names) - 1, place_N)]


def _at(name: str, threshold: float) -> str:
    return f"{name}@{threshold:g}"
