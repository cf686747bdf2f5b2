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


class _Marks(Dialect):
    """Says every box as a mark and remembers it, in the order in which a text is put together."""

    name = "ms-swift marks"
    kinds = frozenset({"hbb"})
    strict = re.compile(f"(?:{NAME_MARK})?(?:{BOX_MARK})+")

    def __init__(self, chosen: Dialect, size: tuple[int, int]):
        self.chosen = chosen
        self.size = size
        self.boxes: list[list[float]] = []
        self.names: list[str] = []

    def write(self, objects: Objects, frame: Frame, *, labelled: bool = True) -> str:
        return super().write(objects, frame, labelled=labelled) if len(objects) else self.chosen.nothing

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        text = ""
        for one in objects:
            box_4 = np.clip(one.geometry.bounds, 0, (*self.size, *self.size))
            self.boxes.append([round(float(value), 2) for value in box_4])
            if labelled:
                self.names.append(one.label)
            text += NAME_MARK + BOX_MARK if labelled else BOX_MARK
        return text


def _rows(one: Shown, job: Job) -> Iterator[Mapping[str, Any]]:
    assert job.dialect is not None
    for sample in one.samples:
        marks = _Marks(job.dialect, one.scene.size)
        said = _marked(one, sample, marks)
        row: dict[str, Any] = {"messages": messages_of(said or sample), "images": [one.picture.path]}
        if said is None:
            job.account.changed.add("shapes that marks cannot say, in the dialect's words", sample.question.id)
        names, boxes = (marks.names, marks.boxes) if said else ([], [])
        yield {**row, "objects": {"ref": names, "bbox": boxes, "bbox_type": "real"}}


def _marked(one: Shown, sample: Sample, marks: _Marks) -> Sample | None:
    """The sample with marks for its boxes; None where they cannot say its shapes."""
    assert one.frame is not None
    task, question = TASKS[sample.question.task], sample.question
    try:
        prompt = task.prompt(question, marks, one.frame)
        answer = task.answer(question, one.scene, marks, one.frame)
    except ValueError:
        return None
    return Sample(question, prompt, answer, sample.objects)


SWIFT = Format(
    "ms-swift",
    "ms-swift grounding rows: <split>.jsonl with messages, images and objects in pixels",
    lambda shown, job: write_rows(shown, job, _rows, ".jsonl"),
    marks=(*ROW_MARKS, BOX_MARK, NAME_MARK),
)
