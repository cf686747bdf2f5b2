"""FIT-RSRC's scorer as published: one choice in every rotation of the options.

Source: github.com/Luo-Z13/SkySenseGPT at a980ffe, Eval_scripts/batch_fitrsrc_single_choice_qa.py
(`evaluation_metrics`). Input is its answer file, JSON Lines with question_id, category, ground_truth and answer.

What it does that a strict scorer would not, all kept here:

- The first capital A to E that stands alone is the choice: the article of "A truck; C", the B of "not B, C".
- Small letters but a bare one, "answer_B" and the option's text are not read.
- A question is right if all its rows are, however many rotations there are: one row that is left over passes.
- Rows are grouped by id and category; a type without rows, and any fifth type, stop it.

The answer file does not hold the options, so strict scoring cannot match their text; it takes as many options as the
letters of the truths say, and no fewer than four, as all of the benchmark's questions have four or five.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores, Stop
from georefer.evaluation.protocols.fit_files import NO_TEXT, answer_file, checked_rows
from georefer.evaluation.protocols.fit_text import accuracy_line, walked
from georefer.scoring.choice import LETTERS, Rotation, circular_rows, read_choice

PART = "fit_rsrc"
TYPES = ("relationship", "object", "subject", "exist")

LEAST_OPTIONS = 4

_ALONE = re.compile(r"\b([A-E])\b")

QUIRKS = {
    "first-capital": 'The first capital A-E on its own is taken: the article of "A truck; C", the B of "not B, C".',
    "letters-missed": 'Small letters in a text ("b.") and "answer_B" are not read, so the row is wrong.',
    "rotations-unchecked": "Missing or doubled rotations are not noticed: one row that is left over can pass.",
    "type-left-out": "A type other than the four stops the original; here its questions are left out.",
}


def extract_choice_label(answer: str) -> str | None:
    """The letter that the scorer finds in an answer: the first of A to E that stands alone, as a capital."""
    found = _ALONE.search(answer)
    return found[1] if found else None


def is_right(truth: str, answer: str) -> bool:
    """Whether the scorer takes an answer for right: it is the letter, in any case, or the one that is found in it."""
    return answer.lower() == truth.lower() or (extract_choice_label(answer) or "").lower() == truth.lower() != ""


def score_rows(rows: Sequence[dict[str, Any]], beside: bool) -> Scores:
    """The published numbers; a row of the result is a question, 1 where all of its rotations are right."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((json.dumps(row["question_id"]), row["category"].lower()), []).append(row)
    right, asked = Counter[str](), Counter[str]()
    scored, stops = [], []
    for (_, kind), group in groups.items():
        id_ = group[0]["question_id"]
        if kind not in TYPES:
            stops.append(Stop(PART, id_, f"the type {kind!r} is none of the four that are counted"))
            scored.append(Row(PART, id_, None))
            continue
        value = all(is_right(row["ground_truth"], row["answer"]) for row in group)
        asked[kind] += 1
        right[kind] += value
        strict = walked(float(value), _steps(group)) if beside else (None, ())
        scored.append(Row(PART, id_, float(value), *strict))
    stops += [Stop(PART, None, f"no question is of the type {kind}") for kind in TYPES if not asked[kind]]
    hits, total = right.total(), asked.total()
    lines = [f"correct: {hits}", f"incorrect: {total - hits}", f"Total: {total}", "", "Category-wise accuracies:"]
    lines += [accuracy_line(kind, right[kind], asked[kind]) for kind in TYPES]
    numbers = {PART: {"rows": len(rows), "printed": lines}}
    return Scores(numbers, tuple(scored), tuple(stops), _beside(scored) if beside else ())


def _steps(group: Sequence[dict[str, Any]]) -> list[tuple[str, float | None]]:
    """The question's value with rows right where a letter was wrongly found, then all letters, then rotations."""
    truths = [LETTERS.find(row["ground_truth"].strip().upper() or "?") for row in group]
    options = max(LEAST_OPTIONS, max(truths) + 1)
    rotations = [
        Rotation("q", options, truth, read_choice(row["answer"], options))
        for row, truth in zip(group, truths, strict=True)
    ]
    published = [is_right(row["ground_truth"], row["answer"]) for row in group]
    found = [bool(extract_choice_label(row["answer"])) for row in group]
    mended = [one.right if was else old for one, was, old in zip(rotations, found, published, strict=True)]
    steps: list[tuple[str, float | None]] = [
        ("first-capital", float(all(mended))),
        ("letters-missed", float(all(one.right for one in rotations))),
    ]
    try:
        circular = circular_rows(rotations)["q"]["circular"]
    except InputError:
        return [*steps, ("rotations-unchecked", None)]
    return [*steps, ("rotations-unchecked", circular)]


def _beside(rows: Sequence[Row]) -> tuple[Beside, ...]:
    """Percent of questions right; strictly only those with all their rotations count."""
    shares = []
    for name in ("published", "strict"):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        shares.append(100 * sum(values) / len(values) if values else None)
    return (Beside(PART, "questions right in every rotation, %", *shares),)


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    rows, odd = checked_rows(answer_file(path, PART), path, ("question_id", "category", "ground_truth", "answer"))
    scores = score_rows(rows, beside)
    return replace(scores, stops=(*(Stop(PART, id_, NO_TEXT) for id_ in odd), *scores.stops))


PROTOCOL = Protocol(
    name="fit-rsrc",
    source="github.com/Luo-Z13/SkySenseGPT at a980ffe, Eval_scripts/batch_fitrsrc_single_choice_qa.py",
    reads="the answer file (JSON Lines with question_id, category, ground_truth, answer), or the folder that holds it",
    quirks=QUIRKS,
    score=_score,
)
