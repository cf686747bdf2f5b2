"""What a task is: one object that asks, answers and scores, for building, training, reward and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, Kind, Objects, shape_iou
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row


@dataclass(frozen=True)
class Expression:
    """A phrase that fits exactly one object of a scene, and by what it does so (attribute, position, ...).

    `level` is the number of its facts, the class among them, and `distractors` how many other visible objects may be
    called by its class; `facts` are (kind, words ...) each, the class first. Phrases from elsewhere have none.
    """

    object_id: str
    text: str
    by: str
    level: int = 0
    distractors: int = 0
    facts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class GroupExpression:
    """A phrase that fits exactly these objects of a scene: several, or none. The rest is as for an Expression."""

    object_ids: tuple[str, ...]
    text: str
    by: str
    level: int = 0
    distractors: int = 0
    facts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Known:
    """What a scene shows of the classes that may be asked about, each in the order of `Asking.askable`.

    A class that stands in none of these is unsure: perhaps it is there, as a bare "building" may be a house.
    """

    present: tuple[str, ...]
    """Something surely is of it."""
    listed: tuple[str, ...]
    """Of those, the ones of which every object is known: no object of a wider class may be one more."""
    counted: tuple[str, ...]
    """Of those, the ones of which no sliver may be one more."""
    absent: tuple[str, ...]
    """Nothing that shows can be of it."""


@dataclass(frozen=True)
class Asking:
    """What may be asked about a scene: settings of a recipe, and phrases proved for the scene.

    `labels` are all classes that objects of the dataset bear, so that absent ones are asked too: `absent` of them per
    scene. `per_task` bounds the questions of one task about one scene. `above` gives, with a taxonomy, every class
    that is a kind of another, with itself and all that it is a kind of (`scenes.taxonomy.all_above`); those are asked
    about as well, and an object answers to each of them. `slivers` are classes of what shows too little to be asked
    about: they are not absent, and not counted. With `think`, questions bring a thought (`tasks.thought`).
    """

    labels: tuple[str, ...]
    expressions: tuple[Expression, ...] = ()
    absent: int = 1
    per_task: Mapping[str, int] = field(default_factory=dict)
    groups: tuple[GroupExpression, ...] = ()
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)
    slivers: frozenset[str] = frozenset()
    think: bool = False

    def choose(self, task: str, candidates: list, rng: np.random.Generator) -> list:
        """At most the allowed number of candidates, in their order."""
        limit = self.per_task.get(task, len(candidates))
        if len(candidates) <= limit:
            return candidates
        return [candidates[i] for i in sorted(rng.choice(len(candidates), limit, replace=False))]

    def absent_labels(self, scene: Scene, rng: np.random.Generator) -> list[str]:
        """Some classes that the scene does not hold."""
        missing = self.known(scene).absent
        count = min(self.absent, len(missing))
        return [missing[i] for i in sorted(rng.choice(len(missing), count, replace=False))] if count else []

    @cached_property
    def askable(self) -> tuple[str, ...]:
        """The labels, and behind them in alphabetical order what else they are kinds of."""
        wider = set[str]().union(*map(self.kinds, self.labels))
        return (*self.labels, *sorted(wider - set(self.labels)))

    def kinds(self, label: str) -> frozenset[str]:
        """The class and all that it is a kind of."""
        return self.above.get(label) or frozenset({label})

    def labelled(self, scene: Scene, label: str) -> Objects:
        """The objects of a scene that are of a class, by their own or as a kind of it."""
        return scene.objects[np.array([label in self.kinds(own) for own in scene.objects.labels_N], dtype=bool)]

    def known(self, scene: Scene) -> Known:
        """Which classes are there, which are not, and of which all that shows is known."""
        own = {str(label) for label in scene.objects.labels_N}
        there = set[str]().union(*map(self.kinds, own))
        # what is there as well if a bare "tower" is one of the towers that are heritage
        doubtful = set[str]().union(*(self.perhaps(label) - self.kinds(label) for label in own))
        hidden = set[str]().union(*map(self.perhaps, self.slivers))
        present = tuple(label for label in self.askable if label in there)
        listed = tuple(label for label in present if label not in doubtful)
        return Known(
            present,
            listed,
            tuple(label for label in listed if label not in hidden),
            tuple(label for label in self.askable if label not in there | doubtful | hidden),
        )

    def perhaps(self, label: str) -> frozenset[str]:
        """All classes that something of this one can be of: those of its own kinds, and theirs by other parents."""
        if label not in self._reach:
            self._reach[label] = self.kinds(label).union(*(kinds for kinds in self.above.values() if label in kinds))
        return self._reach[label]

    @cached_property
    def _reach(self) -> dict[str, frozenset[str]]:
        """Filled by `perhaps`."""
        return {}


@dataclass(frozen=True)
class Form:
    """In which form shapes are asked for: a dialect must say one of `kinds`; `wish` says it to the model."""

    kinds: tuple[Kind, ...]
    wish: str = ""

    @property
    def as_boxes(self) -> bool:
        """Whether overlap is that of bounding boxes."""
        return self.kinds == ("hbb",)

    def compared(self, objects: Objects) -> Objects:
        """What answers are compared with: where oriented boxes are asked for, those of the outlines."""
        return objects.to_obb() if self.kinds == ("obb",) else objects

    def is_met_N(self, said: Objects) -> np.ndarray:
        """Which shapes are of an asked kind or a richer one: a box is no answer to who asks for outlines."""
        least = min(_RICHNESS[kind] for kind in self.kinds)
        return np.array([_RICHNESS.get(kind, -1) >= least for kind in said.kinds_N], dtype=bool)

    def iou(self, said: Objects, true: Objects) -> np.ndarray:
        """IoU (P, T) of what was said and what is true: of bounding boxes where boxes are asked for, else of areas.

        0 for a shape of a poorer kind than asked, so that the easier form is no way around the harder one.
        """
        iou_PT = shape_iou(said.geometries_N, true.geometries_N, as_boxes=self.as_boxes)
        return iou_PT if self.as_boxes else np.where(self.is_met_N(said)[:, None], iou_PT, 0.0)

    def of(self, objects: Objects, dialect: Dialect) -> Objects:
        """Objects in this form, as the dialect says it: outlines as polygons where it can, else as masks."""
        kind = next((kind for kind in self.kinds if kind in dialect.kinds), self.kinds[0])
        if kind == "hbb":
            return objects.to_hbb()
        if kind == "obb":
            return objects.to_obb()
        outlines = objects.to_polygon()
        return outlines if kind == "polygon" else outlines.replaced(outlines.geometries_N, kind)


_RICHNESS = {"hbb": 0, "obb": 1, "polygon": 2, "mask": 2}
"""How much of a shape each kind says."""

BOX = Form(("hbb",))
OBB_FORM = Form(("obb",), "Answer with oriented boxes.")
OUTLINE = Form(("polygon", "mask"), "Answer with outlines.")


class Task(Protocol):
    """One kind of question. Stateless: everything about a single question is in the Question.

    A prompt is put in a model's dialect and frame, since a question may hold a place ("what is at ...").

    `measures` are the task's metrics by name, the headline first; `score` gives the row they are made of.
    For every question the gold answer scores 1 on the headline and an unreadable one 0, in every dialect
    that can hold the answer: one that says a kind of `form`, or any for words (None), and finely enough.
    """

    name: str
    measures: Mapping[str, Ratio]

    @property
    def form(self) -> Form | None: ...

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]: ...

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str: ...

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str: ...

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row: ...


def in_reading_order(objects: Objects) -> Objects:
    """Objects by left edge, then top edge.

    Answers list shapes in the order in which their first numbers grow, so that a model that has written one
    box knows where the next can begin.
    """
    boxes_N4 = objects.hbb_N4
    return objects[np.lexsort((boxes_N4[:, 1], boxes_N4[:, 0]))]


def truth(question: Question, scene: Scene) -> Objects:
    """The objects that answer a question; `params["called"]` gives own classes the name under which they are asked."""
    found = scene.objects.with_ids(question.answer_ids)
    if not (called := question.params.get("called")):
        return found
    labels_N = np.array([called.get(label, label) for label in found.labels_N], dtype=object)
    return replace(found, labels_N=labels_N)


def worded(question: Question, own: Callable[[Mapping[str, Any]], str]) -> str:
    """The words of the question: those of a published benchmark where it brought some, else the task's own."""
    return str(question.params.get("prompt") or own(question.params))
