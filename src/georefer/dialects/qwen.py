"""Qwen's vision-language models: special tokens (Qwen2-VL), JSON in pixels (Qwen2.5-VL), JSON in per mille (Qwen3-VL).

    Qwen2-VL    <|object_ref_start|>ship<|object_ref_end|><|box_start|>(10,20),(300,400)<|box_end|>
    Qwen2.5-VL  [{"bbox_2d": [10, 20, 300, 400], "label": "ship"}]     pixels of the resized image
    Qwen3-VL    the same, 0-1000

The JSON is written one object to a line within a ```json fence, as the models do; points are `point_2d`.
Read without the resize that the frame knows, a perfect Qwen2.5-VL answer has IoU 0.15-0.39 on 16 px objects.
"""

from __future__ import annotations

import json
import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.jsonish import STRING
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.thought import BOX, LABEL, POINT, checked, if_none, read_rows, strict_list
from georefer.geometry import Frame, Objects

ROW = rf"\{{(?:\"bbox_2d\": ?{BOX}|\"point_2d\": ?{POINT}){LABEL}\}}"


class Qwen2VLDialect(Dialect):
    name = "qwen2-vl"
    source = "QwenLM/Qwen2-VL model card and paper (arXiv 2409.12191), github.com/QwenLM/Qwen3-VL issue 866"
    nothing = "None"

    strict = re.compile(
        r"None|(?:(?:<\|object_ref_start\|>[^<]{1,200}<\|object_ref_end\|>)?"
        r"<\|box_start\|>\(\d{1,4},\d{1,4}\),\(\d{1,4},\d{1,4}\)<\|box_end\|>)+"
    )
    _box = re.compile(r"\(\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\)\s*,?\s*\(\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\)")
    _label = re.compile(r"<\|object_ref_start\|>([^<]{0,200})<\|object_ref_end\|>")

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame)
        labels = [f"<|object_ref_start|>{_checked(o.label)}<|object_ref_end|>" if labelled else "" for o in objects]
        return "".join(
            f"{label}<|box_start|>({x1},{y1}),({x2},{y2})<|box_end|>"
            for label, (x1, y1, x2, y2) in zip(labels, boxes_N4.tolist(), strict=True)
        )

    def _read(self, reader: Reader) -> None:
        """A label holds for the boxes up to the next label, as when a model names one and lists many."""
        marks = sorted([*self._label.finditer(reader.text), *self._box.finditer(reader.text)], key=re.Match.start)
        label = ""
        for match in marks:
            if match.re is self._label:
                label = match[1].strip()
            elif reader.box([float(v) for v in match.groups()], match.start(), match.end(), label) < 0:
                break
        reader.open_tail("<|box_start|>", "<|box_end|>")
        reader.if_nothing()

    frame_note = "Frame.qwen, factor 28"

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size)

    def grammar(self) -> str:
        return (
            'start: "None" | (label? box)+\n'
            'label: "<|object_ref_start|>" /[^<]+/ "<|object_ref_end|>"\n'
            'box: "<|box_start|>(" N "," N "),(" N "," N ")<|box_end|>"\n'
            "N: /0|[1-9][0-9]{0,3}/\n"
        )


class Qwen25VLDialect(Dialect):
    """JSON of boxes and points in pixels of the resized image: only the frame can say which those are."""

    name = "qwen2.5-vl"
    source = "QwenLM/Qwen2.5-VL cookbooks; github.com/QwenLM/Qwen3-VL issues 721 and 733"
    kinds = frozenset({"hbb", "point"})
    nothing = "```json\n[]\n```"
    steps = Steps("shown")
    lines = True
    """Whether each row stands on its own line."""
    frame_note = "Frame.qwen, factor 28"
    strict = re.compile(strict_list(ROW))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        rows = [json.dumps(row, ensure_ascii=False) for row in json_rows(self.steps, objects, frame, labelled)]
        return (
            "```json\n[\n\t" + ",\n\t".join(rows) + "\n]\n```" if self.lines else f"```json\n[{', '.join(rows)}]\n```"
        )

    def _read(self, reader: Reader) -> None:
        end = len(reader.text)
        read_rows(reader, 0, end, ("bbox_2d", "bbox"), ("point_2d",))
        if_none(reader, 0, end)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size, max_pixels=12_845_056)

    def grammar(self) -> str:
        return (
            (
                'start: "```json\\n[" ("\\n\\t" row (",\\n\\t" row)* "\\n")? "]\\n```"\n'
                if self.lines
                else 'start: "```json\\n[" (row (", " row)*)? "]\\n```"\n'
            )
            + 'row: "{" (box | point) (", \\"label\\": " STRING)? "}"\n'
            'box: "\\"bbox_2d\\": [" N ", " N ", " N ", " N "]"\n'
            'point: "\\"point_2d\\": [" N ", " N "]"\n'
            f"STRING: /{STRING}/\n"
            "N: /0|[1-9][0-9]{0,5}/\n"
        )


class Qwen3VLDialect(Qwen25VLDialect):
    """The JSON of Qwen2.5-VL in per mille again."""

    name = "qwen3-vl"
    source = "QwenLM/Qwen3-VL cookbooks and its evaluation code; issues 1427 and 1623"
    steps = Steps(1000)
    lines = False
    frame_note = "Frame.qwen, factor 32"

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size, factor=32, min_pixels=65_536, max_pixels=16_777_216)


def json_rows(steps: Steps, objects: Objects, frame: Frame, labelled: bool) -> list[dict]:
    """Objects as `bbox_2d` or `point_2d` rows; also what Geo-R1 and VisionReasoner write."""
    boxes_N4 = steps.write_boxes(objects.hbb_N4, frame)
    rows = []
    for o, box in zip(objects, boxes_N4.tolist(), strict=True):
        if o.kind == "point":
            row = {"point_2d": steps.write(np.array([[o.geometry.x, o.geometry.y]]), frame)[0].tolist()}
        else:
            row = {"bbox_2d": box}
        rows.append(row | ({"label": checked(o.label)} if labelled else {}))
    return rows


def _checked(label: str) -> str:
    if "<" in label or not label.strip() or label != label.strip():
        raise ValueError(f"the label {label!r} is empty, padded or holds '<'; rename the class")
    return label
