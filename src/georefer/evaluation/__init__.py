"""Ask a model every question of a dataset, keep its answers, score them, show them."""

from georefer.evaluation.oracle import truth_from
from georefer.evaluation.pipeline import evaluate
from georefer.evaluation.plan import EvaluateSettings
from georefer.evaluation.report import write_report
from georefer.evaluation.run import BLIND, ask, read_run
from georefer.evaluation.score import Scores, read_scores, score_answers
from georefer.evaluation.summary import summary_table

__all__ = [
    "BLIND", "EvaluateSettings", "Scores", "ask", "evaluate", "read_run", "read_scores", "score_answers",
    "summary_table", "truth_from", "write_report",
]  # fmt: skip
