"""GeoChat's braces, with and without an angle, and VRSBench's: whole numbers 0-100, one step a hundredth of the side.

    GeoChat   <p>ship</p> {<19><76><30><98>|<39>}<delim>{<74><69><80><100>}
    VRSBench  {<64><76><70><100>}                                            floored, one box, no label

The first four numbers are corners x1, y1, x2, y2 of a rectangle along the axes, the fifth turns it about its centre,
in degrees and in pixels of the scene. Traps: which way it turns was never said, and GeoChat's two demo decoders turn
opposite ways (for a 20 x 10 box at 30 degrees their IoU is 0.41), hence two dialects and no verdict. The rectangle
before turning may reach out of the image although the object does not; where its angle is above 45 it is then said
the other way round (sides swapped, the angle less by 90), and what still reaches out is cut off. Numbers in hundredths
are coarse: 12 px objects in 1024 px images come back with an IoU below one half on average. What these models say
where there is nothing, and what stands between boxes of several labels, is not published.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.oriented import BRACE, Said, brace_numbers, enough, hand_in, rows_of, within
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import checked_labels, label_runs
from georefer.geometry import Frame, Objects
from georefer.geometry.angles import AngleConvention, to_convention

CENT = 100

_FOUR = r"<\d{1,3}><\d{1,3}><\d{1,3}><\d{1,3}>"
_BOX = rf"\{{{_FOUR}(?:\|<-?\d{{1,3}}>)?\}}"
_GROUP = rf"(?:<p>[^<>{{}}]{{1,200}}</p> ?)?{_BOX}(?:<delim>{_BOX})*"


class GeoChatDialect(Dialect):
    """Oriented boxes are written with angles of 0 to 90 where that fits into the image, and read with any angle.

    What is written comes back with its centre within half a step along each axis, its sides within one step, and its
    heading within half a degree (as long as a box is not widened to a step, nor cut off).
    """

    source = "github.com/mbzuai-oryx/GeoChat (demo and inference code); issue 5 asks for the angle, unanswered"
    kinds = frozenset({"hbb", "obb"})
    nothing = "None"
    steps = Steps(CENT)
    frame_note = "Frame.resize 504; numbers count along the whole image"
    strict = re.compile(rf"None|{_GROUP}(?: {_GROUP})*")
    _mark = re.compile(rf"<p>(?P<label>[^<>]{{0,200}})</p>|{BRACE}", re.IGNORECASE)

    def __init__(self, clockwise: bool) -> None:
        self.name = "geochat-cw" if clockwise else "geochat-ccw"
        self._convention = AngleConvention("geochat", 0.0, 90.0, "left", False, "deg", clockwise)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (504, 504))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        """Boxes in the order given; neighbours of one label share it."""
        turned_N = objects.kinds_N == "obb"
        boxes_N4, angles_N = objects.hbb_N4.copy(), np.zeros(len(objects))
        boxes_N4[turned_N], angles_N[turned_N] = self._unturned(rows_of(objects[turned_N]), frame)
        said = [
            "{" + "".join(f"<{n}>" for n in box) + (f"|<{angle:.0f}>}}" if turned else "}")
            for box, angle, turned in zip(
                self.steps.write_boxes(boxes_N4, frame).tolist(), angles_N, turned_N, strict=True
            )
        ]
        if not labelled:
            return "<delim>".join(said)
        groups = label_runs(checked_labels(objects, "<>{}"), said)
        return " ".join(f"<p>{label}</p> {'<delim>'.join(boxes)}" for label, boxes in groups)

    def _unturned(self, rows_M5: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (M, 4) before turning, and whole degrees (M,)."""
        said_M5 = to_convention(rows_M5, self._convention)
        numbers_M22 = frame.to_numbers(_around(said_M5).reshape(-1, 2, 2), self.steps.tops(frame))
        out_M = np.maximum(-numbers_M22, numbers_M22 - CENT).max(axis=(1, 2), initial=0.0)
        # half a step is rounding; and of the two ways the one with less to turn reaches out less
        swap_M = (out_M > 0.5) & (said_M5[:, 4] > 45)
        said_M5[swap_M] = said_M5[swap_M][:, [0, 1, 3, 2, 4]] - (0, 0, 0, 0, 90)
        return _around(said_M5), np.rint(said_M5[:, 4]) + 0.0  # + 0.0 makes a -0.0 of it 0.0

    def _read(self, reader: Reader) -> None:
        """A label holds for the boxes up to the next label; four numbers are a box along the axes."""
        said, label = [], ""
        for match in self._mark.finditer(reader.text):
            if match["label"] is not None:
                label = match["label"].strip()
            elif (values := brace_numbers(reader, match, (4, 5))) is not None:
                place = (match.start(), match.end(), label)
                if len(values) == 4:
                    said.append(Said("hbb", values, *place))
                else:
                    said.append(Said("obb", self._turned(reader, values, place[:2]), *place))
            if enough(reader, said):
                break
        hand_in(reader, said)
        reader.if_nothing()

    def _turned(self, reader: Reader, values: list[float], place: tuple[int, int]) -> list[float]:
        """Corners and an angle as a row in scene pixels."""
        if any(v != int(v) for v in values):
            reader.note("not-integer", *place, f"{reader.quote(*place)} has fractions")
        x1, y1, x2, y2, angle = within(reader, values, [0] * 4 + [-180], [CENT] * 4 + [180], place).tolist()
        if x1 > x2 or y1 > y2:
            reader.note("swapped", *place, f"{reader.quote(*place)} has its corners in another order")
        corners_22 = np.array([[min(x1, x2), min(y1, y2)], [max(x1, x2), max(y1, y2)]])
        (x1, y1), (x2, y2) = self.steps.read(corners_22, reader.frame).tolist()
        heading = angle if self._convention.clockwise else -angle
        return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, heading]

    def grammar(self) -> str:
        return (
            'start: "None" | group (" " group)*\n'
            'group: ("<p>" LABEL "</p> ")? box ("<delim>" box)*\n'
            'box: "{<" N "><" N "><" N "><" N ">" ("|<" ANGLE ">")? "}"\n'
            "LABEL: /[^<>{}\\s]([^<>{}\\n]*[^<>{}\\s])?/\n"
            "N: /100|[1-9]?[0-9]/\n"
            "ANGLE: /-?[1-9]?[0-9]/\n"
        )


