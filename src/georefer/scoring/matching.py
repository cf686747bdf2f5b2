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
    if pairs := _lone_pairs(counts_PT):
        matched_P[pairs[0]] = pairs[1]
        return matched_P
    # a pair that counts outweighs any gain in overlap elsewhere, so the number of pairs is maximal
    gain_PT = np.where(counts_PT, iou_PT + min(iou_PT.shape) + 1.0, 0.0)
    predictions, truths = linear_sum_assignment(gain_PT, maximize=True)
    counts = iou_PT[predictions, truths] >= threshold
    matched_P[predictions[counts]] = truths[counts]
    return matched_P


def _lone_pairs(counts_PT: np.ndarray) -> tuple[list[int], list[int]] | None:
    """Predictions and truths of all pairs that count; None where two of them compete for one of either."""
    if np.count_nonzero(counts_PT) > min(counts_PT.shape):
        return None
    predictions, truths = (places.tolist() for places in counts_PT.nonzero())
    return (predictions, truths) if len(set(predictions)) == len(set(truths)) == len(truths) else None


def count_matches(iou_PT: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """True positives, false positives and false negatives of one answer under optimal matching."""
    pairs = _lone_pairs(iou_PT >= threshold)
    hits = float(len(pairs[0]) if pairs else np.count_nonzero(match_optimal(iou_PT, threshold) >= 0))
    predictions, truths = iou_PT.shape
    return {"tp": hits, "fp": predictions - hits, "fn": truths - hits}
