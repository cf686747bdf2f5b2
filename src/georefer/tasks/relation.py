"""Relations between objects that are given by their boxes: FIT-RS' relation detection, reasoning and object reasoning.

Answers name predicates in words or, in the dialect of FIT-RS, in its marks. Names are compared as whole names in small
letters. FIT-RS' own scorer forgets the answers whose classes are wrong; here they cost what they said and missed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from georefer.dialects import Dialect, Reading, Relation
from georefer.dialects.fit import FitDialect
from georefer.geometry import Frame
from georefer.scenes import Question, Scene, SceneRelation
from georefer.scenes.readers.star import PREDICATES
from georefer.scoring import Ratio, Row, contradiction_row, count_matches
from georefer.scoring.graph import CONTRADICTION_SHARE, GRAPH_F1, GRAPH_PRECISION, GRAPH_RECALL, plain_name
from georefer.tasks.base import BOX, OBB_FORM, Asking, Form, in_reading_order, truth, worded
from georefer.tasks.given import in_form, said_region, stored
from georefer.tasks.predicates import ANTONYMS, relations_of

MAX_TEXT = 20_000
"""Characters; a longer answer names no predicates that anybody would read."""

MAX_OBJECTS = 50
"""Objects that an answer of object reasoning may hold; where there are more, it is not asked."""

_STAR = frozenset(PREDICATES)
_MARKED = re.compile(r"<rel>([^<>]{1,200})</rel>", re.IGNORECASE)
_BRACKETED = re.compile(r"<([^<>/\d][^<>]{0,199})>")
_NO_NAMES = frozenset(("rel", "ref", "rbox", "p", "think", "answer", "obb", "box", "seg"))
_LEAD = re.compile(r"^(?:[\s\"'*•-]|\d{1,3}[.):])+")
_ENDS = {
    end: re.compile(
        rf"\b{end}\s*:\s*([^\n]{{1,200}}?)\s*(?=[;\n]|,?\s*(?:the\s)?\b(?:subject\s*:|object\s*:|relation)|,?\s*<rel>|\Z)",
        re.IGNORECASE,
    )
    for end in ("subject", "object")
}
_RELATIONS = re.compile(r"\brelation(?:ship)?s?(?:[ ][^:\n]{0,40})?:", re.IGNORECASE)


def vocabulary(scene: Scene) -> frozenset[str]:
    """Every predicate that an answer about a scene can be expected to name."""
    return _STAR.union(plain_name(relation.predicate) for relation in scene.relations)


def read_predicates(text: str, known: Collection[str] = _STAR) -> tuple[str, ...]:
    """The names in an answer, each once: those in marks where there are any, else what stands between commas.

    Names that are not known are kept, as they were said; "and" joins two names where it is in no known one. "none"
    and an answer that is far too long name nothing.
    """
    if len(text) > MAX_TEXT:
        return ()
    marked = _MARKED.findall(text) or [name for name in _BRACKETED.findall(text) if plain_name(name) not in _NO_NAMES]
    if marked:
        return tuple(dict.fromkeys(name for name in map(plain_name, marked) if name))
    names: dict[str, None] = {}
    for part in re.split(r"[,;\n]", text):
        whole = _plain(part)
        for name in [whole] if whole in known else map(_plain, re.split(r"\band\b", part)):
            if name and name != "none":
                names[name] = None
    return tuple(names)


def _plain(part: str) -> str:
    return plain_name(_LEAD.sub("", part)).strip(" .\"'*:")


def _pairs(scene: Scene) -> dict[tuple[str, str], list[SceneRelation]]:
    """The relations by their ends (subject, object), in the order found."""
    pairs: dict[tuple[str, str], list[SceneRelation]] = {}
    for relation in relations_of(scene):
        pairs.setdefault((relation.subject, relation.object), []).append(relation)
    return pairs


def _names_row(said: Iterable[str], true: Collection[str]) -> dict[str, float]:
    """Hits, false and missed names, and whether one contradicts another."""
    names = set(said)
    hits = len(names & set(true))
    pairs = contradiction_row([Relation(0, name, 1) for name in sorted(names)], ANTONYMS)
    return {"tp": hits, "fp": len(names) - hits, "fn": len(set(true)) - hits, **pairs}


_NAMES: dict[str, Ratio] = {
    "f1": GRAPH_F1,
    "precision": GRAPH_PRECISION,
    "recall": GRAPH_RECALL,
    "contradictory": CONTRADICTION_SHARE,
}
_READABLE = Ratio({"readable": 1}, {"asked": 1})


class RelationDetection:
    """Two objects, named and placed in the question: every predicate between them, in this direction.

    `params` hold "subject" and "object" (ids), "subject_px" and "object_px". Asked of pairs of which something is
    known; a pair of which nothing is said may have been too near a threshold to tell. "readable" are answers that
    name at least one predicate of STAR or of the scene.
    """

    name = "relation-detection"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType({**_NAMES, "readable": _READABLE})

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        numbered = [(n, pair, relations) for n, (pair, relations) in enumerate(_pairs(scene).items())]
        found = []
        for number, pair, relations in asking.choose(self.name, numbered, rng):
            text = ", ".join(relation.predicate for relation in relations)
            id_ = f"{scene.id}/{self.name}/{number}"
            found.append(Question(id_, scene.id, self.name, ends_params(scene, *pair), answer_text=text))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        shapes = [question.params[f"{end}_px"] for end in ("subject", "object")]
        subject, object_ = (f"the {shape['label']} at {said_region(shape, dialect, frame)}" for shape in shapes)
        return worded(
            question,
            lambda params: f"What is {subject} in relation to {object_}? Name every relation, with commas between.",
        )

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        if not isinstance(dialect, FitDialect):
            return question.answer_text
        subject, object_ = (question.params[f"{end}_px"]["label"] for end in ("subject", "object"))
        names = [relation.predicate for relation in _true(question, scene)]
        said = ", ".join(f"{subject} <{name}> {object_}" for name in names)
        return f"There are {len(names)} relationships between {subject} and {object_}: {said}"

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        known = vocabulary(scene)
        said = read_predicates(reading.text, known)
        row = _names_row(said, [plain_name(relation.predicate) for relation in _true(question, scene)])
        return {**row, "readable": float(not known.isdisjoint(said)), "asked": 1.0}


def ends_params(scene: Scene, subject: str, object_: str) -> dict[str, Any]:
    """The ids and stored shapes of the two ends of a relation."""
    first, second = stored(scene.objects.with_ids([subject, object_]))
    return {"subject": subject, "object": object_, "subject_px": first, "object_px": second}


def _true(question: Question, scene: Scene) -> list[SceneRelation]:
    ends = question.params["subject"], question.params["object"]
    return [relation for relation in relations_of(scene) if (relation.subject, relation.object) == ends]


class RelationReasoning:
    """Two places: the class of what is at each, and every predicate between them.

    A predicate counts only where both classes are right: with a wrong class all that was said is false and all that is
    true was missed. Two different classes said for one end are wrong.
    """

    name = "relation-reasoning"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {**_NAMES, "classes": Ratio({"classes_right": 1}, {"asked": 1}), "readable": _READABLE}
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        numbered = [(n, pair, relations) for n, (pair, relations) in enumerate(_pairs(scene).items())]
        found = []
        for number, pair, relations in asking.choose(self.name, numbered, rng):
            params, id_ = ends_params(scene, *pair), f"{scene.id}/{self.name}/{number}"
            subject, object_ = (params[f"{end}_px"]["label"] for end in ("subject", "object"))
            names = ", ".join(relation.predicate for relation in relations)
            text = f"subject: {subject}; object: {object_}; relation: {names}"
            found.append(Question(id_, scene.id, self.name, params, answer_text=text))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        first, second = (said_region(question.params[f"{end}_px"], dialect, frame) for end in ("subject", "object"))
        return worded(
            question,
            lambda params: (
                f"What is at {first}, what is at {second}, and what is the first in relation to the second? "
                "Answer as: subject: class; object: class; relation: every relation, with commas between"
            ),
        )

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        if isinstance(dialect, FitDialect):
            subject, object_ = (question.params[f"{end}_px"]["label"] for end in ("subject", "object"))
            names = ", ".join(f"<rel>{relation.predicate}</rel>" for relation in _true(question, scene))
            return f"subject: {subject}, object: {object_}, the relationships between them are: {names}"
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        text = reading.text[:MAX_TEXT]
        classes = [_class(text, end) for end in ("subject", "object")]
        right = all(
            said == plain_name(question.params[f"{end}_px"]["label"])
            for said, end in zip(classes, ("subject", "object"), strict=True)
        )
        begins, known = _RELATIONS.search(text), vocabulary(scene)
        said = read_predicates(reading.text[begins.end() if begins else len(text) :], known) if begins else ()
        said = said or tuple(plain_name(name) for name in _MARKED.findall(text))
        row = _names_row(said, [plain_name(relation.predicate) for relation in _true(question, scene)])
        if not right:
            row.update(tp=0, fp=row["tp"] + row["fp"], fn=row["tp"] + row["fn"])
        readable = all(classes) and not known.isdisjoint(said)
        return {**row, "classes_right": float(right), "readable": float(readable), "asked": 1.0}


def _class(text: str, end: str) -> str:
    """The one class said of an end; nothing where there is none or there are several."""
    said = {_plain(name) for name in _ENDS[end].findall(text)}
    return said.pop() if len(said) == 1 else ""


class ObjectReasoning:
    """One object, named and placed, and a predicate: every object to which it stands so, as boxes or oriented boxes.

    Scored like detection, at IoU 0.5 under optimal matching; oriented boxes by their true areas.
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {"f1": GRAPH_F1, "precision": GRAPH_PRECISION, "recall": GRAPH_RECALL, "readable": _READABLE}
    )

    def __init__(self, name: str = "object-reasoning", form: Form = BOX) -> None:
        if form not in (BOX, OBB_FORM):
            raise ValueError(f"the form {form} was found; objects of a relation are asked for as BOX or OBB_FORM")
        self.name, self.form = name, form

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        objects: dict[tuple[str, str], list[str]] = {}
        for relation in relations_of(scene):
            objects.setdefault((relation.subject, relation.predicate), []).append(relation.object)
        numbered = [(n, key, ids) for n, (key, ids) in enumerate(objects.items()) if len(ids) <= MAX_OBJECTS]
        found = []
        for number, (subject, predicate), ids in asking.choose(self.name, numbered, rng):
            params = {
                "subject": subject,
                "subject_px": stored(scene.objects.with_ids([subject]))[0],
                "predicate": predicate,
            }
            ordered = tuple(in_reading_order(scene.objects.with_ids(ids)).ids_N)
            found.append(Question(f"{scene.id}/{self.name}/{number}", scene.id, self.name, params, ordered))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        shape = question.params["subject_px"]
        place = said_region(shape, dialect, frame, self.form)
        own = f'The {shape["label"]} at {place} is in the relation "{question.params["predicate"]}" to which objects?'
        return worded(question, lambda params: f"{own} {self.form.wish}".rstrip())

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        return dialect.write(self.form.of(truth(question, scene), dialect), frame, labelled=False)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold = in_form(truth(question, scene), self.form)
        iou_PT = self.form.iou(reading.areas, gold)
        return {**count_matches(iou_PT), "readable": float(reading.readable), "asked": 1.0}
