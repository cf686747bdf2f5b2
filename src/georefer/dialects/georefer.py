"""The project's own dialect: labels, and every kind of shape in rounded integers (0-1000 unless the frame says other).

    answer  = "none" | group *("; " group)
    group   = [label " "] shape *(" " shape)
    box     = "[x1, y1, x2, y2]"
    obb     = "[cx, cy, length, width @ heading]"
    polygon = "[x1, y1, x2, y2, x3, y3, ...]" *(" -[" hole "]") *(" +[" next part "]" ...)
    mask    = box "{" grid of the cells inside the box "}"

`building [120, 45, 260, 190] [300, 40, 410, 170]; pool [280, 210, 60, 40 @ 35]`

A label is said once for all its shapes, since models pay by the token. Rounding errs by at most half a number:
0.05 % of the image side. The sides of an oriented box are counted in numbers of the image's longer side, so that
they mean the same in every direction; the heading is in whole degrees, clockwise on the screen from the +x axis to
the side called length. Rings are not closed and run clockwise from the point nearest the top left; a polygon with more
points than the budget is simplified until it fits.
A mask is a grid of square-cornered cells inside its own box (`runs`), a cell being set where at least half of it is
covered: an 8 x 8 grid inside the box keeps IoU 0.85 at every size, where a 32 x 32 grid over an 800 px image keeps
0.41 of an 80 px object (facts measured for GeoGround's image-wide grids).
"""

from __future__ import annotations

import re

import numpy as np
import shapely

from georefer.dialects.base import Dialect
from georefer.dialects.reader import MAX_NUMBERS, NUMBER, NUMBERS, Reader
from georefer.dialects.runs import MASK_TOKENS, CompactRuns, from_tokens, to_tokens
from georefer.dialects.steps import Steps
from georefer.dialects.thought import answer_span, if_none, strict_answer
from georefer.geometry import OBB, Frame, Objects
from georefer.geometry.raster_grid import coverage, grid_to_geometry, pooled

RESERVED = re.compile(r"[\[\]{};\n]|^\s|\s$|^$")
LABEL = re.compile(r"(?:^|[;\n\]}])\s*([^\[\]{};\n]{0,200}?)\s*$")
SHAPE = re.compile(rf"\[\s*+({NUMBERS})\s*+(?:,\s*+)?(?:@\s*+({NUMBER})\s*+)?+\](?:\s*+\{{([^{{}}]{{0,8000}}+)\}})?")
GRID = re.compile(r"\s*(\d{1,2})\s*:\s*(.*?)\s*", re.DOTALL)
TOKEN = re.compile("|".join(map(re.escape, MASK_TOKENS)) + r"|\S")
COMPACT = CompactRuns()
_N = r"(?:0|[1-9]\d{0,5}+)"
_LIST = rf"\[{_N}(?:, {_N}){{3,{MAX_NUMBERS - 1}}}+(?: @ {_N})?+\](?:\{{[^{{}}]{{1,8000}}+\}})?+"
_GROUP = rf"(?:[^\[\]{{}};\n]{{1,200}} )?{_LIST}(?: [-+]?+{_LIST})*+"

_MARKED = _GROUP.replace(r"[^\[", r"[^<\[")
"""The same where '<' begins a mark."""


