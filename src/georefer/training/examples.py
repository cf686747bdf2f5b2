"""What is learned from: scenes with their questions in the words of one model, images left on disk until needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.errors import ConfigError, DatasetError, RasterError
from georefer.models.tiny_tokenizer import number_ids, word_ids
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import progress
from georefer.scenes import Dataset, Question, Scene
from georefer.scenes.store import Pictures
from georefer.tasks import TASKS, Turn
from georefer.training.alignment import AlignmentTargets, alignment_targets
from georefer.training.batches import Costs
from georefer.training.budget import Account, Fitted, checked, fit


@dataclass(frozen=True)
class WordSettings:
    """How long a question with its answer may be, in tokens of the model, and what may be done to make it so."""

    max_tokens: int = 1024
    least_iou: float = 0.95
    """Of a simplified outline with the true one."""

    def __post_init__(self) -> None:
        if self.max_tokens < 2 or not 0 < self.least_iou <= 1:
            raise ValueError("max_tokens must be at least 2, least_iou above 0 and at most 1")


@dataclass(frozen=True, eq=False)
class Example:
    """One scene ready to be drawn: where its image lies, its questions with their weights, alignment targets."""

    scene_id: str
    pictures: Pictures
    number: int
    size: tuple[int, int]
    turns: tuple[Turn, ...]
    length_S: np.ndarray
    weight_S: np.ndarray
    alignment: AlignmentTargets | None

    def image(self) -> np.ndarray:
        """The decoded image, uint8 (height, width, 3); DatasetError names the scene where there is none."""
        try:
            image_HW3 = self.pictures[self.number]
        except RasterError as error:
            raise DatasetError(f"scene {self.scene_id}: {error}") from error
        if image_HW3.shape[1::-1] != self.size:
            raise DatasetError(
                f"scene {self.scene_id} has an image of {image_HW3.shape[1]} x {image_HW3.shape[0]} pixels where "
                f"{self.size[0]} x {self.size[1]} are expected; build the dataset again"
            )
        return image_HW3


def read_examples(
    datasets: Sequence[Dataset],
    model: TransformersModel,
    task_weights: Mapping[str, float],
    settings: WordSettings,
    *,
    aligned: bool = False,
    left_out: Collection[str] = (),
) -> tuple[list[Example], Account]:
    """Every scene of the training splits that has questions, in stored order, without those whose ids are left out.

    Answers are measured in tokens: what became of all questions stands in the account.
    """
    desk = _Desk(model, task_weights, settings, Aligner(model) if aligned else None)
    examples, account = [], Account()
    for dataset in datasets:
        asked: dict[str, list[Question]] = {}
        for question in dataset.questions("train"):
            if question.scene_id not in left_out:
                asked.setdefault(question.scene_id, []).append(question)
        pictures = dataset.pictures("train")
        scenes = progress(dataset.scenes("train"), "measuring", len(pictures), "scene")
        for number, scene in enumerate(scenes):
            if scene.id in asked:
                example, counted = desk.example(pictures, number, scene, asked[scene.id])
                account += counted
                examples += [example] if example.turns else []
    if not examples:
        raise DatasetError("the datasets hold no training question; build them with other [ask] settings")
    return examples, account


def costs_of(examples: Sequence[Example], model: TransformersModel) -> Costs:
    """Tokens of all examples, by which they are put into batches."""
    return Costs.of(
        [len(model.prefix(e.size)) for e in examples],
        [e.length_S.tolist() for e in examples],
        [e.weight_S.tolist() for e in examples],
    )


@dataclass(frozen=True, eq=False)
class _Desk:
    model: TransformersModel
    task_weights: Mapping[str, float]
    settings: WordSettings
    align: Aligner | None

    def example(
        self, pictures: Pictures, number: int, scene: Scene, questions: Sequence[Question]
    ) -> tuple[Example, Account]:
        if not scene.image:
            raise DatasetError(f"scene {scene.id} has no image where one is expected; build the dataset again")
        frame = self.model.frame_for(scene.size)
        fitted: list[tuple[str, Fitted]] = []
        turns: list[Turn] = []
        lengths: list[int] = []
        weights: list[float] = []
        for question in questions:
            found = fit(
                question, scene, TASKS[question.task], self.model.dialect, frame, self._count, self.settings.max_tokens,
                least_iou=self.settings.least_iou,
            )  # fmt: skip
            fitted.append((question.task, found))
            turns += found.turns
            lengths += [len(checked(self.model.segment(t.prompt, t.answer), question).ids) for t in found.turns]
            weights += [self.task_weights.get(question.task, 1.0)] * len(found.turns)
        targets = None if self.align is None else self.align.targets(scene)
        made = Example(
            scene.id,
            pictures,
            number,
            scene.size,
            tuple(turns),
            np.array(lengths, np.int64),
            np.array(weights),
            targets,
        )
        return made, Account.of(fitted)

    def _count(self, prompt: str, answer: str) -> int:
        return len(self.model.segment(prompt, answer).ids)


class Aligner:
    """Alignment targets in the tokens of one model, which must say every number by one token.

    ConfigError where it does not, or where its image tokens are no square grid over the whole image.
    """

    def __init__(self, model: TransformersModel):
        self.model = model
        self.tokenizer = model.speech.tokenizer
        frames = model.family.views((64, 64))
        placeholders = model.prefix((64, 64)).ids.count(model.family.image_token_id)
        self.grid = round(placeholders**0.5)
        self.numbers = frames[0].numbers_x
        spoken = [self.tokenizer.encode(str(n), add_special_tokens=False) for n in (0, self.numbers // 2, self.numbers)]
        if len(frames) > 1 or self.grid**2 != placeholders or any(len(ids) != 1 for ids in spoken):
            raise ConfigError(
                f"alignment was asked of {model.name}, where image tokens on one square grid and numbers of one token "
                "each are expected; set alignment_only and alignment_weight to 0"
            )
        self.number_ids = number_ids(self.tokenizer, self.numbers)

    def targets(self, scene: Scene) -> AlignmentTargets:
        frame = self.model.frame_for(scene.size)
        boxes_N4 = frame.to_numbers(scene.objects.hbb_N4.reshape(-1, 2)).reshape(-1, 4)
        words = [
            word_ids(self.tokenizer, [o.label, *(v for v in o.attributes.values() if isinstance(v, str))])
            for o in scene.objects
        ]
        return alignment_targets(boxes_N4, words, self.grid, self.numbers)
