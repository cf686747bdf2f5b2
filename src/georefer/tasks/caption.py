"""Captions: the scene told in words, scored by what they say of its objects."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.scoring.captions import grounded_row, ptb_tokenize, rouge_l
from georefer.scoring.captions.grounded import (
    CLAIM_ACCURACY,
    CLASS_PRECISION,
    CLASS_RECALL,
    COLUMNS,
    COUNT_ACCURACY,
    POSITION_ACCURACY,
)
from georefer.tasks.base import Asking, worded
from georefer.tasks.description import describe, spoken_names

MAX_CHARACTERS = 20_000
"""Of an answer; what is behind them is not read."""


class Caption:
    """`answer_text` is a caption that was proved; `params["names"]` the dataset's classes with their other names.

    "f1" asks that every class there is named, counted and placed, three things each: those that are said right and
    never wrong are hits, those missing are misses, and every wrong claim, on whatever class, is a false one. What is
    said twice counts once, and more right claims on a class whose things are said add nothing. "rouge-l" compares
    with the reference's words. A published caption comes without names: it is not held against objects.
    """

    name = "caption"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": Ratio({"hits": 2}, {"hits": 1, "wrong": 1, "wanted": 1}),
            "claims": CLAIM_ACCURACY,
            "class-precision": CLASS_PRECISION,
            "class-recall": CLASS_RECALL,
            "counts": COUNT_ACCURACY,
            "positions": POSITION_ACCURACY,
            "rouge-l": Ratio({"rouge": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        # a scene with a class that is not to be asked about cannot be told without it
        if not set(scene.objects.labels_N) <= set(asking.labels) or asking.per_task.get(self.name, 1) < 1:
            return []
        text = describe(scene.objects, scene.size, rng, labels=asking.labels)
        if not text:
            return []
        params = {"names": {label: list(names) for label, names in spoken_names(asking.labels).items()}}
        return [Question(f"{scene.id}/{self.name}", scene.id, self.name, params, answer_text=text)]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(question, lambda params: "Describe the image: what is there, how many of each, and where.")

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        assert question.answer_text is not None
        said = reading.text[:MAX_CHARACTERS]
        names = question.params.get("names")
        row = dict.fromkeys(COLUMNS, 0.0) if names is None else dict(_grounded(said, scene, names))
        words = ptb_tokenize(said)
        rouge = rouge_l([words], [[ptb_tokenize(question.answer_text)]])[0] if words else 0.0
        return {
            **row,
            "hits": row["named_right"] + row["classes_counted"] + row["classes_placed"],
            "wrong": row["claims"] - row["claims_right"],
            "wanted": 3 * row["there"],
            "rouge": min(1.0, rouge),
            "readable": float(bool(words)),
            "asked": 1.0,
        }


def _grounded(said: str, scene: Scene, names: Mapping[str, list[str]]) -> Row:
    unnamed: dict[str, list[str]] = {str(label): [] for label in scene.objects.labels_N if label not in names}
    return grounded_row(said, scene.objects, scene.size, {**names, **unnamed})
