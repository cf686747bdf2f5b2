"""Scene graphs in words: every relation of an image, or of one object of it, with the boxes of its ends (FIT-RS).

FIT-RS' own dialect has sentences for them. In the others the objects are said as the dialect says them, and then each
relation on a line, its ends by class and by the place among the objects said, from 1; "it" is the object asked about:

    car 1 | parked alongside with | car 2
    it | within danger distance of | tank 3
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading, Relation
from georefer.dialects.fit import FitDialect
from georefer.geometry import Frame, Objects
from georefer.scenes import Question, Scene, SceneRelation
from georefer.scoring import Graph, GraphPair, Ratio, Row, contradiction_row
from georefer.scoring.graph import (
    CONTRADICTION_SHARE,
    GRAPH_F1,
    GRAPH_PRECISION,
    GRAPH_RECALL,
    IMAGE_RECALL,
    THRESHOLDS,
    graph_row,
    plain_name,
)
from georefer.tasks.base import BOX, OBB_FORM, Asking, Form, in_reading_order, truth, worded
from georefer.tasks.given import in_form, said_region, stored
from georefer.tasks.predicates import ANTONYMS, relations_of

MAX_TOLD = 60
"""Relations of an answer, at most: a larger graph is not asked for, since it would be learned cut off."""

MAX_READ = 2_000
"""Relations read from one answer; the rest of it is not looked at."""

MAX_TEXT = 100_000
IT = "it"
_NUMBERED = re.compile(r"(?:(?P<label>.{1,250}) )?#?(?P<number>[0-9]{1,4})")

_LINES = "Then say each relation on a line as: class number | relation | class number, numbering the objects as said."


class SceneGraph:
    """All relations of the image and the objects in them; `of_region`, those of one object that is given by its box.

    Strict: a relation is a hit if both classes, the predicate and both shapes (IoU 0.5; "recall@0.25" with FIT-RS'
    0.25) are right, one to one, so that nothing is gained by saying it twice, and an answer without relations has no
    recall. "contradictory" is the share of pairs said of which two opposites are said. `pair` gives what
    `georefer.scoring.score_graphs` takes for means over predicates.

    A region's class is told in the question; it is not asked for.
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": GRAPH_F1,
            "recall": IMAGE_RECALL,
            "recall@0.25": Ratio({"recall_low": 1}, {"images": 1}),
            "precision": GRAPH_PRECISION,
            "all-recall": GRAPH_RECALL,
            "contradictory": CONTRADICTION_SHARE,
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def __init__(self, name: str = "image-graph", form: Form = BOX, *, of_region: bool = False) -> None:
        if form not in (BOX, OBB_FORM):
            raise ValueError(f"the form {form} was found; the objects of a graph are asked for as BOX or OBB_FORM")
        self.name, self.form, self.of_region = name, form, of_region

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        relations = relations_of(scene)
        regions: list[str | None] = [None]
        if self.of_region:
            regions = list(dict.fromkeys(end for r in relations for end in (r.subject, r.object)))
        told = [(n, region, _touching(relations, region)) for n, region in enumerate(regions)]
        candidates = [each for each in told if 0 < len(each[2]) <= MAX_TOLD]
        found = []
        for number, region, said in asking.choose(self.name, candidates, rng):
            ends = {end for r in said for end in (r.subject, r.object)} - {region}
            ordered = in_reading_order(scene.objects[[id_ in ends for id_ in scene.objects.ids_N]])
            params = {}
            if region is not None:
                params = {"region": region, "region_px": stored(scene.objects.with_ids([region]))[0]}
            id_ = f"{scene.id}/{self.name}/{number}"
            found.append(Question(id_, scene.id, self.name, params, tuple(ordered.ids_N)))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        how = "" if isinstance(dialect, FitDialect) else _LINES
        if not self.of_region:
            asked = "Find every relation between two objects of the image, and first the objects."
        else:
            shape = question.params["region_px"]
            place = said_region(shape, dialect, frame, self.form)
            asked = f"Find every relation of the {shape['label']} at {place}, and first the other objects in them."
            how = how and f'{how} The {shape["label"]} itself is "{IT}".'
        return worded(question, lambda params: " ".join(f"{asked} {self.form.wish} {how}".split()))

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        objects = self.form.of(truth(question, scene), dialect)
        place = {id_: i for i, id_ in enumerate(question.answer_ids)}
        region = question.params.get("region")
        relations = [
            Relation(place.get(r.subject, -1), r.predicate, place.get(r.object, -1))
            for r in _touching(relations_of(scene), region)
        ]
        if not isinstance(dialect, FitDialect):
            return _write_lines(objects, relations, dialect, frame)
        if region is None:
            return dialect.write_graph(objects, relations, frame)
        return _write_region(objects, relations, dialect, frame)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        pair = self.pair(reading, question, scene)
        low, high = (graph_row(pair, threshold) for threshold in THRESHOLDS)
        return {
            **high,
            "recall_low": low["recall"],
            **contradiction_row(pair.predicted.relations, ANTONYMS),
            "readable": float(bool(pair.predicted.relations)),
            "asked": 1.0,
        }

    def pair(self, reading: Reading, question: Question, scene: Scene) -> GraphPair:
        """What was said beside what is true, with the overlaps of their objects; "it" is the first of both."""
        region = question.params.get("region")
        ids = (*(() if region is None else (region,)), *question.answer_ids)
        gold = in_form(scene.objects.with_ids(ids), self.form)
        place = {id_: i for i, id_ in enumerate(ids)}
        true = Graph(
            list(gold.labels_N),
            tuple(
                Relation(place[r.subject], r.predicate, place[r.object]) for r in _touching(relations_of(scene), region)
            ),
        )
        it = None if region is None else gold[:1]
        said, shapes = _read_fit(reading, scene, it) if reading.relations or "<rel>" in reading.text else (None, [])
        if said is None:
            said, shapes = _read_lines(reading, it)
        areas = reading.areas
        iou_AT = self.form.iou(areas, gold)
        # two more rows: "it", which is the region itself and nothing else, and what was never placed
        rows_XT = np.vstack([iou_AT.reshape(len(areas), len(ids)), np.zeros((2, len(ids)))])
        if it is not None:
            rows_XT[-2, 0] = 1.0
        return GraphPair(said, true, rows_XT[np.array(shapes, dtype=int)].reshape(len(shapes), len(ids)))


