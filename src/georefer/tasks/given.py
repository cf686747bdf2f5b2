"""One shape of an object from another one given in the question: GeoGround's prompt-assisted and geometry-guided tasks.

From a coarser shape and an expression to a finer one (the image decides), and from a finer shape to a coarser one
(geometry alone decides, no image is needed). Also: shapes that stand in a question, kept in pixels and said in any
dialect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.geometry import OBB, Frame, Objects, shape_iou
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.tasks.base import BOX, OBB_FORM, OUTLINE, Asking, Form, truth, worded

_DETAIL = (BOX, OBB_FORM, OUTLINE)
_BEARERS = {BOX: {"hbb", "obb", "polygon", "mask"}, OBB_FORM: {"obb", "polygon", "mask"}, OUTLINE: {"polygon", "mask"}}
"""Kinds of objects whose shape in a form is known: the oriented box of a horizontal one is not."""
_NAMES = {BOX: "box", OBB_FORM: "oriented box", OUTLINE: "outline"}
_REGION = Form(("hbb", "obb", "polygon", "mask"))


def stored(objects: Objects) -> list[dict[str, Any]]:
    """Objects as plain JSON for a question's params: kind, label and the shape in scene pixels as GeoJSON has it."""
    return [{"kind": o.kind, "label": o.label, "shape": json.loads(shapely.to_geojson(o.geometry))} for o in objects]


def restored(shapes: list[dict[str, Any]]) -> Objects:
    """The objects that `stored` has put away, with new ids."""
    geometries = [shapely.from_geojson(json.dumps(shape["shape"])) for shape in shapes]
    return Objects.of(geometries, [shape["label"] for shape in shapes], kind=[shape["kind"] for shape in shapes])


def said_region(shape: Mapping[str, Any], dialect: Dialect, frame: Frame, form: Form = _REGION) -> str:
    """One stored shape as the dialect says it, in the first of the form's kinds that it can; else as a point."""
    region = restored([dict(shape)])
    sayable = bool(set(form.kinds) & dialect.kinds)
    return dialect.write(form.of(region, dialect) if sayable else region.to_point(), frame, labelled=False)


def in_form(objects: Objects, form: Form) -> Objects:
    """Objects as a form has them whatever the dialect, to be compared with by true areas."""
    return objects.to_hbb() if form == BOX else objects.to_obb() if form == OBB_FORM else objects


class Given:
    """`params["given_px"]` is the shape that is given; the answer is the shape of the same object in another form.

    A finer shape than the one given is asked for with an expression, of the objects that have one; a coarser one of
    any object, and without: the question holds all that the answer needs. Exactly one shape is expected, and of
    several the worst counts. IoU is always that of true areas, so that copying what was given does not pay. `noise`
    moves and stretches a given box, each side by up to that share of it, drawn from the generator.

    Only for dialects that say both forms (`holds`); `prompt` raises ValueError in others.
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "acc@0.5": Ratio({"hit": 1}, {"asked": 1}),
            "miou": Ratio({"iou": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def __init__(self, name: str, given: Form, form: Form, noise: float = 0.0) -> None:
        self.name, self.given, self.form, self.noise = name, given, form, noise
        if given == form:
            raise ValueError(f"the task {name} was given the form that it asks for; name two different ones")
        if not 0 <= noise < 1 or (noise and not self.needs_image):
            raise ValueError(f"a noise of {noise} was found; give 0 to 1 for tasks that look at the image, else 0")

    @property
    def needs_image(self) -> bool:
        """Whether what is asked is finer than what is given."""
        return _DETAIL.index(self.form) > _DETAIL.index(self.given)

    def holds(self, dialect: Dialect) -> bool:
        """Whether a dialect can say both the shape that is given and the one that is asked for."""
        return all(set(form.kinds) & dialect.kinds for form in (self.given, self.form))

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        bearers = _BEARERS[self.form if self.needs_image else self.given]
        known = {o.id: o for o in scene.objects if o.kind in bearers}
        if self.needs_image:
            asked = [(e.object_id, {"expression": e.text, "by": e.by}) for e in asking.expressions]
        else:
            asked = [(o.id, {}) for o in known.values() if o.label in asking.labels]
        numbered = [(n, id_, params) for n, (id_, params) in enumerate(asked) if id_ in known]
        found = []
        for number, id_, params in asking.choose(self.name, numbered, rng):
            shape = self._given(scene, id_, rng)
            params = {**params, "given_px": stored(shape)[0]}
            found.append(Question(f"{scene.id}/{self.name}/{number}", scene.id, self.name, params, (id_,)))
        return found

    def _given(self, scene: Scene, id_: str, rng: np.random.Generator) -> Objects:
        shape = in_form(scene.objects.with_ids([id_]), self.given)
        if not self.noise:
            return shape
        if self.given == OBB_FORM:
            return shape.replaced([_shaken(OBB.from_polygon(shape.geometries_N[0]), self.noise, rng)])
        x1, y1, x2, y2 = shape.geometries_N[0].bounds
        shaken = _shaken(OBB((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0), self.noise, rng)
        seen = shapely.intersection(shaken, shapely.box(0, 0, *scene.size))
        # what left the image altogether cannot be said; it is given as it is
        return shape.replaced([shapely.box(*seen.bounds)]) if seen.area else shape

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        if not self.holds(dialect):
            raise ValueError(f"the dialect {dialect.name} cannot say what {self.name} gives and asks; choose another")
        place = said_region(question.params["given_px"], dialect, frame, self.given)
        given, asked = _NAMES[self.given], _NAMES[self.form]

        def own(params: Mapping[str, Any]) -> str:
            if "expression" in params:
                return (
                    f"The {given} of {params['expression']} is {place}. What is its {asked}? {self.form.wish}".strip()
                )
            return f"An object has the {given} {place}. Which {asked} belongs to it? {self.form.wish}".strip()

        return worded(question, own)

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        return dialect.write(self.form.of(truth(question, scene), dialect), frame, labelled=False)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold = in_form(truth(question, scene), self.form)
        said = reading.areas
        # areas also where boxes are asked for, since the given shape has the bounds of its box
        iou_PT = shape_iou(said.geometries_N, gold.geometries_N, as_boxes=False) * self.form.is_met_N(said)[:, None]
        iou = float(iou_PT.min()) if iou_PT.size else 0.0
        return {"hit": float(iou >= 0.5), "iou": iou, "readable": float(reading.readable), "asked": 1.0}


def _shaken(obb: OBB, noise: float, rng: np.random.Generator) -> shapely.Polygon:
    """A box moved and stretched along its own sides, each by up to `noise` of it."""
    along, across, longer, wider = rng.uniform(-noise, noise, 4)
    angle = np.deg2rad(obb.heading_deg)
    step = np.array([np.cos(angle), np.sin(angle)]) * along * obb.length
    step += np.array([-np.sin(angle), np.cos(angle)]) * across * obb.width
    x, y = obb.cx + float(step[0]), obb.cy + float(step[1])
    return OBB(x, y, obb.length * (1 + longer), obb.width * (1 + wider), obb.heading_deg).to_polygon()