class VRSBenchDialect(Dialect):
    """The referring boxes of VRSBench; its two forms with angles are said by its scorer only, never by models."""

    name = "vrsbench"
    source = "github.com/lx709/VRSBench at d38cee1, compute_metrics notebook and evaluation files"
    labelled = False
    nothing = "None"
    steps = Steps(CENT, "floor")
    frame_note = "any; the images are 512 px patches"
    strict = re.compile(rf"None|\{{{_FOUR}\}}(?: \{{{_FOUR}\}})*")
    _mark = re.compile(BRACE)

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame).tolist()
        return " ".join("{" + "".join(f"<{n}>" for n in box) + "}" for box in boxes_N4)

    def _read(self, reader: Reader) -> None:
        said: list[Said] = []
        for match in self._mark.finditer(reader.text):
            if (values := brace_numbers(reader, match, (4,))) is not None:
                said.append(Said("hbb", values, match.start(), match.end()))
            if enough(reader, said):
                break
        hand_in(reader, said)
        reader.if_nothing()

    def grammar(self) -> str:
        return 'start: "None" | box (" " box)*\nbox: "{<" N "><" N "><" N "><" N ">}"\nN: /100|[1-9]?[0-9]/\n'


def _around(rows_M5: np.ndarray) -> np.ndarray:
    return np.concatenate([rows_M5[:, :2] - rows_M5[:, 2:4] / 2, rows_M5[:, :2] + rows_M5[:, 2:4] / 2], axis=1)
