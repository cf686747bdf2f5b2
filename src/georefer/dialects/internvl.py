"""InternVL's dialect: nested bracket lists 0-1000 in tags, one pair of tags for all boxes of a label; floored.

    <ref>ship</ref><box>[[10, 20, 300, 400], [500, 20, 600, 90]]</box>
    <ref>car</ref><box>[[250, 250, 400, 400]]</box>

Labels stand on lines of their own; a sentence and a fence around them, as in the documented detection data, are
fine. The authors floor (`int(x / width * 1000)`), which shifts every box half a number up and left on average, and
loses a box thinner than one. Their evaluation takes any bracket of four wherever it stands, so tags may be missing
here too; it also takes fractions of 1 for shares of the image, which would be a guess and is not done here.
Tiles do not matter: the numbers count along the whole image. No word for "nothing" is documented.
"""

from __future__ import annotations

import re
from typing import ClassVar

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import BRACKET, DIGIT, MAX_LABEL, checked_labels, label_runs, take_box
from georefer.geometry import Frame, Objects


def tagged_pattern(marks: tuple[str, str, str, str]) -> re.Pattern[str]:
    """A label in its tags or an innermost bracket, whichever comes first: brackets within a label are not boxes."""
    before, after = map(re.escape, marks[:2])
    return re.compile(rf"{before}(?P<label>[^<]{{0,{MAX_LABEL}}}){after}|{BRACKET}")


def tagged_strict(marks: tuple[str, str, str, str]) -> re.Pattern[str]:
    """Lists in tags, after a label or none, within text; a space after commas or none, as papers and code differ."""
    before, after, opening, closing = map(re.escape, marks)
    box = r"\[\d{1,4}(?:, ?\d{1,4}){3}\]"
    group = rf"(?:{before}[^<]{{1,{MAX_LABEL}}}{after})?{opening}\[{box}(?:, ?{box})*\]{closing}"
    return re.compile(rf"None|(?:[^<\[\]]{{0,1000}}{group})+[^<\[\]]{{0,1000}}")


class InternVLDialect(Dialect):
    name = "internvl"
    source = "InternVL documentation, grounding data; github.com/OpenGVLab/InternVL issues 227 and 285"
    nothing = "None"
    steps = Steps(1000, "floor")
    frame_note = "tiles of 448; numbers along the whole image"
    marks: ClassVar[tuple[str, str, str, str]] = ("<ref>", "</ref>", "<box>", "</box>")
    """Around a label, around a list."""
    strict = tagged_strict(marks)
    _pattern: ClassVar[re.Pattern[str]] = tagged_pattern(marks)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (448, 448))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        before, after, opening, closing = self.marks
        boxes = [str(box) for box in self.steps.write_boxes(objects.hbb_N4, frame).tolist()]
        labels = checked_labels(objects, "<>") if labelled else [""] * len(objects)
        return "\n".join(
            (f"{before}{label}{after}" if labelled else "") + f"{opening}[{', '.join(run)}]{closing}"
            for label, run in label_runs(labels, boxes)
        )

    def _read(self, reader: Reader) -> None:
        """A label holds for all brackets up to the next one."""
        label = ""
        for match in self._pattern.finditer(reader.text):
            if match["label"] is not None:
                label = match["label"].strip()
            elif DIGIT.search(match["body"]) and not take_box(reader, match, label):
                break
        opening, closing = self.marks[2:]
        if opening in reader.text:
            reader.open_tail(opening, closing)
        else:
            reader.open_tail("[", "]")
        reader.if_nothing()

    def grammar(self) -> str:
        before, after, opening, closing = self.marks
        return (
            'start: "None" | group ("\\n" group)*\n'
            f'group: ("{before}" LABEL "{after}")? "{opening}[" box (", " box)* "]{closing}"\n'
            'box: "[" N ", " N ", " N ", " N "]"\n'
            "LABEL: /[^<>\\s]([^<>\\n]*[^<>\\s])?/\n"
            "N: /0|[1-9][0-9]{0,3}/\n"
        )
