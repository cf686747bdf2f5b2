"""Florence-2's dialect: location tokens 0-999 after the label; four make a box, more a ring.

    ship<loc_10><loc_20><loc_300><loc_400>car<loc_500><loc_20><loc_600><loc_90>
    ship<loc_10><loc_20><loc_300><loc_400><loc_500><loc_20><loc_600><loc_90>        two boxes of one label
    pond<poly><loc_10><loc_20><loc_300>...<sep><loc_700>...</poly>                  one pond in two parts

The tokens name cells (floored) and mean their middles: `(b + 0.5) / 1000`; the transformers post-processor cuts that
to whole pixels, this reader does not. The same eight tokens are two boxes in detection and a quadrilateral in OCR and
segmentation; only the task says which. Here eight or more are boxes if each four are a box with its corners in
order, and a ring otherwise: of a ring that turns one way, opposite sides do not both run right and down.
`write` puts polygons in `<poly>`. Holes are lost, as in the original. No word for "nothing" is documented.
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

_TOKEN = re.compile(
    r"(?P<locs>(?:<loc_[0-9]{1,4}>\s?)++)|(?P<tag></?poly>|<sep>)|<[^<>]{0,40}>"
    rf"|(?P<label>[^<]{{1,{MAX_LABEL}}})"
)
_NUMBER = re.compile(r"[0-9]+")
_LOCS = r"(?:<loc_\d{1,3}>)"


class Florence2Dialect(Dialect):
    name = "florence-2"
    source = "microsoft/Florence-2-large, processing_florence2.py; transformers' Florence2PostProcessor"
    kinds = frozenset({"hbb", "polygon"})
    nothing = "None"
    steps = Steps(1000, "floor", cells=True)
    frame_note = "Frame.resize to 768 x 768"
    strict = re.compile(
        rf"None|(?:[^<]{{0,{MAX_LABEL}}}(?:{_LOCS}{{4,}}+|<poly>{_LOCS}{{6,}}+(?:<sep>{_LOCS}{{6,}}+)*</poly>))+"
    )

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (768, 768))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        labels = checked_labels(objects, "<>") if labelled else [""] * len(objects)
        return "".join(
            label + (self._rings(o.geometry, frame) if o.kind == "polygon" else self._box(o.geometry, frame))
            for label, o in zip(labels, objects, strict=True)
        )

    def _box(self, geometry: shapely.Geometry, frame: Frame) -> str:
        return _locs(self.steps.write_boxes(np.array([geometry.bounds]), frame))

    def _rings(self, geometry: shapely.Geometry, frame: Frame) -> str:
        parts = shapely.get_parts(geometry)
        if not len(parts) or any(part.geom_type != "Polygon" or part.is_empty for part in parts):
            raise ValueError(f"a {geometry.geom_type} cannot be said as rings in the dialect {self.name}")
        rings = [self.steps.write_ring(part.exterior, frame) for part in parts]
        return f"<poly>{'<sep>'.join(map(_locs, rings))}</poly>"

    def _read(self, reader: Reader) -> None:
        """Rings joined by `<sep>`, or within one `<poly>`, are parts of one object."""
        rings: list[list[float]] = []
        label, inside, start, end = "", False, 0, 0
        for match in _TOKEN.finditer(reader.text):
            if reader.full:
                break
            if match["locs"]:
                start = start if rings or inside else match.start()
                rings.append([float(v) for v in _NUMBER.findall(match["locs"])])
            elif match["tag"] != "<sep>":
                _take(reader, rings, inside, start, end, label)
                rings, inside = [], match["tag"] == "<poly>"
                start = match.start()
                label = (match["label"] or "").strip() or label
            end = match.end()
        cut = inside and not reader.full
        # what a cut off polygon has of its last ring is no ring
        _take(reader, rings[:-1] if cut else rings, inside, start, end, label)
        if cut:
            reader.note("truncated", start, end, "the last '<poly>' is not closed")
        reader.open_tail("<", ">")
        reader.if_nothing()

    def grammar(self) -> str:
        return (
            'start: "None" | (LABEL? (box | polygon))+\n'
            "box: LOC LOC LOC LOC\n"
            'polygon: "<poly>" ring ("<sep>" ring)* "</poly>"\n'
            "ring: LOC LOC LOC LOC LOC LOC (LOC LOC)*\n"
            "LOC: /<loc_(0|[1-9][0-9]{0,2})>/\n"
            "LABEL: /[^<>\\s]([^<>\\n]*[^<>\\s])?/\n"
        )


def _locs(steps: np.ndarray) -> str:
    return "".join(f"<loc_{step}>" for step in steps.ravel().tolist())


def _take(reader: Reader, rings: list[list[float]], inside: bool, start: int, end: int, label: str) -> None:
    """What stands between two labels or marks: rings of one polygon, or one run of tokens outside of `<poly>`."""
    if not rings:
        return
    values = rings[0]
    boxes = [values[i : i + 4] for i in range(0, len(values) - 3, 4)]
    ordered = all(x1 <= x2 and y1 <= y2 for x1, y1, x2, y2 in boxes)
    if inside or len(rings) > 1 or not (len(values) <= 5 or (len(boxes) > 1 and ordered)):
        reader.polygon(values, start, end, label, more=[(ring, ()) for ring in rings[1:]])
        return
    if len(values) % 4:
        reader.wrong_count(start, end, len(values), "a multiple of 4")
        boxes = boxes if len(boxes) > 1 else []
    for box in boxes:
        if reader.box(box, start, end, label) < 0:
            return
