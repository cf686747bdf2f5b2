"""Tasks: the only things that ask, answer and score. One file each, one line in the table."""

from georefer.tasks.base import Asking, Expression, Task, in_reading_order, truth, with_article
from georefer.tasks.detection import Detection
from georefer.tasks.dialogue import Dialogue, Turn, render
from georefer.tasks.presence import Presence
from georefer.tasks.rec import REC

_ALL: tuple[Task, ...] = (
    REC(),
    Detection(),
    Presence(),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}

__all__ = [
    "TASKS", "Asking", "Dialogue", "Expression", "Task", "Turn", "in_reading_order", "render", "truth",
    "with_article",
]  # fmt: skip
