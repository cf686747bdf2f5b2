"""What models say, held to a grammar where one is wanted, with how sure they were of each object where they tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.errors import InputError
from georefer.inference.calibration import Calibration
from georefer.inference.confidence import object_scores, with_scores
from georefer.models.base import Ask, Model
from georefer.scenes import Question
from georefer.tasks import TASKS
from georefer.tasks.thought import has_room

Scores = tuple[float | None, ...]
"""Confidence of each object of a reading, in its order; None for one that has no place in the text."""

DIGITS = 4
"""Of a confidence that is kept."""

_THOUGHT = "start: THOUGHT? answer\nTHOUGHT: /<think>[^<]*<\\/think>\\s{0,8}/\n"
"""Before the answer of a model that may think first: grammars of dialects begin behind it."""

_BESIDE_SHAPES = frozenset({"image-graph", "image-graph-obb", "region-graph", "region-graph-obb"})
"""Tasks with a form whose answers say more than a dialect's grammar can."""


@dataclass(frozen=True)
class Said:
    """An answer, and the confidence of each object in it: None from a model that gives no log-probabilities."""

    text: str
    scores: Scores | None = None


def grammar_for(question: Question, dialect: Dialect) -> str | None:
    """What its answers must follow to be well-formed; None where they are words, or the dialect has no such shape."""
    form = TASKS[question.task].form
    if form is None or question.task in _BESIDE_SHAPES or not set(form.kinds) & dialect.kinds:
        return None
    grammar = dialect.grammar()
    return _THOUGHT + re.sub(r"\bstart\b", "answer", grammar) if has_room(dialect) else grammar


def said_to(
    model: Model, asks: Sequence[Ask], max_new_tokens: int, grammars: Sequence[str | None] | None = None
) -> list[Said]:
    """Answers in the order asked, each held to its grammar (Lark) where `grammars` has one for it.

    InputError where there is one and the model cannot be held to it.
    """
    answers: Any = getattr(model, "answers", None)
    held = grammars is not None and any(grammar is not None for grammar in grammars)
    if answers is None:
        if held:
            raise InputError(
                f"'{model.name}' is a model that cannot be held to a grammar, as only those loaded from a checkpoint "
                "can; leave the grammar out"
            )
        return _served(model, asks, max_new_tokens)
    said = answers(asks, max_new_tokens, grammar=list(grammars)) if held and grammars else answers(asks, max_new_tokens)
    return [
        Said(answer.text, _confidences(model, ask, answer.text, answer.spans, answer.logprobs))
        for ask, answer in zip(asks, said, strict=True)
    ]


def _served(model: Model, asks: Sequence[Ask], max_new_tokens: int) -> list[Said]:
    """Answers of a model that is held to nothing, with confidences where it tells of its tokens, as served ones may."""
    tell: Any = getattr(model, "told", None)
    if tell is None:
        return [Said(text) for text in model.generate(asks, max_new_tokens)]
    return [
        Said(one.text, _confidences(model, ask, one.text, one.spans, one.logprobs) if one.logprobs else None)
        for ask, one in zip(asks, tell(asks, max_new_tokens), strict=True)
    ]


def _confidences(
    model: Model, ask: Ask, text: str, spans: Sequence[tuple[int, int]], logprobs: Sequence[float]
) -> Scores:
    height, width = ask.image_HW3.shape[:2]
    reading = model.dialect.read(text, model.frame_for((width, height)))
    if not len(reading.objects):
        return ()
    return tuple(
        None if np.isnan(score) else round(score, DIGITS) for score in object_scores(reading, spans, logprobs).tolist()
    )


def scored(reading: Reading, scores: Sequence[float | None] | None, calibration: Calibration | None = None) -> Reading:
    """The reading with these confidences, made probabilities by the calibration, as scores of its objects.

    Without confidences, or with those of another number of objects (kept by a georefer that read otherwise), it is
    as it was.
    """
    if scores is None or len(scores) != len(reading.objects):
        return reading
    scores_N = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    return replace(reading, objects=with_scores(reading.objects, calibration(scores_N) if calibration else scores_N))
