"""VisionReasoner and Seg-Zero: JSON rows of a box and a point within it, in pixels of an 840 x 840 resize.

    <think> ... </think>
    <answer>[{"bbox_2d": [210, 615, 266, 738], "point_2d": [238, 676]}]</answer>
    <answer>[]</answer>                                                                  nothing

A row is two objects: the box, then its point, joined by a Relation "point" (the box may be lost as a duplicate). So
both move with the scene; whoever counts boxes takes the objects of kind "hbb". When written, the first point that
follows a box is its own, and a box without one gets its middle, as the training data do. A point alone is written in
a row of its own, which the published code cannot read. Seg-Zero's first models said `bbox`, `points_1`, `points_2`.

Traps: the image is stretched to 840 x 840 whatever its shape, before the model's own processor (which leaves 840 as it
is). One question asks for one class, so there is no label. Answers are written without a thought.
"""

from __future__ import annotations

import json
import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.thought import BOX, POINT, answer_span, if_none, read_rows, strict_answer, with_points
from georefer.geometry import Frame, Objects

SIDE = 840
_ROW = rf"\{{(?:\"bbox_2d\": ?{BOX}, ?)?\"point_2d\": ?{POINT}\}}"


class VisionReasonerDialect(Dialect):
    name = "visionreasoner"
    source = "github.com/JIA-Lab-research/VisionReasoner, vision_reasoner_model.py; dvlab-research/Seg-Zero, rewards"
    kinds = frozenset({"hbb", "point"})
    labelled = False
    nothing = "<answer>[]</answer>"
    steps = Steps("shown")
    frame_note = "Frame.resize to 840 x 840"
    strict = re.compile(strict_answer(rf"\[(?:{_ROW}(?:, ?{_ROW})*+)?\]"))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame)
        points_N2 = self.steps.write(objects.hbb_N4[:, :2], frame)
        rows = []
        for box, points in with_points(objects, 1):
            row = {} if box is None else {"bbox_2d": boxes_N4[box].tolist()}
            xy_2 = points_N2[points[0]] if points else np.add(boxes_N4[box, :2], boxes_N4[box, 2:]) // 2
            rows.append(json.dumps(row | {"point_2d": xy_2.tolist()}))
        return f"<answer>[{', '.join(rows)}]</answer>"

    def _read(self, reader: Reader) -> None:
        if (span := answer_span(reader)) is None:
            return
        read_rows(reader, *span, ("bbox_2d", "bbox"), ("point_2d", "points_1", "points_2"))
        if_none(reader, *span)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (SIDE, SIDE))

    def grammar(self) -> str:
        return (
            'start: "<answer>[" (row (", " row)*)? "]</answer>"\n'
            'row: "{" (box ", ")? point "}"\n'
            'box: "\\"bbox_2d\\": [" N ", " N ", " N ", " N "]"\n'
            'point: "\\"point_2d\\": [" N ", " N "]"\n'
            "N: /0|[1-9][0-9]{0,5}/\n"
        )
