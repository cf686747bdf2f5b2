"""Two runs on the same questions: each measure of both, their difference with its interval, and a paired test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.run import read_run
from georefer.evaluation.score import ScoredAnswer, read_rows, score_answers
from georefer.evaluation.summary import LOWER_IS_BETTER, difference_text, p_text, percent, table
from georefer.scenes import Dataset
from georefer.scoring.paired import Paired, compare, holm
from georefer.tasks import TASKS

SIGNIFICANT = 0.05

HEADER = ("task", "measure", "A %", "B %", "B - A [95 %]", "p", "p (Holm)", "B won", "lost", "tied")


@dataclass(frozen=True)
class TaskComparison:
    """One task's measures, the headline first, over answers that both runs gave.

    `corrected_p` is the headline's p-value by Holm over the headlines of all tasks: other measures are there to
    explain it and are not corrected.
    """

    measures: Mapping[str, Paired]
    answers: int
    images: int
    corrected_p: float


@dataclass(frozen=True)
class Comparison:
    """Run B against run A. `runs` holds the run.json of each; `only_A` and `only_B` count answers left out."""

    folders: tuple[str, str]
    runs: tuple[Mapping[str, Any], Mapping[str, Any]]
    tasks: Mapping[str, TaskComparison]
    only_A: int
    only_B: int
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def compare_runs(
    first: Path | str, second: Path | str, *, dataset: Dataset | None = None, common: bool = False
) -> Comparison:
    """Compares the scored answers of two folders of `evaluate`; with a dataset both are scored anew against it.

    InputError where the runs answered different questions or datasets; with `common` what both answered is taken,
    by the ids of questions. Runs of two models in two dialects compare: that is the use of it.
    """
    folders = Path(first), Path(second)
    runs = read_run(folders[0]), read_run(folders[1])
    _check_datasets(folders, runs, common)
    rows_A, rows_B = (_rows(folder, dataset) for folder in folders)
    ids = [row_id for row_id in rows_A if row_id in rows_B]
    only_A, only_B = len(rows_A) - len(ids), len(rows_B) - len(ids)
    if (only_A or only_B) and not common:
        raise InputError(
            f"{only_A} questions were answered by {folders[0]} alone and {only_B} by {folders[1]} alone, where the "
            "same ones are expected; evaluate both alike, or compare the common ones with --common"
        )
    if not ids:
        raise InputError(f"{folders[0]} and {folders[1]} have no question in common; compare runs on one dataset")
    tasks = _tasks([(rows_A[row_id], rows_B[row_id]) for row_id in ids])
    return Comparison(
        (str(folders[0]), str(folders[1])), runs, tasks, only_A, only_B, tuple(_remarks(runs, only_A, only_B))
    )


def comparison_table(found: Comparison) -> str:
    """Plain text: every measure of both runs, with what a reader must know to trust it."""
    lines = [HEADER, *(line for name, task in found.tasks.items() for line in _lines(name, task))]
    names = [f"{side}: {run['model']} ({folder})" for side, run, folder in
             zip("AB", found.runs, found.folders, strict=True)]  # fmt: skip
    return "\n".join([*names, "", *table(lines, left=2), "", *found.remarks, *_verdicts(found)])


# --- what is compared ------------------------------------------------------------------------------------


def _check_datasets(folders: Sequence[Path], runs: Sequence[Mapping[str, Any]], common: bool) -> None:
    if runs[0]["fingerprint"] != runs[1]["fingerprint"] and not common:
        raise InputError(
            f"{folders[0]} is on the dataset {runs[0]['dataset']} ({runs[0]['fingerprint']}) and {folders[1]} on "
            f"{runs[1]['dataset']} ({runs[1]['fingerprint']}), where one is expected; evaluate both on one dataset, or "
            "compare the questions of the same id with --common"
        )


def _rows(folder: Path, dataset: Dataset | None) -> dict[str, ScoredAnswer]:
    if dataset is not None:
        score_answers(folder, dataset)
    path = folder / "rows.jsonl"
    if not path.is_file():
        raise InputError(f"{folder} has no rows.jsonl, so it was not scored; score it first with 'georefer score'")
    try:
        rows = read_rows(folder)
        unknown = {row.task for row in rows} - set(TASKS)
        by_id = {row.id: row for row in rows}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); score the answers again with 'georefer score'") from error
    if len(by_id) != len(rows):
        raise InputError(
            f"{path} holds {len(rows) - len(by_id)} questions more than once, where each is expected once; score the "
            "answers again with 'georefer score'"
        )
    if unknown:
        raise InputError(
            f"{path} holds the tasks {', '.join(map(str, unknown))}, which this georefer does not know (known: "
            f"{', '.join(TASKS)}); compare with the georefer that scored"
        )
    return by_id


def _tasks(pairs: Sequence[tuple[ScoredAnswer, ScoredAnswer]]) -> dict[str, TaskComparison]:
    found = {}
    for name in TASKS:
        members = [pair for pair in pairs if pair[0].task == name]
        if members:
            found[name] = _measures(name, members), len(members), len({a.scene_id for a, _ in members})
    corrected = holm({name: next(iter(measures.values())).p for name, (measures, _, _) in found.items()})
    return {
        name: TaskComparison(measures, answers, images, corrected[name])
        for name, (measures, answers, images) in found.items()
    }


def _measures(task: str, pairs: Sequence[tuple[ScoredAnswer, ScoredAnswer]]) -> dict[str, Paired]:
    counts_A, counts_B = [a.counts for a, _ in pairs], [b.counts for _, b in pairs]
    images = [a.scene_id for a, _ in pairs]
    try:
        return {
            name: compare(ratio, counts_A, counts_B, images, lower_is_better=name in LOWER_IS_BETTER)
            for name, ratio in TASKS[task].measures.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the scored answers of {task} hold other counts than this georefer's ({error!r}), where the same are "
            "expected; score both runs again with 'georefer score'"
        ) from error


def _remarks(runs: Sequence[Mapping[str, Any]], only_A: int, only_B: int) -> list[str]:
    remarks = []
    if runs[0]["fingerprint"] != runs[1]["fingerprint"]:
        remarks.append(
            "The runs are on two datasets: questions of one id are taken to be the same, which nothing has checked."
        )
    elif runs[0]["prompts"] != runs[1]["prompts"] and not (only_A or only_B):
        remarks.append(
            f"The questions were worded differently (prompt hashes {runs[0]['prompts']} and {runs[1]['prompts']})."
        )
    if only_A or only_B:
        remarks.append(f"Left out: {only_A} answers of A and {only_B} of B to questions that the other did not answer.")
    differs = [key for key in ("dialect", "max_new_tokens", "blind") if runs[0][key] != runs[1][key]]
    remarks += [f"{key}: {runs[0][key]} and {runs[1][key]}." for key in differs]
    return remarks


# --- in words --------------------------------------------------------------------------------------------


def _lines(name: str, task: TaskComparison) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for number, (measure, pair) in enumerate(task.measures.items()):
        label = f"{measure} (lower is better)" if measure in LOWER_IS_BETTER else measure
        corrected = p_text(task.corrected_p) if number == 0 else ""
        lines.append(
            (
                "" if number else name, label, percent(pair.first), percent(pair.second), difference_text(pair),
                p_text(pair.p), corrected, str(pair.wins), str(pair.losses), str(pair.ties),
            )
        )  # fmt: skip
    return lines


def _verdicts(found: Comparison) -> list[str]:
    """One sentence a task: which run is better on the headline measure, or that it does not show."""
    lines = []
    for name, task in found.tasks.items():
        measure, pair = next(iter(task.measures.items()))
        over = f"{task.answers:,} answers about {task.images:,} images, {pair.images:,} of which differ"
        if task.corrected_p < SIGNIFICANT:
            better = (pair.difference.value > 0) != (measure in LOWER_IS_BETTER)
            lines.append(f"{name}: {'B' if better else 'A'} is better in {measure} ({over}).")
        else:
            lines.append(f"{name}: no difference shown in {measure} ({over}).")
    lines.append(
        "Intervals and p-values pair the runs by image; Holm corrects the first measure of each task for the number of "
        "tasks. A difference is said to be there where that p-value lies below 0.05."
    )
    return lines
