"""PaliGemma's dialect: four location tokens 0-1023 in the order y1, x1, y2, x2, then the label.

    <loc0100><loc0050><loc0500><loc0600> ship ; <loc0700><loc0050><loc0900><loc0200> car
    <loc0100><loc0050><loc0500><loc0600><seg038><seg120>... ship          sixteen codes: `segment ship`

Read x first, every box is mirrored on the diagonal. The authors' decoder divides by 1023 (supervision by 1024, up
to two pixels off in a large scene). The codes of a mask are tokens of a learned autoencoder and mean nothing without
its weights: the box is read, the codes can be had from `seg_codes`. No word for "nothing" is documented.
"""

from __future__ import annotations

import re

from georefer.dialects.base import Dialect
from georefer.dialects.reader import BOXES_WRITTEN_YXYX, Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import MAX_LABEL, checked_labels
from georefer.geometry import Frame, Objects

_OBJECT = re.compile(
    r"(?P<locs>(?:<loc[0-9]{1,4}>\s?)++)(?P<segs>(?:<seg[0-9]{1,3}>\s?)*+)"
    rf"(?P<label>[^<;\n]{{0,{MAX_LABEL}}})"
)
_NUMBER = re.compile(r"[0-9]+")
_STRICT = rf"(?:<loc\d{{4}}>){{4}}(?:(?:<seg\d{{3}}>){{16}})?(?: [^<;]{{1,{MAX_LABEL}}})?"


def seg_codes(text: str) -> list[list[int]]:
    """The mask codes (0-127) of every object in an answer, in order; an empty list where an object has none."""
    return [[int(v) for v in _NUMBER.findall(match["segs"])] for match in _OBJECT.finditer(text)]


class PaliGemmaDialect(Dialect):
    name = "paligemma"
    source = "github.com/google-research/big_vision, paligemma README and transforms"
    nothing = "None"
    steps = Steps(1023)
    frame_note = "Frame.resize to 224, 448 or 896 squared"
    strict = re.compile(rf"None|{_STRICT}(?: ; {_STRICT})*")

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (448, 448))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame)[:, BOXES_WRITTEN_YXYX]
        said = ["".join(f"<loc{step:04d}>" for step in box) for box in boxes_N4.tolist()]
        labels = checked_labels(objects, "<>;") if labelled else [""] * len(objects)
        return " ; ".join(f"{locs} {label}".strip() for locs, label in zip(said, labels, strict=True))

    def _read(self, reader: Reader) -> None:
        for match in _OBJECT.finditer(reader.text):
            values = [float(v) for v in _NUMBER.findall(match["locs"])]
            if len(values) == 4:
                box = [values[i] for i in BOXES_WRITTEN_YXYX]
                if reader.box(box, match.start(), match.end(), match["label"].strip()) < 0:
                    break
            elif match.end() == len(reader.text) and len(values) < 4:
                reader.note("truncated", match.start(), match.end(), f"{match[0]!r} is cut off")
            else:
                reader.wrong_count(match.start(), match.end(), len(values), 4)
        reader.open_tail("<", ">")
        reader.if_nothing()

    def grammar(self) -> str:
        return (
            'start: "None" | (place (" ; " | " " FOLLOWED))* place (" " LABEL)?\n'
            "place: LOC LOC LOC LOC\n"
            "LOC: /<loc(0[0-9]{3}|10[01][0-9]|102[0-3])>/\n"
            "LABEL: /[^<>;\\s]([^<>;\\n]*[^<>;\\s])?/\n"
            "FOLLOWED: /[^<>;\\s]([^<>;\\n]*[^<>;\\s])? ; /\n"
        )
