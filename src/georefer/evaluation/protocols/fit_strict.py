"""Strict scoring of FIT-RSFG's rows beside the published one, and which quirks make a row differ.

Answers are read by the dialect, boxes matched one to one whatever their order, names compared as words, and what is
not found or not readable counts 0. The reasons come from mending one quirk after the other on the row itself
(`fit_text.walked`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import shapely

from georefer.dialects.fit import FitDialect
from georefer.dialects.oriented import rows_of
from georefer.dialects.reading import Reading
from georefer.evaluation.protocols.base import Beside, Row
from georefer.evaluation.protocols.fit_complex import is_cut, read_task3
from georefer.evaluation.protocols.fit_graphs import THRESHOLD, DetectionTable, GraphTable, SetTable, f1
from georefer.evaluation.protocols.fit_reading import (
    DUMMY,
    PREDICATES,
    UNKNOWN,
    Box,
    Boxes,
    Graph,
    Stops,
    angled,
    between,
    boxes_in_marks,
    class_of,
    named_lists,
    one_class,
    predicate_of,
    read_image,
    read_region,
    read_task1,
    read_task4,
)
from georefer.evaluation.protocols.fit_text import walked
from georefer.geometry import Frame
from georefer.geometry.rotated import obb_iou, obb_polygons
from georefer.scoring import graph as graphs
from georefer.scoring.detection import Ranked, mean_average_precision
from georefer.scoring.greedy import match_unranked, match_voc, within_class

PART = "complex_comprehension"
SIDE = 512

_REGION_CLASS = re.compile(r"\b(?:small|medium|large|giant) ([^.<>]{1,100}?) on the ", re.IGNORECASE)

Steps = Iterable[tuple[str, float | None]]


@dataclass
class Strict:
    """What strict scoring collects over the rows of all tasks."""

    ranked: dict[str, dict[str, list[Ranked]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    pairs: dict[str, list[graphs.GraphPair]] = field(default_factory=lambda: defaultdict(list))
    sets: dict[str, SetTable] = field(default_factory=lambda: defaultdict(SetTable))


def strict_rows(
    rows: Sequence[Mapping[str, Any]], scored: Sequence[Row], numbers: Mapping[str, Any]
) -> tuple[list[Row], tuple[Beside, ...]]:
    """The rows with strict value and reasons, and the headline measures beside each other."""
    seen = Strict()
    found = []
    for row, old in zip(rows, scored, strict=True):
        score = _SCORERS.get(row["category"])
        if score is None or is_cut(row["ground_truth"]):
            found.append(old)
            continue
        strict, steps = score(row["ground_truth"], row["answer"], seen)
        reasons: tuple[str, ...] = ()
        if strict != old.published:
            strict, reasons = walked(old.published, steps())
        found.append(replace(old, strict=strict, reasons=reasons))
    return found, _headlines(seen, numbers)


# --- boxes: tasks 1 and 4 ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """Labels, and boxes (N, 5) in pixels of a tile of 512."""

    labels: list[str]
    boxes_N5: np.ndarray

    def relabelled(self, label: str, only_empty: bool = False) -> Named:
        return Named([label if not (only_empty and name) else name for name in self.labels], self.boxes_N5)


@cache
def _dialect() -> tuple[FitDialect, Frame]:
    dialect = FitDialect()
    return dialect, dialect.frame_for((SIDE, SIDE))


def _read(text: str) -> Reading:
    dialect, frame = _dialect()
    return dialect.read(text, frame)


def _named(reading: Reading) -> Named:
    return Named([_singular(str(label)) for label in reading.objects.labels_N], rows_of(reading.objects))


def _singular(label: str) -> str:
    """A label as it is compared: "cars" of a single box is a car, as far as that is a class of FIT-RS."""
    name = graphs.plain_name(label)
    whole, less = (class_of(text.replace(" ", "_")) for text in (name, name.removesuffix("s")))
    return name if whole != UNKNOWN or less == UNKNOWN else name.removesuffix("s")


def _in_pixels(boxes: Sequence[tuple[str, Box]]) -> Named:
    """Boxes in percent, of five numbers."""
    rows_N5 = np.array([box for _, box in boxes], dtype=np.float64).reshape(-1, 5)
    rows_N5[:, :4] *= SIDE / 100
    return Named([label for label, _ in boxes], rows_N5)


def _any(box: Box) -> bool:
    return True


def _ious(said: Named, true: Named) -> np.ndarray:
    return within_class(obb_iou(said.boxes_N5, true.boxes_N5), said.labels, true.labels)


def _f1(said: Named, true: Named, match: Callable[..., np.ndarray] = match_unranked) -> float:
    hits = (match(_ious(said, true), np.ones(len(said.labels)), THRESHOLD) >= 0).sum()
    return f1(int(hits), len(said.labels), len(true.labels))


def _table_f1(boxes: Boxes | None) -> float | None:
    """A row's published F1; None where the scorer leaves the row out."""
    table = DetectionTable()
    if boxes is None or table.add(boxes) is None:
        return None
    return f1(*table.counts(table.hits())[0].tolist())


