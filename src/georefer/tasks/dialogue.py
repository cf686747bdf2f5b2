"""Dialogue: questions about one image, put into words for one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georefer.dialects import Dialect
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.tasks.base import Task


@dataclass(frozen=True)
class Turn:
    """What is said: the prompt (given) and the answer (learned); the answer is empty when it is asked for."""

    prompt: str
    answer: str = ""


@dataclass(frozen=True, eq=False)
class Dialogue:
    """One image and independent single-turn questions about it.

    The image is a shared prefix: every turn sees it and itself, never another turn. A model makes token ids
    and the mask of what is learned in one pass over a turn; labels are never found by tokenising again.
    """

    image_HW3: np.ndarray
    turns: tuple[Turn, ...]


def render(
    scene: Scene, questions: Sequence[Question], tasks: dict[str, Task], dialect: Dialect, frame: Frame
) -> Dialogue:
    """Prompts with their gold answers, as a model learns them."""
    turns = tuple(
        Turn(tasks[q.task].prompt(q, dialect, frame), tasks[q.task].answer(q, scene, dialect, frame)) for q in questions
    )
    return Dialogue(scene.pixels(), turns)
