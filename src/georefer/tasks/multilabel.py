"""Classification of a whole scene: all classes that are in it, as a list of words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.tasks.base import Asking, worded
from georefer.tasks.vqa import plain_words

MAX_OFFERED = 40
"""Classes that a question names; of a larger taxonomy, those that are there and some that are not."""

MAX_CHARACTERS = 20_000
"""Of an answer; what is behind them is not read."""

NOTHING = "none"


class MultiLabel:
    """`answer_text` is the list; `params["labels"]` are the classes asked about, `params["separator"]` stands between.

    The separator is "," unless a class asked about holds a comma; then it is ";". Each item must be the words of one
    class, as `VQA` compares them. Items said twice count once. Right items are counted over all answers (micro), and
    "exact" is the share of answers that are right as a whole; naming every class gets recall alone.
    """

    name = "multilabel"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}),
            "precision": Ratio({"tp": 1}, {"tp": 1, "fp": 1}),
            "recall": Ratio({"tp": 1}, {"tp": 1, "fn": 1}),
            "exact": Ratio({"right": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        known = asking.known(scene)
        present, absent = known.present, known.absent
        more = max(0, MAX_OFFERED - len(present))
        chosen = {*present, *(absent[i] for i in rng.permutation(len(absent))[:more])}
        labels = [label for label in asking.askable if label in chosen]
        if not labels or asking.per_task.get(self.name, 1) < 1:
            return []
        mark = separator(labels)
        params = {"labels": labels, "separator": mark}
        answer = listed(present, mark) or NOTHING
        return [Question(f"{scene.id}/{self.name}", scene.id, self.name, params, answer_text=answer)]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(question, _asked)

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        assert question.answer_text is not None
        mark = str(question.params.get("separator", ","))
        said, true = items(reading.text, mark), items(question.answer_text, mark)
        said_none, true_none = said == {(NOTHING,)}, true == {(NOTHING,)}
        said_labels, true_labels = (set() if said_none else said), (set() if true_none else true)
        hits = len(said_labels & true_labels)
        return {
            "tp": float(hits),
            "fp": float(len(said_labels) - hits),
            "fn": float(len(true_labels) - hits),
            "right": float(bool(said) and said == true),
            "readable": float(bool(said)),
            "asked": 1.0,
        }


def separator(labels: Iterable[str]) -> str:
    """What stands between labels of a list, so that it can be taken apart again."""
    return ";" if any("," in label for label in labels) else ","


def listed(labels: Sequence[str], mark: str | None = None) -> str:
    return f"{mark or separator(labels)} ".join(labels)


def items(text: str, mark: str) -> set[tuple[str, ...]]:
    """The words of each item of a list; an item too long to be a class is kept as one that is no class."""
    parts = [part for part in text[:MAX_CHARACTERS].replace("\n", mark).split(mark) if part.strip(" .")]
    return {plain_words(part) or ("", part.strip()) for part in parts}


def _asked(params: Mapping[str, Any]) -> str:
    mark = params.get("separator", ",")
    how = f"List their names with {'semicolons' if mark == ';' else 'commas'} between them, or say {NOTHING}."
    if labels := params.get("labels"):
        return f"Which of these classes are in the image: {listed(labels, mark)}? {how}"
    return f"Which classes are in the image? {how}"
