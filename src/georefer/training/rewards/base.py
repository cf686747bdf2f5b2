"""What a reward is: a question's truth on one side, answers on the other, a number for each.

A `Truth` is made once for a question and stands for all G answers of a group: what a reward needs of it is worked out
at the first answer and kept. An `Answer` is read once, however many rewards look at it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.dialects import DIALECTS, Dialect, Reading
from georefer.errors import ConfigError, InputError
from georefer.geometry import Frame, Objects, obb_from_polygons
from georefer.scenes import Question, Scene
from georefer.scoring.graph import plain_name
from georefer.tasks import TASKS, truth
from georefer.tasks.base import BOX, OBB_FORM, OUTLINE, Form
from georefer.tasks.given import restored, stored
from georefer.tasks.thought import has_room

_FORMS = {"box": BOX, "obb": OBB_FORM, "outline": OUTLINE}

EXTRA_KINDS = frozenset({"duplicate", "empty-shape", "wrong-count"})
"""Problems of a reading that each stand for something said and not kept: it counts as one shape too many."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of one question, and how an answer to it is read.

    `objects` are in scene pixels; none of them means that there is nothing. With `labelled` a shape must also bear
    the right label; `thinks` says that a thought is asked for before the answer. `text` is the answer of a question
    that is answered in words. Rewards of relations need `question` and `scene`.
    """

    objects: Objects
    dialect: Dialect
    frame: Frame
    form: Form = BOX
    labelled: bool = False
    thinks: bool = False
    text: str | None = None
    question: Question | None = field(default=None, repr=False)
    scene: Scene | None = field(default=None, repr=False)

    @classmethod
    def of(cls, question: Question, scene: Scene, dialect: Dialect, frame: Frame, *, labelled: bool = False) -> Truth:
        """The truth of a task's question; a thought is asked for as `Task.prompt` does."""
        task = TASKS[question.task]
        form = task.form or BOX
        gold = form.compared(truth(question, scene))
        thinks = bool(question.params.get("thought")) and has_room(dialect)
        return cls(gold, dialect, frame, form, labelled, thinks, question.answer_text, question, scene)

    @cached_property
    def boxes_T4(self) -> np.ndarray:
        return self.objects.hbb_N4

    @cached_property
    def labels_T(self) -> np.ndarray:
        return names_of(self.objects.labels_N)

    @cached_property
    def obb_T5(self) -> np.ndarray:
        return oriented(self.objects.geometries_N)

    @cached_property
    def spoken(self) -> str:
        """The true answer as the dialect writes it, without a thought."""
        if self.text is not None:
            return self.text
        return self.dialect.write(self.form.of(self.objects, self.dialect), self.frame, labelled=self.labelled)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What a reward has worked out of this truth under a name of its own, made at the first answer."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @cached_property
    def _kept(self) -> dict[str, Any]:
        return {}

    # --- as a column of a dataset ------------------------------------------------------------------------

    def to_json(self) -> str:
        """All of it but the question and the scene, as one text: a column that any trainer carries along."""
        plain = {
            "objects": stored(self.objects), "dialect": self.dialect.name, "frame": self.frame.describe(),
            "form": next(name for name, form in _FORMS.items() if form == self.form),
            "labelled": self.labelled, "thinks": self.thinks, "text": self.text,
        }  # fmt: skip
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Truth:
        """The truth of `to_json`; the same object for the same text, so that a group shares it. InputError if none."""
        return _truth_from(text)


