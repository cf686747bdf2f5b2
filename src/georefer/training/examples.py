"""What is learned from: scenes with their questions in the words of one model, images left on disk until needed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from georefer.errors import ConfigError, DatasetError, RasterError
from georefer.geometry import Frame, Objects
from georefer.models.tiny_tokenizer import text_ids, word_ids
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import progress
from georefer.scenes import Dataset, Question, Scene
from georefer.scenes.store import Pictures
from georefer.tasks import TASKS, Turn
from georefer.training.alignment import AlignmentTargets, Numerals, alignment_targets
from georefer.training.batches import Costs
from georefer.training.budget import Account, Fitted, checked, fit

_DIGITS = 5
"""Of a number that is spelled: 99,999 pixels are more than any model sees along a side."""
_GRIDS = "LLaVA-1.5, Qwen's, Gemma 3, PaliGemma and tiny; InternVL and Idefics where an image is one tile"
_LETTERS = re.compile(r"[^\W\d_]{2}")


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

    Answers are measured in tokens: what became of all questions stands in the account. Those of tasks with the weight
    0 are neither measured nor counted.
    """
    desk = _Desk(model, task_weights, settings, Aligner(model) if aligned else None)
    examples, account = [], Account()
    for dataset in datasets:
        asked: dict[str, list[Question]] = {}
        for question in dataset.questions("train"):
            if question.scene_id not in left_out and task_weights.get(question.task, 1.0) != 0:
                asked.setdefault(question.scene_id, []).append(question)
        pictures = dataset.pictures("train")
        scenes = progress(dataset.scenes("train"), "measuring", len(pictures), "scene")
        for number, scene in enumerate(scenes):
            if scene.id in asked:
                example, counted = desk.example(pictures, number, scene, asked[scene.id])
                account += counted
                examples += [example] if example.turns else []
    if not examples:
        raise DatasetError(
            "the datasets hold no training question of a task with a weight above 0; build them with other [ask] "
            "settings, or change task_weights"
        )
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
    """Alignment targets in the tokens of one model.

    ConfigError where there can be none: where the model sees an image in several pictures or its image tokens are no
    grid over it, and where it says numbers neither by one token each nor digit by digit.
    """

    def __init__(self, model: TransformersModel):
        self.model = model
        self.tokenizer = model.speech.tokenizer
        self._grid_of = cache(self._grid)
        self._words_of = cache(self._words)
        frame, _ = self._grid_of((64, 64))
        self.number_ids = self._numerals(frame)

    def targets(self, scene: Scene) -> AlignmentTargets:
        frame, grid = self._grid_of(scene.size)
        boxes_N4 = scene.objects.hbb_N4
        numbers_N4 = np.clip(self.model.dialect.steps.write_boxes(boxes_N4, frame), 0, self.number_ids.largest)
        texts = [(o.label, *(v for v in o.attributes.values() if isinstance(v, str))) for o in scene.objects]
        cells_N4 = frame.to_numbers(boxes_N4.reshape(-1, 2), grid).reshape(-1, 4)
        return alignment_targets(cells_N4, [self._words_of(text) for text in texts], grid, numbers_N4)

    def _grid(self, size: tuple[int, int]) -> tuple[Frame, tuple[int, int]]:
        """The frame of the one picture of an image, and how many (columns, rows) of tokens show it."""
        frames = self.model.family.views(size)
        tokens = self.model.prefix(size).ids.count(self.model.family.image_token_id)
        frame = frames[0]
        columns = max(1, round((tokens * frame.width / frame.height) ** 0.5))
        rows = tokens // columns
        if len(frames) > 1 or columns * rows != tokens or frame.width * rows != frame.height * columns:
            raise ConfigError(
                f"alignment was asked of {self.model.name}, which sees an image of {size[0]} x {size[1]} pixels in "
                f"{len(frames)} pictures and {tokens} tokens, where one picture under one grid of tokens is expected "
                f"({_GRIDS}); set alignment_only and alignment_weight to 0"
            )
        return frame, (columns, rows)

    def _numerals(self, frame: Frame) -> Numerals:
        """The tokens of the numbers, as the model's dialect writes them."""
        dialect, box_14 = self.model.dialect, np.array([[16.0, 16.0, 48.0, 48.0]])
        said = dialect.write(Objects.from_hbb(box_14, ["ship"]), frame) if "hbb" in dialect.kinds else ""
        step = int(dialect.steps.write_boxes(box_14, frame)[0, 0])
        for spelling in ("{}", "<loc{:04d}>") if dialect.steps.top != "shown" else ():
            count = max(dialect.steps.largest(frame)) + 1
            ids = self._known([spelling.format(number) for number in range(count)])
            if spelling.format(step) in said and ids:
                return Numerals(tuple(ids))
        ids = self._known(list("0123456789"))
        spelled = self.tokenizer.encode("[407, 1528, 96, 3]", add_special_tokens=False)
        if not ids or [token for token in spelled if token in ids] != [ids[int(digit)] for digit in "4071528963"]:
            raise ConfigError(
                f"alignment was asked of {self.model.name}, where numbers of one token each or of one token a digit "
                "are expected, and tokens of several digits were found; set alignment_only and alignment_weight to 0"
            )
        return Numerals(tuple(ids), _DIGITS)

    def _known(self, tokens: list[str]) -> list[int]:
        """Ids of these tokens; none where the vocabulary lacks one of them."""
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        lacking = {None, self.tokenizer.unk_token_id}
        return [] if lacking & set(ids) else list(ids)

    def _words(self, texts: tuple[str, ...]) -> list[int]:
        """Tokens that say an object: its words, or where none of them is one token, the pieces of two letters on."""
        if whole := word_ids(self.tokenizer, texts):
            return whole
        pieces = text_ids(self.tokenizer, " " + " ".join(texts))
        return [piece for piece in dict.fromkeys(pieces) if _LETTERS.search(self.tokenizer.decode([piece]))]
