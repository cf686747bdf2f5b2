"""Which questions of a dataset a run asks: worked out alike when it asks and when its answers are scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from georefer.dialects import DIALECTS
from georefer.errors import DatasetError, InputError
from georefer.geometry import Frame
from georefer.scenes import Dataset, Question
from georefer.tasks import TASKS

Plan = Mapping[str, Sequence[Question]]
"""The questions asked of each scene, by scene id, in stored order."""


@dataclass(frozen=True)
class EvaluateSettings:
    """What is asked, and how.

    `tasks` names the tasks asked, all where it is empty. `limit` bounds the number of *scenes*, drawn by `seed`
    from those with questions; all questions of a drawn scene are asked, since answers about one image go
    together in the intervals. `batch` is how many prompts a model gets at once: it changes speed, not the
    result. `blind` repeats the whole run with every image replaced by mid-grey. With `grammar`, answers that are
    shapes are held to the dialect's grammar. `calibration` (a file) changes only the report: confidences become
    probabilities of being right.
    """

    dataset: Path | None = None
    split: str = "test"
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    batch: int = 64
    max_new_tokens: int = 256
    blind: bool = True
    seed: int = 0
    grammar: bool = False
    calibration: Path | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "batch", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")


def planned(dataset: Dataset, split: str, tasks: Sequence[str], limit: int | None, seed: int) -> Plan:
    """The questions of a split that these settings ask.

    InputError where a task is unknown or has no question; DatasetError where the dataset repeats an id.
    """
    _check_tasks(tasks, "the settings ask for")
    plan: dict[str, list[Question]] = {}
    for question in dataset.questions(split):
        if not tasks or question.task in tasks:
            plan.setdefault(question.scene_id, []).append(question)
    asked = [question for questions in plan.values() for question in questions]
    _check_questions(asked, tasks, dataset, split)
    if limit is None or limit >= len(plan):
        return plan
    scene_ids = list(plan)
    drawn = sorted(np.random.default_rng(seed).choice(len(scene_ids), limit, replace=False))
    return {scene_ids[index]: plan[scene_ids[index]] for index in drawn}


def prompts_digest(plan: Plan) -> str:
    """Hash of all question ids with their prompts as our own dialect puts them, so that a changed wording is seen."""
    dialect, frame = DIALECTS["georefer"], Frame.resize((1000, 1000), (1000, 1000))
    digest = hashlib.sha256()
    for question in questions_of(plan):
        digest.update(f"{question.id}\0{TASKS[question.task].prompt(question, dialect, frame)}\0".encode())
    return digest.hexdigest()[:16]


def questions_of(plan: Plan) -> list[Question]:
    """All questions of a plan, scene by scene."""
    return [question for questions in plan.values() for question in questions]


def _check_questions(questions: Sequence[Question], tasks: Sequence[str], dataset: Dataset, split: str) -> None:
    _check_tasks({question.task for question in questions}, f"{dataset.folder} holds questions of")
    ids = {question.id for question in questions}
    if len(ids) != len(questions):
        raise DatasetError(
            f"{dataset.folder} repeats {len(questions) - len(ids)} question ids in split '{split}' where each is "
            "expected once; build the dataset again"
        )
    absent = [task for task in tasks or TASKS if task not in {question.task for question in questions}]
    if not questions or (tasks and absent):
        raise InputError(
            f"split '{split}' of {dataset.folder} has no question of {', '.join(absent)} where at least one is "
            "expected; name another split or other tasks"
        )


def _check_tasks(names: Iterable[str], where: str) -> None:
    if unknown := sorted(set(names) - set(TASKS)):
        raise InputError(
            f"{where} {', '.join(unknown)}, which this georefer does not know; choose tasks from {', '.join(TASKS)}"
        )
