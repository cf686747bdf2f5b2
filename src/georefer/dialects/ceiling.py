"""The ceiling of a dialect: how well a perfect model would score if only the text spoiled its answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from georefer.dialects.base import Dialect
from georefer.geometry import OBB, Kind, Objects, hbb_iou, polygon_iou

KIND_ORDER: tuple[Kind, ...] = ("hbb", "obb", "polygon", "mask", "point", "line")


@dataclass(frozen=True)
class Ceiling:
    """Of `count` random shapes written and read again: mean IoU, the share with IoU >= 0.5, characters an answer.

    For points, which have no IoU, `mean_iou` and `at_50` are NaN and `error_px` is the mean distance.
    """

    kind: Kind
    object_px: float
    image_size: tuple[int, int]
    mean_iou: float
    at_50: float
    characters: float
    error_px: float


def ceiling(
    dialect: Dialect, kind: Kind, object_px: float, image_size: tuple[int, int] = (1024, 1024), *,
    count: int = 200, seed: int = 0,
) -> Ceiling:  # fmt: skip
    """Measures it on shapes of `object_px` squared pixels, anywhere in an image of (width, height).

    Boxes have sides in a ratio between 1:2 and 2:1; oriented boxes and polygons are rectangles of 2.5:1 at any
    angle, masks the same. Each is said in an answer of its own. What is lost counts as IoU 0.
    """
    rng = np.random.default_rng(seed)
    frame = dialect.frame_for(image_size)
    iou, characters, error = [], [], []
    for shape in _shapes(kind, object_px, image_size, count, rng):
        text = dialect.write(Objects.of([shape], ["x"], kind=kind), frame, labelled=False)
        characters.append(len(text))
        back = dialect.read(text, frame).objects.geometries_N
        if kind == "point":
            error.append(min((shapely.distance(shape, b) for b in back), default=np.inf))
        elif kind == "hbb":
            iou.append(hbb_iou(np.array([shape.bounds]), shapely.bounds(back)).max(initial=0.0))
        else:
            iou.append(polygon_iou(np.array([shape]), back).max(initial=0.0))
    iou_N = np.array(iou)
    mean, at_50 = (float(iou_N.mean()), float((iou_N >= 0.5).mean())) if iou else (float("nan"), float("nan"))
    return Ceiling(
        kind, object_px, image_size, mean, at_50, float(np.mean(characters)),
        float(np.mean(error)) if error else float("nan"),
    )  # fmt: skip


def _shapes(
    kind: Kind, object_px: float, image_size: tuple[int, int], count: int, rng: np.random.Generator
) -> list[shapely.Geometry]:
    """Shapes of one size that lie wholly within the image."""
    shapes: list[shapely.Geometry] = []
    longest = object_px * (2**0.5 if kind == "hbb" else 2.5**0.5 * 1.1)
    margin = min(longest / 2, min(image_size) / 2)
    for _ in range(count):
        cx, cy = (rng.uniform(margin, side - margin) for side in image_size)
        ratio = 2 ** rng.uniform(-0.5, 0.5)
        wide, high = object_px * ratio, object_px / ratio
        if kind == "point":
            shapes.append(shapely.Point(cx, cy))
        elif kind == "hbb":
            shapes.append(shapely.box(cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2))
        else:
            sides = object_px * 2.5**0.5, object_px / 2.5**0.5
            shapes.append(OBB(cx, cy, *sides, float(rng.uniform(0, 180))).to_polygon())
    return shapes