def _task1(truth: str, answer: str, seen: Strict) -> tuple[float, Callable[[], Steps]]:
    """F1 of boxes; those without a class are meant as the class asked for."""
    asked = graphs.plain_name(one_class(truth) or "")
    true = _named(_read(truth)).relabelled(asked)
    said = _named(_read(answer)).relabelled(asked, only_empty=True)
    _rank(seen.ranked["task1"], said, true)

    def steps() -> Steps:
        boxes = read_task1(truth, answer, Stops(), _any)
        yield "small-boxes", _table_f1(boxes)
        known = boxes and Boxes(*([(0, box) for _, box in some] for some in (boxes.truth, boxes.said)))
        yield "unknown-class", _table_f1(known)
        if known is None:
            as_if = read_task1(f"There is 1 car in the image: {truth}", answer, Stops(), _any)
            known = as_if and Boxes([], as_if.said)
        yield "no-truth-skipped", _or_empty(known)
        forced = said.relabelled(asked)
        yield "reading", _f1(forced, true, match_voc)
        yield "class-ignored", _f1(said, true, match_voc)
        yield "best-truth-only", _f1(said, true)

    return _f1(said, true), steps


def _or_empty(boxes: Boxes | None) -> float | None:
    """The published F1, and where there is no truth: 1 for an answer without boxes, else 0."""
    value = _table_f1(boxes)
    return float(not boxes.said) if value is None and boxes is not None else value


def _task4(truth: str, answer: str, seen: Strict) -> tuple[float, Callable[[], Steps]]:
    """F1 of boxes with their classes, where the truth speaks of categories."""
    true, said = _named(_read(truth)), _named(_read(answer))
    with_classes = "categories" in truth
    if not with_classes:
        true, said = true.relabelled(""), said.relabelled("")
    _rank(seen.ranked["task4"], said, true)

    def steps() -> Steps:
        boxes = read_task4(truth, answer, Stops(), _any)
        yield "small-boxes", _table_f1(boxes)
        own = [_own_classes(text) for text in (truth, answer)]
        if with_classes:
            boxes = Boxes(*([(class_of(name), box) for name, box in some] for some in own))
            yield "classes-shifted", _table_f1(boxes)
        yield "no-truth-skipped", _or_empty(boxes)
        if with_classes:
            plain = [[(graphs.plain_name(name), box) for name, box in some] for some in own]
            yield "unknown-class", _f1(_in_pixels(plain[1]), _in_pixels(plain[0]), match_voc)
        yield "reading", _f1(said, true, match_voc)
        yield "best-truth-only", _f1(said, true)

    return _f1(said, true), steps


def _own_classes(text: str) -> list[tuple[str, Box]]:
    """Each box with the class of its own list."""
    said = [(name.removesuffix("s"), box) for name, inner in named_lists(text) for box in boxes_in_marks(inner)]
    return list(dict.fromkeys(pair for pair in said if len(pair[1]) == 5))


def _rank(classes: dict[str, list[Ranked]], said: Named, true: Named) -> None:
    """Add one image to what the mean average precision ranks, class by class."""
    for label in dict.fromkeys((*true.labels, *said.labels)):
        p, t = ([i for i, name in enumerate(some.labels) if name == label] for some in (said, true))
        iou_PT = obb_iou(said.boxes_N5[p], true.boxes_N5[t])
        classes[label].append(Ranked.of_image(iou_PT, np.ones(len(p)), (THRESHOLD,), match=match_unranked))


