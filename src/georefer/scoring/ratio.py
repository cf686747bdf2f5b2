"""Metrics as ratios of sums over answers, with intervals that know answers of one image go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Row = Mapping[str, float]
"""What one answer contributes: named counts and sums."""

_BLOCK = 2_000_000
"""Draws x clusters held at once, 16 MB: a hundred thousand images must not fill the memory."""


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
    return estimates({"": ratio}, rows, clusters, level=level, draws=draws, seed=seed)[""]


def estimates(
    ratios: Mapping[str, Ratio], rows: Sequence[Row], clusters: Sequence[str], *,
    level: float = 0.95, draws: int = 2000, seed: int = 0,
) -> dict[str, Estimate]:  # fmt: skip
    """`estimate` of several metrics of the same rows, from the same draws: drawing is most of the work."""
    if not len(rows):
        return {name: Estimate(np.nan, np.nan, np.nan) for name in ratios}
    sums_R2M = np.column_stack([column_R for ratio in ratios.values() for column_R in ratio.terms(rows)])
    sums_C2M = sums_by_cluster(sums_R2M, clusters)
    total_2M, rng = sums_R2M.sum(axis=0), np.random.default_rng(seed)
    drawn_D2M = np.concatenate([weights @ sums_C2M for weights in _resamples(len(sums_C2M), draws, rng)])
    found = {}
    for place, name in enumerate(ratios):
        top, bottom = total_2M[2 * place : 2 * place + 2]
        top_D, bottom_D = drawn_D2M[:, 2 * place : 2 * place + 2].T
        values_D = top_D[bottom_D > 0] / bottom_D[bottom_D > 0]
        if bottom == 0:
            found[name] = Estimate(np.nan, np.nan, np.nan)
            continue
        low, high = np.quantile(values_D, [(1 - level) / 2, (1 + level) / 2])
        found[name] = Estimate(float(top / bottom), float(low), float(high))
    return found


def sums_by_cluster(sums_RK: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Columns (C, K) summed over the rows of each cluster."""
    _, cluster_R = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.column_stack([np.bincount(cluster_R, column_R) for column_R in sums_RK.T])


def _resamples(count: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of `count` clusters is drawn, (some draws, count) at a time."""
    shares_C, size = np.full(count, 1 / count), max(1, _BLOCK // count)
    for start in range(0, draws, size):
        yield rng.multinomial(count, shares_C, size=min(size, draws - start))


def _weighted(rows: Sequence[Row], weights: Mapping[str, float]) -> np.ndarray:
    columns = [weight * np.array([row[name] for row in rows], dtype=np.float64) for name, weight in weights.items()]
    return np.sum(columns, axis=0)
