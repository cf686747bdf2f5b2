"""Two runs on the same questions: by how much they differ, how sure that is, and who won which answers.

Intervals of two runs may overlap although one is surely better, because the same hard images pull both down. Pairing
takes that out: images are drawn, or exchanged between the runs, with the answers of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.scoring.ratio import Estimate, Ratio, Row, sums_by_cluster

EXACT_CLUSTERS = 14
"""Up to so many images on which the runs differ, every exchange is tried: 2 ** 13 of them, as each has a mirror."""

_BLOCK = 2_000_000
"""Signs (draws x images) held at once."""


@dataclass(frozen=True)
class Paired:
    """Run B against run A; `difference` is B - A.

    `p` is two-sided. Of the answers B won `wins`, A `losses`, and `ties` came out alike. `images` on which the runs
    differ are all that the test can go by; `exact` says that every exchange of them was tried. NaN where either run
    has nothing to measure.
    """

    first: float
    second: float
    difference: Estimate
    p: float
    wins: int
    losses: int
    ties: int
    images: int
    exact: bool


def compare(
    ratio: Ratio, rows_A: Sequence[Row], rows_B: Sequence[Row], clusters: Sequence[str], *,
    lower_is_better: bool = False, level: float = 0.95, draws: int = 2000, exchanges: int = 9999, seed: int = 0,
) -> Paired:  # fmt: skip
    """Paired comparison of the rows of two runs, the same question at the same place; `clusters` are their images.

    The interval is a percentile bootstrap of whole images, drawn for both runs alike. The p-value is that of an
    exchange test: were the runs equally good, their answers about an image could as well be swapped, so the
    difference is looked up among those of all swaps (or of `exchanges` random ones and the one that is; Phipson and
    Smyth 2010). An answer is won by the run to whose measure it adds more, at the value that both have together:
    that also orders answers which alone have no value, such as a right "none" against a false box.
    """
    if not len(rows_A) == len(rows_B) == len(clusters):
        raise ValueError(
            f"{len(rows_A)} and {len(rows_B)} rows came with {len(clusters)} clusters; pass one of each a question"
        )
    sums_R4 = np.column_stack([*ratio.terms(rows_A), *ratio.terms(rows_B)]) if len(rows_A) else np.zeros((0, 4))
    first, second = (float(value) for value in _values(sums_R4.sum(axis=0)))
    won = _won(sums_R4, lower_is_better)
    if np.isnan(first) or np.isnan(second):
        nothing = Estimate(np.nan, np.nan, np.nan)
        return Paired(first, second, nothing, np.nan, *won, images=0, exact=False)
    sums_C4 = sums_by_cluster(sums_R4, clusters)
    rng = np.random.default_rng(seed)
    low, high = _interval(sums_C4, level, draws, rng)
    differ_C = (sums_C4[:, :2] != sums_C4[:, 2:]).any(axis=1)
    p, exact = _p_value(sums_C4[differ_C], sums_C4.sum(axis=0), exchanges, rng)
    return Paired(first, second, Estimate(second - first, low, high), p, *won, images=int(differ_C.sum()), exact=exact)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for looking at several measures (Holm 1979); NaN stays and does not count as one."""
    ranked = sorted((p, name) for name, p in p_values.items() if not np.isnan(p))
    corrected, highest = dict(p_values), 0.0
    for place, (p, name) in enumerate(ranked):
        highest = max(highest, min(1.0, p * (len(ranked) - place)))
        corrected[name] = highest
    return corrected


def _values(sums_4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of both runs from (..., 4): numerator and denominator of A, then of B; NaN without a denominator."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            np.where(sums_4[..., 1] != 0, sums_4[..., 0] / sums_4[..., 1], np.nan),
            np.where(sums_4[..., 3] != 0, sums_4[..., 2] / sums_4[..., 3], np.nan),
        )


def _won(sums_R4: np.ndarray, lower_is_better: bool) -> tuple[int, int, int]:
    """Answers won, lost and tied by B."""
    top, bottom = sums_R4[:, [0, 2]].sum(), sums_R4[:, [1, 3]].sum()
    value = top / bottom if bottom else 0.0
    gain_R = (sums_R4[:, 2] - sums_R4[:, 0]) - value * (sums_R4[:, 3] - sums_R4[:, 1])
    # equal counts may differ by rounding once they are weighed
    gain_R = np.where(np.abs(gain_R) <= 1e-12 * (1 + np.abs(sums_R4).max(axis=1, initial=0)), 0.0, gain_R)
    better = -1 if lower_is_better else 1
    wins, losses = int((better * gain_R > 0).sum()), int((better * gain_R < 0).sum())
    return wins, losses, len(sums_R4) - wins - losses


def _interval(sums_C4: np.ndarray, level: float, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    parts = []
    for size in _blocks(draws, count := len(sums_C4)):
        place_DC = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        parts.append(np.bincount(place_DC.ravel(), minlength=size * count).reshape(size, count) @ sums_C4)
    first_D, second_D = _values(np.concatenate(parts))
    difference_D = (second_D - first_D)[~np.isnan(second_D - first_D)]
    low, high = np.quantile(difference_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _p_value(
    differing_C4: np.ndarray, total_4: np.ndarray, exchanges: int, rng: np.random.Generator
) -> tuple[float, bool]:
    """The share of exchanges whose difference is at least as large as the one seen, and whether all were tried."""
    count = len(differing_C4)
    if not count:
        return 1.0, True
    swap_C4 = differing_C4[:, [2, 3, 0, 1]] - differing_C4
    seen = _distance(total_4)
    exact = count <= EXACT_CLUSTERS
    swaps = _all_swaps(count) if exact else (rng.integers(0, 2, (s, count)) for s in _blocks(exchanges, count))
    extreme = tried = 0
    for swapped_EC in swaps:
        # a difference that an exchange leaves undefined counts against the runs' being different
        distance_E = _distance(total_4 + swapped_EC @ swap_C4)
        extreme += int((np.isnan(distance_E) | (distance_E >= seen * (1 - 1e-9) - 1e-12)).sum())
        tried += len(swapped_EC)
    return (extreme / tried if exact else (extreme + 1) / (tried + 1)), exact


def _all_swaps(count: int) -> Iterator[np.ndarray]:
    """Every exchange of all clusters but the last: exchanging all others mirrors the difference and adds nothing."""
    numbers_E = np.arange(2 ** (count - 1))
    yield (numbers_E[:, None] >> np.arange(count)) & 1


def _distance(sums_4: np.ndarray) -> np.ndarray:
    first, second = _values(sums_4)
    return np.abs(second - first)


def _blocks(total: int, width: int) -> Iterator[int]:
    size = max(1, _BLOCK // max(1, width))
    for start in range(0, total, size):
        yield min(size, total - start)
