"""What reinforcement asks: questions with their truth, and what an answer to them earns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from georefer.errors import DatasetError
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import progress
from georefer.scenes import Dataset, Question, Scene
from georefer.tasks import TASKS, Turn
from georefer.training.budget import UNSAYABLE
from georefer.training.examples import Example
from georefer.training.rewards import Guarded, Truth, guarded, load_reward
from georefer.training.rewards.base import answers_of

Thoughts = Literal["as written", "always", "never"]
LONG_ANSWER = "the true answer is longer than max_new_tokens"
_TRIED = 16
"""Questions of each task on which every reward is tried before a run."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One question in the words of one model: its text, its ids behind the prefix, and its truth."""

    id: str
    task: str
    prompt: str
    ids: tuple[int, ...]
    truth: Truth


@dataclass(frozen=True, eq=False)
class Prompts:
    """A scene whose questions are asked; `example` holds its image and the prompts with their true answers."""

    example: Example
    asked: tuple[Asked, ...]


@dataclass(frozen=True, eq=False)
class PromptMaker:
    """Makes questions as evaluation does: the same prompt, frame, reader and number of tokens."""

    model: TransformersModel
    task_weights: Mapping[str, float]
    max_new_tokens: int
    thoughts: Thoughts = "as written"
    labelled: bool = False

    def read(
        self, datasets: Sequence[Dataset], left_out: Collection[str] = ()
    ) -> tuple[list[Prompts], Mapping[str, int]]:
        """Every scene of the training splits with questions, and how many were left out for which reason.

        DatasetError where no question is left, or none of a task that is named with a weight above 0.
        """
        found: list[Prompts] = []
        lost: Counter[str] = Counter()
        for dataset in datasets:
            asked: dict[str, list[Question]] = {}
            for question in dataset.questions("train"):
                if question.scene_id not in left_out and self.task_weights.get(question.task, 1.0) > 0:
                    asked.setdefault(question.scene_id, []).append(question)
            pictures = dataset.pictures("train")
            for number, scene in enumerate(progress(dataset.scenes("train"), "reading", len(pictures), "scene")):
                # what a truth keeps of its scene needs no image
                blind = replace(scene, image=b"")
                made = [self._made(question, blind, lost) for question in asked.get(scene.id, ())]
                pairs = [pair for pair in made if pair]
                if pairs:
                    weight_S = np.array([self.task_weights.get(each.task, 1.0) for each, _ in pairs])
                    length_S = np.array([len(each.ids) for each, _ in pairs], np.int64)
                    turns = tuple(turn for _, turn in pairs)
                    example = Example(scene.id, pictures, number, scene.size, turns, length_S, weight_S, None)
                    found.append(Prompts(example, tuple(each for each, _ in pairs)))
        if not found:
            raise DatasetError(
                f"the datasets hold no question to ask ({lost_line(lost)}), where at least one is expected; change "
                "task_weights, the dialect or max_new_tokens"
            )
        held = {asked.task for scene in found for asked in scene.asked}
        if missing := [task for task, weight in self.task_weights.items() if weight > 0 and task not in held]:
            raise DatasetError(
                f"no question of the task {missing[0]} can be asked, which task_weights asks for ({lost_line(lost)}); "
                f"there are {', '.join(sorted(held))}: build a dataset with it, or leave it out of task_weights"
            )
        return found, dict(lost)

    def _made(self, question: Question, scene: Scene, lost: Counter[str]) -> tuple[Asked, Turn] | None:
        """The question, or nothing where it cannot be answered rightly, which is counted."""
        question, task = self._with_thought(question), TASKS[question.task]
        frame, dialect = self.model.frame_for(scene.size), self.model.dialect
        try:
            answer = task.answer(question, scene, dialect, frame)
            # a task that names the class in its question has none in its answers
            is_named = self.labelled and any(dialect.read(answer, frame).objects.labels_N)
            truth = Truth.of(question, scene, dialect, frame, labelled=is_named)
            truth.spoken  # noqa: B018 - raises what the dialect cannot say
        except ValueError:
            lost[f"{question.task}: {UNSAYABLE}"] += 1
            return None
        prompt = task.prompt(question, dialect, frame)
        if sum(self.model.segment(prompt, answer).learn) > self.max_new_tokens:
            lost[f"{question.task}: {LONG_ANSWER}"] += 1
            return None
        ids = tuple(self.model.speech.question_ids(prompt))
        return Asked(question.id, question.task, prompt, ids, truth), Turn(prompt, answer)

    def _with_thought(self, question: Question) -> Question:
        """With or without the thought that has the prompt ask for one; what it says is not learned here."""
        if self.thoughts == "as written":
            return question
        params = {name: value for name, value in question.params.items() if name != "thought"}
        return replace(question, params=params | ({"thought": "look"} if self.thoughts == "always" else {}))


def lost_line(lost: Mapping[str, int]) -> str:
    """What was left out, in one line; the most first."""
    said = [f"{count:,} {reason}" for reason, count in sorted(lost.items(), key=lambda item: -item[1])]
    return "; ".join(said) or "none left out"


class Earnings:
    """The rewards of a run, by task: the values of each, and their weights.

    Made before the run: every reward is checked against every truth that it will see, and tried on some of each task.
    InputError names a reward that raises, gives no number, leaves its range or lacks what it needs of a question.
    """

    def __init__(
        self, everywhere: Mapping[str, float], of_task: Mapping[str, Mapping[str, float]], prompts: Sequence[Prompts]
    ) -> None:
        truths: dict[str, list[Truth]] = {}
        for scene in prompts:
            for asked in scene.asked:
                truths.setdefault(asked.task, []).append(asked.truth)
        self._weights = {task: dict(of_task.get(task, everywhere)) for task in truths}
        self.names = list(dict.fromkeys(name for weights in self._weights.values() for name in weights))
        self._rewards = {name: Guarded(load_reward(name)) for name in self.names}
        for task, some in truths.items():
            for name in self._weights[task]:
                self._rewards[name].reward.check(some)
                guarded(self._rewards[name].reward, some[:: -(-len(some) // _TRIED)])

    def weights_K(self, task: str) -> np.ndarray:
        """Of the rewards, in the order of `names`; 0 for those that a task does not have."""
        return np.array([self._weights[task].get(name, 0.0) for name in self.names])

    def of(self, asked: Asked, texts: Sequence[str]) -> np.ndarray:
        """What each of G answers earns by each of K rewards, (G, K); NaN for a reward that the task does not have."""
        truths = [asked.truth] * len(texts)
        answers = answers_of(texts, truths)
        nothing_G = np.full(len(texts), np.nan)
        has = self._weights[asked.task]
        return np.column_stack([self._rewards[n].of(answers, truths) if n in has else nothing_G for n in self.names])
