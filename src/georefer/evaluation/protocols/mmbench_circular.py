"""MMBench's CircularEval as VLMEvalKit computes it without a judge: a question counts if every rotation is right.

Source: github.com/open-compass/VLMEvalKit, vlmeval/dataset/utils/multiple_choice.py at 028a6e7 (`mcq_circular_eval`,
`report_acc`) and vlmeval/utils/matching_util.py at 18fc37a (`can_infer`), in its exact-matching mode. There are no
reference results beside this: it was checked against the definition in that code only. Input is a table of
predictions (TSV, CSV or JSON Lines) with index, A, B, ..., answer and prediction, and if they are there split,
category and l2-category; its XLSX is to be saved as TSV.

What it does that a strict scorer would not, all kept here:

- Rows of one question are those of equal index modulo 1,000,000; without the row of the lowest index, the question
  vanishes; how many rotations there are is not checked.
- A letter counts if it is the only option letter among the words: the article of "A truck" is a choice. Else an
  option's text within the answer is the choice, if it is the only one that is. (Later versions of the toolkit want the
  letter among the last words and the answer not much longer than the options; numbers differ between versions.)
- What cannot be read so is "Z", which is wrong. A refusal in one of four known sentences is "Z" too.
- In tables, an option whose text is "None", "NA" or the like is blank, as pandas reads it, and is no option.
"""

from __future__ import annotations

import io
import json
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas

from georefer.errors import InputError
from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores, plain_name, read_json_lines, read_text
from georefer.evaluation.protocols.fit_text import walked
from georefer.scoring.choice import Rotation, circular_rows, read_choice

PART = "mmbench_circular"
GROUP = 1_000_000
NEEDED = ("index", "answer", "prediction", "A", "B")

ABBREVIATIONS = {
    "coarse_perception": "CP",
    "finegrained_perception (instance-level)": "FP-S",
    "finegrained_perception (cross-instance)": "FP-C",
    "logic_reasoning": "LR",
    "relation_reasoning": "RR",
    "attribute_reasoning": "AR",
}

REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
FAILED = "Failed to obtain answer via API"

QUIRKS = {
    "prefetch": 'The only option letter among the words is the choice, the article of "A truck" too; or a text in it.',
    "unparsed": 'What the rules for letters and texts do not read is "Z" and wrong: small letters, two letters.',
    "rotations-unchecked": "Missing, doubled or unequal rotations are not noticed: one row that is left over can pass.",
    "first-missing": "A question whose first row is missing vanishes with all of its rotations.",
}

_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))


@dataclass(frozen=True)
class Asked:
    """One rotation: options by letter, the letter that is right, and what the model said."""

    index: int
    options: dict[str, str]
    answer: str
    prediction: str
    groups: dict[str, str]


def infer_choice(prediction: str, options: Mapping[str, str]) -> str:
    """The letter that VLMEvalKit finds in an answer, "Z" for a refusal, "" where it finds none."""
    return _by_letter(prediction, options) or _by_text(prediction, options)


def _by_letter(prediction: str, options: Mapping[str, str]) -> str:
    if FAILED in prediction:
        return ""
    if any(refusal in prediction for refusal in REFUSALS):
        return "Z"
    words = prediction.translate(_MARKS).split()
    said = set(words) & set(options)
    if len(said) == 1:
        return said.pop()
    return "Z" if not said and "Z" in words else ""


def _by_text(prediction: str, options: Mapping[str, str]) -> str:
    said = [letter for letter, text in options.items() if text.lower() in prediction.lower()]
    return said[0] if len(said) == 1 else ""


# --- reading ----------------------------------------------------------------------------------------------


def read_asked(path: Path) -> list[Asked]:
    """All rows of a table, by index; InputError for what is no such table."""
    if plain_name(path).endswith(".jsonl"):
        records = list(read_json_lines(path))
    else:
        records = _table(path, "," if plain_name(path).endswith(".csv") else "\t")
    asked = [_asked(record, number, path) for number, record in enumerate(records, 1)]
    if not asked:
        raise InputError(f"{path} holds no rows, and a table of predictions was expected; give VLMEvalKit's own")
    return sorted(asked, key=lambda one: one.index)


def _table(path: Path, separator: str) -> list[dict[str, Any]]:
    try:
        table = pandas.read_csv(io.StringIO(read_text(path)), sep=separator, dtype={"prediction": str, "answer": str})
    except (ValueError, pandas.errors.ParserError) as error:
        raise InputError(
            f"{path} is no table ({str(error).splitlines()[0]}); save predictions as TSV or JSONL"
        ) from error
    return table.to_dict("records")


