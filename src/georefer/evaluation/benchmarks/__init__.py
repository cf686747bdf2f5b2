"""Published benchmarks: every dataset of `scenes.readers` that asks questions, prepared, asked and handed back."""

from georefer.evaluation.benchmarks.answers import published_answers
from georefer.evaluation.benchmarks.prepare import TASK_OF, Wording, prepare

__all__ = ["TASK_OF", "Wording", "prepare", "published_answers"]