@lru_cache(maxsize=4096)
def _truth_from(text: str) -> Truth:
    try:
        plain = json.loads(text)
        objects = restored(plain["objects"]) if plain["objects"] else Objects.none()
        return Truth(
            objects, DIALECTS[plain["dialect"]], Frame(**plain["frame"]), _FORMS[plain["form"]],
            plain["labelled"], plain["thinks"], plain["text"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise InputError(
            f"the truth {str(text)[:80]!r} was found, and a text that Truth.to_json wrote was expected ({error!r}); "
            "make the column again"
        ) from error


def oriented(geometries_N: np.ndarray) -> np.ndarray:
    """Oriented boxes (N, 5) of areas: those that they are, or the smallest around them."""
    boxes_N5 = obb_from_polygons(geometries_N)
    if (others_N := np.isnan(boxes_N5).any(axis=1)).any():
        around_K = shapely.oriented_envelope(geometries_N[others_N])
        corners_K42 = np.array([shapely.get_coordinates(shape)[:4] for shape in around_K])
        along_K2, across_K2 = corners_K42[:, 1] - corners_K42[:, 0], corners_K42[:, 2] - corners_K42[:, 1]
        turn_K = np.degrees(np.arctan2(along_K2[:, 1], along_K2[:, 0]))
        sides_K2 = np.column_stack([np.hypot(*along_K2.T), np.hypot(*across_K2.T)])
        boxes_N5[others_N] = np.column_stack([corners_K42.mean(axis=1), sides_K2, turn_K])
    return boxes_N5


def names_of(labels: Iterable[str]) -> np.ndarray:
    """Labels (N,) as they are compared."""
    said = list(labels)
    plain = {label: plain_name(label) for label in dict.fromkeys(said)}
    return np.array([plain[label] for label in said], dtype=object)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said to a question, read when first asked for."""

    text: str
    truth: Truth

    @cached_property
    def reading(self) -> Reading:
        return self.truth.dialect.read(self.text, self.truth.frame)

    @cached_property
    def shapes(self) -> Objects:
        """What was said that has an area."""
        return self.reading.areas

    @cached_property
    def boxes_P4(self) -> np.ndarray:
        """The boxes around the shapes."""
        return self.shapes.hbb_N4 if self._clean is None else self._clean[0]

    @cached_property
    def said(self) -> int:
        """Shapes that were said, with those that repeat others or are none."""
        if self._clean is not None:
            return len(self._clean[0])
        return len(self.shapes) + sum(problem.kind in EXTRA_KINDS for problem in self.reading.problems)

    @cached_property
    def kept(self) -> int:
        """Shapes that are left of those."""
        return len(self.shapes) if self._clean is None else len(self._clean[0])

    @cached_property
    def names_P(self) -> np.ndarray:
        """Labels as they are compared."""
        return names_of(self.shapes.labels_N if self._clean is None else self._clean[1])

    @cached_property
    def _clean(self) -> tuple[np.ndarray, list[str]] | None:
        """Boxes and labels of an answer that nothing is wrong with, sooner than by a reading; None for others."""
        truth = self.truth
        if not truth.form.as_boxes or "reading" in self.__dict__:
            return None
        return clean_boxes(self.text, truth.dialect, truth.frame)

    @property
    def is_none(self) -> bool:
        """Whether it says in the dialect's words that there is nothing, and nothing else."""
        return self.reading.says_none and not self.said


CLEAN = {
    "georefer": (1, 0, 4), "groundset": (1, 0, 4), "qwen2.5-vl": (1, 1, 4), "qwen3-vl": (1, 1, 4), "geo-r1": (1, 1, 4),
    "visionreasoner": (2, 1, 6),
}  # fmt: skip
"""Dialects of boxes in whole numbers: lists a box, lists that may stand around all of them, numbers a box."""

_NO_NUMBER = {code: " " for code in range(128) if not chr(code).isdigit()}
_KEYS, _OTHER_SHAPES = ('"bbox_2d"', '"point_2d"'), ('"label"', "keypoint", "@", "+", "-")
_LABEL = re.compile(r',\s?"label":\s?"([A-Za-z_ ]{0,200})"')
_MOST_CLEAN = 20_000


def clean_boxes(text: str, dialect: Dialect, frame: Frame) -> tuple[np.ndarray, list[str]] | None:
    """Boxes (N, 4) in scene pixels and labels of an answer exactly as the dialect writes it; None for any other.

    None too where a reading would repair, clip or drop something, and for labels of more than letters: it gives what
    `dialect.read` gives, or nothing.
    """
    lists, around, numbers = CLEAN.get(dialect.name, (0, 0, 0))
    if not lists or len(text) > _MOST_CLEAN or not text.isascii() or not dialect.strict.fullmatch(text):
        return None
    said = text.rpartition("</think>")[2]
    labels = _LABEL.findall(said) if around else _grouped_labels(said)
    if around and labels:
        said = _LABEL.sub("", said)
    if any(mark in said for mark in _OTHER_SHAPES) or (not around and "{" in said):
        return None
    brackets = said.count("[")
    for key in _KEYS[: numbers // 2 - 1]:
        said = said.replace(key, "")
    values_K = np.fromstring(said.translate(_NO_NUMBER), dtype=np.float64, sep=" ")
    count, left = divmod(len(values_K), numbers)
    if left or not 0 < count <= 1_000 or not 0 <= brackets - lists * count <= around:
        return None
    steps_N2 = values_K.reshape(-1, 2)
    if dialect.steps.decimals or (steps_N2 > dialect.steps.largest(frame)).any():
        return None
    xy_N2 = dialect.steps.read(steps_N2, frame)
    if (xy_N2 < 0).any() or (xy_N2 > (frame.scene_width, frame.scene_height)).any():
        return None
    rows_NK = xy_N2.reshape(-1, numbers)
    boxes_N4 = rows_NK[:, :4]
    repeats = any(len(set(map(tuple, part.tolist()))) < count for part in (boxes_N4, rows_NK[:, 4:]) if part.size)
    if repeats or len(labels) not in (0, count) or (boxes_N4[:, :2] >= boxes_N4[:, 2:]).any():
        return None
    return boxes_N4, labels or [""] * count


def _grouped_labels(text: str) -> list[str]:
    """The label of each box of groups such as "ship [..] [..]; car [..]"."""
    labels = []
    for group in text.split("; "):
        label = group.partition("[")[0].strip()
        labels += [label] * group.count("[")
    return labels


Score = Callable[[Answer], float]


@dataclass(frozen=True)
class Together:
    """A score that values many answers (N,) at once, for rewards that are much faster so."""

    many: Callable[[Sequence[Answer]], np.ndarray]

    def __call__(self, answer: Answer) -> float:
        return float(self.many([answer])[0])


@dataclass(frozen=True)
class Reward:
    """One way to value answers; `score` is a pure function of an answer and its truth.

    `low` and `high` bound its values; `none` says what an answer earns where there is nothing to be found. `needs`
    gives the reason why a truth cannot be used with it, or nothing. `reads` names the one dialect that a published
    reward understands; ours read every dialect.
    """

    name: str
    says: str
    score: Score = field(repr=False)
    none: str
    source: str = "ours"
    low: float = 0.0
    high: float = 1.0
    needs: Callable[[Truth], str] = field(default=lambda truth: "", repr=False)
    reads: str | None = None
    asks: str = "set"
    """What it looks at: "set", "one", "graph", "relation", "number" or "signals"; exploits are chosen by it."""
    write: Callable[[Objects, Truth], str] | None = field(default=None, repr=False)
    """How objects are said to a published reward that reads a text of its own."""

    def of(self, answers: Sequence[str | Answer], truths: Sequence[Truth]) -> np.ndarray:
        """A value (N,) for each answer with its truth; give `answers_of` where several rewards look at them.

        InputError where a truth lacks what the reward needs.
        """
        self.check(truths)
        read = answers_of(answers, truths)
        values = self.score.many(read) if isinstance(self.score, Together) else [self.score(a) for a in read]
        return np.array(values, dtype=np.float64)

    def check(self, truths: Sequence[Truth]) -> None:
        """InputError, with the first reason, where a truth cannot be used; call it before a run begins."""
        for one in _once(truths):
            lack = self.needs(one)
            if self.reads and one.dialect.name != self.reads:
                lack = f"the dialect {one.dialect.name}, where only {self.reads} is read"
            if lack:
                asked = f"question of the task {one.question.task}" if one.question else "question"
                raise InputError(f"the reward {self.name} was given a {asked} with {lack}; choose another one")


def _once(truths: Sequence[Truth]) -> list[Truth]:
    return list({id(one): one for one in truths}.values())


def answers_of(answers: Sequence[str | Answer], truths: Sequence[Truth]) -> list[Answer]:
    """Answers with their truths, each to be read once."""
    if len(answers) != len(truths):
        raise ValueError(f"{len(answers)} answers came with {len(truths)} truths; give one truth for each answer")
    return [a if isinstance(a, Answer) else Answer(a, t) for a, t in zip(answers, truths, strict=True)]


# --- guarded ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Guarded:
    """A reward that never lets a bad value pass: it is counted and becomes NaN, and more than `allowed` stop the run.

    A bad value is one that was raised, is no number or lies outside the reward's range. With `allowed` 0 the first
    one stops. A NaN says "no reward": trainers leave such an answer out of its group.
    """

    reward: Reward
    allowed: int = 0
    bad: int = 0
    answers: int = 0
    last: str = ""

    def of(self, answers: Sequence[str | Answer], truths: Sequence[Truth]) -> np.ndarray:
        self.reward.check(truths)
        read = answers_of(answers, truths)
        values: Iterable[Any] = (self.reward.score for _ in read)
        if isinstance(self.reward.score, Together):
            with suppress(Exception):  # one at a time will show which answer it is
                values = self.reward.score.many(read).tolist()
        return np.array([self._one(*pair) for pair in zip(read, values, strict=True)], dtype=np.float64)

    def _one(self, answer: Answer, found: float | Score) -> float:
        self.answers += 1
        why = ""
        try:
            value = float(found(answer) if callable(found) else found)
        except Exception as error:  # noqa: BLE001 - whatever a user's reward does, the run must say so
            why = f"raised {error!r}"
        if not why and not self.reward.low - 1e-9 <= value <= self.reward.high + 1e-9:
            why = f"gave {value}, outside {self.reward.low:g} to {self.reward.high:g}"
        if not why:
            return value
        self.bad += 1
        self.last = f"the reward {self.reward.name} {why} for the answer {answer.text[:80]!r}"
        if self.bad > self.allowed:
            raise InputError(
                f"{self.last}, bad value {self.bad} of {self.answers} where {self.allowed} are allowed; mend it"
            )
        return float("nan")


def guarded(reward: Reward, truths: Sequence[Truth] = (), *, allowed: int = 0) -> Guarded:
    """The reward behind a guard, tried on each truth first: on the true answer, on none and on babble.

    Raises InputError at once where one of these raises, is no number or leaves the range, so that a run does not
    begin with it.
    """
    reward.check(truths)
    trial = Guarded(reward)
    for one in _once(truths):
        trial.of([_spoken_or_none(one), one.dialect.nothing, "banana", ""], [one] * 4)
    return Guarded(reward, allowed)


def _spoken_or_none(one: Truth) -> str:
    try:
        return one.spoken
    except ValueError as error:
        raise InputError(
            f"the dialect {one.dialect.name} was found, and one that can hold the answer was expected ({error}); "
            "choose another dialect or task"
        ) from error


# --- from outside ----------------------------------------------------------------------------------------


def load_plug(name: str) -> Any:
    """What "my_package.module:thing" or "./file.py:thing" names; ConfigError where there is none."""
    module, _, thing = name.rpartition(":")
    if not module or not thing.isidentifier():
        raise ConfigError(
            f"the reward {name!r} was found; give a name of the table, package.module:thing or file:thing"
        )
    try:
        found = getattr(_from_file(module) if module.endswith(".py") else importlib.import_module(module), thing, None)
    except (ImportError, OSError, SyntaxError) as error:
        raise ConfigError(f"the reward {name!r} cannot be loaded ({error}); check where it lies") from error
    if not callable(getattr(found, "score", found)):
        raise ConfigError(f"{name!r} holds no function or Reward called {thing}; write one there")
    return found


def _from_file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"georefer_reward_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
