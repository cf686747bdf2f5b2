"""FIT-RSFG's questions answered in words: VQA, scene classification, and HRBEN, as their scripts count them.

Each function gives the numbers under the original's names, the rows and the stops; with `beside` the rows have their
strict value, which folds the case and also drops spaces and full stops around an answer.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from georefer.evaluation.protocols.base import Beside, Row, Stop
from georefer.evaluation.protocols.fit_graphs import SetTable, f1

Found = tuple[dict[str, Any], list[Row], list[Stop]]

ONE = "Answer in one word or a short phrase."
MANY = "Answer with all applicable classes separated by commas."

_AROUND = string.punctuation + string.whitespace

_FOLDS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("spaces", lambda text: " ".join(text.split())),
    ("punctuation", lambda text: " ".join(text.replace("_", " ").strip(_AROUND).split())),
    ("unicode", lambda text: unicodedata.normalize("NFKC", text).casefold()),
)
"""What strict matching folds besides the case, one after the other."""


def walked(value: float | None, steps: Iterable[tuple[str, float | None]]) -> tuple[float | None, tuple[str, ...]]:
    """The value behind the last step, and the names of the steps that changed it: the reasons of a difference.

    From the published value one quirk after the other is mended, up to the strict value, so that each name has been
    tested on this very row.
    """
    last, reasons = value, []
    for name, after in steps:
        if after != last:
            reasons.append(name)
        last = after
    return last, tuple(dict.fromkeys(reasons)) if last != value else ()


def plain_answer(text: str) -> str:
    """An answer as strict matching compares it."""
    for _, fold in _FOLDS:
        text = fold(text)
    return text


def _same(truth: str, said: str) -> list[tuple[str, float | None]]:
    """Whether an answer in small letters is the truth, after each of the folds."""
    steps: list[tuple[str, float | None]] = []
    for name, fold in _FOLDS:
        truth, said = fold(truth), fold(said)
        steps.append((name, float(truth == said)))
    return steps


def _row(
    part: str, asked: dict[str, Any], value: float | None, steps: Iterable[tuple[str, float | None]] | None
) -> Row:
    """A row, with its strict value where steps lead there."""
    strict, reasons = (None, ()) if steps is None else walked(value, steps)
    return Row(part, asked.get("question_id"), value, strict, reasons, asked.get("image_id"))


def beside_of(part: str, scored: Sequence[Row]) -> tuple[Beside, ...]:
    """Percent of right answers in words, or the mean F1 of lists, as published and strict."""
    shares = []
    for name in ("published", "strict"):
        values = [value for row in scored if (value := getattr(row, name)) is not None]
        shares.append(100 * sum(values) / len(values) if values else None)
    return (Beside(part, "rows right, % (lists by their F1)" if part == "fit_scene" else "rows right, %", *shares),)


# --- VQA ---------------------------------------------------------------------------------------------------


def score_vqa(rows: Sequence[dict[str, Any]], beside: bool) -> Found:
    """Accuracy of each category and of all; sorted lines, as the order of the original's changes from run to run."""
    part, stops, scored = "fit_vqa", [], []
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for row in rows:
        truth, said, category = row["ground_truth"].lower(), row["answer"].lower(), row["category"].lower()
        if category != row["category"]:
            stops.append(Stop(part, row.get("question_id"), f"the category {row['category']!r} has a capital letter"))
        asked[category] += 1
        right[category] += truth == said
        scored.append(_row(part, row, float(truth == said), _same(truth, said) if beside else None))
    lines = [accuracy_line(category, right[category], asked[category]) for category in asked]
    overall = sum(right.values()) / len(rows)
    lines += ["Category-wise accuracies:", f"Overall Acc: {overall * 100:.2f}%"]
    return {"rows": len(rows), "printed": sorted(lines)}, scored, stops


def accuracy_line(name: str, right: int, asked: int) -> str:
    """The line of one category; where nothing was asked the original stops."""
    share = f"{right / asked * 100:.2f}" if asked else "nan"
    return f"{name}: {right}/{asked} ({share}%)"


# --- scene and multi-label classification ------------------------------------------------------------------


