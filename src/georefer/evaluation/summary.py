"""Scores in words and numbers for people: how a value is written, and the table on the console."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from georefer.evaluation.score import Scores, TaskScores
from georefer.scoring import Estimate, Paired

LOWER_IS_BETTER = frozenset({"hallucination"})

NOT_SEEN = "no better than blind"

HEADER = ("task", "measure", "score % [95 %]", "blind % [95 %]", "n")


def summary_table(scores: Scores, blind: Scores | None = None) -> str:
    """Plain text: every measure of every task with its interval, the blind run's beside it, and what was wrong."""
    lines = [HEADER, *_lines(scores, blind)]
    return "\n".join([*table(lines, left=2), *_remarks(scores, blind)])


def table(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of cells as text under their header, the first; so many columns begin at the left, others end right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return [texts[0], "  ".join("-" * width for width in widths), *texts[1:]]


def difference_text(pair: Paired) -> str:
    """`+1.2 [-0.3, +2.7]`, in hundredths."""
    change = pair.difference
    if math.isnan(change.value):
        return "–"
    return f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def p_text(p: float) -> str:
    """Three digits, or that it is smaller."""
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float) -> str:
    """A share in percent with one digit; a dash where nothing was counted."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def interval(estimate: Estimate) -> str:
    """`63.2 [58.1, 68.0]`, in percent."""
    if math.isnan(estimate.value):
        return "–"
    return f"{percent(estimate.value)} [{percent(estimate.low)}, {percent(estimate.high)}]"


def sees(task: TaskScores, blind: TaskScores) -> bool:
    """Whether the headline measure lies above the blind one with no overlap of their intervals.

    Stricter than a test of the difference: a model that fails it may still look, but does not show it here.
    """
    seen, unseen = _headline(task), _headline(blind)
    return math.isnan(unseen.value) or seen.low > unseen.high


def remarks_on_answers(scores: Scores) -> list[str]:
    """One sentence for each thing about the answers that a reader of the scores must know."""
    remarks = []
    whole = scores.completeness
    if not whole.is_whole:
        remarks.append(
            f"Partial: {whole.missing} of {whole.asked} answers are missing, {whole.unknown} unknown and "
            f"{whole.repeated} repeated ones were left out."
        )
    for name, task in scores.tasks.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in task.problems.items())
        if task.unreadable or kinds:
            remarks.append(
                f"{name}: {task.unreadable} of {task.answers} answers unreadable, counted as wrong"
                + (f"; problems: {kinds}." if kinds else ".")
            )
    return remarks


def remarks_on_confidence(scores: Scores) -> list[str]:
    """One sentence a task on how far the model's confidence can be trusted; none where it told none."""
    kind = "calibrated" if scores.calibrated else "not calibrated"
    remarks = []
    for name, task in scores.tasks.items():
        if (sure := task.confidence) is not None:
            ranked = "" if sure.ap is None else f"AP@0.5 {interval(sure.ap)}, "
            remarks.append(
                f"{name}: confidence ({kind}) in {sure.objects} objects, {percent(sure.right)} % of them right: "
                f"{ranked}calibration error {percent(sure.ece)} %, Brier score {sure.brier:.3f}"
                + (f"; {sure.without} objects without." if sure.without else ".")
            )
    return remarks


def _headline(task: TaskScores) -> Estimate:
    return next(iter(task.measures.values()))


def _lines(scores: Scores, blind: Scores | None) -> Iterator[tuple[str, ...]]:
    for name, task in scores.tasks.items():
        unseen = blind.tasks.get(name) if blind else None
        for number, (measure, estimate) in enumerate(task.measures.items()):
            label = f"{measure} (lower is better)" if measure in LOWER_IS_BETTER else measure
            beside = interval(unseen.measures[measure]) if unseen else ""
            yield (
                "" if number else name, label, interval(estimate), beside, "" if number else str(task.answers)
            )  # fmt: skip


def _remarks(scores: Scores, blind: Scores | None) -> list[str]:
    remarks = [*remarks_on_answers(scores), *remarks_on_confidence(scores)]
    if scores.run.get("grammar"):
        remarks.append("Shapes were held to the dialect's grammar: compare with free answers with care.")
    for name, task in scores.tasks.items():
        if blind and name in blind.tasks and not sees(task, blind.tasks[name]):
            remarks.append(f"{name}: {NOT_SEEN}; the intervals of the headline measure overlap or lie below.")
    return ["", *remarks] if remarks else []