# --- sets: tasks 2 and 3 ----------------------------------------------------------------------------------


def _task2(truth: str, answer: str, seen: Strict) -> tuple[float, Callable[[], Steps]]:
    """F1 of the predicates."""
    tagless = [_predicates(text) for text in (truth, answer)]
    plain = [{graphs.plain_name(name) for name in names} - {""} for names in tagless]
    strict = seen.sets["task2"].add(*plain)

    def steps() -> Steps:
        yield "tags-match", SetTable().add(*tagless)
        yield "names-exact", strict

    return strict, steps


def _predicates(text: str) -> set[str]:
    """What stands in <rel>, and in angle brackets that are no tags."""
    return {name for name in (*between(text, "<rel>", "</rel>"), *angled(text)) if name not in _TAGS}


_TAGS = frozenset(f"{slash}{tag}" for tag in ("rel", "ref", "rbox") for slash in ("", "/"))


def _task3(truth: str, answer: str, seen: Strict) -> tuple[float, Callable[[], Steps]]:
    """F1 of the triplets: a wrong class makes all of them wrong."""
    exact = [_triplets(text) for text in (truth, answer)]
    plain = [{tuple(map(graphs.plain_name, triplet)) for triplet in some} for some in exact]
    strict = seen.sets["task3"].add(*plain)  # type: ignore[arg-type]

    def steps() -> Steps:
        if exact[0]:
            yield "wrong-class-free", SetTable().add(*exact)  # type: ignore[arg-type]
        else:
            yield "no-truth-skipped", SetTable().add(*exact)  # type: ignore[arg-type]
        yield "names-exact", strict

    return strict, steps


def _triplets(text: str) -> set[tuple[str, str, str]]:
    found = read_task3(text)
    return {(found[0], predicate, found[1]) for predicate in found[2]} if found else set()


# --- graphs: tasks 5 and 6 --------------------------------------------------------------------------------


def _recall(truth: Graph, said: Graph) -> float | None:
    """A row's published recall; None where the scorer leaves the row out."""
    table = GraphTable()
    return None if table.add(truth, said) is None else table.report()["recall_per_scored_image"][0][1]


def _or_zero(truth: Graph, said: Graph) -> float | None:
    value = _recall(truth, said)
    return 0.0 if value is None and truth.triplets else value


def _pair(said: Reading, true: Reading, first: tuple[str, str] | None = None) -> graphs.GraphPair:
    """Graphs as the dialect reads them; `first` are other labels of their first objects (answer, truth)."""
    both = []
    for place, reading in enumerate((said, true)):
        labels = [_singular(str(label)) for label in reading.objects.labels_N]
        if first is not None:
            labels[0] = first[place]
        both.append(graphs.Graph(labels, reading.relations))
    return graphs.GraphPair(both[0], both[1], obb_iou(rows_of(said.objects), rows_of(true.objects)))


def _strict_recall(pair: graphs.GraphPair) -> float | None:
    row = graphs.graph_row(pair, THRESHOLD)
    return float(row["recall"]) if row["images"] else None


def _as_published(pair: graphs.GraphPair, names: bool) -> float | None:
    """Recall of the dialect's graphs by the published rule; with `names` unknown names are told apart."""
    true, said = (
        [name if names else tuple(map(_index, name, range(3))) for name in graph.names()]
        for graph in (pair.truth, pair.predicted)
    )
    places: dict[tuple, list[int]] = defaultdict(list)
    for place, triplet in enumerate(true):
        places[triplet].append(place)
    hit = {
        t
        for relation, triplet in zip(pair.predicted.relations, said, strict=True)
        for t in places.get(triplet, ())
        if _meets(pair.iou_PT, relation, pair.truth.relations[t])
    }
    return len(hit) / len(true) if true else None


def _index(name: str, place: int) -> int:
    return predicate_of(name) if place == 1 else class_of(name.replace(" ", "_"))


def _meets(iou_PT: np.ndarray, said: Any, true: Any) -> bool:
    return bool(iou_PT[said.subject, true.subject] >= THRESHOLD and iou_PT[said.object, true.object] >= THRESHOLD)