def score_scene(rows: Sequence[dict[str, Any]], beside: bool) -> Found:
    """Accuracy of one label, precision, recall and F1 of many; the question's last sentence says which is asked."""
    part, stops, scored = "fit_scene", [], []
    many, mode = SetTable(), ""
    right = asked = 0
    for row in rows:
        truth, said, id_ = row["ground_truth"].lower(), row["answer"].lower(), row.get("question_id")
        question = row["question"]
        known = ONE if question.endswith(ONE) else MANY if question.endswith(MANY) else ""
        mode = known or mode
        value: float | None = None
        steps: list[tuple[str, float | None]] = []
        if mode == ONE:
            right, asked, value = right + (truth == said), asked + 1, float(truth == said)
            steps = _same(truth, said) if beside else []
        elif mode == MANY:
            value = many.add(_labels(truth), _labels(said))
            steps = _same_labels(truth, said) if beside else []
        else:
            stops.append(Stop(part, id_, "the first question ends with neither of the two known sentences"))
        if not known:
            steps = [("mode-reused", None)]
        scored.append(_row(part, row, value, steps if beside else None))
    precision, recall, value = many.ratios()
    lines = [f"correct_scene: {right}", f"incorrect_scene: {asked - right}", f"Total: {asked}"]
    lines += [f"Scene Classify Accuracy: {right / asked}"] if asked else []
    lines += [
        f"New Average Precision: {precision:.4f}",
        f"New Average Recall: {recall:.4f}",
        f"New F1 score: {value:.4f}",
    ]
    return {"rows": len(rows), "printed": lines, "multi": many.report()}, scored, stops


def _labels(text: str) -> set[str]:
    """The labels of a list; an empty one is a label too."""
    return {label.strip() for label in text.split(",")}


def _same_labels(truth: str, said: str) -> list[tuple[str, float | None]]:
    """F1 without empty labels, then with each of the folds."""
    true, named = _labels(truth) - {""}, _labels(said) - {""}
    steps: list[tuple[str, float | None]] = [("empty-label", _f1(true, named))]
    for name, fold in _FOLDS:
        true, named = {fold(label) for label in true} - {""}, {fold(label) for label in named} - {""}
        steps.append((name, _f1(true, named)))
    return steps


def _f1(true: set[str], said: set[str]) -> float:
    return f1(len(true & said), len(said), len(true))


# --- HRBEN -------------------------------------------------------------------------------------------------

HRBEN_TYPES = ("presence", "comp")


def join_hrben(
    rows: Sequence[dict[str, Any]], questions: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with truth and type by question id, and the lines printed for those that are not found (both are "")."""
    truth_of = {_key(answer.get("id")): answer.get("answer") for answer in answers}
    type_of = {_key(question.get("id")): question.get("type") for question in questions}
    joined, lines = [], []
    for row in rows:
        id_ = row.get("question_id")
        truth, kind = truth_of.get(_key(id_)), type_of.get(_key(id_))
        lines += [f"No {id_} answer!"] * (truth is None) + [f"No {id_} type!"] * (kind is None)
        joined.append({**row, "ground_truth": "" if truth is None else str(truth), "category": str(kind or "")})
    return joined, [*lines, "done!"]


def _key(id_: Any) -> Any:
    return id_ if isinstance(id_, (int, str, float)) else repr(id_)


def score_hrben(rows: Sequence[dict[str, Any]], beside: bool) -> Found:
    """Accuracy of presence and comparison, their mean, and over all; other types stop the original and are left out."""
    part, stops, scored = "hrben", [], []
    right, asked = Counter[str](), Counter[str]()
    for row in rows:
        truth, said, kind = row["ground_truth"].lower(), row["answer"].lower(), row["category"].lower()
        id_, value = row.get("question_id"), float(truth == said)
        if kind not in HRBEN_TYPES:
            stops.append(Stop(part, id_, f"the question type {row['category']!r} is none of the two that are counted"))
            scored.append(_row(part, row, None, [] if beside else None))
            continue
        asked[kind] += 1
        right[kind] += truth == said
        steps = (_same(truth, said) if truth else [("missing-truth", None)]) if beside else None
        scored.append(_row(part, row, value, steps))
    shares = [right[kind] / asked[kind] for kind in HRBEN_TYPES if asked[kind]]
    for kind in HRBEN_TYPES:
        if not asked[kind]:
            stops.append(Stop(part, None, f"no question is of the type {kind}"))
    total, hits = asked.total(), right.total()
    lines = [f"correct: {hits}", f"incorrect: {total - hits}", f"Total: {total}", "Category-wise accuracies:"]
    lines += [accuracy_line(kind, right[kind], asked[kind]) for kind in HRBEN_TYPES]
    mean = f"{sum(shares) / len(shares)}" if shares else "nan"
    lines += [f"Average Acc: {mean}", f"Overall Acc: {hits / total if total else float('nan')}"]
    return {"rows": len(rows), "printed": lines}, scored, stops
