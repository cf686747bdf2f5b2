"""Matching and metrics: pure functions over arrays and counts."""

from georefer.scoring.choice import Choice, Rotation, circular_rows, read_choice
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
from georefer.scoring.graph import Graph, GraphPair, contradiction_row, score_graphs
from georefer.scoring.greedy import match_coco, match_unranked, match_voc
from georefer.scoring.labels import (
    Taxonomy,
    brier_score,
    calibration_error,
    credit_row,
    hierarchical_row,
    multilabel_score,
    reliability,
)
from georefer.scoring.masks import boundary_iou, segmentation_ratios, segmentation_row
from georefer.scoring.matching import count_matches, match_optimal
from georefer.scoring.ratio import Estimate, Ratio, Row, estimate

__all__ = [
    "COCO_THRESHOLDS",
    "Choice",
    "Estimate",
    "Graph",
    "GraphPair",
    "Ranked",
    "Ratio",
    "Rotation",
    "Row",
    "Taxonomy",
    "average_precision",
    "boundary_iou",
    "brier_score",
    "calibration_error",
    "circular_rows",
    "contradiction_row",
    "count_matches",
    "count_matches_at",
    "credit_row",
    "detection_ratios",
    "estimate",
    "hierarchical_row",
    "iou_ratios",
    "iou_row",
    "match_coco",
    "match_optimal",
    "match_unranked",
    "match_voc",
    "mean_average_precision",
    "multilabel_score",
    "pair_ious",
    "prediction_ious",
    "read_choice",
    "reliability",
    "score_graphs",
    "segmentation_ratios",
    "segmentation_row",
    "size_stratum",
    "truth_ious",
]
