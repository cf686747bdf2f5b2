"""Ratios of sums, and intervals that hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from georefer.scoring import Ratio, estimate
from georefer.scoring.ratio import estimates

ACCURACY = Ratio({"right": 1}, {"asked": 1})
F1 = Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1})


def answers(right):
    return [{"right": float(value), "asked": 1.0} for value in right]


def each_its_own(rows):
    return [str(index) for index in range(len(rows))]


@pytest.mark.parametrize(
    ("ratio", "rows", "expected"),
    [
        (ACCURACY, answers([1, 0, 1, 1]), 0.75),
        (F1, [{"tp": 3, "fp": 1, "fn": 0}, {"tp": 0, "fp": 0, "fn": 2}], 6 / 9),
        # counts are summed before dividing: the mean of 1 and 0.1 would be 0.55
        (ACCURACY, [{"right": 1, "asked": 1}, {"right": 1, "asked": 10}], 2 / 11),
    ],
)
def test_known_values(ratio, rows, expected):
    found = estimate(ratio, rows, each_its_own(rows))
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high


def test_nothing_counted_is_nan_not_zero():
    found = estimate(F1, [{"tp": 0, "fp": 0, "fn": 0}], ["a"])
    assert all(math.isnan(value) for value in (found.value, found.low, found.high))


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    rows = answers(np.random.default_rng(0).random(50))
    first = estimate(ACCURACY, rows, each_its_own(rows))
    assert first == estimate(ACCURACY, rows, each_its_own(rows))
    assert first != estimate(ACCURACY, rows, each_its_own(rows), seed=1)


def test_several_metrics_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    rows = [{**dict(zip(("tp", "fp", "fn", "right"), rng.integers(0, 5, 4).astype(float), strict=True)), "asked": 5.0,
             "never": 0.0} for _ in range(40)]  # fmt: skip
    ratios = {"accuracy": ACCURACY, "f1": F1, "never": Ratio({"tp": 1}, {"never": 1})}
    clusters = [str(index // 3) for index in range(40)]
    together = estimates(ratios, rows, clusters)
    assert math.isnan(together.pop("never").value)
    for name, found in together.items():
        assert found.as_dict() == pytest.approx(estimate(ratios[name], rows, clusters).as_dict(), abs=1e-12)
    assert all(math.isnan(found.high) for found in estimates(ratios, [], []).values())


def test_drawing_in_blocks_changes_nothing(monkeypatch):
    rows = answers(np.random.default_rng(1).random(50))
    whole = estimate(ACCURACY, rows, each_its_own(rows))
    monkeypatch.setattr("georefer.scoring.ratio._BLOCK", 700)
    assert estimate(ACCURACY, rows, each_its_own(rows)).as_dict() == pytest.approx(whole.as_dict(), abs=1e-12)


def test_the_interval_of_independent_answers_has_the_textbook_width():
    rows = answers([1] * 240 + [0] * 160)
    found = estimate(ACCURACY, rows, each_its_own(rows))
    textbook = 2 * 1.96 * math.sqrt(0.6 * 0.4 / 400)
    assert found.high - found.low == pytest.approx(textbook, rel=0.08)


def test_answers_that_share_their_fate_within_an_image_widen_the_interval():
    # ten answers an image, all right or all wrong: as good as one answer an image
    rows = answers(np.repeat([1, 0] * 20, 10))
    clustered = estimate(ACCURACY, rows, [str(index // 10) for index in range(len(rows))])
    alone = estimate(ACCURACY, rows, each_its_own(rows))
    widened = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert widened == pytest.approx(math.sqrt(10), rel=0.1)


def test_about_95_of_100_intervals_hold_the_truth_where_answers_are_clustered():
    rng = np.random.default_rng(7)
    trials, images, held = 200, 60, {True: 0, False: 0}
    for _ in range(trials):
        # every image has a difficulty of its own; their mean is 0.5
        chance_I = rng.beta(1, 1, images)
        rows = answers(rng.random((images, 8)).ravel() < np.repeat(chance_I, 8))
        by_image = [str(index // 8) for index in range(len(rows))]
        for is_clustered, clusters in ((True, by_image), (False, each_its_own(rows))):
            found = estimate(ACCURACY, rows, clusters, draws=200)
            held[is_clustered] += found.low <= 0.5 <= found.high
    assert 0.90 <= held[True] / trials <= 0.985
    # what is claimed would not hold without the clusters
    assert held[False] / trials < 0.85
