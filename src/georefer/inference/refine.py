"""Refinement: shapes that a model said, drawn tighter around what the image shows, or kept as they were said.

Refining can make a right answer wrong (Text4Seg's authors' own users saw scores fall), so each refiner has a rule by
which a shape is taken or kept, and every object says which of the two happened. Report scores with and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind, Objects
from georefer.models import require_models

REFINED_BY, KEPT_BECAUSE = "refined_by", "kept_because"
"""Attributes: every object that comes out of a refiner has exactly one of them."""

MAX_PIXELS = 1 << 26
"""Largest image; a raster is refined window by window."""


class Refiner(Protocol):
    """Takes an image (uint8, height x width x RGB) and objects in its pixels; gives as many, in the same order.

    Ids, labels and scores stay. A refined object has another shape, perhaps of another kind, and the attribute
    `refined_by`; any other is as it was, and has `kept_because`.
    """

    name: str

    def __call__(self, image_HW3: np.ndarray, objects: Objects) -> Objects: ...


@dataclass(frozen=True)
class Outcome:
    """What became of one shape: a new one (`kind` says what), or None and the reason why it was kept."""

    geometry: shapely.Geometry | None
    kind: Kind = "mask"
    why_kept: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """Attributes to be set as well, whatever became of it."""


def load_refiner(name: str) -> Refiner:
    """The refiner "snap", which needs no weights, or "sam:FOLDER" and "sam:HUB_ID", which needs torch."""
    kind, _, source = name.partition(":")
    if kind == "snap" and not source:
        found: Refiner = import_module("georefer.inference.snapping").SnapRefiner()
        return found
    if kind == "sam" and source:
        require_models("refining by SAM")
        loaded: Refiner = import_module("georefer.inference.refine_sam").load(source)
        return loaded
    raise InputError(f"there is no refiner '{name}'; choose 'snap', or 'sam:' with a folder or hub id behind it")


def applied(objects: Objects, outcomes: Sequence[Outcome], by: str) -> Objects:
    """The objects with what became of each; `by` is the refiner's name."""
    geometries = [g if o.geometry is None else o.geometry for g, o in zip(objects.geometries_N, outcomes, strict=True)]
    attributes_N, kinds_N = np.empty(len(objects), dtype=object), objects.kinds_N.copy()
    for i, outcome in enumerate(outcomes):
        # what an earlier refinement said of the shape is no longer so
        before = {k: v for k, v in objects.attributes_N[i].items() if k not in (REFINED_BY, KEPT_BECAUSE)}
        verdict = {KEPT_BECAUSE: outcome.why_kept} if outcome.geometry is None else {REFINED_BY: by}
        attributes_N[i] = before | outcome.facts | verdict
        if outcome.geometry is not None:
            kinds_N[i] = outcome.kind
    return replace(objects.replaced(geometries), kinds_N=kinds_N, attributes_N=attributes_N)


def check_image(image_HW3: np.ndarray) -> None:
    """ValueError where it is not an RGB image, InputError where it is too large to be refined at once."""
    if image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.dtype != np.uint8 or not image_HW3.size:
        raise ValueError(f"an image of {image_HW3.dtype} {image_HW3.shape} was given; pass uint8 (height, width, 3)")
    if image_HW3.shape[0] * image_HW3.shape[1] > MAX_PIXELS:
        raise InputError(
            f"an image of {image_HW3.shape[1]} x {image_HW3.shape[0]} pixels was given, and at most {MAX_PIXELS} can "
            "be refined at once; refine it window by window"
        )
