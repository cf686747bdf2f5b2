"""Text4Seg: the label of every cell of a 16 x 16 grid, in runs; several labels in one grid.

    <seg>others *16
     others *5| red car *3| others *8
     ...
     others *16
    </seg>

Rows are joined by a newline and a space and end with a newline, runs by "| "; a sentence may stand before. A cell has
the label of what lies at its centre (nearest sampling, as the original's resize of its masks), and `others` where
nothing does. Traps: an object that covers no centre is lost (half of all 32 px objects in 800 px images); later
objects cover earlier ones; objects of one label are one mask when read; a label with "|" or "*" cannot be said, nor
one called "others". The original repeats the last label where a row is too short; we leave such cells empty.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.geoground import MAX_MASKS, cells_in_scene, square_grid, whole_image
from georefer.dialects.grid_reader import MAX_TEXT
from georefer.dialects.oriented import Said, hand_in
from georefer.dialects.reader import Reader
from georefer.dialects.runs import RESERVED, Text4SegRuns
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import checked_labels
from georefer.geometry import Frame, Objects
from georefer.geometry.raster_grid import centre_cells

CELLS = 16
OTHERS = "others"
MAX_LABELS = 255

_RUN = r"(?!\s)[^|*\n<>]{1,200} \*\d{1,2}"
_ROW = rf"{_RUN}(?:\| {_RUN})*"


class Text4SegDialect(Dialect):
    """Masks of the same label become one; without labels every mask is called "object"."""

    name = "text4seg"
    source = "github.com/mc-lan/Text4Seg at d6540b6"
    kinds = frozenset({"mask"})
    nothing = f"<seg>{Text4SegRuns((OTHERS,)).write(np.zeros((CELLS, CELLS), dtype=np.uint8))}</seg>"
    steps = Steps(CELLS, cells=True)
    frame_note = "Frame.resize 336"
    cells = CELLS
    strict = re.compile(rf"[^<>]{{0,300}}<seg>{_ROW}(?:\n {_ROW})*\n</seg>")
    _part = re.compile(r"<seg>|</seg>", re.IGNORECASE)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (336, 336))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        said = checked_labels(objects, "|*<>") if labelled else ["object"] * len(objects)
        labels = tuple(dict.fromkeys(said))
        if len(labels) > MAX_LABELS or OTHERS in (label.lower() for label in labels):
            raise ValueError(f"more than {MAX_LABELS} labels, or one called {OTHERS!r}; rename the class")
        grid_RC = np.zeros((CELLS, CELLS), dtype=np.uint8)
        for geometry, label in zip(objects.geometries_N, said, strict=True):
            grid_RC[centre_cells(geometry, whole_image(frame), CELLS, CELLS)] = 1 + labels.index(label)
        return f"<seg>{Text4SegRuns((OTHERS, *labels)).write(grid_RC)}</seg>"

    def _read(self, reader: Reader) -> None:
        said: list[Said] = []
        grids, last, is_open = 0, 0, False
        tags = [(m.start(), m.end(), m[0].startswith("</")) for m in self._part.finditer(reader.text)]
        for start, end, closes in [*tags, (len(reader.text), len(reader.text), False)]:
            # a closing tag alone ends a grid too, if anything stands before it
            if is_open or (closes and reader.text[last:start].strip()):
                grids += 1
                if grids > MAX_MASKS:
                    reader.note("too-many", last, len(reader.text), f"only the first {MAX_MASKS} grids are read")
                    break
                self._grid(reader, last, start, closes, said)
            is_open, last = not closes, end
        hand_in(reader, said)
        reader.says_none = bool(grids) and not said and not reader.problems

    def _grid(self, reader: Reader, start: int, end: int, closed: bool, said: list[Said]) -> None:
        """Every label of one grid as a mask, in order of first appearance."""
        if not closed:
            reader.note("truncated", start, end, "<seg> is not closed")
        labels = _labels(reader.text[start:end])
        grid_RC = square_grid(Text4SegRuns(labels), reader, start, end, closed, CELLS)
        if grid_RC is None:
            return
        for i, label in enumerate(labels):
            if label.lower() != OTHERS and (grid_RC == i).any() and len(said) < MAX_MASKS:
                said.append(Said("mask", cells_in_scene(grid_RC == i, reader.frame), start, end, label))

    def grammar(self) -> str:
        return (
            'start: "<seg>" row ("\\n " row)* "\\n</seg>"\n'
            'row: run ("| " run)*\n'
            "run: LABELLED COUNT\n"
            "LABELLED: /[^|*<>\\s]([^|*<>\\n]*[^|*<>\\s])? \\*/\n"
            "COUNT: /1[0-6]|[1-9]/\n"
        )


def _labels(text: str) -> tuple[str, ...]:
    """`others` and every label that has a count somewhere."""
    labels = {OTHERS: None}
    for row in text[:MAX_TEXT].split("\n"):
        for token in row.split("|"):
            label = token.rpartition("*")[0].strip()
            if label and len(label) <= 200 and not RESERVED.search(label):
                labels[label] = None
                if len(labels) > MAX_LABELS:
                    return tuple(labels)
    return tuple(labels)
