"""GeoChat's one published scorer: accuracy of scene classification (UC Merced, AID).

Source: github.com/mbzuai-oryx/GeoChat at 3e61ee3, geochat/eval/batch_geochat_scene.py (evaluation_metrics). Input are
the JSON lines that this script writes: question_id ("class/file"), image_id, answer, ground_truth.

For all else that GeoChat's paper reports nothing was published that scores: batch_geochat_vqa.py (RSVQA-LR and -HR)
writes answers without their truth, batch_geochat_referring.py and batch_geochat_grounding.py write rows with type,
dataset, obj_ids and size_group and stop there, the latter at a debugger before its first question. How Acc@0.5 by size,
METEOR or the angle of a box were meant was asked in issues 5, 32 and 70 and not answered; nothing is invented here, and
such files are refused. `georefer evaluate` scores these tasks with georefer's own measures.

No reference results were at hand: this file was checked against the published definition only. What it does that a
strict scorer would not:

- The truth is what stands before the first "/" of question_id, in lower case; ground_truth is not looked at.
- Blanks and full stops are taken out of the answer, and nothing else: a hyphen, a line break or a word more is wrong.
- The truth is not cleaned so: a class with a blank or a full stop in its name can never be right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.protocols.base import (
    Beside,
    Protocol,
    Row,
    Scores,
    Stop,
    partial,
    plain_name,
    read_json_lines,
    refuse_repeated,
)

QUIRKS = {
    "truth-from-id": "the truth is the first part of question_id; the row's ground_truth is not looked at",
    "whole-answer": "only the bare name of the class is right, not a sentence that names it",
    "punctuation": "blanks and full stops are taken out of an answer, hyphens, line breaks and the like are not",
    "truth-not-cleaned": "blanks and full stops stay in the truth, so such a class can never be right",
    "unpublished": "no scorer was published for VQA, referring, grounding and region captions; these are refused",
}

MAX_ANSWER, MAX_WORDS = 20_000, 5
"""Characters of an answer in which classes are looked for, and words of the longest name of a class."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]+|\d+")


def score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    """{name of the file without its ending: {correct, incorrect, Total, Acc, printed}}."""
    numbers: dict[str, Any] = {}
    rows: list[Row] = []
    stops: list[Stop] = []
    besides: list[Beside] = []
    notes: list[str] = []
    files = _files(Path(path))
    for file in files:
        answers = list(read_json_lines(file))
        if what := _not_scenes(answers):
            if len(files) == 1:
                raise InputError(
                    f"{file} holds {what}, for which GeoChat published no scorer; expected answers of scene "
                    "classification, so use 'georefer evaluate' for others"
                )
            notes.append(f"{file.name} holds {what}, for which GeoChat published no scorer; it is passed over")
            continue
        part = plain_name(file).rsplit(".", 1)[0]
        if not partial(settings):
            refuse_repeated((str(row["question_id"]) for row in answers if "question_id" in row), file)
        mine, mine_stops = _scored(part, answers)
        numbers[part] = _numbers(mine)
        stops += mine_stops
        if not mine:
            stops.append(Stop(part, "Acc", "there is no answer: the last line divides by zero"))
        if beside:
            mine = _strict(mine, answers)
            besides.append(_beside(part, mine))
        rows += mine
    return Scores(numbers, tuple(rows), tuple(stops), tuple(besides), tuple(notes))


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl")) + sorted(path.glob("*.jsonl.gz"))
    if not files:
        raise InputError(f"{path} holds no *.jsonl; give a file of answers of batch_geochat_scene.py, or its folder")
    return files


def _not_scenes(answers: list[dict[str, Any]]) -> str | None:
    """What a file holds instead of answers about scenes."""
    if any("size_group" in row or "obj_ids" in row for row in answers):
        return "referring, grounding or region captions"
    if answers and not any("ground_truth" in row or "/" in str(row.get("question_id")) for row in answers):
        return "VQA answers without a truth"
    return None


