"""GLM-4.xV's dialect: a nested bracket list 0-1000 within box marks; no labels.

    <|begin_of_box|>[[10, 20, 300, 400], [500, 20, 600, 90]]<|end_of_box|>        or the list alone

The marks enclose the final answer of any task, not boxes as such. The models think aloud before it and try boxes
out; where marks are, only what they enclose counts, and nothing within `<think>` ever does. Numbers are rounded.
"""

from __future__ import annotations

import re

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.tagged import brackets, take_box
from georefer.geometry import Frame, Objects

_BOX = r"\[\d{1,4}(?:, ?\d{1,4}){3}\]"
_LIST = rf"(?:\[{_BOX}(?:, ?{_BOX})*\]|{_BOX})"
_OPENING, _CLOSING = "<|begin_of_box|>", "<|end_of_box|>"

_MARKED = re.compile(r"<\|begin_of_box\|>(?P<body>.*?)(?:<\|end_of_box\|>|\Z)", re.DOTALL)


class GLM4VDialect(Dialect):
    name = "glm-4v"
    source = "model cards of GLM-4.1V-Thinking, GLM-4.5V and GLM-4.6V (zai-org)"
    labelled = False
    nothing = f"{_OPENING}[]{_CLOSING}"
    frame_note = "Frame.qwen, factor 28"
    strict = re.compile(
        r"(?:<think>(?:[^<]++|<(?!/?think>))*+</think>\s?)?(?:<answer>)?[^<\[\]]{0,2000}"
        rf"(?:<\|begin_of_box\|>(?:\[\]|{_LIST})<\|end_of_box\|>|{_LIST})[^<\[\]]{{0,2000}}(?:</answer>)?"
    )

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size)

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        return f"{_OPENING}{self.steps.write_boxes(objects.hbb_N4, frame).tolist()}{_CLOSING}"

    def _read(self, reader: Reader) -> None:
        text = reader.text
        end = text.rfind("</think>")
        start = 0 if end < 0 else end + len("</think>")
        if text.rfind("<think>") > end:
            reader.open_tail("<think>", "</think>")
            return
        marked = [match.span("body") for match in _MARKED.finditer(text, start)]
        for span in marked or [(start, len(text))]:
            for match in brackets(reader, *span):
                if not take_box(reader, match):
                    return
        reader.open_tail(*((_OPENING, _CLOSING) if marked else ("[", "]")))
        reader.if_nothing(self.nothing, f"{_OPENING}None{_CLOSING}", "[]", "[[]]", "None", start=start)

    def grammar(self) -> str:
        return (
            f'start: "{_OPENING}[" (box (", " box)*)? "]{_CLOSING}"\n'
            'box: "[" N ", " N ", " N ", " N "]"\n'
            "N: /0|[1-9][0-9]{0,3}/\n"
        )
