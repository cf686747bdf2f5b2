"""Scene-graph scores: small graphs counted by hand, and what must hold for any."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from georefer.dialects.fit import FitDialect
from georefer.dialects.reading import Relation
from georefer.errors import InputError
from georefer.geometry.overlap import shape_iou
from georefer.scoring.graph import (
    CONTRADICTION_SHARE,
    Graph,
    GraphPair,
    contradiction_row,
    graph_row,
    harmonic_mean,
    match_relations,
    score_graphs,
)

VOCABULARY = ("over", "adjacent", "connect", "not co-storage")
TRUTH = Graph(
    ("bridge", "car", "car", "runway"),
    (Relation(0, "over", 3), Relation(1, "over", 0), Relation(2, "over", 0), Relation(0, "adjacent", 1)),
)


def same(graph, relations=None, labels=None):
    """A pair whose predicted objects lie exactly on the true ones."""
    said = Graph(labels or graph.labels, graph.relations if relations is None else tuple(relations))
    return GraphPair(said, graph, np.eye(len(graph.labels)))


@st.composite
def pairs(draw):
    """Any two graphs of few names, so that there are many ways to match them."""

    def graph():
        count = draw(st.integers(1, 4))
        place = st.integers(0, count - 1)
        relation = st.builds(Relation, place, st.sampled_from(("over", "adjacent")), place)
        labels = draw(st.lists(st.sampled_from(("car", "ship")), min_size=count, max_size=count))
        return Graph(labels, draw(st.lists(relation, max_size=4)))

    said, true = graph(), graph()
    size = len(said.labels) * len(true.labels)
    iou = draw(st.lists(st.sampled_from((0.0, 0.2, 0.3, 0.5, 0.7, 1.0)), min_size=size, max_size=size))
    return GraphPair(said, true, np.reshape(iou, (len(said.labels), len(true.labels))))


# --- one image -------------------------------------------------------------------------------------------


def test_the_truth_itself_is_perfect():
    assert graph_row(same(TRUTH)) == {"images": 1, "recall": 1, "tp": 4, "fp": 0, "fn": 0}


def test_each_relation_counts_once():
    # one predicted car lies on both true ones, and says the same twice
    said = Graph(("car", "bridge"), (Relation(0, "over", 1),) * 3)
    true = Graph(("car", "car", "bridge"), (Relation(0, "over", 2), Relation(1, "over", 2)))
    pair = GraphPair(said, true, np.array([[0.6, 0.7, 0.0], [0.0, 0.0, 0.9]]))
    assert match_relations(pair, 0.5).tolist().count(-1) == 1
    assert graph_row(pair) == {"images": 1, "recall": 1, "tp": 2, "fp": 1, "fn": 0}
    once = replace(pair, predicted=Graph(said.labels, said.relations[:1]))
    assert match_relations(once, 0.5).tolist() == [1]  # the one that overlaps more


def test_both_ends_need_the_overlap():
    pair = GraphPair(
        Graph(("car", "bridge"), (Relation(0, "over", 1),)),
        Graph(("car", "bridge"), (Relation(0, "over", 1),)),
        np.array([[0.9, 0], [0, 0.3]]),
    )
    assert graph_row(pair, 0.25)["tp"] == 1
    assert graph_row(pair, 0.5)["tp"] == 0


@pytest.mark.parametrize(
    ("labels", "relation", "hits"),
    [
        (("car", "bridge"), Relation(0, "over", 1), 1),
        (("Car", "BRIDGE"), Relation(0, "Over", 1), 1),
        (("car", "bridge"), Relation(1, "over", 0), 0),  # the other way round
        (("truck", "bridge"), Relation(0, "over", 1), 0),
        (("car", "bridge"), Relation(0, "under", 1), 0),
    ],
)
def test_names_and_direction_count(labels, relation, hits):
    true = Graph(("car", "bridge"), (Relation(0, "over", 1),))
    assert graph_row(same(true, [relation], labels))["tp"] == hits


def test_underscores_are_blanks_and_unknown_names_match_nothing():
    true = Graph(("tower_crane", ""), (Relation(0, "over", 0), Relation(0, "over", 1)))
    assert graph_row(same(true, labels=("tower crane", "")))["tp"] == 1


def test_k_cuts_what_was_said_in_its_order():
    pair = same(TRUTH, [Relation(3, "connect", 0), *TRUTH.relations])
    assert [graph_row(pair, k=k)["recall"] for k in (1, 2, 4, 5, 50)] == [0, 0.25, 0.75, 1, 1]
    assert graph_row(pair, k=2)["fp"] == 1


def test_images_without_predictions_or_truths():
    assert graph_row(same(TRUTH, [])) == {"images": 1, "recall": 0, "tp": 0, "fp": 0, "fn": 4}
    nothing = GraphPair(Graph(()), TRUTH, np.zeros((0, 4)))
    assert graph_row(nothing) == {"images": 1, "recall": 0, "tp": 0, "fp": 0, "fn": 4}
    invented = GraphPair(TRUTH, Graph(()), np.zeros((4, 0)))
    assert graph_row(invented) == {"images": 0, "recall": 0, "tp": 0, "fp": 4, "fn": 0}


def test_a_true_relation_given_twice_is_one():
    twice = Graph(TRUTH.labels, (*TRUTH.relations, *TRUTH.relations))
    assert graph_row(GraphPair(TRUTH, twice, np.eye(4)))["fn"] == 0


def test_several_predicates_of_one_pair_all_count():
    true = Graph(("car", "bridge"), (Relation(0, "over", 1), Relation(0, "adjacent", 1)))
    assert graph_row(same(true, [Relation(0, "over", 1)]))["recall"] == 0.5


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="graph of 1 objects"):
        Graph(("car",), (Relation(0, "over", 1),))
    with pytest.raises(InputError, match=r"\(1, 4\)"):
        GraphPair(Graph(("car",)), TRUTH, np.zeros((4, 1)))
    for threshold, k in ((0, None), (1.1, None), (0.5, 0)):
        with pytest.raises(ValueError, match="threshold"):
            match_relations(same(TRUTH), threshold, k)
    with pytest.raises(InputError, match="'adjacent'"):
        score_graphs([same(TRUTH)], ["over"])


@given(pairs(), st.sampled_from((0.25, 0.5)))
def test_as_many_hits_as_any_pairing(pair, threshold):
    said, true = pair.predicted.relations, pair.truth.relations

    def fits(r, s):
        return pair.predicted.names()[r] == pair.truth.names()[s] and min(
            pair.iou_PT[said[r].subject, true[s].subject], pair.iou_PT[said[r].object, true[s].object]
        ) >= threshold  # fmt: skip

    options = [*range(len(true)), *[None] * len(said)]
    best = max(
        sum(s is not None and fits(r, s) for r, s in enumerate(chosen)) for chosen in permutations(options, len(said))
    )
    matched_R = match_relations(pair, threshold)
    kept = matched_R[matched_R >= 0].tolist()
    assert len(kept) == best
    assert len(set(kept)) == len(kept)
    assert all(fits(r, s) for r, s in enumerate(matched_R) if s >= 0)


@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_relations_does_not_matter_without_k(pair, random):
    relations = list(pair.predicted.relations)
    random.shuffle(relations)
    assert graph_row(replace(pair, predicted=Graph(pair.predicted.labels, relations))) == graph_row(pair)


# --- many images -----------------------------------------------------------------------------------------


def test_scores_by_hand():
    other = Graph(("ship", "dock"), (Relation(0, "adjacent", 1),))
    images = [
        same(TRUTH, [Relation(0, "over", 3), Relation(0, "adjacent", 1), Relation(0, "connect", 1)]),
        same(other, []),
    ]
    (score,) = score_graphs(images, VOCABULARY, thresholds=(0.5,))
    assert score.recall == (2 / 4 + 0) / 2
    over, adjacent, connect, absent = score.predicates
    assert (over.hits, over.said, over.true, over.recall) == (1, 1, 3, 1 / 3)
    assert (adjacent.hits, adjacent.said, adjacent.true, adjacent.recall) == (1, 1, 2, 1 / 2)
    assert (over.precision, over.f1) == (1, 2 / 4)
    assert (connect.hits, connect.said, connect.true, connect.precision) == (0, 1, 0, 0)
    assert np.isnan([connect.recall, absent.recall, absent.precision, absent.f1]).all()
    assert score.mean_recall == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert score.mean_recall_all == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert score.harmonic == pytest.approx(harmonic_mean(0.25, 5 / 12))
    assert score.harmonic_all == pytest.approx(harmonic_mean(0.25, 5 / 24))
    assert score.precision == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(2 * 2 / (3 + 5))


def test_harmonic_mean_of_published_numbers():
    # STAR, RPCM, PredCls at 1500
    assert round(harmonic_mean(64.23, 41.24), 2) == 50.23
    assert harmonic_mean(0, 0) == 0


def test_every_threshold_and_k():
    scores = score_graphs([same(TRUTH)], VOCABULARY, ks=(1, None))
    assert [(score.threshold, score.k, score.recall) for score in scores] == [
        (0.25, 1, 0.25), (0.25, None, 1), (0.5, 1, 0.25), (0.5, None, 1),
    ]  # fmt: skip
    assert scores[1].mean_recall == scores[1].harmonic == scores[1].precision == scores[1].f1 == 1
    assert scores[1].mean_recall_all == 0.5  # two of the four predicates never occur


def test_without_images_or_truths_there_is_no_score():
    for images in ([], [GraphPair(Graph(()), Graph(()), np.zeros((0, 0)))]):
        for score in score_graphs(images, VOCABULARY):
            assert np.isnan([score.recall, score.mean_recall, score.mean_recall_all, score.harmonic, score.f1]).all()


@given(st.lists(pairs(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_scores_lie_within_0_and_1_whatever_the_order_of_images(images, random):
    scores = score_graphs(images, VOCABULARY)
    for score in scores:
        values = np.array([
            score.recall, score.mean_recall, score.mean_recall_all, score.harmonic, score.harmonic_all,
            score.precision, score.f1, *(value for p in score.predicates for value in (p.recall, p.precision, p.f1)),
        ])  # fmt: skip
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
    assert scores[0].recall >= scores[1].recall or np.isnan(scores[0].recall)
    shuffled = random.sample(images, len(images))
    for score, again in zip(scores, score_graphs(shuffled, VOCABULARY), strict=True):
        assert (again.recall, again.mean_recall, again.f1) == pytest.approx(
            (score.recall, score.mean_recall, score.f1), nan_ok=True
        )


def test_from_the_text_of_an_answer():
    dialect = FitDialect()
    text = (
        "<ref>cars</ref><rbox>({<20.00><20.00><8.00><4.00>|<90>}, {<60.00><20.00><8.00><4.00>|<90>})</rbox> are "
        "<rel>over</rel> <ref>bridge</ref><rbox>({<50.00><20.00><90.00><10.00>|<90>})</rbox>. "
    )
    true = dialect.read(text, dialect.frame_for((512, 512)))
    said = dialect.read(text.replace("<60.00>", "<80.00>"), dialect.frame_for((512, 512)))
    iou_PT = shape_iou(said.objects.geometries_N, true.objects.geometries_N, as_boxes=False)
    graphs = [Graph(tuple(map(str, r.objects.labels_N)), r.relations) for r in (said, true)]
    assert graph_row(GraphPair(*graphs, iou_PT)) == {"images": 1, "recall": 0.5, "tp": 1, "fp": 1, "fn": 1}


# --- contradictions --------------------------------------------------------------------------------------


def test_contradictions():
    antonyms = {"within same line": "within different line", "co-storage": "not co-storage"}
    said = [
        Relation(0, "within same line", 1), Relation(0, "Within_Different line", 1),  # both
        Relation(1, "co-storage", 2), Relation(2, "not co-storage", 1),  # of the other pair
        Relation(3, "not co-storage", 4), Relation(3, "within same line", 4), Relation(3, "not co-storage", 4),
    ]  # fmt: skip
    row = contradiction_row(said, antonyms)
    assert row == {"pairs": 4, "contradictory": 1}
    assert row == contradiction_row(reversed(said), {other: one for one, other in antonyms.items()})
    top, bottom = CONTRADICTION_SHARE.terms([row, contradiction_row([], antonyms)])
    assert top.sum() / bottom.sum() == 0.25
    with pytest.raises(InputError, match="own antonym"):
        contradiction_row(said, {"over": "Over"})