class GeoreferDialect(Dialect):
    """Write rounds and never makes a shape vanish; read repairs what can be repaired.

    `cells` is the side of the mask grids that are written (8 to 32), `points` the vertex budget of a polygon.
    With `tokens` the grid is said in single tokens, for a model whose vocabulary has them (`runs.MASK_TOKENS`).
    Either form and any grid size are read.
    """

    source = "this project"
    kinds = frozenset({"hbb", "obb", "polygon", "mask"})
    nothing = "none"
    steps = Steps("frame")
    strict = re.compile(rf"none|(?:{_GROUP}(?:; (?!\Z)|\Z))+")

    def __init__(self, name: str = "georefer", *, cells: int = 16, points: int = 64, tokens: bool = False) -> None:
        if not 8 <= cells <= 32 or points < 4:
            raise ValueError(
                f"mask grids have 8 to 32 cells a side and polygons at least 4 points, not {cells}, {points}"
            )
        self.name, self.cells, self.points, self.tokens = name, cells, points, tokens

    # --- writing -----------------------------------------------------------------------------------------

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        """Shapes of all objects, grouped by label in order of first appearance."""
        boxes = iter(self.steps.write_boxes(objects.hbb_N4, frame).tolist())
        groups: dict[str, list[str]] = {}
        for o, box in zip(objects, boxes, strict=True):
            if o.kind == "hbb":
                said = str(box)
            elif o.kind == "obb":
                said = self._obb(OBB.from_polygon(o.geometry), frame)
            elif o.kind == "polygon":
                said = self._polygon(o.geometry, box, frame)
            else:
                said = self._mask(o.geometry, box, frame)
            groups.setdefault(o.label if labelled else "", []).append(said)
        if labelled:
            _check_labels(groups)
        return "; ".join(f"{label} {' '.join(shapes)}".strip() for label, shapes in groups.items())

    def _obb(self, obb: OBB, frame: Frame) -> str:
        centre = self.steps.write(np.array([[obb.cx, obb.cy]]), frame)[0].tolist()
        unit = self._side_px(frame)
        sides = [max(1, round(side / unit)) for side in (obb.length, obb.width)]
        return f"[{', '.join(map(str, centre + sides))} @ {round(obb.heading_deg) % 360}]"

    def _polygon(self, geometry: shapely.Geometry, box: list[int], frame: Frame) -> str:
        said = []
        for part in shapely.get_parts(_simplified(geometry, self.points)):
            rings = [self._ring(ring, frame) for ring in (part.exterior, *part.interiors)]
            if rings[0]:
                said.append(" -".join(str(ring) for ring in rings if ring))
        if not said:
            x1, y1, x2, y2 = box
            said = [str([x1, y1, x2, y1, x2, y2, x1, y2])]
        return " +".join(said)

    def _ring(self, ring: shapely.LinearRing, frame: Frame) -> list[int]:
        """A ring in whole numbers without points that fell together; empty where it fell to a line."""
        steps_N2 = self.steps.write_ring(ring, frame)
        steps_N2 = steps_N2[(steps_N2 != np.roll(steps_N2, -1, axis=0)).any(axis=1)]
        if len(steps_N2) < 3 or shapely.Polygon(steps_N2).area == 0:
            return []
        return steps_N2.ravel().tolist()

    def _mask(self, geometry: shapely.Geometry, box: list[int], frame: Frame) -> str:
        inside = self.steps.read(np.array(box).reshape(2, 2), frame).ravel()
        grid = pooled(coverage(geometry, inside, self.cells, self.cells), 0.5)
        return f"{box}{{{self.cells}: {''.join(to_tokens(grid)) if self.tokens else COMPACT.write(grid)}}}"

    def _side_px(self, frame: Frame) -> float:
        """Scene pixels of one number of an oriented box's sides."""
        across, down = self.steps.tops(frame)
        return max(frame.extent_width / across, frame.extent_height / down)

    # --- reading -----------------------------------------------------------------------------------------

    def _read(self, reader: Reader) -> None:
        self._read_shapes(reader)
        reader.if_nothing()

    def _read_shapes(self, reader: Reader) -> None:
        text, label, end, rings, read = reader.text, "", 0, _Rings(reader), set()
        for match in SHAPE.finditer(text):
            (start, stop), (numbers, heading, grid) = match.span(), match.groups()
            if reader.full:
                reader.too_many(start)
                break
            read.add(start)
            # a label holds for all shapes up to the next label or semicolon
            between = text[end:start].strip()
            sign = between if end and between in ("-", "+") else ""
            if not sign and (end == 0 or between):
                label = _label_before(text, start)
            end, values = stop, list(map(float, numbers.split(",")))
            if heading is None and grid is None and len(values) >= 6 and len(values) % 2 == 0:
                rings.add(values, sign, start, end, label)
                continue
            if rings.parts:
                rings.flush()
            if len(values) != 4:
                reader.wrong_count(start, end, len(values), "4 for a box, an even number from 6 for a ring")
            elif heading is not None:
                self._read_obb(reader, values, float(heading), start, end, label)
            elif grid is not None:
                self._read_mask(reader, values, match, label)
            else:
                reader.box(values, start, end, label)
        else:
            reader.unread(read)
            reader.open_tail("[", "]")
            reader.open_tail("{", "}")
        rings.flush()

    def _read_obb(self, reader: Reader, values: list[float], heading: float, start: int, end: int, label: str) -> None:
        top = np.array(self.steps.tops(reader.frame))
        centre = np.clip(values[:2], 0, top)
        # no box needs a side longer than the diagonal of a square image, 1.5 times its side
        sides = np.clip(values[2:], 0, 1.5 * top.max())
        if (centre != values[:2]).any() or (sides != values[2:]).any() or not 0 <= heading < 360:
            reader.note("out-of-range", start, end, f"{reader.quote(start, end)} was brought into range")
        cx, cy = self.steps.read(centre[None], reader.frame)[0]
        length, width = sides * self._side_px(reader.frame)
        reader.obb(OBB(float(cx), float(cy), float(length), float(width), heading % 360), start, end, label)

    def _read_mask(self, reader: Reader, values: list[float], match: re.Match[str], label: str) -> None:
        """A grid in its box; the box is brought into order as any other, and the grid goes with it."""
        start, end = match.span()
        said = GRID.fullmatch(match[3])
        cells = int(said[1]) if said else 0
        if not said or not 1 <= cells <= 32:
            reader.note("unreadable", start, end, f"{reader.quote(start, end)}: '1: ' to '32: ' and a grid expected")
            return
        body, at = said[2], match.start(3) + said.start(2)
        if body.startswith("<"):
            tokens = [(t[0], t.start()) for t in TOKEN.finditer(body)]
            places = [at + place for _, place in tokens] + [end]
            grid, problems = from_tokens([t for t, _ in tokens], (cells, cells))
            problems = [(kind, places[a], places[b], why) for kind, a, b, why in problems]
        else:
            grid, problems = COMPACT.read(body, (cells, cells))
            problems = [(kind, at + a, at + b, why) for kind, a, b, why in problems]
        for problem in problems:
            reader.note(*problem)  # type: ignore[arg-type]
        box_4 = reader.box_in_scene(values, start, end)
        if grid is None or box_4 is None or not grid.any():
            reader.note("empty-shape", start, end, f"{reader.quote(start, end)} has no cell that is set")
        else:
            reader.shape("mask", grid_to_geometry(grid, box_4), start, end, label)

    def grammar(self) -> str:
        return (
            'start: "none" | group ("; " group)*\n'
            'group: LABELLED? shape (" " shape)*\n'
            "shape: box | obb | polygon | mask\n"
            'box: "[" N ", " N ", " N ", " N "]"\n'
            'obb: "[" N ", " N ", " N ", " N " @ " N "]"\n'
            'polygon: ring ((" -" | " +") ring)*\n'
            'ring: "[" N (", " N)~5..4095 "]"\n'
            'mask: box "{" N ": " (rows | token+) "}"\n'
            'rows: row ("/" row)*\n'
            'row: "." | "=" N? | N (" " N)*\n'
            'token: "<m" (N | "=") ">"\n'
            "LABELLED: /[^\\[\\]{};\\n\\s]([^\\[\\]{};\\n]*[^\\[\\]{};\\n\\s])? /\n"
            "N: /0|[1-9][0-9]{0,5}/\n"
        )


