"""Gemini: a JSON list of boxes y1, x1, y2, x2 in whole numbers 0-1000, one object to a line in a fence.

    ```json
    [
      {"box_2d": [139, 401, 486, 512], "label": "ship"},
      {"box_2d": [10, 20, 300, 400], "mask": "data:image/png;base64,iVBOR...", "label": "pond"},
      {"point": [500, 250], "label": "mast"}
    ]
    ```

Traps: y stands before x, in points too. The scale is 0-1000 along each side, whatever the shape of the image. Masks
(base64 PNGs within the box, asked for by prompt) are passed over, never decoded. `[]` is nothing.
"""

from __future__ import annotations

import json
import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.jsonish import STRING, number_list
from georefer.dialects.reader import BOXES_WRITTEN_YXYX, Reader
from georefer.dialects.steps import Steps
from georefer.dialects.thought import BOX, LABEL, POINT, checked, each_row, if_none, strict_list
from georefer.geometry import Frame, Objects

_MASK = r"(?:, ?\"mask\": ?\"[^\"\\]*+\")?"
_ROW = rf"\{{(?:\"box_2d\": ?{BOX}|\"point\": ?{POINT}){_MASK}{LABEL}{_MASK}\}}"
# a mask is longer than any string that is read, so it is blanked first; blanks keep every place in the text
_MASK_FIELD = re.compile(r"([\"'])mask\1\s{0,8}:\s{0,8}([\"'])[^\"']*+\2", re.IGNORECASE)


class GeminiDialect(Dialect):
    name = "gemini"
    source = "Gemini API documentation, image understanding: object detection, segmentation and pointing"
    kinds = frozenset({"hbb", "point"})
    nothing = "```json\n[]\n```"
    steps = Steps(1000)
    strict = re.compile(strict_list(_ROW))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame)[:, BOXES_WRITTEN_YXYX]
        rows = []
        for o, box in zip(objects, boxes_N4.tolist(), strict=True):
            if o.kind == "point":
                x, y = self.steps.write(np.array([[o.geometry.x, o.geometry.y]]), frame)[0].tolist()
            row = {"point": [y, x]} if o.kind == "point" else {"box_2d": box}
            rows.append(json.dumps(row | ({"label": checked(o.label)} if labelled else {}), ensure_ascii=False))
        return "```json\n[\n  " + ",\n  ".join(rows) + "\n]\n```"

    def _read(self, reader: Reader) -> None:
        text = reader.text
        reader.text = _MASK_FIELD.sub(lambda mask: " " * len(mask[0]), text)
        for item, holds_rows in each_row(reader):
            box, point = (number_list(item.get(key)) for key in ("box_2d", "point"))
            place = (item.start, item.end, item.text("label"))
            if box is not None and len(box) == 4:
                reader.box([box[i] for i in BOXES_WRITTEN_YXYX], *place)
            elif box is None and point is not None and len(point) == 2:
                reader.point(point[::-1], *place)
            elif (numbers := box or point) is not None:
                reader.wrong_count(item.start, item.end, len(numbers), 4 if box is not None else 2)
            elif not holds_rows:
                reader.note("unreadable", item.start, item.end, f"{reader.quote(item.start, item.end)} holds no box_2d")
        reader.text = text
        if_none(reader, 0, len(text))

    def grammar(self) -> str:
        return (
            'start: "```json\\n[" ("\\n  " row (",\\n  " row)* "\\n")? "]\\n```"\n'
            'row: "{" (box | point) (", \\"label\\": " STRING)? "}"\n'
            'box: "\\"box_2d\\": [" N ", " N ", " N ", " N "]"\n'
            'point: "\\"point\\": [" N ", " N "]"\n'
            f"STRING: /{STRING}/\n"
            "N: /0|[1-9][0-9]{0,3}/\n"
        )
