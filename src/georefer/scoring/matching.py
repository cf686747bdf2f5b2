"""Which prediction stands for which truth, one to one."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def match_optimal(iou_PT: np.ndarray, threshold: float) -> np.ndarray:
    """Truth index of each prediction, or -1: as many pairs with IoU >= threshold as there can be.

    Among those, the pairing with the largest total IoU. Neither the order of the answer nor duplicates can
    raise the count: every truth is given once.
    """
    matched_P = np.full(len(iou_PT), -1)
    if iou_PT.size == 0:
        return matched_P
    if min(iou_PT.shape) == 1:  # nothing to choose but the best
        best = int(iou_PT.argmax())
        if iou_PT.flat[best] >= threshold:
            prediction, truth = divmod(best, iou_PT.shape[1])
            matched_P[prediction] = truth
        return matched_P
    counts_PT = iou_PT >= threshold
    if counts_PT.sum(axis=0).max() <= 1 and counts_PT.sum(axis=1).max() <= 1:  # no two pairs compete
        predictions, truths = np.nonzero(counts_PT)
        matched_P[predictions] = truths
        return matched_P
    # a pair that counts outweighs any gain in overlap elsewhere, so the number of pairs is maximal
    gain_PT = np.where(iou_PT >= threshold, iou_PT + min(iou_PT.shape) + 1.0, 0.0)
    predictions, truths = linear_sum_assignment(gain_PT, maximize=True)
    counts = iou_PT[predictions, truths] >= threshold
    matched_P[predictions[counts]] = truths[counts]
    return matched_P


def count_matches(iou_PT: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """True positives, false positives and false negatives of one answer under optimal matching."""
    hits = float((match_optimal(iou_PT, threshold) >= 0).sum())
    predictions, truths = iou_PT.shape
    return {"tp": hits, "fp": predictions - hits, "fn": truths - hits}
