"""Referring expression comprehension (REC): the one object that a phrase means, as a box, oriented box or outline."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, Object
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.tasks.base import BOX, Asking, Expression, Form, GroupExpression, truth, worded
from georefer.tasks.thought import asked_to_think, thought_of_phrase, thought_params, with_thought


class REC:
    """Asked only with expressions that were proved to fit one object of the scene.

    Exactly one shape is expected. An answer of several is scored by its worst one, so that hedging never pays.
    IoU is that of boxes where boxes are asked for, of true areas otherwise. "ciou" is all common area by all area of
    either, in pixels.
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "acc@0.5": Ratio({"hit": 1}, {"asked": 1}),
            "miou": Ratio({"iou": 1}, {"asked": 1}),
            "ciou": Ratio({"inter": 1}, {"union": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def __init__(self, name: str = "rec", form: Form = BOX) -> None:
        self.name, self.form = name, form

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        chosen = asking.choose(self.name, list(asking.expressions), rng)
        return [
            Question(
                f"{scene.id}/{self.name}/{number}",
                scene.id,
                self.name,
                expression_params(expression, scene, asking),
                (expression.object_id,),
            )
            for number, expression in enumerate(chosen)
        ]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        own = f"Where is {question.params.get('expression')}? {self.form.wish}".rstrip()
        return asked_to_think(worded(question, lambda params: own), question, dialect)

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        said = dialect.write(self.form.of(truth(question, scene), dialect), frame, labelled=False)
        return with_thought(said, question, dialect)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold, found = self.form.compared(truth(question, scene)), reading.areas
        iou_PT = self.form.iou(found, gold)
        iou = float(iou_PT.min()) if iou_PT.size else 0.0
        area, gold_area = (sum(_area(o, self.form) for o in objects) for objects in (found, gold))
        # of two shapes with this IoU; several said count with all their area
        inter = min(iou / (1 + iou) * (area + gold_area), gold_area)
        return {
            "hit": float(iou >= 0.5), "iou": iou, "inter": inter, "union": area + gold_area - inter,
            "readable": float(reading.readable), "asked": 1.0,
        }  # fmt: skip


def expression_params(expression: Expression | GroupExpression, scene: Scene, asking: Asking) -> dict[str, Any]:
    """What a question holds of its expression, and a thought where one is wanted."""
    params: dict[str, Any] = {"expression": expression.text, "by": expression.by}
    if expression.level:
        params |= {"level": expression.level, "distractors": expression.distractors}
    if expression.facts:
        params["facts"] = [list(fact) for fact in expression.facts]  # what a rewording has to keep
    thought = thought_of_phrase(expression, scene, asking) if asking.think else ""
    return params | thought_params(asking, thought)


def _area(thing: Object, form: Form) -> float:
    x1, y1, x2, y2 = thing.geometry.bounds
    return (x2 - x1) * (y2 - y1) if form.as_boxes else thing.geometry.area
