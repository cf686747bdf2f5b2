"""FIT-RSFG's scorers as published: complex comprehension (six tasks), VQA, scenes, captions and HRBEN.

Source: complex comprehension and HRBEN from github.com/om-ai-lab/ImageRAG at 06de8e47, codebase/inference/FIT-Eval
(eval_complex_comprehension.py, eval_map.py, sgg_eval/, eval_vqa_HRBEN.py), which keeps the files of FIT-RSFG itself;
the others from github.com/Luo-Z13/SkySenseGPT at a980ffe, Eval_scripts/. Input are their answer files, JSON Lines.

What they do that a strict scorer would not, all kept here:

- Complex comprehension passes over cut truths, drops boxes with a side below 2 % in truths and answers alike, and
  takes IoU 0.25 as enough.
- task1: boxes of the answer get the truth's class; questions whose answer is "none" are skipped, whatever is said.
- task2: everything in angle brackets is a predicate, so tags match themselves.
- task3: rows with a wrong class, or an answer that cannot be read, cost nothing.
- task4: a class for each <ref> and boxes as they come: several boxes in one list shift the classes of all that follow.
- All scores are 1, so average precision depends on the order of the text; each box looks only at its best truth;
  images without a true box are left out with all that was said of them; unknown classes are filed as "stadium".
- task5: the region's class is never read and its box is a dummy; ends are looked up at wrong places, so the later half
  of the objects is never compared.
- Graphs without a readable triplet are left out instead of counting 0; one triplet may hit several truths; unknown
  names equal each other; the mean over predicates leaves out "over", counts absent ones 0 and is one line off.
- VQA, HRBEN and scenes fold the case and nothing else; an empty label of a list is a label; a scene question with an
  unknown ending is taken for the kind of the one before it.

IoU is exact here, as in the reference results; mmcv's own is off for nearly identical boxes. Of a row at which the
original stops, boxes without five numbers are left out, of more than two labels or lists in a sentence the first two
count, every subject is paired with every object, and categories are folded to small letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.protocols import coco_captions
from georefer.evaluation.protocols.base import (
    Protocol,
    Scores,
    Stop,
    partial,
    read_json_lines,
    refuse_repeated,
)
from georefer.evaluation.protocols.fit_complex import TASKS, score_complex
from georefer.evaluation.protocols.fit_files import (
    KINDS,
    NO_TEXT,
    answer_files,
    beside_file,
    checked_rows,
    keyed_list,
    kind_of,
)
from georefer.evaluation.protocols.fit_strict import strict_rows
from georefer.evaluation.protocols.fit_text import beside_of, join_hrben, score_hrben, score_scene, score_vqa

PARTS = tuple(kind for kind in KINDS if kind != "fit_rsrc")

QUIRKS = {
    "small-boxes": "Boxes with a side below 2 % of the tile are dropped from truths and answers alike.",
    "no-truth-skipped": "Where nothing is to be found the row is left out, whatever the answer says.",
    "class-ignored": "task1: boxes of the answer get the truth's class, whichever class it names.",
    "classes-shifted": "task4: one class for each <ref>, boxes as they come: several boxes in a list shift classes.",
    "unknown-class": "Unknown classes are filed as stadium, and an unknown true one is never found.",
    "reading": "The scorer's patterns read other boxes, names or relations than the dialect does.",
    "best-truth-only": "A box looks only at its best truth, in the order of the text; if that is taken it is false.",
    "tags-match": "task2: all that stands in angle brackets is a predicate, tags too.",
    "names-exact": "Predicates and classes that differ in case or spaces are different.",
    "wrong-class-free": "task3: an answer with a wrong class, or without readable parts, costs nothing.",
    "empty-skipped": "A graph without a readable triplet is left out instead of counting 0.",
    "misplaced-ends": "task5: ends are looked up at wrong places, so the later half of the objects is never compared.",
    "region-class": "task5: the class of the region itself is never read.",
    "unknown-equal": "Unknown classes and predicates equal each other.",
    "many-to-many": "One triplet may hit several truths, and a truth that is given twice counts twice.",
    "text-order": "All scores are 1, so average precision depends on the order in which boxes are said.",
    "table-shifted": 'Mean recall leaves out "over", counts absent predicates 0, and its names are one line off.',
    "spaces": "An answer with a space too many is wrong.",
    "punctuation": "An answer with a full stop, quotes or an underscore is wrong.",
    "unicode": "Answers that differ in the form of their letters alone are wrong.",
    "mode-reused": "scene: a question with an unknown ending is taken for the kind of the one before it.",
    "empty-label": "scene: an empty label of a list counts as a label.",
    "missing-truth": "HRBEN: a question without a truth is right where the answer is empty, else wrong.",
}

FIELDS = {
    "complex_comprehension": ("category", "ground_truth", "answer"),
    "fit_vqa": ("category", "ground_truth", "answer"),
    "fit_scene": ("question", "ground_truth", "answer"),
    "fit_caption": ("ground_truth", "answer"),
    "hrben": ("answer",),
}


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    task = settings.get("task")
    if task is not None and task not in PARTS:
        raise InputError(f"--set task={task} is no part of FIT-RSFG; take one of {', '.join(PARTS)}")
    files, notes = _files(path, task)
    parts = []
    for part, (file, rows) in files.items():
        if part == "hrben" and path.is_dir() and task is None and not _has_truths(rows, file, settings):
            notes.append(f"{file.name} was passed over: HRBEN's questions and answers files are not beside it")
            continue
        rows, odd = checked_rows(rows, file, FIELDS[part])
        if part != "hrben" and not partial(settings):
            refuse_repeated((_identity(row) for row in rows), file)
        scores = _score_part(part, file, rows, settings, beside)
        parts.append(replace(scores, stops=(*(Stop(part, id_, NO_TEXT) for id_ in odd), *scores.stops)))
    if not parts:
        raise InputError(f"{path} holds no answer file of FIT-RSFG ({', '.join(PARTS)}); name one, with --set task=...")
    return Scores(
        {name: value for scores in parts for name, value in scores.numbers.items()},
        tuple(row for scores in parts for row in scores.rows),
        tuple(stop for scores in parts for stop in scores.stops),
        tuple(line for scores in parts for line in scores.beside),
        (*notes, *(note for scores in parts for note in scores.notes)),
    )


def _files(path: Path, task: str | None) -> tuple[dict[str, tuple[Path, list[dict[str, Any]]]], list[str]]:
    """The file and rows of each part, and notes on what is none; InputError where two files answer one part."""
    if not path.is_dir():
        rows = list(read_json_lines(path))
        kind = task or kind_of(rows)
        if kind not in PARTS:
            raise InputError(
                f"{path} does not look like answers to FIT-RSFG ({', '.join(PARTS)}); say which with --set task=..."
            )
        return {kind: (path, rows)}, []
    found: dict[str, tuple[Path, list[dict[str, Any]]]] = {}
    notes = []
    for file, rows in answer_files(path):
        kind = kind_of(rows)
        if kind not in PARTS or (task is not None and kind != task):
            notes.append(f"{file.name} was passed over: it holds no answers to {task or 'FIT-RSFG'}")
        elif kind in found:
            raise InputError(f"{path} holds {found[kind][0].name} and {file.name}, both answers to {kind}; name one")
        else:
            found[kind] = (file, rows)
    return {part: found[part] for part in PARTS if part in found}, notes


def _identity(row: Mapping[str, Any]) -> Any:
    """What makes two rows the same question; an id alone may stand for several questions of one image."""
    get = row.get
    key = (get("question_id"), get("image_id"), get("category"), get("question"), get("ground_truth"))
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key


def _score_part(part: str, file: Path, rows: list[dict[str, Any]], settings: Mapping[str, str], beside: bool) -> Scores:
    if part == "complex_comprehension":
        return _score_complex(rows, beside)
    if part == "fit_caption":
        return _score_captions(part, file, settings, beside)
    extra: dict[str, Any] = {}
    if part == "hrben" and not _joined(rows):
        questions, answers = (_truths(file, key, settings) for key in ("questions", "answers"))
        rows, lines = join_hrben(rows, questions, answers)
        extra = {"printed_combine": lines}
    score = {"fit_vqa": score_vqa, "fit_scene": score_scene, "hrben": score_hrben}[part]
    numbers, scored, stops = score(rows, beside)
    numbers = {"rows": numbers.pop("rows"), **extra, **numbers}
    lines_beside = beside_of(part, scored) if beside else ()
    return Scores({part: numbers}, tuple(scored), tuple(stops), lines_beside)


def _score_captions(part: str, file: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    """Captions of images or regions: the COCO caption scorers with the one reference that there is."""
    found = coco_captions.score(file, settings, beside)
    return Scores(
        {part: {"rows": len(found.rows), **found.numbers["1_reference"]["ptb"]}},
        tuple(replace(row, part=part) for row in found.rows),
        tuple(replace(stop, part=part) for stop in found.stops),
        tuple(replace(line, part=part) for line in found.beside),
        found.notes,
    )


def _score_complex(rows: list[dict[str, Any]], beside: bool) -> Scores:
    part = "complex_comprehension"
    numbers, scored, stops = score_complex(rows)
    lines: tuple = ()
    if beside:
        scored, lines = strict_rows(rows, scored, numbers)
    other = sum(row["category"] not in TASKS for row in rows)
    notes = (f"{other} rows are of none of the six tasks and were passed over",) if other else ()
    return Scores({part: numbers}, tuple(scored), tuple(stops), lines, notes)


# --- HRBEN's truths ---------------------------------------------------------------------------------------


def _joined(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows have their truths already: the original's own file of answers joined with them."""
    return all(isinstance(row.get(name), str) for row in rows for name in ("category", "ground_truth"))


def _has_truths(rows: list[dict[str, Any]], file: Path, settings: Mapping[str, str]) -> bool:
    return _joined(rows) or all(
        key in settings or beside_file(file, f"{key}.json", key) is not None for key in ("questions", "answers")
    )


def _truths(file: Path, key: str, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    found = keyed_list(Path(settings[key]), key) if key in settings else beside_file(file, f"{key}.json", key)
    if found is None:
        raise InputError(f"{file} needs RSVQA's {key}, and no file *{key}.json is beside it; --set {key}=FILE names it")
    return found


PROTOCOL = Protocol(
    name="fit-rsfg",
    source="github.com/om-ai-lab/ImageRAG at 06de8e47, FIT-Eval/; github.com/Luo-Z13/SkySenseGPT at a980ffe",
    reads="an answer file (JSON Lines) of complex comprehension, VQA, scenes, captions or HRBEN, or their folder",
    quirks=QUIRKS | coco_captions.QUIRKS,
    score=_score,
    settings={
        "task": "which part the file answers, where its rows do not say: " + ", ".join(PARTS),
        "questions": "HRBEN: RSVQA's questions file (default: *questions.json beside the answers)",
        "answers": "HRBEN: RSVQA's answers file (default: *answers.json beside the answers)",
    },
)
