"""Referring expression comprehension (REC): the one object that a phrase means, as a box."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, shape_iou
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.tasks.base import Asking, truth


class REC:
    """Asked only with expressions that were proved to fit one object of the scene.

    Exactly one box is expected. An answer of several is scored by its worst one, so that hedging never pays.
    """

    name = "rec"
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "acc@0.5": Ratio({"hit": 1}, {"asked": 1}),
            "miou": Ratio({"iou": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        chosen = asking.choose(self.name, list(asking.expressions), rng)
        return [
            Question(
                f"{scene.id}/{self.name}/{number}",
                scene.id,
                self.name,
                {"expression": expression.text, "by": expression.by},
                (expression.object_id,),
            )
            for number, expression in enumerate(chosen)
        ]

    def prompt(self, question: Question) -> str:
        return f"Where is {question.params['expression']}?"

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        return dialect.write(truth(question, scene).to_hbb(), frame, labelled=False)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold = truth(question, scene)
        iou_PT = shape_iou(reading.areas.geometries_N, gold.geometries_N, as_boxes=True)
        iou = float(iou_PT.min()) if iou_PT.size else 0.0
        return {"hit": float(iou >= 0.5), "iou": iou, "readable": float(reading.readable), "asked": 1.0}
