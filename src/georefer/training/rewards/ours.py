"""Rewards that cannot be gamed: sets of shapes, one shape, tiny ones, graphs, relations, numbers, form and length.

Sets are paired one to one, whatever their order, and a shape too many costs more than one too few. Plain F1 would pay
a model that is torn between two objects for saying both: 2/3 where a guess earns 1/2. So F1 is multiplied by truths /
shapes where more was said than there is, and saying k candidates for one object earns 2 / (k (k + 1)), less than the
1 / k of choosing one. What remains, as in every measure that rises with recall: who misses three objects in ten or
more and is torn about all others gains by saying both.

What repeats another shape, or is none, counts as said. Where there
is nothing, the dialect's own word for it earns 1 and everything else 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import shapely
from scipy.optimize import linear_sum_assignment

from georefer.geometry import Kind, hbb_iou, shape_iou
from georefer.scoring.consistency import SIGNALS
from georefer.scoring.graph import GraphPair
from georefer.tasks import TASKS
from georefer.tasks.graph import SceneGraph
from georefer.tasks.relation import RelationDetection, RelationReasoning
from georefer.training.rewards.base import Answer, Truth, oriented

TINY_PX, SMALL_PX = 8.0, 32.0
"""Sides (square root of the area) up to which closeness counts alone, and from which overlap counts alone."""

MOST_PAIRS = 1_000_000
"""Said x true shapes that are paired; an answer beyond that is no attempt."""

Overlap = Callable[[Answer], np.ndarray]
"""How well each shape said (P) fits each true one (T), from 0 to 1."""


# --- shapes ----------------------------------------------------------------------------------------------


def fit_of_pairs(answer: Answer) -> np.ndarray:
    """IoU (P, T) in the form that is asked for (`Form.iou`); 0 where labels count and differ."""
    true = answer.truth
    if true.form.as_boxes:
        return _same_label(answer, hbb_iou(answer.boxes_P4, true.boxes_T4))
    return _same_label(answer, true.form.iou(answer.shapes, true.objects))


def _same_label(answer: Answer, fit_PT: np.ndarray) -> np.ndarray:
    if not answer.truth.labelled:
        return fit_PT
    said_P, true_T = answer.names_P, answer.truth.labels_T
    if len({*said_P.tolist(), *true_T.tolist()}) == 1:  # one class, as mostly: texts are compared slowly
        return fit_PT
    return np.where(said_P[:, None] == true_T[None], fit_PT, 0.0)


def closeness_of_pairs(answer: Answer) -> np.ndarray:
    """IoU for large truths, closeness for tiny ones, a mean of both between (P, T).

    Closeness is exp(-W / s): W is the 2-Wasserstein distance of the normal distributions with the boxes' centres and
    half sides (Wang et al. 2021, for oriented boxes Yang et al. 2021; outlines by the smallest oriented box around
    them), s the side of the true shape, TINY_PX at least.
    So a shape 6 px wide that is missed by 6 px earns 0.47 where its IoU is 0. Both fall steadily as a shape moves away.
    """
    true, fit_PT = answer.truth, fit_of_pairs(answer)
    if true.form.as_boxes:
        said_P5, true_T5 = _upright(answer.boxes_P4), _upright(true.boxes_T4)
    else:
        said_P5, true_T5 = oriented(answer.shapes.geometries_N), true.obb_T5
    side_T = np.sqrt(true_T5[:, 2] * true_T5[:, 3])
    weight_T = np.clip((SMALL_PX - side_T) / (SMALL_PX - TINY_PX), 0.0, 1.0)
    if not weight_T.any():
        return fit_PT
    close_PT = np.exp(-wasserstein(said_P5, true_T5) / np.maximum(side_T, TINY_PX))
    if not true.form.as_boxes:
        close_PT = np.where(true.form.is_met_N(answer.shapes)[:, None], close_PT, 0.0)
    return weight_T * _same_label(answer, close_PT) + (1 - weight_T) * fit_PT


def wasserstein(a_N5: np.ndarray, b_M5: np.ndarray) -> np.ndarray:
    """2-Wasserstein distance (N, M) of the normal distributions of oriented boxes (cx, cy, length, width, degrees)."""
    apart_NM = ((a_N5[:, None, :2] - b_M5[None, :, :2]) ** 2).sum(axis=2)
    (axx, ayy, axy), (bxx, byy, bxy) = _covariance(a_N5), _covariance(b_M5)
    trace_NM = axx[:, None] * bxx + ayy[:, None] * byy + 2 * axy[:, None] * bxy
    root_NM = np.sqrt(np.maximum(axx * ayy - axy**2, 0.0))[:, None] * np.sqrt(np.maximum(bxx * byy - bxy**2, 0.0))
    # the trace of the square root of a 2 x 2 matrix from its own trace and determinant
    common_NM = np.sqrt(np.maximum(trace_NM + 2 * root_NM, 0.0))
    return np.sqrt(np.maximum(apart_NM + (axx + ayy)[:, None] + (bxx + byy) - 2 * common_NM, 0.0))


def _covariance(boxes_N5: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    turn_N = np.radians(boxes_N5[:, 4])
    cos_N, sin_N = np.cos(turn_N), np.sin(turn_N)
    long_N, wide_N = (boxes_N5[:, 2] / 2) ** 2, (boxes_N5[:, 3] / 2) ** 2
    return (
        long_N * cos_N**2 + wide_N * sin_N**2,
        long_N * sin_N**2 + wide_N * cos_N**2,
        (long_N - wide_N) * sin_N * cos_N,
    )


def _upright(boxes_N4: np.ndarray) -> np.ndarray:
    low_N2, high_N2 = boxes_N4[:, :2], boxes_N4[:, 2:]
    return np.column_stack([(low_N2 + high_N2) / 2, high_N2 - low_N2, np.zeros(len(boxes_N4))])


def set_score(found: float, said: int, true: int) -> float:
    """F1 of `found` (summed fit of pairs), times true / said where more was said; see the module."""
    return 2 * found / (said + true) * min(1.0, true / said) if said else 0.0


def sets(answer: Answer, *, fits: Overlap = fit_of_pairs) -> float:
    true = len(answer.truth.objects)
    if not true:
        return float(answer.is_none)
    if not answer.kept or answer.kept * true > MOST_PAIRS:
        return 0.0
    return set_score(_paired(fits(answer)), answer.said, true)


def _paired(fit_PT: np.ndarray) -> float:
    """The largest sum of one-to-one pairs."""
    if 1 in fit_PT.shape:
        return float(fit_PT.max())
    return float(fit_PT[linear_sum_assignment(fit_PT, maximize=True)].sum())


def one(answer: Answer, *, fits: Overlap = fit_of_pairs) -> float:
    """The fit of the one shape that is meant; of several said the worst counts, and of repetitions none."""
    if not len(answer.truth.objects):
        return float(answer.is_none)
    if not answer.kept or answer.said > answer.kept:
        return 0.0
    return float(fits(answer).min())


def consistency(answer: Answer) -> float:
    """Mean over pairs of box, oriented box and mask of the smallest IoU among both and the truth."""
    if not len(answer.truth.objects):
        return float(answer.is_none)
    signals = signals_of(answer.truth)
    shapes, gold = answer.shapes, answer.truth.objects.geometries_N[0]
    said = {}
    for signal in signals:
        found = np.flatnonzero(shapes.kinds_N == signal)
        said[signal] = shapes.geometries_N[found[0]] if len(found) == 1 else None
    if answer.said > len(signals):  # one of each is asked for
        return 0.0
    right = {signal: _as_kind_iou(said[signal], gold, signal) for signal in signals}
    pairs = list(combinations(signals, 2))
    return sum(min(right[a], right[b], _box_iou(said[a], said[b])) for a, b in pairs if said[a] and said[b]) / len(
        pairs
    )


def signals_of(truth: Truth) -> tuple[Kind, ...]:
    """The kinds among box, oriented box and mask that the dialect can say."""
    return tuple(signal for signal in SIGNALS if signal in truth.dialect.kinds)


def _as_kind_iou(said: shapely.Geometry | None, gold: shapely.Geometry, kind: Kind) -> float:
    if said is None:
        return 0.0
    if kind == "hbb":
        return _box_iou(said, gold)
    true = shapely.oriented_envelope(gold) if kind == "obb" else gold
    return float(shape_iou(np.array([said], object), np.array([true], object), as_boxes=False)[0, 0])


def _box_iou(a: shapely.Geometry, b: shapely.Geometry) -> float:
    return float(hbb_iou(np.array([a.bounds]), np.array([b.bounds]))[0, 0])


# --- relations -------------------------------------------------------------------------------------------


def graph(answer: Answer) -> float:
    """The set score of relations: the fit of a pair is the smaller IoU of both ends, its names being equal."""
    pair = _graph_pair(answer)
    true, said = len(pair.truth.relations), len(pair.predicted.relations)
    if not true:
        return float(answer.is_none)
    if not said:
        return 0.0
    groups = _by_names(pair)
    iou_PT = np.nan_to_num(np.asarray(pair.iou_PT, dtype=np.float64))
    found = 0.0
    for said_of, true_of in groups:
        both_RS = np.minimum(*(iou_PT[np.ix_(*(_ends(side, end) for side in (said_of, true_of)))] for end in (0, 1)))
        found += _paired(both_RS)
    return set_score(found, said, true)


def _graph_pair(answer: Answer) -> GraphPair:
    question, scene = answer.truth.question, answer.truth.scene
    task = TASKS[question.task] if question else None
    if not isinstance(task, SceneGraph) or question is None or scene is None:
        raise ValueError("the question asks for no graph; check the reward before it is used")
    return task.pair(answer.reading, question, scene)


def _by_names(pair: GraphPair) -> list[tuple[list, list]]:
    """Relations said and true that have the same three names."""
    groups: dict[tuple[str, str, str], tuple[list, list]] = defaultdict(lambda: ([], []))
    for side, of in enumerate((pair.predicted, pair.truth)):
        for names, relation in zip(of.names(), of.relations, strict=True):
            groups[names][side].append(relation)
    return [sides for names, sides in groups.items() if all(names) and all(sides)]


def _ends(relations: Sequence, end: int) -> list[int]:
    return [(relation.subject, relation.object)[end] for relation in relations]


def relation(answer: Answer) -> float:
    """The set score of the predicates said between two places; with a wrong class, all that was said is false."""
    question, scene = answer.truth.question, answer.truth.scene
    if question is None or scene is None:
        raise ValueError("there is no question; check the reward before it is used")
    row = TASKS[question.task].score(answer.reading, question, scene)
    true = int(row["tp"] + row["fn"])
    return set_score(row["tp"], int(row["tp"] + row["fp"]), true) if true else float(not row["fp"])


# --- words -----------------------------------------------------------------------------------------------

_MOST_DIGITS = 9


def count(answer: Answer) -> float:
    """The smaller of the number said and the true one by the larger; 0 where none or several are said."""
    said, true = _only_number(answer.text), _only_number(answer.truth.spoken)
    if said is None or true is None:
        return 0.0
    return 1.0 if said == true else min(said, true) / max(said, true)


def _only_number(text: str) -> int | None:
    """The one whole number of a short text; a thought before it is passed over."""
    text = text.rpartition("</think>")[2][:1000]
    words = [word.strip(".,;:!?\"'()*<>/answer") for word in text.replace(">", "> ").replace("<", " <").split()]
    numbers = {word for word in words if word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS}
    return int(numbers.pop()) if len(numbers) == 1 else None


def form(answer: Answer) -> float:
    """1 where an answer is exactly as the dialect writes it, with a thought before it where one is asked for."""
    truth, text = answer.truth, answer.text
    if truth.thinks != text.startswith("<think>"):
        return 0.0
    return float(len(text) <= MOST_CHARACTERS and truth.dialect.strict.fullmatch(text) is not None)


MOST_CHARACTERS = 100_000
THOUGHT_CHARACTERS = 600
"""Room for a thought, where one is asked for."""


def length(answer: Answer) -> float:
    """1 up to one and a half times the true answer and 120 characters (and a thought), falling to 0 at twice that."""
    room = 1.5 * len(answer.truth.spoken) + 120 + THOUGHT_CHARACTERS * answer.truth.thinks
    return min(1.0, max(0.0, 2.0 - len(answer.text) / room))


# --- what a truth must have ------------------------------------------------------------------------------


def needs_shapes(truth: Truth) -> str:
    return "an answer in words, where shapes are expected" if truth.text is not None else ""


def needs_one(truth: Truth) -> str:
    several = f"{len(truth.objects)} true objects, where one or none is expected" if len(truth.objects) > 1 else ""
    return needs_shapes(truth) or several


def needs_signals(truth: Truth) -> str:
    few = len(signals_of(truth)) < 2
    return needs_one(truth) or (f"the dialect {truth.dialect.name}, which says one kind of shape only" if few else "")


def needs_task(truth: Truth, *, kinds: tuple[type, ...]) -> str:
    task = TASKS.get(truth.question.task) if truth.question and truth.scene else None
    return "" if isinstance(task, kinds) else "no task of relations"


def needs_number(truth: Truth) -> str:
    return "" if truth.text is not None and _only_number(truth.text) is not None else "no answer that is a number"


needs_graph = partial(needs_task, kinds=(SceneGraph,))
needs_relation = partial(needs_task, kinds=(RelationDetection, RelationReasoning))
