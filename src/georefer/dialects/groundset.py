"""GroundSet's dialect: flat bracket lists of integers 0-1000, floored; no labels.

    answer  = "None" | list *(", " list)
    list    = "[x_min, y_min, x_max, y_max]"             a box
            | "[x1, y1, x2, y2, x3, y3, ...]"             one exterior ring, not closed, no holes

The numbers are floored (`int(v * 1000)`), not rounded, which shifts every shape by half a number up and left on
average. What the published training files put between several lists and for "nothing" is not documented; the
published scorers find lists wherever they stand, and "None" is what their empty answers hold.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.geometry import Frame, Objects


class GroundSetDialect(Dialect):
    """Boxes for "hbb" objects, exterior rings for polygons; holes are lost, as in the original."""

    name = "groundset"
    source = "github.com/rogerferrod/GroundSet at 84aeed1, evaluation and inference code"
    kinds = frozenset({"hbb", "polygon"})
    labelled = False
    nothing = "None"
    steps = Steps(1000, "floor")
    strict = re.compile(r"None|(?:\[\d{1,4}(?:, \d{1,4}){3,4095}\](?:, (?=\[)|\Z))+")

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        return ", ".join(
            str(self._ring(o.geometry, frame) if o.kind == "polygon" else self._box(o.geometry, frame)) for o in objects
        )

    def _box(self, geometry, frame: Frame) -> list[int]:
        return self.steps.write_boxes(np.array([geometry.bounds]), frame)[0].tolist()

    def _ring(self, geometry, frame: Frame) -> list[int]:
        if geometry.geom_type != "Polygon":
            raise ValueError(f"a {geometry.geom_type} cannot be said as one ring in the dialect {self.name}")
        return self.steps.write_ring(geometry.exterior, frame).ravel().tolist()

    def _read(self, reader: Reader) -> None:
        """Lists of four numbers are boxes, of six or more (an even count) polygons."""
        for values, match in reader.flat_lists():
            if len(values) == 4:
                reader.box(values, match.start(), match.end())
            else:
                reader.polygon(values, match.start(), match.end())
        reader.if_nothing()

    frame_note = "Frame.groundset: 672 x 672"

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.groundset(scene_size)

    def grammar(self) -> str:
        return (
            'start: "None" | list (", " list)*\n'
            'list: "[" N ", " N ", " N ", " N (", " N)* "]"\n'
            "N: /0|[1-9][0-9]{0,3}/\n"
        )