def _asked(record: Mapping[str, Any], number: int, path: Path) -> Asked:
    missing = [name for name in NEEDED if name not in record]
    if missing:
        raise InputError(f"row {number} of {path} has no {', '.join(missing)}; it needs {', '.join(NEEDED)}, ...")
    try:
        index = int(record["index"])
    except (TypeError, ValueError, OverflowError):
        index = -1
    if index < 0 or str(record["index"]) not in (str(index), f"{index}.0"):
        raise InputError(
            f"row {number} of {path} has the index {record['index']!r:.40}, and a whole number was expected"
        )
    options = {letter: str(record[letter]) for letter in string.ascii_uppercase if not _blank(record.get(letter))}
    groups = {name: str(record[name]) for name in ("split", "l2-category", "category") if not _blank(record.get(name))}
    said = record["prediction"]
    return Asked(index, options, str(record["answer"]), "nan" if _blank(said) else str(said), groups)


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


# --- scoring ----------------------------------------------------------------------------------------------


def score_asked(asked: Sequence[Asked], beside: bool) -> Scores:
    """Accuracy of all and of each category, per split; a row of the result is a question."""
    questions: dict[int, list[Asked]] = defaultdict(list)
    for one in asked:
        questions[one.index % GROUP].append(one)
    rows, hits = [], []
    for id_, group in questions.items():
        first = next((one for one in group if one.index == id_), None)
        hit = None if first is None else float(all(infer_choice(x.prediction, x.options) == x.answer for x in group))
        rows.append(Row(PART, id_, hit, *(walked(hit, _steps(group)) if beside else ())))
        if first is not None and hit is not None:
            hits.append((first.groups, hit))
    vanished = len(questions) - len(hits)
    numbers = {"rows": len(asked), "questions": len(hits), "accuracy": _accuracies(hits)}
    notes = (f"{vanished} questions were passed over: the row of their lowest index is missing",) if vanished else ()
    return Scores({PART: numbers}, tuple(rows), (), _beside(rows) if beside else (), notes)


def _accuracies(hits: Sequence[tuple[Mapping[str, str], float]]) -> dict[str, dict[str, float]]:
    """Mean hit per split ("none" without one): "Overall", then the wider categories and the finer ones by name."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for groups, hit in hits:
        split = values[groups.get("split", "none")]
        split["Overall"].append(hit)
        for column in ("l2-category", "category"):
            if column in groups:
                split[ABBREVIATIONS.get(groups[column], groups[column])].append(hit)
    return {split: {name: sum(v) / len(v) for name, v in found.items()} for split, found in sorted(values.items())}


def _steps(group: Sequence[Asked]) -> list[tuple[str, float | None]]:
    """A question's value with what was wrongly read mended, then what was not read, then rotations checked."""
    rotations = [_rotation(one) for one in group]
    if not all(rotations):
        return [("rotations-unchecked", None)]
    found = [infer_choice(one.prediction, one.options) for one in group]
    known = [one for one in rotations if one is not None]
    mended = [x.right if letter else False for x, letter in zip(known, found, strict=True)]
    steps: list[tuple[str, float | None]] = []
    if all(one.index >= GROUP for one in group):
        steps.append(("first-missing", float(all(f == x.answer for f, x in zip(found, group, strict=True)))))
    steps += [("prefetch", float(all(mended))), ("unparsed", float(all(one.right for one in known)))]
    try:
        return [*steps, ("rotations-unchecked", circular_rows(known)["q"]["circular"])]
    except InputError:
        return [*steps, ("rotations-unchecked", None)]


def _rotation(one: Asked) -> Rotation | None:
    letters = list(one.options)
    if not letters or one.answer not in letters:
        return None
    texts = tuple(one.options.values())
    return Rotation("q", texts, letters.index(one.answer), read_choice(one.prediction, texts))


def _beside(rows: Sequence[Row]) -> tuple[Beside, ...]:
    shares = []
    for name in ("published", "strict"):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        shares.append(sum(values) / len(values) if values else None)
    return (Beside(PART, "questions right in every rotation", *shares),)


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    if not path.is_dir():
        return score_asked(read_asked(path), beside)
    tables = [file for file in sorted(path.iterdir()) if plain_name(file).endswith((".tsv", ".csv", ".jsonl"))]
    if len(tables) != 1:
        names = json.dumps([file.name for file in tables])[:200]
        raise InputError(f"{path} holds {len(tables)} tables {names}, and one was expected; name the table itself")
    return score_asked(read_asked(tables[0]), beside)


PROTOCOL = Protocol(
    name="mmbench-circular",
    source="github.com/open-compass/VLMEvalKit at 028a6e7 and 18fc37a, multiple_choice.py and matching_util.py",
    reads="a TSV, CSV or JSON Lines table with index, A, B, ..., answer and prediction, or the folder that holds it",
    quirks=QUIRKS,
    score=_score,
)
