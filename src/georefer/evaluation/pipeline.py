"""The whole of an evaluation in one call: ask, ask blind, score both, write the report."""

from __future__ import annotations

from pathlib import Path

from georefer.evaluation.plan import EvaluateSettings
from georefer.evaluation.report import write_report
from georefer.evaluation.run import ask
from georefer.evaluation.score import Scores, score_answers
from georefer.inference.calibration import load_calibration
from georefer.models.base import Model
from georefer.scenes import Dataset


def evaluate(model: Model, dataset: Dataset, settings: EvaluateSettings, out: Path | str) -> Scores:
    """Scores of a model on a dataset; answers, scores and report.html lie in `out`, the blind run in `out`/blind.

    Interrupted, it goes on where it stopped when called again alike. InputError as from `ask` and
    `score_answers`.
    """
    if settings.calibration:
        load_calibration(settings.calibration, model.name)  # a wrong one is said before anything is asked
    scores = score_answers(ask(model, dataset, settings, out), dataset, calibration=settings.calibration)
    if settings.blind:
        score_answers(ask(model, dataset, settings, out, blind=True), dataset, calibration=settings.calibration)
    write_report(out, dataset)
    return scores
