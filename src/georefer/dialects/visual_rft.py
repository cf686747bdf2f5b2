"""Visual-RFT: a Python list of boxes 0-1000 with a confidence each, between tags, after a thought.

    <think> ... </think> <answer>[{'Position': [242, 11, 638, 296], 'Confidence': 0.9}]</answer>
    <answer>No Objects</answer>                                                          nothing

Traps: the quotes are Python's, so a JSON parser fails; x1, y1, x2, y2 as its base Qwen2-VL says them, in per mille of
the image. One question asks for one class, so there is no label. The confidence becomes the score; a box without a
score is written with 1, as the ground truth of the training data is. Answers are written without a thought.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.jsonish import number_list
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.thought import BOX, answer_span, each_row, if_none, strict_answer
from georefer.geometry import Frame, Objects

_ROW = rf"\{{'Position': ?{BOX}, ?'Confidence': ?(?:0(?:\.\d{{1,9}})?|1(?:\.0{{1,9}})?)\}}"


class VisualRFTDialect(Dialect):
    name = "visual-rft"
    source = "github.com/Liuziyu77/Visual-RFT (arXiv 2503.01785), detection prompt and grpo.py"
    labelled = False
    nothing = "<answer>No Objects</answer>"
    steps = Steps(1000)
    strict = re.compile(strict_answer(rf"'?No Objects'?|\[{_ROW}(?:, ?{_ROW})*+\]"))
    _none = re.compile(r"\s*['\"]?no objects?['\"]?\s*\.?\s*|\s*\[\s*\]\s*", re.IGNORECASE)

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        scores_N = np.where(np.isnan(objects.scores_N), 1.0, objects.scores_N)
        if scores_N.min() < 0 or scores_N.max() > 1:
            raise ValueError(f"the dialect {self.name} says scores from 0 to 1, not {scores_N.min()}..{scores_N.max()}")
        boxes_N4 = self.steps.write_boxes(objects.hbb_N4, frame)
        rows = [
            f"{{'Position': {box}, 'Confidence': {round(score, 2):g}}}"
            for box, score in zip(boxes_N4.tolist(), scores_N.tolist(), strict=True)
        ]
        return f"<answer>[{', '.join(rows)}]</answer>"

    def _read(self, reader: Reader) -> None:
        if (span := answer_span(reader)) is None:
            return
        for item, holds_rows in each_row(reader, *span):
            place = (item.start, item.end)
            numbers, said = number_list(item.get("Position")), item.number("Confidence")
            score = None if said is None else min(max(said, 0.0), 1.0)
            if numbers is None and holds_rows:
                continue
            if numbers is None:
                reader.note("unreadable", *place, f"{reader.quote(*place)} holds no Position")
            elif len(numbers) != 4:
                reader.wrong_count(*place, len(numbers), 4)
            else:
                reader.box(numbers, *place, score=score)
                if score != said:
                    reader.note("out-of-range", *place, f"the confidence {said:g} was clipped to 0..1")
        if_none(reader, *span, self._none)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.qwen(scene_size)

    def grammar(self) -> str:
        return (
            'start: "<answer>" ("No Objects" | "[" row (", " row)* "]") "</answer>"\n'
            'row: "{\'Position\': [" N ", " N ", " N ", " N "], \'Confidence\': " SCORE "}"\n'
            "SCORE: /0(\\.[0-9]{1,2})?|1/\n"
            "N: /0|[1-9][0-9]{0,3}/\n"
        )
