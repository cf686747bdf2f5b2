"""How well a model answers while it is trained: each task's own score on questions that it does not learn from."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.dialects import Dialect
from georefer.errors import DatasetError
from georefer.models.base import Ask, Model
from georefer.scenes import Dataset, Question, Scene
from georefer.scoring import Row
from georefer.tasks import TASKS
from georefer.tasks.given import Given
from georefer.training.budget import pixels_of

QUESTIONS_AT_ONCE = 64
"""Handed to the model together, at least: enough to share encodings and to sort by length, and few images held."""


@dataclass(frozen=True)
class ValidateSettings:
    """What the model is judged by during training (`loop.validate_every`): scenes that it does not learn from."""

    share: float = 0.0
    """Of the training scenes, set aside by a hash of their ids; 0: no validation."""
    per_task: int = 50
    """Questions of each task."""
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.per_task < 1:
            raise ValueError("share must be at least 0 and below 1, per_task at least 1")


@dataclass(frozen=True)
class TaskScore:
    """A task's headline measure over `answers` answers; `value` is None where they count for nothing in it."""

    measure: str
    value: float | None
    answers: int
    unreadable: int


@dataclass(frozen=True, eq=False)
class Validation:
    """Scenes with the questions asked of each; the same ones every time."""

    asked: tuple[tuple[Scene, tuple[Question, ...]], ...]

    @classmethod
    def drawn(
        cls, datasets: Sequence[Dataset], per_task: int, seed: int = 0, *, split: str = "train",
        scene_ids: Collection[str] | None = None, tasks: Collection[str] | None = None,
    ) -> Validation:  # fmt: skip
        """At most `per_task` questions of each task, of all the datasets together.

        Scenes are gone through in an order that the seed draws, the same for all tasks, so that few images are
        encoded. Only those of `scene_ids` (`set_aside`), and only `tasks`, where these are given.
        DatasetError where there is no question at all.
        """
        asked = [_drawn_of(dataset, split, seed, scene_ids, tasks) for dataset in datasets]
        left = dict.fromkeys(TASKS, per_task)
        chosen: dict[tuple[int, str], list[Question]] = {}
        order = sorted(
            (_number(scene_id, seed), n, scene_id) for n, by_scene in enumerate(asked) for scene_id in by_scene
        )
        for _, n, scene_id in order:
            for question in asked[n][scene_id]:
                if left[question.task] > 0:
                    left[question.task] -= 1
                    chosen.setdefault((n, scene_id), []).append(question)
        if not chosen:
            raise DatasetError(
                f"no question to validate with was found in the split '{split}' of "
                f"{', '.join(str(dataset.folder) for dataset in datasets)}, where at least one is expected; "
                "set more scenes aside, or validate on another split"
            )
        return cls(
            tuple(
                (scene, tuple(chosen[n, scene.id]))
                for n, dataset in enumerate(datasets)
                for scene in dataset.scenes(split)
                if (n, scene.id) in chosen
            )
        )

    @property
    def questions(self) -> int:
        return sum(len(questions) for _, questions in self.asked)

    def scores(self, model: Model, max_new_tokens: int = 256) -> dict[str, TaskScore]:
        """Every task's headline score, in the order of the table.

        All questions of a scene share one image object, so that a model encodes it once. An answer that cannot be
        read is wrong. Tasks whose answers the model's dialect has no words for are left out.
        """
        rows: dict[str, list[Row]] = {}
        sayable = {name for name in TASKS if _is_sayable(name, model.dialect)}
        for some in self._together(sayable):
            asks = [ask for scene, questions in some for ask in _asks(scene, questions, model)]
            texts = iter(model.generate(asks, max_new_tokens))
            for scene, questions in some:
                frame = model.frame_for(scene.size)
                for question in questions:
                    reading = model.dialect.read(next(texts), frame)
                    rows.setdefault(question.task, []).append(TASKS[question.task].score(reading, question, scene))
        return {name: _headline(name, rows[name]) for name in TASKS if name in rows}

    def _together(self, tasks: Collection[str]) -> Iterator[list[tuple[Scene, list[Question]]]]:
        waiting: list[tuple[Scene, list[Question]]] = []
        for scene, all_of_scene in self.asked:
            if questions := [question for question in all_of_scene if question.task in tasks]:
                waiting.append((scene, questions))
            if sum(len(some) for _, some in waiting) >= QUESTIONS_AT_ONCE:
                yield waiting
                waiting = []
        if waiting:
            yield waiting


def set_aside(scene_ids: Iterable[str], share: float, seed: int = 0) -> frozenset[str]:
    """Scenes that are validated on and must not be learned from: about this share of them, by a hash of id and seed.

    Whether a scene is among them does not depend on the others, so that data may be added. Neighbours that show common
    ground may fall on either side; only a split that the builder made keeps them apart.
    """
    return frozenset(id_ for id_ in scene_ids if _number(id_, seed) < share * 2**32)


def overall(scores: Mapping[str, TaskScore]) -> float:
    """One number to choose a checkpoint by: the mean over tasks, each the same; NaN where no task has a value."""
    values = [score.value for score in scores.values() if score.value is not None]
    return float(np.mean(values)) if values else float("nan")


def _number(scene_id: str, seed: int) -> int:
    """An even number below 2^32, whatever the form of the ids."""
    return int(np.random.default_rng([seed, zlib.crc32(scene_id.encode())]).integers(2**32))


def _drawn_of(
    dataset: Dataset, split: str, seed: int, scene_ids: Collection[str] | None, tasks: Collection[str] | None
) -> dict[str, list[Question]]:
    """The questions of each scene that may be asked, in an order of their own."""
    by_scene: dict[str, list[Question]] = {}
    for question in dataset.questions(split):
        if (scene_ids is None or question.scene_id in scene_ids) and (tasks is None or question.task in tasks):
            by_scene.setdefault(question.scene_id, []).append(question)
    for scene_id, questions in by_scene.items():
        rng = np.random.default_rng([seed, 1, zlib.crc32(scene_id.encode())])
        by_scene[scene_id] = [questions[i] for i in rng.permutation(len(questions))]
    return by_scene


def _is_sayable(name: str, dialect: Dialect) -> bool:
    """Whether a right answer can be said, and for tasks that give a shape, their question."""
    task = TASKS[name]
    if isinstance(task, Given):
        return task.holds(dialect)
    return task.form is None or bool(set(task.form.kinds) & dialect.kinds)


def _asks(scene: Scene, questions: Sequence[Question], model: Model) -> list[Ask]:
    image_HW3, frame = pixels_of(scene), model.frame_for(scene.size)
    return [Ask(image_HW3, TASKS[q.task].prompt(q, model.dialect, frame), q.id) for q in questions]


def _headline(task: str, rows: Sequence[Row]) -> TaskScore:
    measure, ratio = next(iter(TASKS[task].measures.items()))
    top, bottom = (float(terms_R.sum()) for terms_R in ratio.terms(rows))
    unreadable = sum(not row.get("readable", 1.0) for row in rows)
    return TaskScore(measure, top / bottom if bottom else None, len(rows), unreadable)
