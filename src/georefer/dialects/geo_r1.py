"""Geo-R1 (arXiv 2509.21976): Qwen2.5-VL's JSON between tags after a thought; segmentation adds two key points a box.

    <think> ... </think><answer>{"bbox_2d": [153, 40, 416, 291], "label": "ship"}</answer>            expressions
    ```json [{"bbox_2d": [1, 2, 30, 40], "label": "ship"}] ```                                        detection
    <answer>```json [{"bbox_2d": [..], "keypoint1": [x, y], "keypoint2": [x, y]}] ```</answer>        segmentation
    <answer>None</answer>                                                                             nothing

Written is the one form that every published script of theirs reads: a fenced list between answer tags. Both key
points are positive prompts for SAM; here they are objects of kind "point" after their box, joined to it by a Relation
"point". Two points that follow a box under its label are written as its key points, others in rows of their own.

Traps: numbers are pixels of Qwen's resized image; their scripts never scale them back, and even perfect answers lose
by it (16 px objects at 800 px: IoU 0.25), so published scores are not ours. The detection prompt asks for no thought
and no tags, so an answer without any tag is read as it stands. Their scripts take the last box of an answer for an
expression and drop an object that lacks a key point; here every box that was said is read.
"""

from __future__ import annotations

import json
import re

from georefer.dialects.base import Dialect
from georefer.dialects.jsonish import STRING
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.thought import (
    BOX,
    LABEL,
    POINT,
    answer_span,
    checked,
    if_none,
    read_rows,
    strict_answer,
    strict_list,
    with_points,
)  # fmt: skip
from georefer.geometry import Frame, Objects

_KEYPOINTS = ("keypoint1", "keypoint2")
_ROW = (
    rf"\{{(?:\"bbox_2d\": ?{BOX}(?:, ?\"keypoint1\": ?{POINT}, ?\"keypoint2\": ?{POINT})?"
    rf"|\"point_2d\": ?{POINT}){LABEL}\}}"
)
_LIST = rf"None|{_ROW}|{strict_list(_ROW)}"


class GeoR1Dialect(Dialect):
    name = "geo-r1"
    source = "github.com/Geo-R1/geo-r1 at c2f2131, run_scripts: prompts and parsers of REC, OVD and GRES"
    kinds = frozenset({"hbb", "point"})
    nothing = "<answer>None</answer>"
    steps = Steps("shown")
    frame_note = "Frame.qwen, factor 28"
    strict = re.compile(rf"{strict_answer(_LIST)}|{_LIST}")

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame)
        points_N2 = self.steps.write(objects.hbb_N4[:, :2], frame)
        rows = []
        for box, points in with_points(objects, 2):
            row, rest = {}, points
            if box is not None:
                row = {"bbox_2d": boxes_N4[box].tolist()}
                if len(points) == 2:
                    row |= {key: points_N2[i].tolist() for key, i in zip(_KEYPOINTS, points, strict=True)}
                    rest = []
            alone = [{"point_2d": points_N2[i].tolist()} for i in rest]
            label = {"label": checked(objects.labels_N[points[0] if box is None else box])} if labelled else {}
            rows += [json.dumps(r | label, ensure_ascii=False) for r in ([row] if row else []) + alone]
        return "<answer>```json\n[\n    " + ",\n    ".join(rows) + "\n]\n```</answer>"

    def _read(self, reader: Reader) -> None:
        if (span := answer_span(reader, bare=True)) is None:
            return
        read_rows(reader, *span, ("bbox_2d",), (*_KEYPOINTS, "point_2d"))
        if_none(reader, *span)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size, max_pixels=12_845_056)

    def grammar(self) -> str:
        return (
            'start: "<answer>" ("None" | "```json\\n[" "\\n    " row (",\\n    " row)* "\\n]\\n```") "</answer>"\n'
            'row: "{" (box keypoints? | point) (", \\"label\\": " STRING)? "}"\n'
            'box: "\\"bbox_2d\\": [" N ", " N ", " N ", " N "]"\n'
            'keypoints: ", \\"keypoint1\\": [" N ", " N "], \\"keypoint2\\": [" N ", " N "]"\n'
            'point: "\\"point_2d\\": [" N ", " N "]"\n'
            f"STRING: /{STRING}/\n"
            "N: /0|[1-9][0-9]{0,5}/\n"
        )
