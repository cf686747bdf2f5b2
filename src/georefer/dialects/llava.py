"""LLaVA-1.5's dialect: boxes as shares of the padded square, two decimals; no labels.

    [0.10, 0.20, 0.30, 0.40], [0.50, 0.20, 0.60, 0.90]

The image is centred on a square of its longer side before it is resized, and the shares count along that square:
read along the image itself, a box of a 16:9 scene is off by up to a fifth of its height. Two decimals are what the
training data hold (a hundredth of the longer side, so small objects are lost); three are read as well.
No word for "nothing" is documented.
"""

from __future__ import annotations

import re

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import brackets, take_box
from georefer.geometry import Frame, Objects


class LLaVA15Dialect(Dialect):
    name = "llava-1.5"
    source = "github.com/haotian-liu/LLaVA, training mix 665k; issues 606 and 623"
    labelled = False
    nothing = "None"
    steps = Steps(100, decimals=2)
    frame_note = "Frame.square_padded, 336"
    strict = re.compile(r"None|(?:\[[01]\.\d{1,3}(?:, [01]\.\d{1,3}){3}\](?:, (?=\[)|\Z))+")

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.square_padded(scene_size, 336)

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame).tolist()
        return ", ".join(f"[{', '.join(map(self.steps.text, box))}]" for box in boxes_N4)

    def _read(self, reader: Reader) -> None:
        for match in brackets(reader):
            if not take_box(reader, match):
                break
        reader.open_tail("[", "]")
        reader.if_nothing()

    def grammar(self) -> str:
        return 'start: "None" | box (", " box)*\nbox: "[" N ", " N ", " N ", " N "]"\nN: /0\\.[0-9]{2}|1\\.00/\n'
