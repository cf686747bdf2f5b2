"""Object detection: every object of a class, or none, as boxes, oriented boxes or outlines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, shape_iou
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row, count_matches
from georefer.tasks.base import BOX, Asking, Form, in_reading_order, truth, worded


class Detection:
    """Asked for every class present and for some that are absent.

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
        present = [label for label in asking.labels if label in set(scene.objects.labels_N)]
        labels = asking.choose(self.name, present, rng) + asking.absent_labels(scene, rng)
        return [self._question(scene, label) for label in labels]

    def _question(self, scene: Scene, label: str) -> Question:
        found = in_reading_order(scene.objects.labelled(label))
        return Question(f"{scene.id}/{self.name}/{label}", scene.id, self.name, {"label": label}, tuple(found.ids_N))

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(question, lambda params: f"Find every {params['label']}. {self.form.wish}".rstrip())

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        return dialect.write(self.form.of(truth(question, scene), dialect), frame, labelled=False)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold = truth(question, scene)
        iou_PT = shape_iou(reading.areas.geometries_N, gold.geometries_N, as_boxes=self.form.as_boxes)
        is_absent = not len(gold)
        return {
            **count_matches(iou_PT),
            "absent_asked": float(is_absent),
            "absent_right": float(is_absent and reading.says_none),
            "readable": float(reading.readable),
            "asked": 1.0,
        }
