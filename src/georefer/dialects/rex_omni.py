"""Rex-Omni's dialect: coordinate tokens 0-999 in the marks of Qwen2-VL; two are a point, four a box, more a ring.

    <|object_ref_start|>ship<|object_ref_end|><|box_start|><10><20><300><400>,<500><20><600><90><|box_end|>, <|object...
    <|object_ref_start|>car<|object_ref_end|><|box_start|>None<|box_end|>

Commas part the shapes of a label and nothing else does. The numbers are cut off (`int(v * 999)`) and divided by 999.
The last shape of an answer without its closing mark is kept only if it has four tokens: two or six may be what is
left of a box or a ring. Keypoints, which Rex-Omni says in JSON, are not read.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import MAX_LABEL, checked_labels, label_runs
from georefer.geometry import Frame, Objects

_MARK = re.compile(
    rf"<\|object_ref_start\|>(?P<label>[^<]{{0,{MAX_LABEL}}})<\|object_ref_end\|>"
    r"|(?P<none><\|box_start\|>\s?None\s?<\|box_end\|>)|(?P<run>(?:<[0-9]{1,4}>\s?)++)"
)
_NUMBER = re.compile(r"[0-9]+")
_RUN = r"(?:<\d{1,3}>)"
_SHAPE = rf"(?:{_RUN}{{4,}}+|{_RUN}{{2}})"
_LABEL = rf"(?:<\|object_ref_start\|>[^<]{{1,{MAX_LABEL}}}<\|object_ref_end\|>)?"


class RexOmniDialect(Dialect):
    name = "rex-omni"
    source = "github.com/IDEA-Research/Rex-Omni at 478e44f, evaluation/inference_text_prompt.py and its data classes"
    kinds = frozenset({"hbb", "point", "polygon"})
    nothing = "<|box_start|>None<|box_end|>"
    steps = Steps(999, "floor")
    frame_note = "Frame.qwen, factor 28"
    strict = re.compile(rf"(?:{_LABEL}<\|box_start\|>(?:None|{_SHAPE}(?:, ?{_SHAPE})*)<\|box_end\|>(?:, (?=<)|\Z))+")

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size)

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        said = ["".join(f"<{step}>" for step in self._steps(o, frame).ravel().tolist()) for o in objects]
        labels = checked_labels(objects, "<>") if labelled else [""] * len(objects)
        return ", ".join(
            (f"<|object_ref_start|>{label}<|object_ref_end|>" if labelled else "")
            + f"<|box_start|>{','.join(run)}<|box_end|>"
            for label, run in label_runs(labels, said)
        )

    def _steps(self, one, frame: Frame) -> np.ndarray:
        if one.kind == "hbb":
            return self.steps.write_boxes(np.array([one.geometry.bounds]), frame)
        if one.kind == "point":
            return self.steps.write(np.array([[one.geometry.x, one.geometry.y]]), frame)
        if one.geometry.geom_type != "Polygon":
            raise ValueError(f"a {one.geometry.geom_type} cannot be said as one ring in the dialect {self.name}")
        return self.steps.write_ring(one.geometry.exterior, frame)

    def _read(self, reader: Reader) -> None:
        label, none = "", False
        open_from = reader.text.rfind("<|box_start|>")
        open_from = open_from if open_from > reader.text.rfind("<|box_end|>") else len(reader.text)
        last = max((m.end() for m in _MARK.finditer(reader.text, open_from) if m["run"]), default=-1)
        for match in _MARK.finditer(reader.text):
            if match["label"] is not None:
                label = match["label"].strip()
            elif match["none"]:
                none = True
            elif self._shape(reader, match, label, cut=match.end() == last) < 0 and reader.full:
                break
        reader.open_tail("<|box_start|>", "<|box_end|>")
        if none and not len(reader):
            reader.says_none = True
        reader.if_nothing("None")

    def _shape(self, reader: Reader, match: re.Match[str], label: str, cut: bool) -> int:
        values = [float(v) for v in _NUMBER.findall(match["run"])]
        place = (match.start(), match.end(), label)
        if len(values) == 4:
            return reader.box(values, *place)
        if cut:
            return -1
        if len(values) == 2:
            return reader.point(values, *place)
        return reader.polygon(values, *place)

    def grammar(self) -> str:
        return (
            'start: "<|box_start|>None<|box_end|>" | group (", " group)*\n'
            'group: label? "<|box_start|>" shape ("," shape)* "<|box_end|>"\n'
            'label: "<|object_ref_start|>" LABEL "<|object_ref_end|>"\n'
            "shape: N N | N N N N | N N N N N N (N N)*\n"
            "LABEL: /[^<>\\s]([^<>\\n]*[^<>\\s])?/\n"
            "N: /<(0|[1-9][0-9]{0,2})>/\n"
        )
