"""What a grid found, as cells and as tables: scores of all seeds together, each arm beside the one it is held to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from georefer.evaluation.score import ScoredAnswer
from georefer.evaluation.summary import LOWER_IS_BETTER, difference_text, interval, p_text, percent
from georefer.scoring import Estimate, Ratio, estimate
from georefer.scoring.paired import Paired, compare
from georefer.tasks import TASKS

Answers = tuple[str, int, str, Sequence[Sequence[ScoredAnswer] | None]]
"""Test, shots and arm, with the scored answers of each seed; None for a run that there is not."""


@dataclass(frozen=True)
class Cell:
    """One arm at one number of shots on one test.

    `value` is of the answers of all seeds together, its interval over images; `lowest` and `highest` are those of
    single seeds; `readable` is the share of answers in the right form. `beside` compares with the arm that all are held
    to, answer by answer over the seeds that both have.
    """

    test: str
    shots: int
    arm: str
    measure: str
    value: Estimate
    lowest: float
    highest: float
    readable: float
    seeds: int
    questions: int
    beside: Paired | None


def cells_of(answers: Iterable[Answers], task: str, against: str) -> Iterator[Cell]:
    """A cell for each arm that has answers, in the order given; the first measure of the task is taken."""
    measure, ratio = next(iter(TASKS[task].measures.items()))
    for (test, shots), some in groupby(answers, key=lambda found: found[:2]):
        of_arm = {arm: seeds for _, _, arm, seeds in some}
        for arm, seeds in of_arm.items():
            there = [rows for rows in seeds if rows]
            if not there:
                continue
            rows = [row for run in there for row in run]
            value = estimate(ratio, [row.counts for row in rows], [row.scene_id for row in rows])
            alone = [_value(ratio, run) for run in there]
            readable = _value(TASKS[task].measures["readable"], rows)
            beside = None
            if arm != against and against in of_arm:
                pairs = [*_paired(of_arm[against], seeds)]
                beside = compare(
                    ratio, [a.counts for a, _ in pairs], [b.counts for _, b in pairs], [a.scene_id for a, _ in pairs],
                    lower_is_better=measure in LOWER_IS_BETTER,
                ) if pairs else None  # fmt: skip
            yield Cell(
                test, shots, arm, measure, value, min(alone), max(alone), readable, len(there), len(there[0]), beside
            )  # fmt: skip


def _value(ratio: Ratio, rows: Sequence[ScoredAnswer]) -> float:
    return estimate(ratio, [row.counts for row in rows], [row.scene_id for row in rows], draws=1).value


def _paired(
    one: Sequence[Sequence[ScoredAnswer] | None], other: Sequence[Sequence[ScoredAnswer] | None]
) -> Iterator[tuple[ScoredAnswer, ScoredAnswer]]:
    """Answers to the same question at the same seed."""
    for rows_A, rows_B in zip(one, other, strict=True):
        of_id = {row.id: row for row in rows_B or ()}
        yield from ((row, of_id[row.id]) for row in rows_A or () if row.id in of_id)


def as_plain(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [asdict(cell) for cell in cells]


def as_markdown(
    cells: Sequence[Cell], spent: Mapping[str, Mapping[str, float]], task: str, against: str, seeds: int
) -> str:
    """One table for each test and number of shots."""
    lines = []
    for (test, shots), some in groupby(cells, key=lambda cell: (cell.test, cell.shots)):
        group = [*some]
        lines += [
            f"## {test}: {task} after {shots} {'shot' if shots == 1 else 'shots'} a class",
            "",
            f"{group[0].measure} in %, {group[0].questions} questions; {seeds} seeds together with 95 % intervals over "
            f"images, and the lowest and highest seed. Difference and p: paired with `{against}`.",
            "",
            f"| arm | {group[0].measure} | seeds | beside {against} | p | readable | answers learned | minutes |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for cell in group:
            told = spent.get(cell.arm, {})
            beside = (difference_text(cell.beside), p_text(cell.beside.p)) if cell.beside else ("", "")
            cost = f"{told.get('answers', 0):,.0f} | {told.get('minutes', 0.0):.1f}"
            lines.append(
                f"| {cell.arm} | {interval(cell.value)} | {percent(cell.lowest)} .. {percent(cell.highest)} | "
                f"{beside[0]} | {beside[1]} | {percent(cell.readable)} | {cost} |"
            )
        lines += ["", *_missing(group, spent, seeds)]
    return "\n".join(lines)


def _missing(group: Sequence[Cell], spent: Mapping[str, Mapping[str, float]], seeds: int) -> list[str]:
    """A sentence on arms of which runs were left out, since a table does not show what is not in it."""
    there = {cell.arm: cell.seeds for cell in group}
    short = [f"`{arm}` ({there.get(arm, 0)} of {seeds} seeds)" for arm in spent if there.get(arm, 0) < seeds]
    return [f"Left out, with nothing to learn from: {', '.join(short)}.", ""] if short else []