class ThinkingGeoreferDialect(GeoreferDialect):
    """The same shapes between marks, after a thought or none: `<think>...</think><answer>[12, 4, 26, 19]</answer>`."""

    nothing = "<answer>none</answer>"
    strict = re.compile(strict_answer(rf"none|{_MARKED}(?:; {_MARKED})*+"))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        for label in objects.labels_N if labelled else ():
            if "<" in label:  # a grammar could not tell where it ends and the closing mark begins
                raise ValueError(f"the label {label[:80]!r} holds '<', which begins a mark here; rename the class")
        return f"<answer>{super()._write(objects, frame, labelled)}</answer>"

    def _read(self, reader: Reader) -> None:
        if (span := answer_span(reader)) is None:
            return
        whole, (start, end) = reader.text, span
        # what stands outside is blank, so that places in the text stay what they are
        reader.text = " " * start + whole[start:end]
        self._read_shapes(reader)
        reader.text = whole
        if_none(reader, start, end)

    def grammar(self) -> str:
        lines = super().grammar().replace("start: ", 'start: "<answer>" said "</answer>"\nsaid: ', 1)
        return lines.replace("[^\\[", "[^<\\[")


class _Rings:
    """Rings of one polygon while they come in: an exterior, its holes, further parts."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.parts: list[tuple[list[float], list[list[float]]]] = []
        self.start, self.end, self.label = 0, 0, ""

    def add(self, values: list[float], sign: str, start: int, end: int, label: str) -> None:
        if not sign or not self.parts:
            self.flush()
            self.start, self.label = start, label
        self.end = end
        if sign == "-" and self.parts:
            self.parts[-1][1].append(values)
        else:
            self.parts.append((values, []))

    def flush(self) -> None:
        """Hands the polygon to the reader."""
        if self.parts:
            (ring, holes), *more = self.parts
            self.reader.polygon(ring, self.start, self.end, self.label, holes, more=more)
        self.parts = []


def _simplified(geometry: shapely.Geometry, points: int) -> shapely.Geometry:
    """The shape with at most so many points: simplified as little as bisection finds, small rings left out last."""
    if _points(geometry) <= points:
        return geometry
    low, high = 0.0, float(np.ptp(shapely.bounds(geometry).reshape(2, 2), axis=0).max())
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (low, middle) if _points(shapely.simplify(geometry, middle)) <= points else (middle, high)
    plain = shapely.simplify(geometry, high)
    if _points(plain) <= points:
        return plain
    # every ring is down to a few points and there are too many of them: the largest parts, without holes
    parts = sorted((shapely.Polygon(p.exterior) for p in shapely.get_parts(plain)), key=lambda p: -p.area)
    totals = np.cumsum([_points(p) for p in parts])
    return shapely.multipolygons(parts[: max(1, int(np.searchsorted(totals, points, side="right")))])


def _points(geometry: shapely.Geometry) -> int:
    """Points that rings need when they are not closed."""
    parts = shapely.get_parts(geometry)
    return len(shapely.get_coordinates(geometry)) - len(parts) - int(shapely.get_num_interior_rings(parts).sum())


def _label_before(text: str, start: int) -> str:
    match = LABEL.search(text[max(0, start - 300) : start])
    return match[1].rstrip(":") if match else ""


def _check_labels(labels: dict[str, list[str]]) -> None:
    for label in labels:
        if RESERVED.search(label):
            raise ValueError(f"the label {label!r} holds a bracket, a semicolon or outer spaces; rename the class")
