"""GeoGround: boxes, oriented boxes and grid masks as plain text in three tags, and no labels.

    <box>[[155, 143, 250, 238], [906, 47, 1000, 141]]</box>   x1, y1, x2, y2 in per mille, truncated
    <obb>[[15, 65, 15, 14, 0]]</obb>                          xc, yc, w, h in percent and whole degrees, truncated
    <seg>0 *4; 0 *1, 1 *2, 0 *1; 0 *4; 0 *4;</seg>            N x N cells of the whole image, runs row by row
    <seg>0,0,0,0;0,1,1,0;0,0,0,0;0,0,0,0</seg>                the same, dense

A question marks its expression, <ref>the red car</ref> (`marked`). Traps: both sides of an oriented box are percent of
the image's WIDTH; w is the long side and the angle that of "le90", -90 <= angle < 90, clockwise on the screen, in the
pixels of the scene. The figure in the paper shows another sign, w < h and 0-90: do not test with it. Truncation moves
everything up and left and makes sides shorter: objects below a hundredth of the width have no side left, and one below
5 % seldom comes back with IoU 0.5; a side longer than the width is cut to it. A cell is set where the object covers
any of it, so masks are up to a cell too large all around. Several objects share a tag, except masks. What the model
says where there is nothing is not published; a mask without a set cell is read as that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import shapely

from georefer.dialects.base import Dialect
from georefer.dialects.oriented import Said, enough, hand_in, rows_of, within
from georefer.dialects.reader import Reader
from georefer.dialects.runs import GeoGroundRuns
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import brackets, numbers
from georefer.geometry import Frame, Objects
from georefer.geometry.angles import CONVENTIONS, to_convention
from georefer.geometry.raster_grid import coverages, grid_to_geometry, pooled
from georefer.geometry.repair import areas_only

MAX_MASKS = 100
"""Masks read from one answer; each costs as much as many boxes."""

CENT = 100
"""Steps of oriented boxes along each side."""

RUNS = GeoGroundRuns()

_BOX, _OBB = r"\[\d{1,4}(?:, ?\d{1,4}){3}\]", r"\[\d{1,3}(?:, ?\d{1,3}){3}, ?-?\d{1,2}\]"
_ROW = r"[01] \*\d{1,2}(?:, [01] \*\d{1,2})*"
_PART = (
    rf"(?:<box>\[{_BOX}(?:, ?{_BOX})*\]</box>|<obb>\[{_OBB}(?:, ?{_OBB})*\]</obb>"
    rf"|<seg>(?:{_ROW}(?:; {_ROW})*;|[01](?:[,;][01])*)</seg>)"
)
_TAG = re.compile(r"<\s{0,3}(?P<close>/?)\s{0,3}(?P<kind>box|obb|seg|ref)\s{0,3}>", re.IGNORECASE)


def marked(expression: str) -> str:
    """The expression of a question between its marks."""
    if not expression.strip() or re.search(r"[<>]", expression):
        raise ValueError(f"the expression {expression!r} is empty or holds '<' or '>'; phrase it without")
    return f"<ref>{expression}</ref>"


class GeoGroundDialect(Dialect):
    """Neighbours of one kind share a tag; a mask has its own.

    An oriented box comes back with its centre up to one hundredth of the image's sides up and left, its sides up to
    one hundredth of the width shorter, and its angle less than a degree nearer to 0. One that sticks out of the image
    is written and read whole, as long as its centre is inside.
    """

    source = "arXiv 2411.11904 v3; its author's sibling code (AirSpatialBot) and a re-run of the published weights"
    kinds = frozenset({"hbb", "obb", "mask"})
    labelled = False
    nothing = "None"
    steps = Steps(1000, "floor")
    turned_steps = Steps(CENT, "floor")
    """Of oriented boxes."""
    frame_note = "Frame.resize 336"
    strict = re.compile(rf"None|{_PART}(?: ?{_PART})*")

    def __init__(self, cells: int = 16) -> None:
        self.cells = cells
        self.name = "geoground" if cells == 16 else f"geoground-{cells}"

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (336, 336))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        parts = []
        for kind, run in groupby(range(len(objects)), key=lambda i: objects.kinds_N[i]):
            some = objects[list(run)]
            if kind == "hbb":
                parts.append(f"<box>{self.steps.write_boxes(some.hbb_N4, frame).tolist()}</box>")
            elif kind == "obb":
                parts.append(f"<obb>{self._turned(some, frame).tolist()}</obb>")
            else:
                boxes_N4 = np.tile(whole_image(frame), (len(some), 1))
                grids_NRC = pooled(coverages(some.geometries_N, boxes_N4, self.cells, self.cells), "any")
                parts += [f"<seg>{text}</seg>" for text in RUNS.write_many(grids_NRC)]
        return " ".join(parts)

    def _turned(self, objects: Objects, frame: Frame) -> np.ndarray:
        """xc, yc, w, h, angle as whole numbers (N, 5)."""
        rows_N5 = to_convention(rows_of(objects), CONVENTIONS["le90"])
        sides_N2 = np.clip(np.floor(rows_N5[:, 2:4] / frame.extent_width * CENT + 1e-9), 0, CENT)
        # the same nudge as in Steps.write: 30 degrees come back from corners as 29.9999
        angles_N = np.trunc(rows_N5[:, 4] + np.copysign(1e-9, rows_N5[:, 4]))
        angles_N[angles_N == 90] = -90
        centres_N2 = self.turned_steps.write(rows_N5[:, :2], frame)
        return np.column_stack([centres_N2, sides_N2, angles_N]).astype(np.int64)

    # --- reading -----------------------------------------------------------------------------------------

    def _read(self, reader: Reader) -> None:
        said: list[Said] = []
        empty: list[tuple[int, int]] = []
        masks = 0
        for kind, start, end, closed in _parts(reader):
            if kind == "seg":
                masks += 1
                if masks > MAX_MASKS:
                    reader.note("too-many", start, len(reader.text), f"only the first {MAX_MASKS} masks are read")
                    break
                grid_RC = square_grid(RUNS, reader, start, end, closed, self.cells)
                if grid_RC is not None and not grid_RC.any():
                    empty.append((start, end))
                elif grid_RC is not None:
                    said.append(Said("mask", cells_in_scene(grid_RC, reader.frame), start, end))
            else:
                self._lists(reader, kind, start, end, said)
            if not closed:
                reader.note("truncated", start, end, f"<{kind}> is not closed")
            if enough(reader, said):
                break
        hand_in(reader, said)
        if empty and not said and not reader.problems:
            reader.says_none = True
        elif empty:
            reader.note("empty-shape", *empty[0], "a mask has no set cell")
        reader.if_nothing()

    def _lists(self, reader: Reader, kind: str, start: int, end: int, said: list[Said]) -> None:
        count = 4 if kind == "box" else 5
        before = len(said), len(reader.problems)
        for match in brackets(reader, start, end):
            place = (match.start(), match.end())
            values = numbers(match["body"])
            if values is None:
                reader.note("not-a-number", *place, f"{reader.quote(*place)!r} is not a list of numbers")
            elif len(values) != count:
                reader.wrong_count(*place, len(values), count)
            elif kind == "box":
                said.append(Said("hbb", values, *place))
            else:
                said.append(Said("obb", self._row(reader, values, place), *place))
            if enough(reader, said):
                return
        if before == (len(said), len(reader.problems)) and reader.text[start:end].strip(" \n[]"):
            reader.note("unreadable", start, end, f"<{kind}> holds no list of numbers")

    def _row(self, reader: Reader, values: list[float], place: tuple[int, int]) -> list[float]:
        """Percent and degrees as a row in scene pixels; the sides may come in either order."""
        if any(v != int(v) for v in values):
            reader.note("not-integer", *place, f"{reader.quote(*place)} has fractions")
        x, y, w, h, angle = within(reader, values, [0, 0, 0, 0, -90], [CENT] * 4 + [90], place).tolist()
        ((cx, cy),) = self.turned_steps.read(np.array([[x, y]]), reader.frame).tolist()
        width = reader.frame.extent_width
        return [cx, cy, w * width / CENT, h * width / CENT, angle]

    def grammar(self) -> str:
        return (
            'start: "None" | part (" " part)*\n'
            'part: "<box>[" box (", " box)* "]</box>" | "<obb>[" obb (", " obb)* "]</obb>"\n'
            '    | "<seg>" row ("; " row)* ";</seg>"\n'
            'box: "[" MILLE ", " MILLE ", " MILLE ", " MILLE "]"\n'
            'obb: "[" CENT ", " CENT ", " CENT ", " CENT ", " ANGLE "]"\n'
            'row: run (", " run)*\n'
            'run: ("0" | "1") " *" COUNT\n'
            "MILLE: /1000|[1-9]?[0-9]{1,2}/\n"
            "CENT: /100|[1-9]?[0-9]/\n"
            "ANGLE: /-?[1-9]?[0-9]/\n"
            "COUNT: /[1-9][0-9]?/\n"
        )


def whole_image(frame: Frame) -> np.ndarray:
    """What the model is shown, (4,), in scene pixels: padding is part of it."""
    return np.array([frame.x, frame.y, frame.x + frame.extent_width, frame.y + frame.extent_height])


def cells_in_scene(grid_RC: np.ndarray, frame: Frame) -> shapely.Geometry:
    """Set cells as an area of the scene; padding is cut off."""
    area = grid_to_geometry(grid_RC, whole_image(frame))
    scene = shapely.box(0, 0, frame.scene_width, frame.scene_height)
    return area if scene.contains(area) else areas_only(np.array([shapely.intersection(area, scene)]))[0]


def square_grid(codec: Any, reader: Reader, start: int, end: int, closed: bool, cells: int) -> np.ndarray | None:
    """The grid that characters start to end say; None, and problems, where there is none.

    Its rows tell how wide it is, and it is as high as wide. Of one that is cut off within its first row nothing
    tells, and it has `cells` columns.
    """
    text = reader.text[start:end]
    grid_RC, problems = codec.read(text)
    if grid_RC is not None and (not closed or grid_RC.shape[0] != grid_RC.shape[1]):
        side = grid_RC.shape[1] if closed or grid_RC.shape[0] > 1 else cells
        grid_RC, problems = codec.read(text, (side, side))
    for kind, first, last, message in problems:
        reader.note(kind, start + first, start + last, message)
    return grid_RC


def _parts(reader: Reader) -> Iterator[tuple[str, int, int, bool]]:
    """Kind, characters between the tags, and whether the closing tag is there; either tag may be missing."""
    opened: str | None = None
    last = 0
    for tag in _TAG.finditer(reader.text):
        kind = tag["kind"].lower()
        if opened and opened != "ref":
            yield opened, last, tag.start(), bool(tag["close"]) and kind == opened
        elif opened is None and tag["close"] and kind != "ref" and reader.text[last : tag.start()].strip():
            yield kind, last, tag.start(), True
        opened = None if tag["close"] else kind
        last = tag.end()
    if opened and opened != "ref":
        yield opened, last, len(reader.text), False
