"""Scores of labels: on a taxonomy, several at once, and of confidences; counted by hand, and what must hold for any."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.scoring.labels import (
    HIERARCHICAL_F1,
    HIERARCHICAL_PRECISION,
    HIERARCHICAL_RECALL,
    LABEL_ACCURACY,
    LABEL_CREDIT,
    Taxonomy,
    brier_score,
    calibration_error,
    credit_row,
    hierarchical_row,
    multilabel_score,
    reliability,
)

#   thing ─ vehicle ─ ship ─ tanker       a ferry terminal is a building and a port
PARENTS = {
    "vehicle": ["thing"], "ship": ["vehicle"], "tanker": ["ship"], "ferry": ["ship"], "car": ["vehicle"],
    "place": ["thing"], "port": ["place"], "building": ["thing"], "ferry terminal": ["building", "port"],
}  # fmt: skip
TAXONOMY = Taxonomy(PARENTS)
LABELS = sorted({*PARENTS, "thing"})


def value(ratio, rows):
    top, bottom = ratio.terms(rows)
    return top.sum() / bottom.sum()


# --- taxonomy --------------------------------------------------------------------------------------------


def test_ancestors_and_depth():
    assert TAXONOMY.ancestors("tanker") == {"tanker", "ship", "vehicle"}
    assert TAXONOMY.ancestors("ferry terminal") == {"ferry terminal", "building", "port", "place"}
    assert TAXONOMY.ancestors("thing") == set()  # the only root says nothing
    assert [TAXONOMY.depth(label) for label in ("thing", "vehicle", "tanker", "ferry terminal")] == [0, 1, 3, 3]
    assert "thing" in TAXONOMY
    assert "whale" not in TAXONOMY


def test_several_roots_are_labels_like_others():
    taxonomy = Taxonomy({"ship": ["vehicle"], "port": ["place"]})
    assert taxonomy.ancestors("ship") == {"ship", "vehicle"}
    assert [taxonomy.depth(label) for label in ("vehicle", "ship")] == [1, 2]
    flat = Taxonomy({"ship": [], "car": []})
    assert flat.ancestors("car") == {"car"}


@pytest.mark.parametrize(
    ("parents", "cycle"),
    [
        ({"a": ["a"]}, "'a' → 'a'"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "'a' → 'b' → 'c' → 'a'"),
        ({"x": ["root", "a"], "a": ["b"], "b": ["a"]}, "'a' → 'b' → 'a'"),  # x is above it, not in it
    ],
)
def test_a_cycle_is_named(parents, cycle):
    with pytest.raises(InputError, match=f"the cycle {cycle} "):
        Taxonomy(parents)


def test_a_diamond_is_no_cycle_and_depth_is_the_longest_way():
    taxonomy = Taxonomy({"d": ["a", "b"], "b": ["c"], "c": ["a"], "a": ["top"], "e": ["top"]})
    assert taxonomy.depth("d") == 4
    deep = Taxonomy({str(n): [str(n + 1)] for n in range(1500)})
    assert deep.depth("0") == 1500


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="put it into a list"):
        Taxonomy({"ship": "vehicle"})
    with pytest.raises(InputError, match="'whale'"):
        TAXONOMY.ancestors("whale")
    with pytest.raises(InputError, match="'whale'"):
        TAXONOMY.credit("ship", "whale")
    with pytest.raises(InputError, match="'ship'"):
        hierarchical_row("ship", ["ship"], TAXONOMY)


# --- hierarchical scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "truth", "counts"),
    [
        (["tanker"], ["tanker"], (3, 3, 3)),
        (["ferry"], ["tanker"], (2, 3, 3)),  # another ship
        (["ship"], ["tanker"], (2, 2, 3)),  # too wide: precise, not complete
        (["tanker"], ["ship"], (2, 3, 2)),  # too narrow
        (["port"], ["tanker"], (0, 2, 3)),  # nothing but the root in common
        (["port"], ["ferry terminal"], (2, 2, 4)),  # one of two lines of descent
        (["tanker", "car"], ["tanker", "ferry"], (3, 4, 4)),
        (["whale"], ["tanker"], (0, 1, 3)),
        ([], ["tanker"], (0, 0, 3)),
        (["thing"], ["tanker"], (0, 0, 3)),
    ],
)
def test_ancestor_sets(predicted, truth, counts):
    row = hierarchical_row(predicted, truth, TAXONOMY)
    assert tuple(row[name] for name in ("common", "predicted", "true")) == counts


def test_hierarchical_scores_are_over_all_answers():
    rows = [hierarchical_row(["ferry"], ["tanker"], TAXONOMY), hierarchical_row(["vehicle"], ["car"], TAXONOMY)]
    assert value(HIERARCHICAL_PRECISION, rows) == 3 / 4
    assert value(HIERARCHICAL_RECALL, rows) == 3 / 5
    assert value(HIERARCHICAL_F1, rows) == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


@given(st.sets(st.sampled_from([*LABELS, "whale"])), st.sets(st.sampled_from(LABELS)))
def test_ancestor_sets_are_symmetric_and_bounded(predicted, truth):
    row = hierarchical_row(predicted, truth, TAXONOMY)
    assert 0 <= row["common"] <= min(row["predicted"], row["true"])
    if "whale" not in predicted:
        back = hierarchical_row(truth, predicted, TAXONOMY)
        assert (back["predicted"], back["true"], back["common"]) == (row["true"], row["predicted"], row["common"])


@pytest.mark.parametrize(
    ("predicted", "truth", "credit"),
    [
        ("tanker", "tanker", 1), ("ship", "tanker", 2 / 3), ("vehicle", "tanker", 1 / 3), ("thing", "tanker", 0),
        ("tanker", "ship", 2 / 3), ("ferry", "tanker", 0), ("car", "tanker", 0), ("whale", "tanker", 0),
        ("building", "ferry terminal", 1 / 3), ("port", "ferry terminal", 2 / 3), ("thing", "thing", 1),
        ("tanker", "thing", 0),
    ],
)  # fmt: skip
def test_credit(predicted, truth, credit):
    assert TAXONOMY.credit(predicted, truth) == pytest.approx(credit)


@given(st.sampled_from(LABELS), st.sampled_from(LABELS))
def test_credit_is_symmetric_and_whole_only_for_the_truth(predicted, truth):
    credit = TAXONOMY.credit(predicted, truth)
    assert credit == TAXONOMY.credit(truth, predicted)
    assert (credit == 1) == (predicted == truth)
    assert 0 <= credit <= 1


def test_credit_rows():
    said = [("tanker", "tanker"), ("ship", "tanker"), ("tanker", "ship"), (None, "car"), ("whale", "car")]
    rows = [credit_row(predicted, truth, TAXONOMY) for predicted, truth in said]
    assert value(LABEL_ACCURACY, rows) == 1 / 5
    assert value(LABEL_CREDIT, rows) == pytest.approx((1 + 2 / 3 + 2 / 3) / 5)
    assert [(row["wider"], row["narrower"]) for row in rows] == [(0, 0), (1, 0), (0, 1), (0, 0), (0, 0)]


# --- several labels at once ------------------------------------------------------------------------------

SAID = [["ship", "car"], ["car"], [], []]
TRUE = [["ship"], ["car", "port"], ["port"], []]


def test_multilabel_by_hand():
    score = multilabel_score(SAID, TRUE)
    assert score.f1 == {"car": 2 / 3, "port": 0, "ship": 1}
    assert score.micro == 2 * 2 / (3 + 4)
    assert score.macro == score.macro_all == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert score.sample == pytest.approx((2 / 3 + 2 / 3 + 0 + 1) / 4)  # none said, none true: right


def test_multilabel_over_given_classes():
    score = multilabel_score([*SAID, ["whale"]], [*TRUE, ["ship"]], ["ship", "car", "port", "plane"])
    assert score.micro == 2 * 2 / (4 + 5)
    assert np.isnan(score.f1["plane"])
    assert score.macro == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert score.macro_all == pytest.approx((2 / 3 + 2 / 3 + 0) / 4)
    with pytest.raises(InputError, match="'port'"):
        multilabel_score(SAID, TRUE, ["ship", "car"])
    with pytest.raises(InputError, match="'ship'"):
        multilabel_score(["ship"], [["ship"]])
    with pytest.raises(ValueError, match="4 answers came with 1"):
        multilabel_score(SAID, TRUE[:1])


def test_multilabel_of_nothing():
    score = multilabel_score([], [])
    assert np.isnan([score.micro, score.macro, score.macro_all, score.sample]).all()
    assert multilabel_score([[]], [[]]).sample == 1


label_sets = st.sets(st.sampled_from("abcd"))


@given(st.lists(st.tuples(label_sets, label_sets), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_multilabel_bounds_order_and_perfection(answers, random):
    said, true = zip(*answers, strict=True)
    score = multilabel_score(said, true)
    values = np.array([score.micro, score.macro, score.macro_all, score.sample])
    assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
    again = multilabel_score(*zip(*random.sample(answers, len(answers)), strict=True))
    np.testing.assert_allclose([again.micro, again.macro, again.macro_all, again.sample], values)
    perfect = multilabel_score(true, true)
    assert perfect.sample == 1
    assert perfect.micro == 1 or not any(true)


@pytest.mark.parametrize("seed", range(5))
def test_multilabel_agrees_with_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    said_NC, true_NC = rng.random((2, 30, 5)) < 0.4
    said, true = ([[f"c{c}" for c in np.flatnonzero(row)] for row in table] for table in (said_NC, true_NC))
    score = multilabel_score(said, true, [f"c{c}" for c in range(5)])
    for kind, own in (("micro", score.micro), ("macro", score.macro_all)):
        assert own == pytest.approx(metrics.f1_score(true_NC, said_NC, average=kind, zero_division=0))
    assert score.sample == pytest.approx(metrics.f1_score(true_NC, said_NC, average="samples", zero_division=1))


# --- confidences -----------------------------------------------------------------------------------------


def test_calibration_by_hand():
    confidence, right = np.array([0.9, 0.2, 0.8, 0.3]), np.array([1, 0, 0, 1])
    low, high = reliability(confidence, right, bins=2)
    assert (low.low, low.high, low.count, low.accuracy) == (0.2, 0.3, 2, 0.5)
    assert (high.low, high.high, high.count, high.accuracy) == (0.8, 0.9, 2, 0.5)
    assert calibration_error(confidence, right, 2) == pytest.approx((0.25 + 0.35) / 2)
    assert brier_score(confidence, right) == pytest.approx((0.01 + 0.04 + 0.64 + 0.49) / 4)


def test_bins_hold_equal_numbers_unless_confidences_are_equal():
    confidence = np.random.default_rng(0).random(100)
    assert [line.count for line in reliability(confidence, confidence > 0.5, 10)] == [10] * 10
    (only,) = reliability(np.full(7, 0.8), [1, 1, 1, 1, 1, 0, 0], 5)
    assert (only.low, only.high, only.count) == (0.8, 0.8, 7)
    assert [line.count for line in reliability([0.1, 0.5, 0.5, 0.5, 0.9], [0, 1, 0, 1, 1], 5)] == [1, 3, 1]


def test_without_answers_there_is_no_calibration():
    assert reliability([], []) == []
    assert np.isnan([calibration_error([], []), brier_score([], [])]).all()


@pytest.mark.parametrize(
    ("confidence", "right", "bins", "message"),
    [
        ([1.2], [1], 5, "outside"), ([np.nan], [1], 5, "outside"), ([0.5], [2], 5, "outcome other"),
        ([0.5, 0.5], [1], 5, "one for each"), ([0.5], [1], 0, "1 or more"),
    ],
)  # fmt: skip
def test_confidences_that_are_none(confidence, right, bins, message):
    with pytest.raises((ValueError, InputError), match=message):
        calibration_error(confidence, right, bins)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_calibration_bounds_and_order(answers, bins, random):
    confidence, right = np.array(answers, dtype=float).T
    table = reliability(confidence, right, bins)
    assert sum(line.count for line in table) == len(answers)
    assert len(table) <= bins
    assert all(before.high < after.low for before, after in pairwise(table))
    error = calibration_error(confidence, right, bins)
    assert 0 <= error <= 1
    assert 0 <= brier_score(confidence, right) <= 1
    assert calibration_error(right, right, bins) == brier_score(right, right) == 0
    again = np.array(random.sample(answers, len(answers)), dtype=float).T
    assert calibration_error(*again, bins) == pytest.approx(error, abs=1e-12)
    # one bin cannot see more than several
    assert calibration_error(confidence, right, 1) <= error + 1e-12
