"""Tasks: the only things that ask, answer and score. One file each, one line in the table."""

from georefer.tasks.base import (
    BOX,
    OBB_FORM,
    OUTLINE,
    Asking,
    Expression,
    Form,
    Task,
    in_reading_order,
    truth,
    with_article,
)
from georefer.tasks.caption import Caption
from georefer.tasks.choice import Choice
from georefer.tasks.classification import Classification
from georefer.tasks.detection import Detection
from georefer.tasks.dialogue import Dialogue, Turn, render
from georefer.tasks.multilabel import MultiLabel
from georefer.tasks.phrase import Phrase
from georefer.tasks.presence import Presence
from georefer.tasks.rec import REC
from georefer.tasks.vqa import VQA

_ALL: tuple[Task, ...] = (
    REC(),
    REC("rec-obb", OBB_FORM),
    REC("res", OUTLINE),
    Detection(),
    Detection("detection-obb", OBB_FORM),
    Detection("segment", OUTLINE),
    Presence(),
    VQA(),
    Choice(),
    Phrase(),
    Classification(),
    MultiLabel(),
    Caption(),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}

__all__ = [
    "BOX", "OBB_FORM", "OUTLINE", "TASKS", "Asking", "Dialogue", "Expression", "Form", "Task", "Turn",
    "in_reading_order", "render", "truth", "with_article",
]  # fmt: skip
