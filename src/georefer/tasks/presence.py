"""Presence VQA: is there an object of a class? Yes or no, asked of each scene equally often with either answer.

In a dataset of one class a scene has only one answer; how often which is asked follows from the scenes that there are.
"""

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
from georefer.tasks.nouns import article, is_plural, is_uncounted

_WORD = re.compile(r"[a-z]+")
_BOTH = r"[^a-z]{0,9}(?:(?:and|or)[^a-z]{1,9})?"
_HEDGE = re.compile(rf"[^a-z]{{0,20}}(?:yes{_BOTH}no|no{_BOTH}yes)\b(?![ ,]{{1,3}}(?!yes\b|no\b)[a-z])")
"""Both answers at once ("yes or no", "no/yes"); "yes, no doubt" is one answer."""


class Presence:
    """The first word must be yes or no; anything else, and both at once, is unreadable and wrong."""

    name = "presence"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "accuracy": Ratio({"right": 1}, {"asked": 1}),
            "hallucination": Ratio({"false_yes": 1}, {"asked_no": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        absent = asking.absent_labels(scene, rng)
        present = sorted(asking.known(scene).present)
        # as many with yes as with no: a model that always says the same is right half the time
        most = min(len(absent), len(present)) if len(asking.labels) > 1 else asking.absent
        count = min(most, asking.per_task.get(self.name, most))
        chosen = rng.choice(len(present), min(count, len(present)), replace=False) if count and present else ()
        answers = [(present[i], "yes") for i in chosen] + [(label, "no") for label in absent[:count]]
        return [
            Question(f"{scene.id}/{self.name}/{label}", scene.id, self.name, {"label": label}, answer_text=answer)
            for label, answer in answers
        ]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(question, lambda params: f"{_is_there(params['label'])}? Answer yes or no.")

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        word = _WORD.search(reading.text[:200].lower())
        said = word[0] if word and word[0] in ("yes", "no") else None
        if _HEDGE.match(reading.text[:200].lower()):
            said = None
        expects_no = question.answer_text == "no"
        return {
            "right": float(said == question.answer_text),
            "false_yes": float(expects_no and said == "yes"),
            "asked_no": float(expects_no),
            "readable": float(said is not None),
            "asked": 1.0,
        }


def _is_there(label: str) -> str:
    if is_plural(label):
        return f"Are there {label}"
    return f"Is there {'any' if is_uncounted(label) else article(label)} {label}"
