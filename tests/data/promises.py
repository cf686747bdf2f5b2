"""What every task promises in every dialect, checked over task objects: for tasks that need scenes of their own."""

from __future__ import annotations

from itertools import product

from georefer.dialects import DIALECTS
from georefer.geometry import Frame
from georefer.scoring import estimate

GARBAGE = (
    "", " ", "[", "[[[]]]", "\x00\ud800", "I cannot see the image.", "[1, 2, 3]", "{" * 500, "yesno", "999999999",
    "a | b", "| | |", "it | | it", "<rel></rel>", "<rel>over", "subject:", "object: ; relation:",
)  # fmt: skip
TRICKS = ("none", "yes", "A", "A, B, C and D", "[0, 0, 1000, 1000]", "[0, 0, 500, 500], [10, 10, 400, 400]")


def frame_of(scene):
    return Frame.resize(scene.size, (448, 448))


def score(task, dialect, text, question, scene):
    return task.score(DIALECTS[dialect].read(text, frame_of(scene)), question, scene)


def gold_text(task, dialect, question, scene):
    return task.answer(question, scene, DIALECTS[dialect], frame_of(scene))


def headline(task, rows, name=None):
    ratio = task.measures[name or next(iter(task.measures))]
    return estimate(ratio, rows, [str(index) for index in range(len(rows))], draws=10).value


def check_promises(task, dialects, questions, scene):
    """Gold answers score 1 and are readable, garbage scores 0, every measure is a share."""
    assert questions and len({q.id for q in questions}) == len(questions)
    for question in questions:
        assert (question.scene_id, question.task) == (scene.id, task.name)
        assert set(question.answer_ids) <= set(scene.objects.ids_N)
    for dialect in dialects:
        assert all(task.prompt(q, DIALECTS[dialect], frame_of(scene)).strip() for q in questions)
        rows = [score(task, dialect, gold_text(task, dialect, q, scene), q, scene) for q in questions]
        assert headline(task, rows) == 1.0, (task.name, dialect, rows)
        assert all(row["readable"] == 1.0 for row in rows), (task.name, dialect)
        for text in GARBAGE:
            rows = [score(task, dialect, text, q, scene) for q in questions]
            assert headline(task, rows) == 0.0, (task.name, dialect, text)
            assert all(row["readable"] == 0.0 for row in rows), (task.name, dialect, text)
        for text, question in product((*GARBAGE, *TRICKS), questions[:3]):
            row = score(task, dialect, text, question, scene)
            for ratio in task.measures.values():
                top, bottom = ratio.terms([row])
                assert 0 <= top[0] <= bottom[0] * (1 + 1e-12)
