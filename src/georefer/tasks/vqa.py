"""Questions with a short answer in words: how many there are, and whatever a published benchmark asks (VQA)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.tasks.base import Asking, worded

MAX_WORDS = 12
"""Words of a short answer; a longer one is an explanation and not read as an answer."""

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_IGNORED = frozenset(("a", "an", "the"))


class VQA:
    """Right is the same words, whatever their case, articles, punctuation, and whether numbers are words or digits.

    "two or three" is not "two": an answer that hedges is wrong. Built from objects, it asks for counts.
    """

    name = "vqa"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "accuracy": Ratio({"right": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        counted = list(asking.known(scene).counted)
        labels = asking.choose(self.name, counted, rng) + asking.absent_labels(scene, rng)
        return [
            Question(
                f"{scene.id}/{self.name}/{label}",
                scene.id,
                self.name,
                {"label": label},
                answer_text=str(len(asking.labelled(scene, label))),
            )
            for label in labels
        ]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(
            question, lambda params: f"How many objects of the class {params['label']} are there? Answer with a number."
        )

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        said = plain_words(reading.text)
        assert question.answer_text is not None
        right = bool(said) and said == plain_words(question.answer_text)
        return {"right": float(right), "readable": float(bool(said)), "asked": 1.0}


def plain_words(text: str) -> tuple[str, ...]:
    """The words that count, numbers as digits; nothing for a text that is no short answer."""
    words = [word for word in _WORD.findall(text[:200].lower()) if word not in _IGNORED]
    if len(text.strip()) > 200 or len(words) > MAX_WORDS:
        return ()
    return tuple(str(_NUMBERS.index(word)) if word in _NUMBERS else word for word in words)