def _scored(part: str, answers: list[dict[str, Any]]) -> tuple[list[Row], list[Stop]]:
    rows, stops = [], []
    for number, row in enumerate(answers):
        id_, answer = row.get("question_id", number), row.get("answer")
        if not isinstance(row.get("question_id"), str):
            stops.append(Stop(part, id_, "question_id is missing or no text; ground_truth is taken for the class"))
        if not isinstance(answer, str):
            stops.append(Stop(part, id_, "answer is missing or no text; it counts as wrong"))
        right = isinstance(answer, str) and _truth(row) == answer.replace(" ", "").lower().replace(".", "")
        rows.append(Row(part, id_, float(right)))
    return rows, stops


def _truth(row: Mapping[str, Any]) -> str:
    id_ = row.get("question_id")
    return id_.split("/")[0].lower() if isinstance(id_, str) else str(row.get("ground_truth", "")).lower()


def _numbers(rows: list[Row]) -> dict[str, Any]:
    correct = sum(row.published == 1 for row in rows)
    found = {"correct": correct, "incorrect": len(rows) - correct, "Total": len(rows)}
    accuracy = correct / len(rows) if rows else None
    printed = [f"{name}: {count}" for name, count in found.items()]
    return {**found, "Acc": accuracy, "printed": printed + ([f"Acc: {accuracy}"] if rows else [])}


# --- strict ----------------------------------------------------------------------------------------------


def _strict(rows: list[Row], answers: list[dict[str, Any]]) -> list[Row]:
    """An answer is right if the one class of the file that it names is its own."""
    truths = [str(row.get("ground_truth") or _truth(row)) for row in answers]
    classes = {_plain(truth) for truth in truths} - {""}
    judged = []
    for row, answer, truth in zip(rows, answers, truths, strict=True):
        said = answer.get("answer")
        named = _named(said, classes) if isinstance(said, str) else None
        row = replace(row, strict=float(named == _plain(truth)) if _plain(truth) else None)
        judged.append(replace(row, reasons=(_reason(answer, truth),)) if row.differs else row)
    return judged


def _plain(text: str) -> str:
    """Letters and digits only, in lower case."""
    return "".join(_WORD.findall(text[:MAX_ANSWER])).casefold()


def _named(text: str, classes: set[str]) -> str | None:
    """The only class that a text names, the longest names first; None for none or several."""
    if (whole := _plain(text)) in classes:
        return whole
    words = [word.casefold() for word in _WORD.findall(text[:MAX_ANSWER])]
    found, start = set(), 0
    while start < len(words):
        sizes = range(min(MAX_WORDS, len(words) - start), 0, -1)
        size = next((size for size in sizes if "".join(words[start : start + size]) in classes), 0)
        if size:
            found.add("".join(words[start : start + size]))
        start += size or 1
    return found.pop() if len(found) == 1 else None


def _reason(row: Mapping[str, Any], truth: str) -> str:
    answer = row["answer"] if isinstance(row.get("answer"), str) else ""
    if _plain(truth) != _plain(_truth(row)):
        return "truth-from-id"
    if _plain(answer) != _plain(truth):
        return "whole-answer"
    cleaned = answer.replace(" ", "").lower().replace(".", "")
    return "truth-not-cleaned" if cleaned == _plain(answer) else "punctuation"


def _beside(part: str, rows: list[Row]) -> Beside:
    published = [row.published for row in rows if row.published is not None]
    strict = [row.strict for row in rows if row.strict is not None]
    means = [sum(values) / len(values) if values else None for values in (published, strict)]
    return Beside(part, "Acc", *means)


PROTOCOL = Protocol(
    name="geochat",
    source="github.com/mbzuai-oryx/GeoChat at 3e61ee3, geochat/eval/batch_geochat_scene.py",
    reads="a file of answers about scenes (JSON lines: question_id 'class/file', answer), or a folder of such *.jsonl",
    quirks=QUIRKS,
    score=score,
)
