"""Published benchmarks: every dataset of `scenes.readers` that asks questions, prepared, asked and handed back."""

from georefer.evaluation.benchmarks.answers import published_answers, scorer_of
from georefer.evaluation.benchmarks.prepare import TASK_OF, Wording, prepare, read_named

__all__ = ["TASK_OF", "Wording", "prepare", "published_answers", "read_named", "scorer_of"]
