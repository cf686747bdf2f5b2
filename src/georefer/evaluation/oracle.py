"""The truth of a dataset by question, for the fake model."""

from __future__ import annotations

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Objects
from georefer.models.base import Ask
from georefer.models.fake import Labelled, Truth
from georefer.scenes import Dataset, Question
from georefer.tasks import TASKS, truth
from georefer.tasks.graph import SceneGraph


def truth_from(dataset: Dataset, split: str) -> Truth:
    """Looks an ask's truth up by its hint, a question id: objects in the form asked for, a text, None where unknown."""
    by_scene: dict[str, list[Question]] = {}
    for question in dataset.questions(split):
        by_scene.setdefault(question.scene_id, []).append(question)
    known: dict[str, Objects | Labelled | str] = {}
    for scene in dataset.scenes(split):
        for question in by_scene.get(scene.id, ()):
            task = TASKS[question.task]
            form = task.form
            if isinstance(task, SceneGraph):
                frame = Frame.resize(scene.size, scene.size)
                known[question.id] = task.answer(question, scene, DIALECTS["georefer"], frame)
            elif question.answer_text is None and form is not None:
                gold = form.of(truth(question, scene), DIALECTS["georefer"])
                # only answers about several classes say them
                known[question.id] = Labelled(gold) if "labels" in question.params else gold
            elif question.answer_text is not None:
                known[question.id] = question.answer_text

    def look_up(ask: Ask) -> Objects | Labelled | str | None:
        return known.get(ask.hint)

    return look_up
