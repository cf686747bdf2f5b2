"""What every export shares: a scene as it goes out, its questions in words, and an account of what was left out."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from georefer.building.export.frames import FrameRule
from georefer.building.export.pictures import Picture
from georefer.dialects import DIALECTS, Dialect
from georefer.errors import InputError
from georefer.geometry import Frame, Kind, Objects
from georefer.scenes import Question, Scene
from georefer.scenes.interchange.base import Account
from georefer.tasks import TASKS, truth


@dataclass(frozen=True)
class ExportSettings:
    """How a dataset goes out; the options of `georefer export`.

    `dialect` is that of prompts and answers; left out, the format's own or else "georefer". `frame` is a rule that
    `frames.frame_rule` reads. `splits` left out means all. `images` is "png", "jpeg" or None for as they are stored.
    `link` is for openai only: images are named `link` + their path rather than held in the file.
    """

    format: str
    dialect: str | None = None
    frame: str = "dialect"
    splits: tuple[str, ...] = ()
    images: str | None = None
    link: str | None = None

    def __post_init__(self) -> None:
        if self.dialect is not None and self.dialect not in DIALECTS:
            raise InputError(f"there is no dialect '{self.dialect}'; choose among {', '.join(DIALECTS)}")
        if self.images not in (None, "png", "jpeg"):
            raise InputError(f"images={self.images} was found where png or jpeg is expected; leave it out to copy")


@dataclass(frozen=True, eq=False)
class Sample:
    """One question put into words for one model.

    `objects` are those that answer, as they are in the scene. `answer` is "" where only the format says them.
    """

    question: Question
    prompt: str
    answer: str
    objects: Objects


@dataclass(frozen=True, eq=False)
class Shown:
    """One scene as it goes out. `frame` is None where the format holds no text, and `samples` are then empty."""

    split: str
    scene: Scene
    picture: Picture
    frame: Frame | None = None
    samples: tuple[Sample, ...] = ()


@dataclass
class Job:
    """One export in progress: where its files go, how texts are made, and what becomes of objects and questions."""

    out: Path
    settings: ExportSettings
    dialect: Dialect | None
    rule: FrameRule
    splits: tuple[str, ...]
    account: Account = field(default_factory=Account)
    counts: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)

    def count(self, shown: Shown) -> None:
        """Counts a scene that is handed to the writer, with its questions."""
        self.counts[f"{shown.split}: scenes"] += 1
        for sample in shown.samples:
            self.counts[f"{shown.split}: questions"] += 1
            self.tasks[sample.question.task] += 1

    def take_back(self, shown: Shown, sample: Sample, reason: str) -> None:
        """A writer leaves out a question that was counted."""
        self.counts[f"{shown.split}: questions"] -= 1
        self.tasks[sample.question.task] -= 1
        self.leave_out(reason, sample.question)

    def leave_out(self, reason: str, question: Question, detail: object = "") -> None:
        self.account.dropped.add(reason, f"{question.id}: {detail}" if str(detail) else question.id)


@dataclass(frozen=True)
class Format:
    """One line of the table: `write(shown, job)` uses the scenes up once, in order, and writes below `job.out`.

    `dialect` is the only one that the format speaks ("" for any, None for no text at all). `embeds`: whether pictures
    lie in the format's own files rather than in images/. `marks` are words that its readers replace wherever they
    stand, so that a question with one in its text cannot be written.
    """

    name: str
    line: str
    write: Callable[[Iterable[Shown], Job], None]
    dialect: str | None = ""
    embeds: Literal["no", "yes", "unless linked"] = "no"
    marks: tuple[str, ...] = ()
    keeps_unasked: bool = False
    """Whether scenes that nobody asks about are written too, since the format holds objects beside questions."""
    frame: str = "dialect"
    """The rule of its numbers, for a format that lays them down."""
    says: frozenset[Kind] = frozenset()
    """Kinds of shapes that the format has its own place for, though its dialect has no words for them."""
    table: str = ""
    """Where the datasets library finds a split's tables, such as "data/{split}-*.parquet"."""

    def writes_pictures(self, settings: ExportSettings) -> bool:
        """Whether images/ is filled."""
        return self.embeds == "no" or (self.embeds == "unless linked" and settings.link is not None)


def samples_of(
    scene: Scene, questions: Sequence[Question], frame: Frame, dialect: Dialect, form: Format, job: Job
) -> tuple[Sample, ...]:
    """Every question of a scene that can be said, in words; the rest is counted with its reason."""
    with warnings.catch_warnings():
        # a shape without a place would be said as numbers that mean nothing
        warnings.filterwarnings("error", "invalid value encountered in cast", RuntimeWarning)
        found = [_sample(scene, question, frame, dialect, form, job) for question in questions]
    return tuple(sample for sample in found if sample is not None)


def _sample(scene: Scene, question: Question, frame: Frame, dialect: Dialect, form: Format, job: Job) -> Sample | None:
    task = TASKS.get(question.task)
    if task is None:
        job.leave_out(f"there is no task {question.task[:40]!r}", question)
        return None
    speaks = task.form is None or bool(set(task.form.kinds) & dialect.kinds)
    if task.form is not None and not speaks and not form.says & set(task.form.kinds):
        # also where the answer is that nothing is there: what is left would teach to say nothing
        job.leave_out(f"the dialect {dialect.name} cannot say a question of {task.name}", question)
        return None
    try:
        objects = truth(question, scene)
        prompt = task.prompt(question, dialect, frame)
        answer = task.answer(question, scene, dialect, frame) if speaks else ""
    except ValueError as error:
        job.leave_out(f"the dialect {dialect.name} cannot say a question of {task.name}", question, error)
        return None
    except (KeyError, IndexError, AssertionError, TypeError, AttributeError, RuntimeWarning) as error:
        job.leave_out("question that lacks what its task needs", question, repr(error))
        return None
    if mark := next((mark for mark in form.marks if mark in prompt or mark in answer), None):
        job.leave_out(f"text with the mark {mark}, which this format's readers replace", question)
        return None
    if task.form is not None and speaks and len(dialect.read(answer, frame).areas) != len(objects):
        job.account.changed.add("answer of so many shapes that reads back as more or fewer", question.id)
    return Sample(question, prompt, answer, objects)