_IT, _NOWHERE = -2, -1
"""Rows of what is no area of the reading."""


def _touching(relations: Sequence[SceneRelation], region: str | None) -> list[SceneRelation]:
    return [r for r in relations if region is None or region in (r.subject, r.object)]


# --- writing ---------------------------------------------------------------------------------------------


def _write_lines(objects: Objects, relations: Sequence[Relation], dialect: Dialect, frame: Frame) -> str:
    """Objects that the dialect cannot tell apart are one; those of one class are said together."""
    said = [dialect.write(objects[i : i + 1], frame) for i in range(len(objects))]
    firsts = {text: i for i, text in reversed(list(enumerate(said)))}
    # some dialects would bring those of one class together, and change their numbers
    labels = list(objects.labels_N)
    kept = sorted(firsts.values(), key=lambda i: (labels.index(labels[i]), i))
    names = [f"{_checked(o.label)} {kept.index(firsts[text]) + 1}" for o, text in zip(objects, said, strict=True)]
    names.append(IT)  # place -1
    lines = [f"{names[r.subject]} | {_checked(r.predicate)} | {names[r.object]}" for r in relations]
    return "\n".join([dialect.write(objects[kept], frame), *dict.fromkeys(lines)])


def _checked(name: str) -> str:
    """A name that can stand in a line; ValueError for one that could not be read back."""
    if not name.strip() or "|" in name or len(name.splitlines()) != 1:
        raise ValueError(f"the name {name!r} is empty, holds a | or spans lines; rename it")
    return name


def _write_region(objects: Objects, relations: Sequence[Relation], dialect: FitDialect, frame: Frame) -> str:
    """FIT-RS' sentences about "it", one for the objects of one class that stand to it alike."""
    groups: dict[tuple[bool, str, str], list[int]] = {}
    for r in relations:
        other = r.object if r.subject < 0 else r.subject
        groups.setdefault((r.subject < 0, r.predicate, objects.labels_N[other]), []).append(other)
    sentences = []
    for (is_subject, predicate, _), places in groups.items():
        boxes, verb = dialect.write(objects[places], frame), "is" if is_subject or len(places) == 1 else "are"
        related = f"{verb} <rel>{predicate}</rel>"
        sentences.append(
            f"It {related} {len(places)} {boxes}. " if is_subject else f"{len(places)} {boxes} {related} it. "
        )
    return "".join(sentences)


# --- reading ---------------------------------------------------------------------------------------------


def _read_fit(reading: Reading, scene: Scene, it: Objects | None) -> tuple[Graph | None, list[int]]:
    """The graph that the dialect has read, and the row of each of its objects.

    What is said of "it" is known only where "it" is: the same text is read again about the region, for who stands to
    whom, and the objects stay those that were read first, in the frame that the model was shown.
    """
    labels, relations, rows = list(reading.objects.labels_N), reading.relations, list(range(len(reading.objects)))
    if it is not None:
        region = FitDialect().read_region(
            reading.text, Frame.resize(scene.size, scene.size), shapely.box(*it.hbb_N4[0]), it.labels_N[0]
        )
        if list(region.objects.labels_N[1:]) != labels:
            return None, []
        labels, relations, rows = [it.labels_N[0], *labels], region.relations, [_IT, *rows]
    if not relations or len(reading.areas) != len(reading.objects):
        return None, []
    return Graph(labels, relations[:MAX_READ]), rows


def _read_lines(reading: Reading, it: Objects | None) -> tuple[Graph, list[int]]:
    """The graph of the lines in an answer; an end that is not among the objects said is somewhere else."""
    labels_A = reading.areas.labels_N
    places: dict[tuple[int, str], int] = {}
    relations: dict[Relation, None] = {}
    for line in reading.text[:MAX_TEXT].splitlines():
        parts = [part.strip() for part in line.strip().strip("-*` ").split("|", 3)]
        if len(parts) != 3 or not all(parts) or max(map(len, parts)) > 300:
            continue
        ends = [_end(part, labels_A, it) for part in (parts[0], parts[2])]
        if None in ends:
            continue
        subject, object_ = (places.setdefault(end, len(places)) for end in ends if end)
        relations[Relation(subject, plain_name(parts[1]), object_)] = None
        if len(relations) >= MAX_READ:
            break
    return Graph([label for _, label in places], tuple(relations)), [row for row, _ in places]


def _end(text: str, labels_A: np.ndarray, it: Objects | None) -> tuple[int, str] | None:
    """Row and class of an end "car 1"; a number alone has the class that the dialect has read. None for other text."""
    if text.casefold() == IT:
        return (_NOWHERE, IT) if it is None else (_IT, str(it.labels_N[0]))
    match = _NUMBERED.fullmatch(text)
    if match is None:
        return None
    label, row = plain_name(match["label"] or ""), int(match["number"]) - 1
    if not 0 <= row < len(labels_A):
        return _NOWHERE, text
    return row, label or str(labels_A[row])
