"""Moondream: the dict of its API, boxes or points as fractions 0-1 of the image; no labels.

    {"objects": [{"x_min": 0.2601, "y_min": 0.3422, "x_max": 0.5728, "y_max": 0.6795}]}     detect
    {"points": [{"x": 0.65, "y": 0.42}]}                                                    point
    {"objects": []}                                                                         nothing

Written to four decimals; the API prints whole doubles (0.26009374856948853), sometimes as 5.9e-05, and both are read.
Trap: the model itself says centres in 1024 steps and sizes in 1024 logarithmic steps of 2^-10 to 1, so its own
answers are coarser than what is printed. Boxes and points together are said in one dict, which the API never does.
"""

from __future__ import annotations

import json
import re
from itertools import islice

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.geometry import Frame, Objects

MAX_ROWS = 5_000
"""Pairs of braces looked at in one answer."""

_SIDES = ("x_min", "y_min", "x_max", "y_max")
_N = r"(?:0(?:\.\d{1,20})?|1(?:\.0{1,20})?|\d(?:\.\d{1,20})?e-\d{1,3})"


def _row(keys: tuple[str, ...]) -> str:
    return r"\{" + r", ?".join(rf"\"{key}\": ?{_N}" for key in keys) + r"\}"


def _rows(name: str, row: str) -> str:
    return rf"\"{name}\": ?\[(?:{row}(?:, ?{row})*+)?\]"


_OBJECTS, _POINTS = _rows("objects", _row(_SIDES)), _rows("points", _row(("x", "y")))


class MoondreamDialect(Dialect):
    name = "moondream"
    source = "Moondream API documentation, detect and point; github.com/vikhyat/moondream"
    kinds = frozenset({"hbb", "point"})
    labelled = False
    nothing = '{"objects": []}'
    steps = Steps(10_000, decimals=4)
    strict = re.compile(
        rf"\{{(?:\"request_id\": ?\"[^\"\\]{{0,200}}\", ?)?(?:{_OBJECTS}(?:, ?{_POINTS})?|{_POINTS})\}}"
    )
    # a row holds no further braces, so rows are found without a JSON parser, whose numbers are shorter than doubles
    _row_said = re.compile(r"\{\s{0,8}([\"'][^{}]{0,400}+)(\}?)")
    _field = re.compile(
        r"[\"'](x_min|y_min|x_max|y_max|x|y)[\"']\s{0,8}:\s{0,8}"
        r"([-+]?[0-9]{1,9}(?:\.[0-9]{1,25})?(?:[eE][-+]?[0-9]{1,2})?)(?![0-9A-Za-z_.])"
    )
    _none = re.compile(
        r"\s*\{\s*(?:\"request_id\"\s*:\s*\"[^\"]{0,200}\"\s*,\s*)?[\"'](?:objects|points)[\"']\s*:\s*\[\s*\]\s*\}\s*"
    )

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame) / 10**self.steps.decimals
        said: dict[str, list[dict[str, float]]] = {}
        for o, box in zip(objects, boxes_N4.tolist(), strict=True):
            if o.kind == "point":
                xy = self.steps.write(np.array([[o.geometry.x, o.geometry.y]]), frame)[0] / 10**self.steps.decimals
                said.setdefault("points", []).append(dict(zip("xy", xy.tolist(), strict=True)))
            else:
                said.setdefault("objects", []).append(dict(zip(_SIDES, box, strict=True)))
        return json.dumps(dict(sorted(said.items())))

    def _read(self, reader: Reader) -> None:
        if self._none.fullmatch(reader.text):
            reader.says_none = True
            return
        for row in islice(self._row_said.finditer(reader.text), MAX_ROWS):
            if reader.full:
                reader.too_many(row.start())
                return
            start, end = row.span()
            fields = {field[1]: float(field[2]) for field in self._field.finditer(row[1])}
            if fields.keys() >= set(_SIDES):
                reader.box([fields[key] for key in _SIDES], start, end)
            elif fields.keys() == {"x", "y"}:
                reader.point([fields["x"], fields["y"]], start, end)
            elif row[2]:
                reader.note("unreadable", start, end, f"{reader.quote(start, end)} is neither a box nor a point")
        reader.open_tail("{", "}")

    def grammar(self) -> str:
        return (
            'start: "{" (objects (", " points)? | points) "}"\n'
            'objects: "\\"objects\\": [" (box (", " box)*)? "]"\n'
            'points: "\\"points\\": [" point (", " point)* "]"\n'
            'box: "{\\"x_min\\": " N ", \\"y_min\\": " N ", \\"x_max\\": " N ", \\"y_max\\": " N "}"\n'
            'point: "{\\"x\\": " N ", \\"y\\": " N "}"\n'
            "N: /0\\.[0-9]{1,4}|1\\.0/\n"
        )
