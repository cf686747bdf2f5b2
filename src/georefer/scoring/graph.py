"""Scene graphs: how many of the true relations an answer says, and how many that it says are true.

The field reports recall alone (R@K, mR@K, HMR: STAR's SGG-ToolKit and FIT-RSFG), which a model raises by saying
everything, and its public scorers leave out images without a readable answer, let one relation hit several truths,
and divide the mean over predicates by all 58 known ones, also by those that never occur. Here every relation counts
once, an image without predictions counts 0, both means are given, and precision stands beside recall.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.dialects.reading import Relation
from georefer.errors import InputError
from georefer.scoring.matching import match_optimal
from georefer.scoring.ratio import Ratio, Row

THRESHOLDS = (0.25, 0.5)
"""IoU that both ends of a relation need: FIT-RSFG's and STAR's."""

IMAGE_RECALL = Ratio({"recall": 1}, {"images": 1})
"""R@K: the mean over images that have a true relation."""
GRAPH_RECALL = Ratio({"tp": 1}, {"tp": 1, "fn": 1})
"""Share of all true relations, images weighing by their number."""
GRAPH_PRECISION = Ratio({"tp": 1}, {"tp": 1, "fp": 1})
GRAPH_F1 = Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1})
CONTRADICTION_SHARE = Ratio({"contradictory": 1}, {"pairs": 1})


@dataclass(frozen=True)
class Graph:
    """Labels of objects, and relations whose ends are places among them; in a prediction in the order it was said."""

    labels: Sequence[str]
    relations: Sequence[Relation] = ()

    def __post_init__(self) -> None:
        for relation in self.relations:
            if not (0 <= relation.subject < len(self.labels) and 0 <= relation.object < len(self.labels)):
                raise InputError(
                    f"the relation {relation} was found in a graph of {len(self.labels)} objects, and places of its "
                    "objects were expected; leave it out or add the objects"
                )

    def names(self) -> list[tuple[str, str, str]]:
        """Labels and predicate (subject, predicate, object) of each relation, ready to compare."""
        labels = [plain_name(label) for label in self.labels]
        return [(labels[r.subject], plain_name(r.predicate), labels[r.object]) for r in self.relations]


@dataclass(frozen=True, eq=False)
class GraphPair:
    """A predicted and the true graph of one image, and the IoU of every predicted with every true object.

    A true relation that is given twice is one fact and counts once; a prediction that repeats itself is wrong once.
    """

    predicted: Graph
    truth: Graph
    iou_PT: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "truth", Graph(self.truth.labels, tuple(dict.fromkeys(self.truth.relations))))
        shape = (len(self.predicted.labels), len(self.truth.labels))
        if np.shape(self.iou_PT) != shape:
            raise InputError(
                f"overlaps of shape {np.shape(self.iou_PT)} were found, and one of each predicted with each true "
                f"object was expected, {shape}; compute them from the objects of these graphs"
            )


def plain_name(name: str) -> str:
    """A label or predicate as it is compared: small letters, "_" for a blank; FIT-RS and STAR differ in both."""
    return " ".join(name.replace("_", " ").casefold().split())


def match_relations(pair: GraphPair, threshold: float, k: int | None = None) -> np.ndarray:
    """True relation of each of the first `k` predicted ones (R,), or -1: as many hits as one to one can be.

    A hit needs the same three names and an IoU >= threshold at both ends, the smaller of the two being the gain. A
    name that is empty is unknown, and equals none.
    """
    if not 0 < threshold <= 1 or (k is not None and k < 1):
        raise ValueError(f"a threshold within (0, 1] and a k of 1 or more are needed, found {threshold} and {k}")
    said_R2, true_S2 = _ends(pair.predicted.relations[:k]), _ends(pair.truth.relations)
    iou_PT = np.nan_to_num(np.asarray(pair.iou_PT, dtype=np.float64))
    matched_R = np.full(len(said_R2), -1)
    true_by_name = _places(pair.truth.names())
    # relations of different names never match, so each name is a problem of its own, and a small one
    for name, r in _places(pair.predicted.names()[:k]).items():
        s = true_by_name.get(name, [])
        if not s or not all(name):
            continue
        both_RS = np.minimum(*(iou_PT[np.ix_(said_R2[r, end], true_S2[s, end])] for end in (0, 1)))
        hit_R = match_optimal(both_RS, threshold)
        matched_R[r] = np.where(hit_R >= 0, np.array(s)[hit_R], -1)
    return matched_R


def _ends(relations: Sequence[Relation]) -> np.ndarray:
    return np.array([(r.subject, r.object) for r in relations], dtype=np.intp).reshape(-1, 2)


def _places(names: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], list[int]]:
    places: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    return places


def graph_row(pair: GraphPair, threshold: float = 0.5, k: int | None = None) -> Row:
    """What one image adds to IMAGE_RECALL, GRAPH_PRECISION and the like.

    An image without true relations has no recall (`images` is 0), but what was said there is false.
    """
    hits = int((match_relations(pair, threshold, k) >= 0).sum())
    said, true = len(pair.predicted.relations[:k]), len(pair.truth.relations)
    return {"images": float(true > 0), "recall": hits / max(1, true), "tp": hits, "fp": said - hits, "fn": true - hits}


# --- over images and predicates --------------------------------------------------------------------------


@dataclass(frozen=True)
class PredicateScore:
    """One predicate: hits, how often it was said and true, and recall as the mean over images where it is true.

    Recall is NaN for a predicate that is nowhere true, precision for one that was never said.
    """

    predicate: str
    hits: int
    said: int
    true: int
    recall: float

    @property
    def precision(self) -> float:
        return _divide(self.hits, self.said)

    @property
    def f1(self) -> float:
        return _divide(2 * self.hits, self.said + self.true)


@dataclass(frozen=True)
class GraphScore:
    """Scores at one IoU threshold and one K (None: all that was said).

    `recall` is R@K; `mean_recall` is mR@K over the predicates that are true somewhere, `mean_recall_all` over the
    whole vocabulary, absent ones as 0, which is what STAR and FIT-RSFG print; `harmonic` and `harmonic_all` are
    HMR = 2 R mR / (R + mR) with each. Precision and F1 are over all relations. NaN where nothing was counted.
    """

    threshold: float
    k: int | None
    recall: float
    mean_recall: float
    mean_recall_all: float
    harmonic: float
    harmonic_all: float
    precision: float
    f1: float
    predicates: tuple[PredicateScore, ...]


def score_graphs(
    pairs: Sequence[GraphPair],
    vocabulary: Collection[str],
    thresholds: Sequence[float] = THRESHOLDS,
    ks: Sequence[int | None] = (None,),
) -> list[GraphScore]:
    """Scores at every threshold and K; `vocabulary` are all predicates that could be true.

    A predicate said from outside the vocabulary is a false relation without a line in the table.
    """
    known = list(dict.fromkeys(plain_name(predicate) for predicate in vocabulary))
    for pair in pairs:
        if strange := {key[1] for key in pair.truth.names()} - set(known):
            raise InputError(
                f"the truth holds the predicate {min(strange)!r}, and one of the vocabulary of {len(known)} was "
                "expected; add it there or rename it"
            )
    return [_score(pairs, known, threshold, k) for threshold in thresholds for k in ks]


def harmonic_mean(recall: float, mean_recall: float) -> float:
    """HMR = 2 R mR / (R + mR), 0 where both are 0."""
    total = recall + mean_recall
    return 2 * recall * mean_recall / total if total else 0.0


def _score(pairs: Sequence[GraphPair], known: list[str], threshold: float, k: int | None) -> GraphScore:
    rows = [graph_row(pair, threshold, k) for pair in pairs]
    table = _by_predicate(pairs, known, threshold, k)
    recalls = np.array([line.recall for line in table])
    present = recalls[~np.isnan(recalls)]
    recall = _value(IMAGE_RECALL, rows)
    mean = float(present.mean()) if len(present) else np.nan
    mean_all = float(present.sum() / len(known)) if len(present) else np.nan
    return GraphScore(
        threshold, k, recall, mean, mean_all, harmonic_mean(recall, mean), harmonic_mean(recall, mean_all),
        _value(GRAPH_PRECISION, rows), _value(GRAPH_F1, rows), tuple(table),
    )  # fmt: skip


def _by_predicate(
    pairs: Sequence[GraphPair], known: list[str], threshold: float, k: int | None
) -> list[PredicateScore]:
    hits: Counter[str] = Counter()
    said: Counter[str] = Counter()
    true: Counter[str] = Counter()
    recalls: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        matched_R = match_relations(pair, threshold, k)
        said_here = [key[1] for key in pair.predicted.names()[:k]]
        true_here = Counter(key[1] for key in pair.truth.names())
        hits_here = Counter(name for name, place in zip(said_here, matched_R, strict=True) if place >= 0)
        for name, count in true_here.items():
            recalls[name].append(hits_here[name] / count)
        hits.update(hits_here)
        said.update(said_here)
        true.update(true_here)
    return [
        PredicateScore(
            name, hits[name], said[name], true[name], float(np.mean(recalls[name])) if name in recalls else np.nan
        )
        for name in known
    ]


def _value(ratio: Ratio, rows: Sequence[Row]) -> float:
    if not rows:
        return np.nan
    top_R, bottom_R = ratio.terms(rows)
    return _divide(float(top_R.sum()), float(bottom_R.sum()))


def _divide(top: float, bottom: float) -> float:
    return top / bottom if bottom else float("nan")


# --- contradictions --------------------------------------------------------------------------------------


def contradiction_row(relations: Iterable[Relation], antonyms: Mapping[str, str]) -> Row:
    """Pairs (subject, object) of which something is said, and those of which two antonyms are said.

    For CONTRADICTION_SHARE. `antonyms` maps each predicate to its opposite; either direction is enough.
    """
    opposite: dict[str, set[str]] = defaultdict(set)
    for one, other in antonyms.items():
        first, second = plain_name(one), plain_name(other)
        if first == second:
            raise InputError(f"{one!r} was found as its own antonym, and another word was expected; mend the pairs")
        opposite[first].add(second)
        opposite[second].add(first)
    said: dict[tuple[int, int], set[str]] = defaultdict(set)
    for relation in relations:
        said[relation.subject, relation.object].add(plain_name(relation.predicate))
    both = sum(any(opposite.get(name, set()) & names for name in names) for names in said.values())
    return {"pairs": len(said), "contradictory": both}
