"""Localised classification: which class is in a region that the prompt gives, in one class's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, Kind, Objects, hbb_iou
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row, Taxonomy
from georefer.tasks.base import Asking, worded
from georefer.tasks.vqa import plain_words

AMBIGUOUS_IOU = 0.5
"""A region whose box overlaps that of another class's object so much could mean either."""

MAX_POINTS = 24
"""Points of an outline in a prompt; an object of more is given by its box."""

_SAYABLE: tuple[Kind, ...] = ("polygon", "obb", "hbb", "mask", "point")


class Classification:
    """`params["region_px"]` is the region in scene pixels, `answer_text` its class.

    Four numbers are a box (x1, y1, x2, y2), more are a ring (x1, y1, x2, y2, ..., not closed); without a region the
    image is asked about. A prompt says it as its dialect does, in the nearest kind of shape that this has words for.
    Right is the same words as in `VQA`. `params["accepted"]`, label → credit of 0 to 1, are classes that are not
    wrong: those above it in a taxonomy (`georefer.scoring.Taxonomy.credit`). They count in "credit" alone.
    """

    name = "classification"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "accuracy": Ratio({"right": 1}, {"asked": 1}),
            "credit": Ratio({"credit": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        clear = np.flatnonzero(is_clear(scene.objects) & np.isin(scene.objects.labels_N, asking.labels)).tolist()
        found = []
        # no class is above itself
        taxonomy = Taxonomy({label: kinds - {label} for label, kinds in asking.above.items()})
        for thing in scene.objects[np.array(asking.choose(self.name, clear, rng), dtype=int)]:
            ring = outline_px(thing.geometry) if thing.kind != "hbb" and rng.random() < 0.5 else None
            params: dict[str, Any] = {"region_px": ring or rounded(thing.geometry.bounds)}
            if wider := asking.kinds(thing.label) - {thing.label}:
                params["accepted"] = {label: round(taxonomy.credit(label, thing.label), 4) for label in sorted(wider)}
            id_ = f"{scene.id}/{self.name}/{thing.id}"
            found.append(Question(id_, scene.id, self.name, params, answer_text=thing.label))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(question, lambda params: f"What is {where(params, dialect, frame)}? Answer with its class.")

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        assert question.answer_text is not None
        said = plain_words(reading.text)
        right = bool(said) and said == plain_words(question.answer_text)
        accepted = {plain_words(label): credit for label, credit in question.params.get("accepted", {}).items()}
        credit = 1.0 if right else float(accepted.get(said, 0.0)) if said else 0.0
        return {
            "right": float(right),
            "credit": min(1.0, max(0.0, credit)),
            "readable": float(bool(said)),
            "asked": 1.0,
        }


def outline_px(geometry: shapely.Geometry) -> list[float] | None:
    """A ring in pixels, flat and not closed; None for a shape that one short ring does not tell in full."""
    if geometry.geom_type != "Polygon" or geometry.interiors or len(geometry.exterior.coords) - 1 > MAX_POINTS:
        return None
    return rounded(shapely.get_coordinates(geometry.exterior)[:-1].ravel())


def region(region_px: Sequence[float]) -> Objects:
    """The region as one object without a label."""
    if len(region_px) == 4:
        return Objects.from_hbb(np.array([region_px]), [""])
    return Objects.of([shapely.Polygon(np.reshape(region_px, (-1, 2)))], [""])


def where(params: Mapping[str, Any], dialect: Dialect, frame: Frame) -> str:
    """The region of a question in words, or the whole image."""
    if not params.get("region_px"):
        return "in the image"
    return f"at {dialect.write(_sayable(region(params['region_px']), dialect), frame, labelled=False)}"


def _sayable(objects: Objects, dialect: Dialect) -> Objects:
    """The region in its own kind where the dialect says that, else in the one that keeps most of it."""
    own: Kind = objects.kinds_N[0]
    kind = next(kind for kind in (own, *_SAYABLE) if kind in dialect.kinds)
    if kind == "obb":
        return objects.to_obb()
    if kind == "point":
        return objects.to_point()
    return objects.to_hbb() if kind == "hbb" else objects.replaced(objects.geometries_N, kind)


def is_clear(objects: Objects) -> np.ndarray:
    """Which objects (N,) no object of another class lies upon so that one region would be both."""
    iou_NN = hbb_iou(objects.hbb_N4, objects.hbb_N4)
    differs_NN = objects.labels_N[:, None] != objects.labels_N[None, :]
    return ~((iou_NN >= AMBIGUOUS_IOU) & differs_NN).any(axis=1)


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Numbers for a question's params, to a hundredth of a pixel."""
    return [round(float(value), 2) for value in values]
