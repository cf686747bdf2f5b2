"""GroundSet's dialect: flat bracket lists of integers 0-1000, floored; no labels.

    answer  = "None" | list *(", " list)
    list    = "[x_min, y_min, x_max, y_max]"             a box
            | "[x1, y1, x2, y2, x3, y3, ...]"             one exterior ring, not closed, no holes

Source: github.com/rogerferrod/GroundSet at 84aeed1, evaluation and inference code. The numbers are floored
(`int(v * 1000)`), not rounded, which shifts every shape by half a number up and left on average. What the
published training files put between several lists and for "nothing" is not documented; the published scorers
find lists wherever they stand, and "None" is what their empty answers hold.
"""

from __future__ import annotations

import numpy as np
import shapely

from georefer.dialects.base import ListReader, Reading, boxes_from_numbers, boxes_to_numbers, is_repeated
from georefer.geometry import Frame, Kind, Objects
from georefer.geometry.overlap import repaired

NOTHING = "None"


class GroundSetDialect:
    """Boxes for "hbb" objects, exterior rings for polygons; holes are lost, as in the original."""

    name = "groundset"

    def write(self, objects: Objects, frame: Frame, *, labelled: bool = True) -> str:
        """`labelled` makes no difference: this dialect has no place for a label."""
        if not len(objects):
            return NOTHING
        return ", ".join(
            str(_ring(o.geometry, frame) if o.kind == "polygon" else _box(shapely.bounds(o.geometry), frame))
            for o in objects
        )

    def read(self, text: str, frame: Frame) -> Reading:
        """Lists of four numbers are boxes, of six or more (an even count) polygons."""
        reader = ListReader(text, frame)
        shapes: list[shapely.Geometry] = []
        kinds: list[Kind] = []
        seen: set[tuple] = set()
        for values, match in reader.lists():
            if len(values) < 4 or len(values) % 2:
                reader.note(
                    "wrong-count", match.start(), match.end(),
                    f"{match[0][:80]} has {len(values)} numbers; 4 or an even number from 6 expected",
                )  # fmt: skip
                continue
            values = reader.clip(values, match)
            shape = _read_box(values, match, reader) if len(values) == 4 else _read_ring(values, match, reader)
            if shape is None or is_repeated(seen, tuple(values), reader, match):
                continue
            shapes.append(shape)
            kinds.append("hbb" if len(values) == 4 else "polygon")
        says_none = not shapes and text[:100].strip().strip(".").lower() == NOTHING.lower()
        if not shapes and not says_none and not reader.problems:
            reader.note("unreadable", 0, len(text), f"neither a list of numbers nor '{NOTHING}'")
        objects = Objects.of(shapes, [""] * len(shapes), kind=kinds)
        return Reading(text, objects, tuple(reader.problems), says_none)

    def grammar(self) -> str:
        """Lark grammar of exactly what `write` writes."""
        return (
            'start: "None" | list (", " list)*\n'
            'list: "[" N ", " N ", " N ", " N (", " N ", " N)* "]"\n'
            "N: /0|[1-9][0-9]{0,3}/\n"
        )


def _floor(xy_N2: np.ndarray, frame: Frame) -> np.ndarray:
    # a tiny nudge so that 0.29 * 1000 = 290 survives binary fractions on our side of the round trip
    return np.clip(np.floor(xy_N2 + 1e-9), 0, [frame.numbers_x, frame.numbers_y]).astype(int)


def _box(bounds_4: np.ndarray, frame: Frame) -> list[int]:
    return _floor(boxes_to_numbers(bounds_4, frame).reshape(2, 2), frame).ravel().tolist()


def _ring(geometry: shapely.Geometry, frame: Frame) -> list[int]:
    if geometry.geom_type != "Polygon":
        raise ValueError(f"a {geometry.geom_type} cannot be said as one ring in the groundset dialect")
    ring_N2 = np.asarray(geometry.exterior.coords)[:-1, :2]
    return _floor(frame.to_numbers(ring_N2), frame).ravel().tolist()


def _read_box(values: np.ndarray, match, reader: ListReader) -> shapely.Geometry | None:
    box_4 = reader.box(values, match)
    return None if box_4 is None else shapely.box(*boxes_from_numbers(box_4, reader.frame)[0])


def _read_ring(values: np.ndarray, match, reader: ListReader) -> shapely.Geometry | None:
    polygon = shapely.Polygon(reader.frame.from_numbers(values.reshape(-1, 2)))
    mended = repaired(np.array([polygon], dtype=object))[0]
    if mended.area == 0:
        reader.note("empty-shape", match.start(), match.end(), f"{match[0][:80]} spans no area")
        return None
    return mended
