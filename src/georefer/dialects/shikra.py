"""Shikra's dialect: boxes as shares of the padded square, three decimals, all boxes of a phrase in one bracket.

    ship[0.100,0.200,0.300,0.400;0.500,0.200,0.600,0.900] car[0.250,0.250,0.400,0.400]

There are no spaces after commas; with them Shikra's own reader finds nothing, this one reads and notes it. The
bracket follows its phrase within running text ("The object[...] is here."), so a label is whatever stands between
the last bracket and this one. Shares count along the padded square, as in LLaVA-1.5. No word for "nothing" is
documented.
"""

from __future__ import annotations

import re

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import brackets, checked_phrases, label_runs, phrase_before, take_numbers
from georefer.geometry import Frame, Objects

_BOX = r"[01]\.\d{3}(?:,[01]\.\d{3}){3}"


class ShikraDialect(Dialect):
    name = "shikra"
    source = "github.com/shikras/shikra at ff79a4c, PlainBoxFormatter"
    nothing = "None"
    steps = Steps(1000, decimals=3)
    frame_note = "Frame.square_padded, 224"
    strict = re.compile(rf"None|(?:[^\[\]]{{0,1000}}\[{_BOX}(?:;{_BOX})*\])+[^\[\]]{{0,1000}}")

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.square_padded(scene_size, 224)

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame).tolist()
        boxes = [",".join(map(self.steps.text, box)) for box in boxes_N4]
        labels = checked_phrases(objects) if labelled else [""] * len(objects)
        return " ".join(f"{label}[{';'.join(run)}]" for label, run in label_runs(labels, boxes))

    def _read(self, reader: Reader) -> None:
        end = 0
        for match in brackets(reader):
            label = phrase_before(reader.text, end, match.start())
            self._boxes(reader, match.start("body"), match["body"].split(";"), label)
            end = match.end()
            if reader.full:
                break
        reader.open_tail("[", "]")
        if (tail := reader.text.rfind("[")) > reader.text.rfind("]"):
            # all boxes of a phrase share one bracket, so a cut off one holds more than the box that was cut
            label = phrase_before(reader.text, end, tail)
            self._boxes(reader, tail + 1, reader.text[tail + 1 :].split(";")[:-1], label)
        reader.if_nothing()

    def _boxes(self, reader: Reader, start: int, boxes: list[str], label: str) -> None:
        for box in boxes:
            # the last of a list that ends in a semicolon is no box
            if box.strip() and not take_numbers(reader, box, start, start + len(box), label):
                return
            start += len(box) + 1

    def grammar(self) -> str:
        return (
            'start: "None" | group (" " group)*\n'
            'group: LABEL? "[" box (";" box)* "]"\n'
            'box: N "," N "," N "," N\n'
            "LABEL: /[^\\[\\]\\s]([^\\[\\]\\n]*[^\\[\\]\\s])?/\n"
            "N: /0\\.[0-9]{3}|1\\.000/\n"
        )
