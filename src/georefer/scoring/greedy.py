"""Greedy matching by descending score: the rules behind VOC's and COCO's average precision.

Both give each prediction the index of its truth, `MISSED`, or `IGNORED` (it counts neither for nor against). They
differ in what becomes of a prediction whose best truth is already taken: VOC calls it false, COCO tries the next
truth. `match_unranked` stands beside them for answers without scores; it finds as many pairs as there can be, and
greedy matching may find fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from georefer.scoring.matching import match_optimal

MISSED = -1
"""No truth: a false positive."""

IGNORED = -2
"""Belongs to a truth that nobody is asked to find: left out of all counts."""

_ROUNDING = 1e-10
"""pycocotools caps thresholds at 1 - 1e-10, so that a perfect box passes the threshold 1 whatever its rounding."""


class GreedyRule(Protocol):
    """`match_voc`, `match_coco`, `match_unranked` or another: scores and truths to ignore in, a truth for each out."""

    def __call__(
        self, iou_PT: np.ndarray, scores_P: np.ndarray, threshold: float, *, ignored_T: np.ndarray | None = None
    ) -> np.ndarray: ...


def match_voc(
    iou_PT: np.ndarray, scores_P: np.ndarray, threshold: float, *, ignored_T: np.ndarray | None = None
) -> np.ndarray:
    """Truth index (P,) of each prediction by VOC's rule (VOCevaldet.m of the 2012 development kit).

    By descending score, each prediction looks only at the truth it overlaps most (the first of several). If IoU >=
    threshold, it is a hit where that truth is free and a false positive where it is taken, even if another free
    truth would do. `ignored_T` marks VOC's "difficult" truths, whose predictions are `IGNORED`, however many.
    """
    iou_PT, scores_P, ignored_T = _checked(iou_PT, scores_P, ignored_T)
    matched_P = np.full(len(iou_PT), MISSED)
    if iou_PT.size == 0:
        return matched_P
    best_P = iou_PT.argmax(axis=1)
    reaches_P = iou_PT.max(axis=1) >= threshold
    matched_P[reaches_P & ignored_T[best_P]] = IGNORED
    order_R = by_score(scores_P)
    order_R = order_R[(reaches_P & ~ignored_T[best_P])[order_R]]
    truths, first = np.unique(best_P[order_R], return_index=True)
    matched_P[order_R[first]] = truths
    return matched_P


def match_coco(
    iou_PT: np.ndarray,
    scores_P: np.ndarray,
    threshold: float,
    *,
    ignored_T: np.ndarray | None = None,
    crowd_T: np.ndarray | None = None,
) -> np.ndarray:
    """Truth index (P,) of each prediction by COCO's rule (COCOeval.evaluateImg of pycocotools).

    By descending score, each prediction takes the free truth it overlaps most among those with IoU >= threshold
    (the last of several). Only where none that counts will do, it may take one of `ignored_T` or `crowd_T` (crowds
    are ignored too) and is `IGNORED`; a crowd takes any number, another ignored truth one. For crowd columns the
    caller passes the part of the prediction inside the crowd (IoA) in place of IoU.
    """
    iou_PT, scores_P, ignored_T = _checked(iou_PT, scores_P, ignored_T)
    matched_P = np.full(len(iou_PT), MISSED)
    if iou_PT.size == 0:
        return matched_P
    crowd_T = np.zeros(len(ignored_T), dtype=bool) if crowd_T is None else np.asarray(crowd_T, dtype=bool)
    counts_T = ~(ignored_T | crowd_T)
    free_T = np.ones(len(counts_T), dtype=bool)
    fits_PT = iou_PT >= min(threshold, 1 - _ROUNDING)
    for prediction in by_score(scores_P):
        for among_T in (counts_T, ~counts_T):
            possible = np.flatnonzero(fits_PT[prediction] & among_T & free_T)
            if len(possible):
                # of equal overlaps COCO keeps the last
                truth = possible[::-1][iou_PT[prediction, possible[::-1]].argmax()]
                matched_P[prediction] = truth if counts_T[truth] else IGNORED
                free_T[truth] = crowd_T[truth]
                break
    return matched_P


def match_unranked(
    iou_PT: np.ndarray, scores_P: np.ndarray, threshold: float, *, ignored_T: np.ndarray | None = None
) -> np.ndarray:
    """Truth index (P,) of each prediction by `match_optimal`, which no score and no order decides.

    For answers without confidences, where all scores are equal: the number of hits is that of the best pairing. A
    prediction that is left over and reaches one of `ignored_T` is `IGNORED`, however many there are.
    """
    iou_PT, _, ignored_T = _checked(iou_PT, scores_P, ignored_T)
    counts = np.flatnonzero(~ignored_T)
    found_P = match_optimal(iou_PT[:, counts], threshold)
    matched_P = np.where((iou_PT[:, ignored_T] >= threshold).any(axis=1), IGNORED, MISSED)
    matched_P[found_P >= 0] = counts[found_P[found_P >= 0]]
    return matched_P


def match_by_overlap(iou_PT: np.ndarray, threshold: float) -> np.ndarray:
    """Truth index (P,) of each prediction, or `MISSED`: the pair that overlaps most first, then the next of the rest.

    Greedy without confidences, so that the order of an answer decides nothing (equal overlaps: the first pair). It
    may find fewer pairs than `match_optimal`, never more.
    """
    matched_P = np.full(len(iou_PT), MISSED)
    free_P, free_T = np.ones(iou_PT.shape[0], dtype=bool), np.ones(iou_PT.shape[1], dtype=bool)
    predictions, truths = np.nonzero(iou_PT >= threshold)
    for pair in np.argsort(-iou_PT[predictions, truths], kind="stable"):
        p, t = predictions[pair], truths[pair]
        if free_P[p] and free_T[t]:
            matched_P[p], free_P[p], free_T[t] = t, False, False
    return matched_P


def ranked_match(
    scores_P: np.ndarray, rule: GreedyRule = match_coco, *, ignored_T: np.ndarray | None = None
) -> Callable[[np.ndarray, float], np.ndarray]:
    """A greedy rule with its scores bound, for whom a matching is a function of overlaps and a threshold alone."""
    return lambda iou_PT, threshold: rule(iou_PT, scores_P, threshold, ignored_T=ignored_T)


def by_score(scores_P: np.ndarray) -> np.ndarray:
    """Places by descending score; equal scores stay in the order given, NaN comes last."""
    return np.argsort(-np.asarray(scores_P, dtype=np.float64), kind="stable")


def within_class(iou_PT: np.ndarray, labels_P: Sequence[str], labels_T: Sequence[str]) -> np.ndarray:
    """The IoU with 0 between classes: any matching with a threshold above 0 then stays within classes.

    One call for all classes equals one call for each, because no pair across classes can be chosen.
    """
    return np.where(np.asarray(labels_P)[:, None] == np.asarray(labels_T)[None, :], iou_PT, 0.0)


def strictly_above(threshold: float) -> float:
    """The smallest threshold whose ">=" is this one's ">": for scorers that count IoU > threshold (DOTA, Geo-R1)."""
    return float(np.nextafter(threshold, np.inf))


def _checked(
    iou_PT: np.ndarray, scores_P: np.ndarray, ignored_T: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    iou_PT, scores_P = np.asarray(iou_PT, dtype=np.float64), np.asarray(scores_P, dtype=np.float64)
    predictions, truths = iou_PT.shape
    ignored_T = np.zeros(truths, dtype=bool) if ignored_T is None else np.asarray(ignored_T, dtype=bool)
    if scores_P.shape != (predictions,) or ignored_T.shape != (truths,):
        raise ValueError(
            f"an IoU matrix of {predictions} predictions by {truths} truths came with {scores_P.size} scores "
            f"and {ignored_T.size} marks of ignored truths; pass one for each"
        )
    return iou_PT, scores_P, ignored_T
