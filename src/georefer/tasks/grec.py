"""Generalised referring (GREC, GRES): all objects that a phrase means, several or none, as boxes or outlines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, Objects
from georefer.geometry.repair import repaired
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.scoring.masks import SEGMENTATION, segmentation_row
from georefer.tasks.base import BOX, Asking, Form, in_reading_order, truth, worded
from georefer.tasks.detection import Detection
from georefer.tasks.rec import expression_params
from georefer.tasks.thought import asked_to_think


class GREC(Detection):
    """Asked with phrases that were proved to fit exactly these objects of the scene, or none.

    "f1" is the mean over questions of the F1 of detection. Where nothing is meant, an answer that says so has 1 and
    any other 0, silence too. "giou", "ciou", "n-acc" and "t-acc" are those of ReLA (`georefer.scoring.masks`), of all
    shapes of an answer together, boxes as boxes; an unreadable answer has no part in the truth of "nothing".
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": Ratio({"f1": 1}, {"asked": 1}),
            "precision": Ratio({"tp": 1}, {"tp": 1, "fp": 1}),
            "recall": Ratio({"tp": 1}, {"tp": 1, "fn": 1}),
            **{name.replace("_", "-"): ratio for name, ratio in SEGMENTATION.items()},
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def __init__(self, name: str = "grec", form: Form = BOX) -> None:
        super().__init__(name, form)

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        found = []
        for number, group in asking.choose(self.name, list(enumerate(asking.groups)), rng):
            ids = tuple(in_reading_order(scene.objects.with_ids(group.object_ids)).ids_N)
            params = expression_params(group, scene, asking)
            found.append(Question(f"{scene.id}/{self.name}/{number}", scene.id, self.name, params, ids))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        own = f"Find {question.params.get('expression')}: all that is meant, or nothing. {self.form.wish}".rstrip()
        return asked_to_think(worded(question, lambda params: own), question, dialect)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        row = dict(super().score(reading, question, scene))
        gold = self.form.compared(truth(question, scene))
        # saying nothing at all is not saying "nothing"
        is_right_none = bool(row["absent_right"])
        counted = 2 * row["tp"] + row["fp"] + row["fn"]
        row["f1"] = 2 * row["tp"] / counted if counted else float(is_right_none)
        said = reading.areas[self.form.is_met_N(reading.areas)]
        shares = segmentation_row(*_areas(said, gold, self.form), empty=float(is_right_none))
        return {**row, **shares, "no_target_right": float(is_right_none)}


def _areas(said: Objects, gold: Objects, form: Form) -> tuple[float, float, float]:
    """Areas in square pixels: in both, of all that was said, and of all that is true."""
    said_area, true_area = (_together(objects, form) for objects in (said, gold))
    inter = shapely.intersection(said_area, true_area).area
    return min(inter, said_area.area, true_area.area), said_area.area, true_area.area


def _together(objects: Objects, form: Form) -> shapely.Geometry:
    shapes_N = shapely.box(*objects.hbb_N4.T) if form.as_boxes else repaired(objects.geometries_N)
    return shapely.union_all(shapes_N)
