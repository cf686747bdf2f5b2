"""Matching and metrics: pure functions over arrays and counts."""

from georefer.scoring.detection import (
    COCO_THRESHOLDS,
    Ranked,
    average_precision,
    count_matches_at,
    detection_ratios,
    iou_ratios,
    iou_row,
    mean_average_precision,
    pair_ious,
    prediction_ious,
    size_stratum,
    truth_ious,
)
from georefer.scoring.greedy import match_coco, match_unranked, match_voc
from georefer.scoring.masks import boundary_iou, segmentation_ratios, segmentation_row
from georefer.scoring.matching import count_matches, match_optimal
from georefer.scoring.ratio import Estimate, Ratio, Row, estimate

__all__ = [
    "COCO_THRESHOLDS", "Estimate", "Ranked", "Ratio", "Row", "average_precision", "boundary_iou", "count_matches",
    "count_matches_at", "detection_ratios", "estimate", "iou_ratios", "iou_row", "match_coco", "match_optimal",
    "match_unranked", "match_voc", "mean_average_precision", "pair_ious", "prediction_ious", "segmentation_ratios",
    "segmentation_row", "size_stratum", "truth_ious",
]  # fmt: skip
