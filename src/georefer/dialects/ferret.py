"""Ferret's dialect: integers 0-1000 in a bracket after each phrase; floored.

    ship [10, 20, 300, 400], ship [500, 20, 600, 90], car [250, 250, 400, 400]

The phrase is repeated for every box. In running text a label is whatever stands between the last bracket and this
one, less the comma that joins them; brackets that follow each other share a label. The image is stretched to a
square, not padded as in the other families of its time. Ferret cuts numbers off (`int`). No word for "nothing" is
documented.
"""

from __future__ import annotations

import re

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import brackets, checked_phrases, phrase_before, take_box
from georefer.geometry import Frame, Objects


class FerretDialect(Dialect):
    name = "ferret"
    source = "github.com/apple/ml-ferret, evaluation code and Ferret-UI's data scaling"
    nothing = "None"
    steps = Steps(1000, "floor")
    frame_note = "Frame.resize to 336 x 336"
    strict = re.compile(r"None|(?:[^\[\]]{0,1000}\[\d{1,4}(?:, \d{1,4}){3}\])+[^\[\]]{0,1000}")

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (336, 336))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame).tolist()
        labels = checked_phrases(objects) if labelled else [""] * len(objects)
        return ", ".join(f"{label} {box}".strip() for label, box in zip(labels, boxes_N4, strict=True))

    def _read(self, reader: Reader) -> None:
        label, end = "", 0
        for match in brackets(reader):
            label = phrase_before(reader.text, end, match.start()) or label
            end = match.end()
            if not take_box(reader, match, label):
                break
        reader.open_tail("[", "]")
        reader.if_nothing()

    def grammar(self) -> str:
        return (
            'start: "None" | object (", " object)*\n'
            'object: LABELLED? "[" N ", " N ", " N ", " N "]"\n'
            "LABELLED: /[^\\[\\]\\s]([^\\[\\]\\n]*[^\\[\\]\\s])? /\n"
            "N: /0|[1-9][0-9]{0,3}/\n"
        )
