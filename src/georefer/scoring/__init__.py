"""Matching and metrics: pure functions over arrays and counts."""

from georefer.scoring.choice import Choice, Rotation, circular_rows, read_choice
from georefer.scoring.consistency import consistency_ratios, consistency_row, one_shape, perfect_answers
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
from georefer.scoring.greedy import match_by_overlap, match_coco, match_unranked, match_voc, ranked_match
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
from georefer.scoring.paired import Paired, compare, holm
from georefer.scoring.ranking import CocoImage, coco_scores, estimate_average_precision, unranked_average_precision
from georefer.scoring.ratio import Estimate, Ratio, Row, estimate, estimates
from georefer.scoring.strata import object_areas, stratum_rows

__all__ = [
    "COCO_THRESHOLDS",
    "Choice",
    "CocoImage",
    "Estimate",
    "Graph",
    "GraphPair",
    "Paired",
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
    "coco_scores",
    "compare",
    "consistency_ratios",
    "consistency_row",
    "contradiction_row",
    "count_matches",
    "count_matches_at",
    "credit_row",
    "detection_ratios",
    "estimate",
    "estimate_average_precision",
    "estimates",
    "hierarchical_row",
    "holm",
    "iou_ratios",
    "iou_row",
    "match_by_overlap",
    "match_coco",
    "match_optimal",
    "match_unranked",
    "match_voc",
    "mean_average_precision",
    "multilabel_score",
    "object_areas",
    "one_shape",
    "pair_ious",
    "perfect_answers",
    "prediction_ious",
    "ranked_match",
    "read_choice",
    "reliability",
    "score_graphs",
    "segmentation_ratios",
    "segmentation_row",
    "size_stratum",
    "stratum_rows",
    "truth_ious",
    "unranked_average_precision",
]
