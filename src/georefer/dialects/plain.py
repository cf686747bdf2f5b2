"""The short way from numbers as printed to Objects, for answers with which nothing is wrong: most are such, and small.

What the Reader does for any answer takes some thirty array operations, each of which costs more than the few numbers
in it. Here these are plain numbers: the same sums in the same order, so that the objects are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import shapely

from georefer.dialects.steps import Steps
from georefer.geometry import Frame, Objects

if TYPE_CHECKING:
    from georefer.dialects.reader import Found

MOST_PLAIN = 64
"""Shapes of one answer up to which plain numbers are faster than arrays."""

_IDS = np.array([str(place) for place in range(MOST_PLAIN)], dtype=object)
_KINDS = np.array(["hbb"] * MOST_PLAIN, dtype=object)

Bounds = tuple[float, float, float, float]


def plain_objects(found: Sequence[Found], steps: Steps, frame: Frame) -> Objects | None:
    """The objects of an answer of few boxes and points, none of them to be repaired, lost or said twice, else None."""
    if not 0 < len(found) <= MOST_PLAIN:
        return None
    (last_x, last_y), (step_x, step_y) = steps.largest(frame), steps.step_px(frame)
    x, y, wide, high = frame.x, frame.y, frame.scene_width, frame.scene_height
    scale, middle = 10**steps.decimals, 0.5 if steps.cells else 0.0
    are_whole = not steps.decimals and not steps.loose
    rows: list[Bounds] = []
    for f in found:
        if f.form == "hbb":
            a, b, c, d = f.values
        elif f.form == "point":
            a, b = c, d = f.values
        else:
            return None
        if are_whole and (a % 1 or b % 1 or c % 1 or d % 1):
            return None
        a, b, c, d = a * scale, b * scale, c * scale, d * scale
        if not (0 <= a <= c <= last_x and 0 <= b <= d <= last_y):
            return None
        west, east = (a + middle) * step_x + x, (c + middle) * step_x + x
        north, south = (b + middle) * step_y + y, (d + middle) * step_y + y
        has_area = west < east and north < south
        if has_area != (f.form == "hbb") or west < 0 or north < 0 or east > wide or south > high:
            return None
        rows.append((west, north, east, south))
    return _objects(found, rows) if len(set(rows)) == len(rows) else None


def _objects(found: Sequence[Found], rows: Sequence[Bounds]) -> Objects:
    """Boxes and points by their bounds: `Objects.of` without the checks that they have passed."""
    count = len(found)
    geometries_N, kinds_N = shapely.box(*zip(*rows, strict=True)), _KINDS[:count].copy()
    if points := [i for i, f in enumerate(found) if f.form == "point"]:
        geometries_N[points], kinds_N[points] = shapely.points([rows[i][:2] for i in points]), "point"
    return Objects(
        _IDS[:count].copy(), np.array([f.label for f in found], dtype=object), kinds_N, geometries_N,
        np.array([f.score for f in found]), np.array([{} for _ in found], dtype=object),
    )  # fmt: skip
