"""Molmo's dialect: points in percent with one decimal, in XML-like tags; one tag for all points of a label.

    <point x="12.3" y="45.6" alt="ship">ship</point>
    <points x1="12.3" y1="45.6" x2="70.0" y2="8.1" alt="ship">ship</points>
    p=123,456                                       tenths of a percent, an older form that is read as well

The points of a label are sorted by x, then y, as the authors' formatter does, so their order is lost; labels come in
order of first appearance. Numbers above 100 are dropped, as the authors' reader does: a model that says them counts
in something else. Tags may stand in running text ("Counting the <points ...> shows 3.").
"""

from __future__ import annotations

import re

import numpy as np
import shapely

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import MAX_LABEL, checked_labels
from georefer.geometry import Frame, Objects

_PERCENT = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_TAG = re.compile(
    rf"<points?\s(?P<inner>[^<>]*+)(?:(?P<closing>>)(?P<text>[^<>]{{0,{MAX_LABEL}}})(?:</points?>)?)?"
    r"|(?<![\w.])(?:p|[0-9]{1,4})\s?=\s?(?P<x>[0-9]{3})\s?,\s?(?P<y>[0-9]{3})(?![0-9])"
)
_XY = re.compile(rf'\bx[0-9]{{0,4}}\s?=\s?"\s?{_PERCENT}\s?"\s{{1,3}}y[0-9]{{0,4}}\s?=\s?"\s?{_PERCENT}\s?"')
_X = re.compile(r"\bx[0-9]{0,4}\s?=")
_ALT = re.compile(rf'\balt\s?=\s?"([^"]{{0,{MAX_LABEL}}})"')

_N = r"\d{1,3}\.\d"
_ENDING = rf' alt="[^"<>]{{0,{MAX_LABEL}}}">[^<>]{{0,{MAX_LABEL}}}'


class MolmoDialect(Dialect):
    name = "molmo"
    source = "github.com/allenai/molmo at 793fa38, data formatter and olmo/util.py extract_points"
    kinds = frozenset({"point"})
    nothing = "There are none."
    steps = Steps(1000, decimals=1)
    frame_note = "crops of 336; numbers along the whole image"
    strict = re.compile(
        r"There are none\.|(?:(?:p|\d{1,4})=\d{3},\d{3}(?:[;,]? (?=[p\d])|\Z))+"
        rf'|(?:[^<>]{{0,1000}}(?:<point x="{_N}" y="{_N}"{_ENDING}</point>'
        rf'|<points(?: x\d{{1,4}}="{_N}" y\d{{1,4}}="{_N}")+{_ENDING}</points>))+[^<>]{{0,1000}}'
    )

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (336, 336))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        steps_N2 = self.steps.write(shapely.get_coordinates(objects.geometries_N), frame)
        labels = checked_labels(objects, '<>"') if labelled else [""] * len(objects)
        groups: dict[str, list[list[int]]] = {}
        for label, xy in zip(labels, steps_N2.tolist(), strict=True):
            groups.setdefault(label, []).append(xy)
        return "".join(self._tag(label, sorted(points)) for label, points in groups.items())

    def _tag(self, label: str, points: list[list[int]]) -> str:
        said = [tuple(map(self.steps.text, xy)) for xy in points]
        if len(said) == 1:
            return f'<point x="{said[0][0]}" y="{said[0][1]}" alt="{label}">{label}</point>'
        places = " ".join(f'x{i}="{x}" y{i}="{y}"' for i, (x, y) in enumerate(said, start=1))
        return f'<points {places} alt="{label}">{label}</points>'

    def _read(self, reader: Reader) -> None:
        for match in _TAG.finditer(reader.text):
            if reader.full:
                reader.too_many(match.start())
                break
            if match["x"]:
                self._point(reader, [int(match["x"]) / 10, int(match["y"]) / 10], *match.span(), "")
                continue
            pairs = list(_XY.finditer(match["inner"]))
            if not match["closing"]:
                reader.note("truncated", match.start(), match.end(), f"{reader.quote(*match.span())} is cut off")
            elif len(pairs) < max(1, len(_X.findall(match["inner"]))):
                reader.note("not-a-number", *match.span(), f"{reader.quote(*match.span())} holds no pair of numbers")
            alt = _ALT.search(match["inner"])
            label = (alt[1] if alt else match["text"] or "").strip()
            for pair in pairs:
                start = match.start("inner") + pair.start()
                if not self._point(reader, [float(v) for v in pair.groups()], start, start + len(pair[0]), label):
                    break
        reader.open_tail("<", ">")
        reader.if_nothing()

    def _point(self, reader: Reader, xy: list[float], start: int, end: int, label: str) -> bool:
        if np.max(xy) > 100:
            reader.note("unreadable", start, end, f"{reader.quote(start, end)} is beyond 100 percent")
            return True
        return reader.point(xy, start, end, label) >= 0

    def grammar(self) -> str:
        return (
            'start: "There are none." | (one | many)+\n'
            'one: "<point x=\\"" N "\\" y=\\"" N "\\"" ending "</point>"\n'
            'many: "<points" (" x" I "=\\"" N "\\" y" I "=\\"" N "\\"")+ ending "</points>"\n'
            'ending: " alt=\\"" LABEL? "\\">" LABEL?\n'
            'LABEL: /[^<>"\\s]([^<>"\\n]*[^<>"\\s])?/\n'
            "I: /[1-9][0-9]*/\n"
            "N: /([1-9]?[0-9]\\.[0-9]|100\\.0)/\n"
        )
