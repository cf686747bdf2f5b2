"""Segmentation metrics from pixel counts: gIoU, cIoU, answers where nothing is to be found, boundary IoU.

Two empty masks agree: their IoU is 1, as in ReLA (gRefCOCO, Liu et al. 2023). Some published scorers give 0 there
(Geo-R1, Seg-Zero, RMSIN) and so lose the whole share of questions without a target: see `empty`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np

from georefer.geometry import Mask
from georefer.geometry.mask import intersection
from georefer.scoring.ratio import Ratio, Row

BOUNDARY_SHARE = 0.02
"""Width of a boundary as a part of the image diagonal: the default of the published code (dilation_ratio). Objects
narrower than twice that are boundary throughout, and boundary IoU is then mask IoU: most objects seen from above."""


def pixel_ious(inter_N: np.ndarray, union_N: np.ndarray, *, empty: float = 1.0) -> np.ndarray:
    """IoU (N,) from numbers of pixels, with `empty` where there is no union: nothing asked for and nothing said."""
    inter_N, union_N = np.asarray(inter_N, dtype=np.float64), np.asarray(union_N, dtype=np.float64)
    iou_N = np.full(union_N.shape, float(empty))
    np.divide(inter_N, union_N, out=iou_N, where=union_N > 0)
    return iou_N


def mask_counts(predicted: Mask, truth: Mask) -> tuple[int, int]:
    """Pixels in both masks and pixels in either; the masks are of one size."""
    inter = intersection([predicted, truth]).area
    return inter, predicted.area + truth.area - inter


def segmentation_row(
    inter: float, predicted: float, truth: float, *, thresholds: Sequence[float] = (), empty: float = 1.0
) -> Row:
    """One answer's pixels in both masks, in the predicted one and in the true one, as a row.

    Without a target the IoU is `empty` for an empty answer and 0 for any other, whose pixels all join the union.
    "hits@0.5", ... count answers of IoU >= threshold among those with a target.
    """
    if not 0 <= inter <= min(predicted, truth):
        raise ValueError(f"{inter} common pixels of masks of {predicted} and {truth} cannot be; check their order")
    union = predicted + truth - inter
    iou = float(pixel_ious(np.array(inter), np.array(union), empty=empty))
    hits = {f"hits@{t:g}": float(truth > 0 and iou >= t) for t in thresholds}
    return {
        "masks": 1.0,
        "mask_iou": iou,
        "mask_inter": float(inter),
        "mask_union": float(union),
        "target": float(truth > 0),
        "target_answered": float(truth > 0 and predicted > 0),
        "no_target": float(truth == 0),
        "no_target_right": float(truth == 0 and predicted == 0),
        **hits,
    }


def segmentation_row_of(predicted: Mask, truth: Mask, *, thresholds: Sequence[float] = (), empty: float = 1.0) -> Row:
    """`segmentation_row` of two masks of one size."""
    inter, _ = mask_counts(predicted, truth)
    return segmentation_row(inter, predicted.area, truth.area, thresholds=thresholds, empty=empty)


SEGMENTATION: Mapping[str, Ratio] = MappingProxyType(
    {
        "giou": Ratio({"mask_iou": 1}, {"masks": 1}),
        "ciou": Ratio({"mask_inter": 1}, {"mask_union": 1}),
        "n_acc": Ratio({"no_target_right": 1}, {"no_target": 1}),
        "t_acc": Ratio({"target_answered": 1}, {"target": 1}),
    }
)
"""Over rows of `segmentation_row`. giou: mean IoU over images (LISA's name; not generalised box IoU). ciou: all common
pixels by all pixels of either, so that large areas dominate. n_acc, t_acc (ReLA): empty answers among questions
without a target, answers that are not empty among those with one."""


def segmentation_ratios(thresholds: Sequence[float] = ()) -> dict[str, Ratio]:
    """`SEGMENTATION` and "pr@0.5", ...: the share of questions with a target whose IoU reaches the threshold."""
    return {**SEGMENTATION, **{f"pr@{t:g}": Ratio({f"hits@{t:g}": 1}, {"target": 1}) for t in thresholds}}


# --- boundaries ------------------------------------------------------------------------------------------


def boundary_width(size: tuple[int, int], share: float = BOUNDARY_SHARE) -> int:
    """Width in pixels, at least 1, of a boundary in an image of (height, width)."""
    return max(1, round(share * float(np.hypot(*size))))


def boundary(mask_HW: np.ndarray, width: int) -> np.ndarray:
    """The set pixels at most `width` steps (straight or diagonal) from an unset one or from outside the image."""
    if width < 1:
        raise ValueError(f"a boundary of {width} pixels is empty; pass a width of 1 or more")
    set_HW = np.ascontiguousarray(mask_HW, dtype=bool).view(np.uint8)
    if set_HW.size == 0:
        return set_HW.view(bool)
    # one square of 2 width + 1 erodes as `width` squares of 3 do, row by row and column by column
    side = min(width, max(set_HW.shape)) * 2 + 1
    inside_HW = cv2.erode(set_HW, np.ones((side, side), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return set_HW.view(bool) & (inside_HW == 0)


def boundary_counts(predicted_HW: np.ndarray, truth_HW: np.ndarray, width: int | None = None) -> tuple[int, int]:
    """Pixels in both boundaries and in either, of dense masks (height, width)."""
    predicted_HW, truth_HW = np.asarray(predicted_HW), np.asarray(truth_HW)
    if predicted_HW.shape != truth_HW.shape or truth_HW.ndim != 2:
        raise ValueError(f"masks of shapes {predicted_HW.shape} and {truth_HW.shape} came; pass two of one size")
    height, columns = truth_HW.shape
    width = boundary_width((height, columns)) if width is None else width
    first_HW, second_HW = boundary(predicted_HW, width), boundary(truth_HW, width)
    return int((first_HW & second_HW).sum()), int((first_HW | second_HW).sum())


def boundary_iou(
    predicted_HW: np.ndarray, truth_HW: np.ndarray, width: int | None = None, *, empty: float = 1.0
) -> float:
    """IoU of the inner boundaries of two dense masks (Cheng et al. 2021): sees errors that large areas hide.

    `width` in pixels; 2 % of the image diagonal unless given. A cut at the image edge counts as boundary.
    """
    inter, union = boundary_counts(predicted_HW, truth_HW, width)
    return float(pixel_ious(np.array(inter), np.array(union), empty=empty))
