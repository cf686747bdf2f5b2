"""Paired comparison: right under the null, sharp where there is a difference, honest about images."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from georefer.scoring.paired import EXACT_CLUSTERS, compare, holm
from georefer.scoring.ratio import Ratio, estimate

ACCURACY = Ratio({"right": 1}, {"asked": 1})
F1 = Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1})


def answers(right):
    return [{"right": float(value), "asked": 1.0} for value in right]


def names(count, of_each=1):
    return [str(index // of_each) for index in range(count)]


def counts(tp, fp, fn):
    return {"tp": float(tp), "fp": float(fp), "fn": float(fn)}


def test_values_differences_and_wins_by_hand():
    found = compare(ACCURACY, answers([1, 0, 0, 1]), answers([1, 1, 1, 0]), names(4))
    assert (found.first, found.second, found.difference.value) == (0.5, 0.75, 0.25)
    assert (found.wins, found.losses, found.ties) == (2, 1, 1)
    # three images differ, +1 +1 -1: of the 8 ways to sign them all have a sum of at least 1 in size
    assert (found.images, found.exact, found.p) == (3, True, 1.0)
    assert found.difference.low <= 0.25 <= found.difference.high


def test_one_sided_luck_has_the_p_value_of_a_sign_test():
    found = compare(ACCURACY, answers([0] * 6 + [1, 0]), answers([1] * 6 + [1, 0]), names(8))
    assert found.p == pytest.approx(2 / 2**6)


def test_the_exact_p_value_is_that_of_trying_every_exchange_of_a_ratio():
    rng = np.random.default_rng(1)
    one, other = ([counts(*rng.integers(0, 5, 3)) for _ in range(7)] for _ in range(2))

    def f1(rows):
        return 2 * sum(r["tp"] for r in rows) / sum(2 * r["tp"] + r["fp"] + r["fn"] for r in rows)

    seen = abs(f1(other) - f1(one))
    extreme = 0
    for swap in product([False, True], repeat=7):
        first = [b if s else a for a, b, s in zip(one, other, swap, strict=True)]
        second = [a if s else b for a, b, s in zip(one, other, swap, strict=True)]
        extreme += abs(f1(second) - f1(first)) >= seen - 1e-12
    assert compare(F1, one, other, names(7)).p == pytest.approx(extreme / 2**7)


def test_random_exchanges_come_near_the_exact_p_value(monkeypatch):
    rng = np.random.default_rng(3)
    one, other = answers(rng.random(13)), answers(rng.random(13) + 0.2)
    exact = compare(ACCURACY, one, other, names(13))
    monkeypatch.setattr("georefer.scoring.paired.EXACT_CLUSTERS", 5)
    drawn = compare(ACCURACY, one, other, names(13))
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert drawn.difference == exact.difference


def test_the_same_run_twice_is_no_difference():
    rows = answers(np.random.default_rng(0).random(40))
    found = compare(ACCURACY, rows, rows, names(40))
    assert (found.difference.value, found.difference.low, found.difference.high, found.p) == (0, 0, 0, 1)
    assert (found.wins, found.losses, found.ties) == (0, 0, 40)


@pytest.mark.parametrize("images", [10, 40])  # exact; drawn
def test_p_values_of_equal_runs_are_uniform_where_images_have_a_difficulty_of_their_own(images):
    rng = np.random.default_rng(11)
    trials, p_values = 300, []
    for _ in range(trials):
        chance_R = np.repeat(rng.beta(0.6, 0.6, images), 5)
        # each run also has a luck of its own with an image, the same for all answers about it
        one, other = (
            answers(rng.random(images * 5) < np.clip(chance_R + np.repeat(rng.normal(0, 0.2, images), 5), 0, 1))
            for _ in range(2)
        )
        found = compare(ACCURACY, one, other, names(images * 5, 5), draws=10, exchanges=199)
        assert found.exact == (found.images <= EXACT_CLUSTERS)
        p_values.append(found.p)
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        share, error = np.mean(np.array(p_values) <= level), 3 * math.sqrt(level * (1 - level) / trials)
        # never too many small ones; few exchanges make it conservative, but not by much
        assert level - error - 0.06 <= share <= level + error, f"{share:.3f} of p-values are <= {level}"


def test_ignoring_images_would_find_differences_that_are_none():
    rng = np.random.default_rng(5)
    found = {True: 0, False: 0}
    for _ in range(100):
        one, other = (answers(np.repeat(rng.random(20) < 0.5, 10)) for _ in range(2))
        for is_clustered, clusters in ((True, names(200, 10)), (False, names(200))):
            found[is_clustered] += compare(ACCURACY, one, other, clusters, draws=10, exchanges=199).p <= 0.05
    assert found[True] <= 11
    assert found[False] >= 30


def test_a_true_difference_is_found_though_the_intervals_of_the_runs_overlap():
    rng = np.random.default_rng(2)
    chance_R = np.repeat(rng.beta(0.5, 0.5, 60), 6)
    luck_R = rng.random(360)
    one, other = answers(luck_R < chance_R), answers(luck_R < chance_R + 0.06)
    clusters = names(360, 6)
    alone = [estimate(ACCURACY, rows, clusters) for rows in (one, other)]
    assert alone[0].high > alone[1].low
    found = compare(ACCURACY, one, other, clusters)
    assert found.p < 0.001 and found.difference.low > 0


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(4)
    one, other = (answers(np.repeat(rng.random(40) < 0.5, 10)) for _ in range(2))
    widths = []
    for clusters in (names(400, 10), names(400)):
        found = compare(ACCURACY, one, other, clusters).difference
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(10), rel=0.15)


def test_about_95_of_100_intervals_hold_the_true_difference():
    rng = np.random.default_rng(8)
    held, trials = 0, 200
    for _ in range(trials):
        chance_R = np.repeat(rng.uniform(0.2, 0.7, 50), 4)
        one, other = answers(rng.random(200) < chance_R), answers(rng.random(200) < chance_R + 0.1)
        found = compare(ACCURACY, one, other, names(200, 4), draws=200, exchanges=19).difference
        held += found.low <= 0.1 <= found.high
    assert 0.90 <= held / trials <= 0.985


def test_a_right_none_beats_a_false_box_and_more_found_beats_less():
    one = [counts(0, 0, 0), counts(1, 0, 1), counts(2, 0, 0)]
    other = [counts(0, 1, 0), counts(2, 0, 0), counts(2, 0, 0)]
    found = compare(F1, one, other, names(3))
    assert (found.wins, found.losses, found.ties) == (1, 1, 1)


def test_where_less_is_better_the_lower_run_wins_and_the_difference_keeps_its_sign():
    rows = answers([1, 1, 1]), answers([0, 1, 0])
    found = compare(ACCURACY, *rows, names(3), lower_is_better=True)
    assert (found.wins, found.losses) == (2, 0)
    assert found.difference.value < 0


def test_nothing_to_measure_is_nan():
    for rows_A, rows_B in (([counts(0, 0, 0)], [counts(1, 0, 0)]), ([], [])):
        found = compare(F1, rows_A, rows_B, names(len(rows_A)))
        assert all(math.isnan(v) for v in (found.first, found.p, found.difference.value, found.difference.low))


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="one of each a question"):
        compare(ACCURACY, answers([1]), answers([1, 0]), ["a"])


def test_the_same_seed_gives_the_same_result():
    rng = np.random.default_rng(0)
    runs = answers(rng.random(60)), answers(rng.random(60))
    assert compare(ACCURACY, *runs, names(60)) == compare(ACCURACY, *runs, names(60))


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 raised to the one before, 0.5 x 1; what is NaN was no test
    found = holm({"c": 0.03, "a": 0.01, "d": 0.5, "b": 0.02, "none": math.nan})
    assert math.isnan(found.pop("none"))
    assert found == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.5})
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}
