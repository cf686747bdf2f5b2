"""Single choice about relations in the form of FIT-RSRC: every rotation of the options, and some without a right one.

An option is a sentence "The ship is docked at the dock.". A wrong one is never just "not annotated", as a relation too
near a threshold is not in the scene either: it is proved false by a class that the scene lacks, by classes between
which the predicate makes no sense, or by a true predicate that excludes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice, product
from types import MappingProxyType
from typing import Any

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene, SceneRelation
from georefer.scenes.readers.star import PREDICATES
from georefer.scoring import Ratio, Rotation, Row, circular_rows, read_choice
from georefer.scoring.choice import LETTERS, rotations_of
from georefer.scoring.graph import plain_name
from georefer.tasks.base import Asking
from georefer.tasks.given import said_region, stored
from georefer.tasks.nouns import to_be
from georefer.tasks.predicates import cannot_hold, exclude_each_other, holds_both_ways, in_words, relations_of, rivals

UNCLEAR = "Sorry, none of the other statements can be made about this image."
"""The option that every question has, right where the question is one without an answer."""

OPTIONS = 4
"""Options of a question, UNCLEAR among them; questions for which fewer wrong ones can be proved have three."""

UNANSWERABLE = 0.25
"""Share of questions from which the right statement is left out."""

_ASKED = {
    "relationship": "Which is true of the {subject} at {subject_place} and the {object} at {object_place}?",
    "object": "Which is true of the {subject} at {subject_place}?",
    "subject": "Which is true of the {object} at {object_place}?",
    "exist": "Which is true of the image?",
}
TYPES = tuple(_ASKED)


@dataclass(frozen=True)
class Statement:
    """A sentence about classes; of the two ends those that are placed in the question are named by id."""

    subject: str
    predicate: str
    object: str
    subject_id: str | None = None
    object_id: str | None = None

    def __str__(self) -> str:
        subject, object_ = (" ".join(name.replace("_", " ").split()) for name in (self.subject, self.object))
        return f"The {subject} {to_be(subject)} {in_words(self.predicate)} the {object_}."


class Facts:
    """What can be decided about statements from a scene; of the classes `perhaps` there, not that they are absent."""

    def __init__(self, scene: Scene, perhaps: Iterable[str] = ()) -> None:
        self.relations = relations_of(scene)
        self.label = {o.id: str(o.label) for o in scene.objects}
        self.present = {plain_name(label) for label in (*self.label.values(), *perhaps)}
        self._between: dict[tuple[str, str], set[str]] = {}
        self._true: set[tuple[tuple[str, str], str, tuple[str, str]]] = set()
        for r in self.relations:
            self._learn(r.subject, plain_name(r.predicate), r.object)
            if holds_both_ways(r.predicate):
                self._learn(r.object, plain_name(r.predicate), r.subject)

    def _learn(self, subject: str, predicate: str, object_: str) -> None:
        """Keeps a fact under the ids and under the classes of its ends."""
        self._between.setdefault((subject, object_), set()).add(predicate)
        ends = ((_end(id_, self.label[id_]), _end(None, self.label[id_])) for id_ in (subject, object_))
        self._true.update((one, predicate, other) for one, other in product(*ends))

    def is_true(self, statement: Statement) -> bool:
        """Whether a relation of the scene makes it true."""
        first = _end(statement.subject_id, statement.subject)
        return (first, plain_name(statement.predicate), _end(statement.object_id, statement.object)) in self._true

    def is_false(self, statement: Statement) -> bool:
        """Whether it is certain that nothing in the image makes it true."""
        if self.is_true(statement):
            return False
        labels = plain_name(statement.subject), plain_name(statement.object)
        if not self.present.issuperset(labels) or cannot_hold(labels[0], statement.predicate, labels[1]):
            return True
        # of two given objects, a true predicate can exclude another; of one class, either could be meant first
        ends = statement.subject_id or "", statement.object_id or ""
        orders = [ends]
        if labels[0] == labels[1] and not holds_both_ways(statement.predicate):
            orders.append((ends[1], ends[0]))
        return all(
            any(exclude_each_other(name, statement.predicate) for name in self._between.get(order, ()))
            for order in orders
        )


def _end(id_: str | None, label: str) -> tuple[str, str]:
    return ("class", plain_name(label)) if id_ is None else ("id", id_)


class RelationChoice:
    """Which statement is true: of two placed objects, of one, or of the image; the answer is a letter.

    Each question is asked once for every rotation of its options: `params` hold "group", the same for all of them, and
    "rotation". Counted alone, each stands for itself; `circular` counts groups that are right throughout. A limit of
    questions per scene counts rotations, and a group is asked whole or not at all. "refusal" measures: how many of the
    questions without an answer were refused, and how many refusals were right.
    """

    name = "relation-choice"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "accuracy": Ratio({"right": 1}, {"asked": 1}),
            "chance": Ratio({"chance": 1}, {"asked": 1}),
            "refusal-recall": Ratio({"refused_right": 1}, {"unanswerable": 1}),
            "refusal-precision": Ratio({"refused_right": 1}, {"refused": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        facts = Facts(scene, set(asking.askable) - set(asking.known(scene).absent))
        left = asking.per_task.get(self.name, len(facts.relations) * OPTIONS)
        groups: dict[int, list[Question]] = {}
        seen: set[tuple] = set()
        for number in rng.permutation(len(facts.relations)).tolist():
            if left < 3:
                break
            relation = facts.relations[number]
            for kind in (TYPES[i] for i in rng.permutation(len(TYPES))):
                right = _statement(facts, relation, kind)
                options, truth = _options(facts, right, kind, asking.labels, rng)
                if 3 <= len(options) <= left and (kind, right) not in seen:
                    params = {"group": f"{scene.id}/{self.name}/{number}", "type": kind}
                    params.update(_places(scene, relation, kind))
                    groups[number] = list(_rotated(scene, self.name, params, options, truth))
                    seen.add((kind, right))
                    left -= len(options)
                    break
        return [question for number in sorted(groups) for question in groups[number]]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        params = question.params
        words: dict[str, str] = {}
        for end in ("subject", "object"):
            if (shape := params.get(f"{end}_px")) is not None:
                words[end] = shape["label"].replace("_", " ")
                words[f"{end}_place"] = said_region(shape, dialect, frame)
        asked = str(params.get("prompt") or _ASKED[params["type"]].format(**words))
        options = [f"{letter}. {text}" for letter, text in zip(LETTERS, params["options"], strict=False)]
        if all(option in asked for option in options):
            return asked
        return "\n".join([asked, *options, "Answer with the letter of one option."])

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        options = list(question.params["options"])
        chosen, truth = read_choice(reading.text, options), LETTERS.index(question.answer_text or "A")
        refused = chosen.index >= 0 and options[chosen.index] == UNCLEAR
        unanswerable = options[truth] == UNCLEAR
        return {
            "right": float(chosen.index == truth),
            "chance": 1 / len(options),
            "refused": float(refused),
            "unanswerable": float(unanswerable),
            "refused_right": float(refused and unanswerable),
            "readable": float(chosen.outcome != "unreadable"),
            "asked": 1.0,
        }


def circular(answers: Iterable[tuple[Question, str]]) -> dict[str, Row]:
    """Rows by group, for CIRCULAR_ACCURACY and the like, from questions with their answers' texts.

    InputError where a group lacks a rotation: one that was left out would count as right.
    """
    return circular_rows(
        Rotation(
            question.params["group"],
            tuple(question.params["options"]),
            LETTERS.index(question.answer_text or "A"),
            read_choice(text, list(question.params["options"])),
        )
        for question, text in answers
    )


def _rotated(scene: Scene, task: str, params: Mapping[str, Any], options: list[str], truth: str) -> Iterable[Question]:
    for rotation, order in enumerate(rotations_of(options)):
        own = {**params, "rotation": rotation, "options": list(order)}
        letter = LETTERS[order.index(truth)]
        yield Question(f"{params['group']}/{rotation}", scene.id, task, own, answer_text=letter)


def _places(scene: Scene, relation: SceneRelation, kind: str) -> dict[str, Any]:
    ends = {"relationship": ("subject", "object"), "object": ("subject",), "subject": ("object",), "exist": ()}[kind]
    return {f"{end}_px": stored(scene.objects.with_ids([getattr(relation, end)]))[0] for end in ends}


def _statement(facts: Facts, relation: SceneRelation, kind: str) -> Statement:
    """The true statement, its ends placed as the type of question places them."""
    return Statement(
        facts.label[relation.subject],
        relation.predicate,
        facts.label[relation.object],
        relation.subject if kind in ("relationship", "object") else None,
        relation.object if kind in ("relationship", "subject") else None,
    )


def _options(
    facts: Facts, right: Statement, kind: str, labels: tuple[str, ...], rng: np.random.Generator
) -> tuple[list[str], str]:
    """Options in an order drawn, and the text of the right one; fewer than three where little can be proved false."""
    unanswerable = rng.random() < UNANSWERABLE
    kept = [UNCLEAR] if unanswerable else [str(right), UNCLEAR]
    candidates = _candidates(facts, right, kind, labels, rng)
    texts = dict.fromkeys(str(statement) for statement in candidates if facts.is_false(statement))
    options = [*islice(texts, OPTIONS - len(kept)), *kept]
    return [options[i] for i in rng.permutation(len(options))], kept[0]


def _candidates(
    facts: Facts, right: Statement, kind: str, labels: tuple[str, ...], rng: np.random.Generator
) -> Iterable[Statement]:
    """Statements that may be false, the hard ones first: opposites, then what is or could be in such an image."""
    from_scene = sorted({r.predicate for r in facts.relations} - {right.predicate})
    if kind == "relationship":
        others = [*_drawn(rivals(right.predicate), rng), *_drawn(from_scene, rng)]
        # beside a predicate of another vocabulary, those of STAR would give themselves away
        others += _drawn(sorted(PREDICATES), rng) if plain_name(right.predicate) in PREDICATES else []
        yield from (replace(right, predicate=other) for other in others)
        return
    classes = _drawn(sorted({*labels, *facts.label.values()}), rng)
    classes.sort(key=lambda label: plain_name(label) not in facts.present)
    for label in classes:
        if kind in ("object", "exist"):
            yield replace(right, object=label)
        if kind in ("subject", "exist"):
            yield replace(right, subject=label)


def _drawn(names: list[str], rng: np.random.Generator) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))]
