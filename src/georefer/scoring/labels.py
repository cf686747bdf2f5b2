"""Scores of labels: on a taxonomy, several at once, and how far stated confidences can be trusted.

Flat accuracy treats "tanker" for "cargo ship" like "stadium" for "cargo ship". On a taxonomy, a label stands for
itself and everything it is a kind of, and what two labels have in common counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.errors import InputError
from georefer.scoring.ratio import Ratio, Row

HIERARCHICAL_PRECISION = Ratio({"common": 1}, {"predicted": 1})
HIERARCHICAL_RECALL = Ratio({"common": 1}, {"true": 1})
HIERARCHICAL_F1 = Ratio({"common": 2}, {"predicted": 1, "true": 1})
LABEL_ACCURACY = Ratio({"exact": 1}, {"answers": 1})
LABEL_CREDIT = Ratio({"credit": 1}, {"answers": 1})
"""Mean credit of answers, see `Taxonomy.credit`."""


class Taxonomy:
    """Labels and what each is a kind of: child → parents, several of which make it a DAG rather than a tree.

    Labels that are only named as parents are known too. Where there is a single root, all labels have it in common:
    it says nothing and is left out of ancestor sets and depths (Kiritchenko et al. 2006).
    """

    def __init__(self, parents: Mapping[str, Iterable[str]]) -> None:
        self._parents: dict[str, tuple[str, ...]] = {}
        for child, above in parents.items():
            if isinstance(above, str):
                raise InputError(
                    f"the parents of {child!r} were found as the text {above!r}, and a list of labels was expected; "
                    "put it into a list"
                )
            self._parents[child] = tuple(dict.fromkeys(above))
        for label in [parent for above in self._parents.values() for parent in above]:
            self._parents.setdefault(label, ())
        roots = [label for label, above in self._parents.items() if not above]
        order = self._parents_first()
        root = roots[0] if len(roots) == 1 else None
        self._ancestors: dict[str, frozenset[str]] = {}
        self._depth: dict[str, int] = {}
        for label in order:
            above = self._parents[label]
            own = frozenset() if label == root else frozenset({label})
            self._ancestors[label] = own.union(*(self._ancestors[parent] for parent in above))
            self._depth[label] = max((self._depth[parent] + 1 for parent in above), default=int(label != root))

    def _parents_first(self) -> list[str]:
        """All labels, each after its parents; InputError for a cycle."""
        order: dict[str, None] = {}
        for start in self._parents:
            path: dict[str, None] = {}  # from `start` upwards, in order
            waiting = [(start, False)]
            while waiting:
                label, done = waiting.pop()
                if done:
                    del path[label]
                    order[label] = None
                elif label in path:
                    cycle = [*list(path)[list(path).index(label) :], label]
                    raise InputError(
                        f"the taxonomy holds the cycle {' → '.join(map(repr, cycle))} (child → parent), and labels "
                        "that are no kind of themselves were expected; remove one of these parents"
                    )
                elif label not in order:
                    path[label] = None
                    waiting.append((label, True))
                    waiting += [(parent, False) for parent in self._parents[label]]
        return list(order)

    def __contains__(self, label: object) -> bool:
        return label in self._parents

    def ancestors(self, label: str) -> frozenset[str]:
        """The label and everything it is a kind of, without a single root."""
        return self._ancestors[self._known(label)]

    def depth(self, label: str) -> int:
        """Labels on the longest way from a root down to this one, itself included; a single root does not count."""
        return self._depth[self._known(label)]

    def credit(self, predicted: str, truth: str) -> float:
        """1 for the truth, d / D for an ancestor or descendant of it, 0 for any other label, also an unknown one.

        d and D are the smaller and larger depth of the two. By the longest way down an ancestor is always less deep
        than its descendant, so the credit of either lies below 1; a single root gets 0. This formula is ours.
        """
        self._known(truth)
        if predicted == truth:
            return 1.0
        if predicted not in self or not (self._above(predicted, truth) or self._above(truth, predicted)):
            return 0.0
        low, high = sorted((self._depth[predicted], self._depth[truth]))
        return low / high

    def _above(self, label: str, other: str) -> bool:
        return label in self._ancestors[other]

    def _known(self, label: str) -> str:
        if label not in self._parents:
            raise InputError(
                f"the label {label!r} was found, and one of the {len(self._parents)} of the taxonomy was expected; add "
                "it there or rename it"
            )
        return label


def hierarchical_row(predicted: Collection[str], truth: Collection[str], taxonomy: Taxonomy) -> Row:
    """Sizes of the ancestor sets of what was said and what is true, and of what they share, of one answer.

    Summed over answers they are hP, hR and hF of Kiritchenko et al. 2006. Several labels are united before they are
    compared (Kosmopoulos et al. 2015). A label that the taxonomy does not know is one that is wrong; an answer
    without a label has an empty set.
    """
    said = set[str]().union(*(taxonomy.ancestors(label) if label in taxonomy else {label} for label in _set(predicted)))
    true = set[str]().union(*(taxonomy.ancestors(label) for label in _set(truth)))
    return {"common": len(said & true), "predicted": len(said), "true": len(true)}


def credit_row(predicted: str | None, truth: str, taxonomy: Taxonomy) -> Row:
    """Credit of one answer of one label, and whether it was exact, too wide or too narrow; None is no answer."""
    credit = 0.0 if predicted is None else taxonomy.credit(predicted, truth)
    exact = predicted == truth
    known = predicted is not None and predicted in taxonomy and not exact
    wider = known and predicted in taxonomy.ancestors(truth)
    narrower = known and predicted is not None and truth in taxonomy.ancestors(predicted)
    return {"answers": 1, "credit": credit, "exact": float(exact), "wider": float(wider), "narrower": float(narrower)}


# --- several labels at once ------------------------------------------------------------------------------


@dataclass(frozen=True)
class MultiLabelScore:
    """F1 of answers with any number of labels each.

    `micro` is over all labels said and true; `macro` the mean over classes that are said or true somewhere,
    `macro_all` over all classes, others as 0; `sample` the mean over answers, 1 where none was said and none is true.
    """

    micro: float
    macro: float
    macro_all: float
    sample: float
    f1: Mapping[str, float]
    """Of each class; NaN for one neither said nor true."""


def multilabel_score(
    predicted: Sequence[Collection[str]], truths: Sequence[Collection[str]], classes: Iterable[str] | None = None
) -> MultiLabelScore:
    """Micro, macro and sample F1; labels repeated in an answer count once. `classes` are by default those that occur.

    A label said from outside the classes lowers micro and sample F1 and has no class of its own.
    """
    said, true = [_set(labels) for labels in predicted], [_set(labels) for labels in truths]
    if len(said) != len(true):
        raise ValueError(f"{len(said)} answers came with {len(true)} truths; give one truth for each answer")
    names = list(dict.fromkeys(sorted(set[str]().union(*said, *true)) if classes is None else classes))
    if strange := set[str]().union(*true) - set(names):
        raise InputError(
            f"the truth holds {min(strange)!r}, and one of {len(names)} classes was expected; add it there"
        )
    f1 = {
        name: _f1(
            sum(name in s and name in t for s, t in zip(said, true, strict=True)),
            sum(name in s for s in said),
            sum(name in t for t in true),
        )
        for name in names
    }
    seen = [value for value in f1.values() if not np.isnan(value)]
    samples = [_f1(len(s & t), len(s), len(t)) for s, t in zip(said, true, strict=True)]
    return MultiLabelScore(
        micro=_f1(sum(len(s & t) for s, t in zip(said, true, strict=True)), sum(map(len, said)), sum(map(len, true))),
        macro=float(np.mean(seen)) if seen else np.nan,
        macro_all=float(np.sum(seen) / len(names)) if names else np.nan,
        sample=float(np.mean(np.nan_to_num(samples, nan=1.0))) if samples else np.nan,
        f1=f1,
    )


def _f1(hits: int, said: int, true: int) -> float:
    return 2 * hits / (said + true) if said + true else float("nan")


def _set(labels: Collection[str]) -> set[str]:
    """The labels; a bare text would otherwise be taken for its letters."""
    if isinstance(labels, str):
        raise InputError(f"the text {labels!r} was found, and a list of labels was expected; put it into a list")
    return set(labels)


# --- confidences -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of like confidence, from `low` to `high`: their number, mean confidence, and share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = 15) -> list[ReliabilityBin]:
    """Reliability table in bins of equal numbers of answers, in rising confidence.

    Models say few distinct confidences, mostly high ones; bins of equal width would hold nearly all answers in one.
    Equal confidences share a bin, so that the order of answers is of no consequence; there are fewer bins then.
    """
    confidence_N, right_N = _checked(confidence_N, right_N)
    if bins < 1:
        raise ValueError(f"{bins} bins were asked for; ask for 1 or more")
    ranked_N = np.sort(confidence_N)
    # twice the mean rank of each value among equals: whole numbers, so that no rounding moves a value over an edge
    rank_N = np.searchsorted(ranked_N, confidence_N) + np.searchsorted(ranked_N, confidence_N, side="right") - 1
    bin_N = rank_N * bins // (2 * max(1, len(confidence_N)))
    table = []
    for index in np.unique(bin_N):
        inside = confidence_N[bin_N == index]
        accuracy = float(right_N[bin_N == index].mean())
        table.append(
            ReliabilityBin(float(inside.min()), float(inside.max()), len(inside), float(inside.mean()), accuracy)
        )
    return table


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = 15) -> float:
    """ECE: mean |accuracy - confidence| of equal-mass bins, weighted by their answers; NaN without answers.

    Naeini et al. 2015, with the bins of Nguyen and O'Connor 2015.
    """
    table = reliability(confidence_N, right_N, bins)
    total = sum(line.count for line in table)
    return sum(line.count * abs(line.accuracy - line.confidence) for line in table) / total if total else float("nan")


def brier_score(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """Mean squared difference of confidence and being right, 1 or 0 (Brier 1950); NaN without answers."""
    confidence_N, right_N = _checked(confidence_N, right_N)
    return float(np.mean((confidence_N - right_N) ** 2)) if len(confidence_N) else float("nan")


def _checked(confidence_N: np.ndarray, right_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence_N, right_N = np.asarray(confidence_N, dtype=np.float64), np.asarray(right_N, dtype=np.float64)
    if confidence_N.ndim != 1 or confidence_N.shape != right_N.shape:
        raise ValueError(f"confidences {confidence_N.shape} came with outcomes {right_N.shape}; give one for each")
    if not ((confidence_N >= 0) & (confidence_N <= 1)).all():
        raise InputError(
            "a confidence outside [0, 1] was found, and a probability was expected; rescale or leave it out"
        )
    if not np.isin(right_N, (0, 1)).all():
        raise InputError("an outcome other than right (1) and wrong (0) was found; give one of the two for each answer")
    return confidence_N, right_N
