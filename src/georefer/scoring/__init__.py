"""Matching and metrics: pure functions over arrays and counts."""

from georefer.scoring.matching import count_matches, match_optimal
from georefer.scoring.ratio import Estimate, Ratio, Row, estimate

__all__ = ["Estimate", "Ratio", "Row", "count_matches", "estimate", "match_optimal"]
