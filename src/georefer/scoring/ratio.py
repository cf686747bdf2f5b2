"""Metrics as ratios of sums over answers, with intervals that know answers of one image go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Row = Mapping[str, float]
"""What one answer contributes: named counts and sums."""


@dataclass(frozen=True)
class Ratio:
    """A metric sum(numerator) / sum(denominator), each a weighted sum of row columns.

    Accuracy, mean IoU, precision, recall and F1 all have this form, e.g.
    F1 = Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}).
    """

    numerator: Mapping[str, float]
    denominator: Mapping[str, float]

    def terms(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of each row."""
        return _weighted(rows, self.numerator), _weighted(rows, self.denominator)


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its confidence interval; NaN throughout where nothing was counted."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def estimate(
    ratio: Ratio, rows: Sequence[Row], clusters: Sequence[str], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Estimate:
    """The metric over all rows with a percentile bootstrap interval clustered by image.

    Whole clusters (images) are resampled with replacement, because answers about one image share its
    difficulty; resampling single answers would make the interval too narrow.
    """
    top_R, bottom_R = ratio.terms(rows)
    if bottom_R.sum() == 0:
        return Estimate(np.nan, np.nan, np.nan)
    value = float(top_R.sum() / bottom_R.sum())
    _, cluster_R = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    count = int(cluster_R.max()) + 1
    top_C = np.bincount(cluster_R, top_R, count)
    bottom_C = np.bincount(cluster_R, bottom_R, count)
    weights_DC = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    top_D, bottom_D = weights_DC @ top_C, weights_DC @ bottom_C
    values_D = top_D[bottom_D > 0] / bottom_D[bottom_D > 0]
    low, high = np.quantile(values_D, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _weighted(rows: Sequence[Row], weights: Mapping[str, float]) -> np.ndarray:
    columns = [weight * np.array([row[name] for row in rows], dtype=np.float64) for name, weight in weights.items()]
    return np.sum(columns, axis=0)
