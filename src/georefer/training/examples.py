"""What is learned from: scenes with their questions in the words of one model, images left on disk until needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.errors import ConfigError, DatasetError
from georefer.models.tiny_tokenizer import number_ids, word_ids
from georefer.models.transformers_model import TransformersModel
from georefer.scenes import Dataset, Question, Scene
from georefer.scenes.store import Pictures
from georefer.tasks import TASKS
from georefer.tasks.dialogue import Turn
from georefer.training.alignment import AlignmentTargets, alignment_targets


@dataclass(frozen=True, eq=False)
class Example:
    """One scene ready to be drawn: where its image lies, its questions with their weights, alignment targets."""

    pictures: Pictures
    number: int
    size: tuple[int, int]
    turns: tuple[Turn, ...]
    weight_S: np.ndarray
    alignment: AlignmentTargets | None

    def image(self) -> np.ndarray:
        """The decoded image, uint8 (height, width, 3)."""
        return self.pictures[self.number]


def read_examples(
    datasets: Sequence[Dataset], model: TransformersModel, task_weights: Mapping[str, float], *, aligned: bool
) -> list[Example]:
    """Every scene of the training splits that has questions, in stored order."""
    align = Aligner(model) if aligned else None
    examples = []
    for dataset in datasets:
        asked: dict[str, list[Question]] = {}
        for question in dataset.questions("train"):
            asked.setdefault(question.scene_id, []).append(question)
        pictures = dataset.pictures("train")
        for number, scene in enumerate(dataset.scenes("train")):
            if scene.id in asked:
                examples.append(_example(pictures, number, scene, asked[scene.id], model, task_weights, align))
    if not examples:
        raise DatasetError("the datasets hold no training question; build them with other [ask] settings")
    return examples


def _example(
    pictures: Pictures,
    number: int,
    scene: Scene,
    questions: Sequence[Question],
    model: TransformersModel,
    task_weights: Mapping[str, float],
    align: Aligner | None,
) -> Example:
    frame = model.frame_for(scene.size)
    turns = [
        Turn(TASKS[q.task].prompt(q, model.dialect, frame), TASKS[q.task].answer(q, scene, model.dialect, frame))
        for q in questions
    ]
    weight_S = np.array([task_weights.get(q.task, 1.0) for q in questions])
    targets = None if align is None else align.targets(scene)
    return Example(pictures, number, scene.size, tuple(turns), weight_S / weight_S.sum(), targets)


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
