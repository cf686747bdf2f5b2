"""Whether a model's confidence in what it said can be trusted: judged object by object, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georefer.dialects import Reading
from georefer.errors import InputError
from georefer.inference.calibration import Calibration, Method, fit_calibration
from georefer.scenes import Question, Scene
from georefer.scoring import (
    Estimate,
    Ranked,
    brier_score,
    calibration_error,
    estimate_average_precision,
    match_optimal,
)
from georefer.tasks import TASKS, truth
from georefer.tasks.detection import Detection
from georefer.tasks.given import Given
from georefer.tasks.grec import GREC
from georefer.tasks.rec import REC

IOU = 0.5
"""From which an object is right, as in the tasks' own scores."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The objects of one answer: the confidence in each (NaN where there is none) and whether it is right.

    `ranked` is for average precision, of answers that list every object of the class `label`.
    """

    task: str
    scene_id: str
    label: str
    confidence_P: np.ndarray
    right_P: np.ndarray
    ranked: Ranked | None


@dataclass(frozen=True)
class ConfidenceScores:
    """What confidences of one task come to over `objects` objects that have one; `right` is the part that is right.

    `ece` and `brier` are 0 for a model that knows when it is right. `ap` is mean average precision over classes at IoU
    0.5, where a task asks for all objects of a class. `without` counts objects whose dialect gives them no confidence.
    """

    objects: int
    without: int
    right: float
    ece: float
    brier: float
    ap: Estimate | None = None


def judge(reading: Reading, question: Question, scene: Scene) -> Judged | None:
    """One answer judged; None where its task has no shapes that are right or wrong each by itself."""
    task = TASKS[question.task]
    if not isinstance(task, Detection | REC | Given):
        return None
    said, gold = reading.areas, task.form.compared(truth(question, scene))
    iou_PT = task.form.iou(said, gold)
    ranked = None
    if isinstance(task, Detection) and not isinstance(task, GREC):
        # what has no confidence comes last
        ranked = Ranked.of_image(iou_PT, np.nan_to_num(said.scores_N, nan=0.0), (IOU,))
    label = str(question.params.get("label", ""))
    return Judged(question.task, scene.id, label, said.scores_N, match_optimal(iou_PT, IOU) >= 0, ranked)


def confidence_scores(judged: Sequence[Judged], calibration: Calibration | None = None) -> dict[str, ConfidenceScores]:
    """By task, for those tasks in which any object has a confidence; a calibration is applied to them."""
    by_task: dict[str, list[Judged]] = {}
    for one in judged:
        by_task.setdefault(one.task, []).append(one)
    found = {task: _of_task(members, calibration) for task, members in by_task.items()}
    return {task: scores for task, scores in found.items() if scores.objects}


def _of_task(judged: Sequence[Judged], calibration: Calibration | None) -> ConfidenceScores:
    confidence_N = np.concatenate([one.confidence_P for one in judged])
    right_N = np.concatenate([one.right_P for one in judged])
    known_N = ~np.isnan(confidence_N)
    objects = int(known_N.sum())
    if not objects:
        return ConfidenceScores(0, len(known_N), np.nan, np.nan, np.nan)
    confidence_N, right_N = confidence_N[known_N], right_N[known_N]
    if calibration is not None:
        confidence_N = calibration(confidence_N)
    return ConfidenceScores(
        objects, int((~known_N).sum()), float(right_N.mean()),
        calibration_error(confidence_N, right_N), brier_score(confidence_N, right_N), _average_precision(judged),
    )  # fmt: skip


def _average_precision(judged: Sequence[Judged]) -> Estimate | None:
    images = list(dict.fromkeys(one.scene_id for one in judged))
    place = {name: i for i, name in enumerate(images)}
    nothing = Ranked.of_image(np.zeros((0, 0)), np.zeros(0), (IOU,))
    classes: dict[str, list[Ranked]] = {}
    for one in judged:
        if one.ranked is None:
            return None
        parts = classes.setdefault(one.label, [nothing] * len(images))
        parts[place[one.scene_id]] = Ranked.pooled([parts[place[one.scene_id]], one.ranked])
    found = estimate_average_precision(classes, images, method="area", draws=200)
    return None if np.isnan(found.value) else found


def fit(
    model: str, confidences: Sequence[float | None], right: Sequence[bool], method: Method = "platt"
) -> Calibration:
    """The calibration of a model by objects that were judged; InputError where none has a confidence."""
    known = [
        (float(confidence), hit) for confidence, hit in zip(confidences, right, strict=True) if confidence is not None
    ]
    if not known:
        raise InputError(
            f"the answers of '{model}' hold no confidences of objects, which only models loaded from a checkpoint "
            "give; ask such a model, into another folder"
        )
    confidence_N, right_N = np.array(known, dtype=np.float64).T
    return fit_calibration(confidence_N, right_N, model, method)
