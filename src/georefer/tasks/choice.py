"""Single choice: one of several options, named by its letter."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row, read_choice
from georefer.scoring.choice import LETTERS
from georefer.tasks.base import Asking

OPTIONS = 4


class Choice:
    """`params["options"]` are the texts, `answer_text` is the letter of the right one.

    Read by `georefer.scoring.read_choice`: an answer that names two options is wrong. Built from objects, it asks
    which class is in the image, among classes that surely are not. What a model that always says the same letter gets,
    CircularEval shows (`georefer.scoring.circular_rows`); here every question stands for itself.
    """

    name = "choice"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "accuracy": Ratio({"right": 1}, {"asked": 1}),
            "chance": Ratio({"chance": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        known = asking.known(scene)
        absent = known.absent
        if not absent:
            return []
        found = []
        for label in asking.choose(self.name, sorted(known.present), rng):
            wrong = [absent[i] for i in rng.permutation(len(absent))[: OPTIONS - 1]]
            place = int(rng.integers(len(wrong) + 1))
            params = {"options": [*wrong[:place], label, *wrong[place:]], "label": label}
            id_ = f"{scene.id}/{self.name}/{label}"
            found.append(Question(id_, scene.id, self.name, params, answer_text=LETTERS[place]))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        options = [f"{letter}. {text}" for letter, text in zip(LETTERS, question.params["options"], strict=False)]
        asked = question.params.get("prompt") or "What is in the image?"
        if all(option in asked for option in options):
            return str(asked)
        return "\n".join([str(asked), *options, "Answer with the letter of one option."])

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        options = list(question.params["options"])
        chosen = read_choice(reading.text, options)
        right = chosen.outcome == "choice" and LETTERS[chosen.index] == question.answer_text
        return {
            "right": float(right),
            "chance": 1 / len(options),
            "readable": float(chosen.outcome != "unreadable"),
            "asked": 1.0,
        }
