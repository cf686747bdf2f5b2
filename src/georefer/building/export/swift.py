"""ms-swift's grounding rows: places are marks in the text, their boxes stand beside it in pixels.

    {"messages": [{"role": "user", "content": "<image>Find every ship."},
                  {"role": "assistant", "content": "<bbox><bbox>"}],
     "images": ["images/..."], "objects": {"ref": [], "bbox": [[x1, y1, x2, y2], ...], "bbox_type": "real"}}

Source: ms-swift's docs, Customization/Custom-dataset (grounding). "real" means pixels of the picture as it is; ms-swift
scales them for the model that it trains and puts them, with `ref` for `<ref-object>`, in that model's own words.

So boxes are said in no dialect here. What marks cannot say, oriented boxes and outlines, is said in the chosen dialect
as plain text (and counted): that text must be the trained model's own. Paths start at the export's folder: train
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.chat import ROW_MARKS, messages_of, write_rows
from georefer.dialects import Dialect
from georefer.geometry import Frame, Objects
from georefer.tasks import TASKS

BOX_MARK, NAME_MARK = "<bbox>", "<ref-object>"


_NUMBERED = re.compile(f"({NAME_MARK}|{BOX_MARK})\ue000([0-9]{{1,9}})\ue001")
"""A mark with the number of what it stands for: a task may write an object more than once, or in another order."""


class _Marks(Dialect):
    """Says every box as a numbered mark, the same for the same box, and remembers what the numbers stand for."""

    name = "ms-swift marks"
    kinds = frozenset({"hbb"})
    strict = re.compile(f"(?:(?:{_NUMBERED.pattern})+)")

    def __init__(self, chosen: Dialect, size: tuple[int, int]):
        self.chosen = chosen
        self.size = size
        self.boxes: dict[tuple[float, ...], int] = {}
        self.names: dict[str, int] = {}

    def write(self, objects: Objects, frame: Frame, *, labelled: bool = True) -> str:
        return super().write(objects, frame, labelled=labelled) if len(objects) else self.chosen.nothing

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        text = ""
        for one in objects:
            if one.geometry is None or one.geometry.is_empty:
                raise ValueError("a shape without a place was found where a box is expected; leave it out")
            box_4 = np.clip(one.geometry.bounds, 0, (*self.size, *self.size))
            box = tuple(round(float(value), 2) for value in box_4)
            number = self.boxes.setdefault(box, len(self.boxes))
            name = self.names.setdefault(one.label, len(self.names))
            text += f"{NAME_MARK}\ue000{name}\ue001" if labelled else ""
            text += f"{BOX_MARK}\ue000{number}\ue001"
        return text

    def resolved(self, *texts: str) -> tuple[list[str], list[str], list[list[float]]]:
        """Texts with plain marks, and the names and boxes that these stand for, in their order."""
        boxes, names = list(self.boxes), list(self.names)
        found = [(mark, int(number)) for text in texts for mark, number in _NUMBERED.findall(text)]
        return (
            [_NUMBERED.sub(r"\1", text) for text in texts],
            [names[number] for mark, number in found if mark == NAME_MARK],
            [list(boxes[number]) for mark, number in found if mark == BOX_MARK],
        )


def _rows(one: Shown, job: Job) -> Iterator[Mapping[str, Any]]:
    assert job.dialect is not None
    for sample in one.samples:
        marks = _Marks(job.dialect, one.scene.size)
        said = _marked(one, sample, marks)
        if said is None:
            job.account.changed.add("shapes that marks cannot say, in the dialect's words", sample.question.id)
        (prompt, answer), names, boxes = marks.resolved(*(said or (sample.prompt, sample.answer)))
        words = Sample(sample.question, prompt, answer, sample.objects)
        row: dict[str, Any] = {"messages": messages_of(words), "images": [one.picture.path]}
        yield {**row, "objects": {"ref": names, "bbox": boxes, "bbox_type": "real"}}


def _marked(one: Shown, sample: Sample, marks: _Marks) -> tuple[str, str] | None:
    """Prompt and answer with marks for their boxes; None where they cannot say the shapes."""
    assert one.frame is not None
    task, question = TASKS[sample.question.task], sample.question
    try:
        return task.prompt(question, marks, one.frame), task.answer(question, one.scene, marks, one.frame)
    except ValueError:
        return None


SWIFT = Format(
    "ms-swift",
    "ms-swift grounding rows: <split>.jsonl with messages, images and objects in pixels",
    lambda shown, job: write_rows(shown, job, _rows, ".jsonl"),
    marks=(*ROW_MARKS, BOX_MARK, NAME_MARK),
)
