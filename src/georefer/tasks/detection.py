"""Object detection: every object of a class, or none, as boxes, oriented boxes or outlines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row, count_matches
from georefer.tasks.base import BOX, Asking, Form, in_reading_order, truth, worded
from georefer.tasks.thought import asked_to_think, thought_of_class, thought_params, with_thought


class Detection:
    """Asked for every class of which all objects are known, kinds of it included, and for some that are absent.

    Scored at IoU 0.5 under optimal one-to-one matching, of boxes where boxes are asked for, of true areas otherwise. A
    question whose right answer is "none" adds only false positives to the F1; how often it is answered right is the
    measure "absent".
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}),
            "precision": Ratio({"tp": 1}, {"tp": 1, "fp": 1}),
            "recall": Ratio({"tp": 1}, {"tp": 1, "fn": 1}),
            "absent": Ratio({"absent_right": 1}, {"absent_asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def __init__(self, name: str = "detection", form: Form = BOX) -> None:
        self.name, self.form = name, form

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        listed = list(asking.known(scene).listed)
        labels = asking.choose(self.name, listed, rng) + asking.absent_labels(scene, rng)
        return [self._question(scene, asking, label) for label in labels]

    def _question(self, scene: Scene, asking: Asking, label: str) -> Question:
        found = in_reading_order(asking.labelled(scene, label))
        thought = thought_of_class(label, scene, asking) if asking.think else ""
        params = {"label": label, **thought_params(asking, thought)}
        return Question(f"{scene.id}/{self.name}/{label}", scene.id, self.name, params, tuple(found.ids_N))

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        own = f"Find every {question.params.get('label')}. {self.form.wish}".rstrip()
        return asked_to_think(worded(question, lambda params: own), question, dialect)

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        said = dialect.write(self.form.of(truth(question, scene), dialect), frame, labelled=False)
        return with_thought(said, question, dialect)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold = self.form.compared(truth(question, scene))
        iou_PT = self.form.iou(reading.areas, gold)
        is_absent = not len(gold)
        return {
            **count_matches(iou_PT),
            "absent_asked": float(is_absent),
            "absent_right": float(is_absent and reading.says_none),
            "readable": float(reading.readable),
            "asked": 1.0,
        }