def _task5(truth: str, answer: str, seen: Strict) -> tuple[float | None, Callable[[], Steps]]:
    """Recall of the relations of a region, whose box is given and whose class is to be said."""
    dialect, frame = _dialect()
    true, said = (dialect.read_region(text, frame, _region()) for text in (truth, answer))
    name = _region_class(truth) or ""
    pair = _pair(said, true, (_region_class(answer) or name or "region", name or "region"))
    seen.pairs["task5"].append(pair)

    def steps() -> Steps:
        stops = Stops()
        yield "small-boxes", _recall(read_region(truth, stops, _any), read_region(answer, stops, _any))
        true_graph, said_graph = (read_region(text, stops, _any, misplaced=False) for text in (truth, answer))
        yield "misplaced-ends", _recall(true_graph, said_graph)
        yield "empty-skipped", _or_zero(true_graph, said_graph)
        classless = _pair(said, true, ("region", "region"))
        yield "reading", _as_published(classless, names=False)
        yield "unknown-equal", _as_published(classless, names=True)
        yield "region-class", _as_published(pair, names=True)
        yield "many-to-many", _strict_recall(pair)

    return _strict_recall(pair), steps


@cache
def _region() -> shapely.Polygon:
    """DUMMY in pixels, for a region whose own box the answer file does not hold."""
    return obb_polygons(_in_pixels([("", DUMMY)]).boxes_N5)[0]


def _region_class(text: str) -> str | None:
    found = _REGION_CLASS.search(text.split(". ", 1)[0][:1000])
    return found[1] if found else None


def _task6(truth: str, answer: str, seen: Strict) -> tuple[float | None, Callable[[], Steps]]:
    """Recall of the relations of a tile."""
    true, said = _read(truth), _read(answer)
    pair = _pair(said, true)
    seen.pairs["task6"].append(pair)
    _rank(seen.ranked["task6"], _alone(said), _alone(true))

    def steps() -> Steps:
        stops = Stops()
        true_graph, said_graph = read_image(truth, stops, True, _any), read_image(answer, stops, False, _any)
        if "sorry" not in truth:
            yield "small-boxes", _recall(true_graph, said_graph)
        yield "empty-skipped", _or_zero(true_graph, said_graph)
        yield "reading", _as_published(pair, names=False)
        yield "unknown-equal", _as_published(pair, names=True)
        yield "many-to-many", _strict_recall(pair)

    return _strict_recall(pair), steps


def _alone(reading: Reading) -> Named:
    """Objects in no relation, which are task 6's detections."""
    related = {end for relation in reading.relations for end in (relation.subject, relation.object)}
    named = _named(reading)
    kept = [place for place in range(len(named.labels)) if place not in related]
    return Named([named.labels[place] for place in kept], named.boxes_N5[kept])


_SCORERS: dict[str, Callable[[str, str, Strict], tuple[float | None, Callable[[], Steps]]]] = {
    "task1": _task1, "task2": _task2, "task3": _task3, "task4": _task4, "task5": _task5, "task6": _task6,
}  # fmt: skip


# --- headlines --------------------------------------------------------------------------------------------


def _headlines(seen: Strict, numbers: Mapping[str, Any]) -> tuple[Beside, ...]:
    """Measures of all tasks, as published and strict, as parts of 1 as the scorer prints them."""
    return tuple(Beside(PART, measure, old, new) for measure, old, new in _measures(seen, numbers))


def _measures(seen: Strict, numbers: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float | None]]:
    for name, key in (("task1", "task1"), ("task4", "task4"), ("task6", "task6_map")):
        strict = mean_average_precision(seen.ranked[name], method="voc11") if seen.ranked[name] else np.nan
        yield f"{name} mAP@0.25", numbers[key]["mean_ap"], _number(strict)
    for name in ("task2", "task3"):
        yield f"{name} F1", numbers[name]["f1"], seen.sets[name].ratios()[2]
    for name, key in (("task5", "task5"), ("task6", "task6_sgg")):
        pairs = seen.pairs[name]
        said = {key[1] for pair in pairs for key in pair.truth.names()}
        (score,) = graphs.score_graphs(pairs, (*PREDICATES, *sorted(said)), (THRESHOLD,)) if pairs else (None,)
        yield f"{name} recall", numbers[key]["returned_recall"], _number(score.recall) if score else None
        mean = numbers[key]["mean_recall"]["sgdet_mean_recall"]["1000"]
        yield f"{name} mean recall", mean, _number(score.mean_recall) if score else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
