"""One page that shows what a run came to: scores beside blind ones, and the answers themselves."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.evaluation import summary
from georefer.evaluation.gallery import (
    PREDICTION,
    TRUTH,
    Case,
    choose,
    choose_troubled,
    make_case,
    rows_by_task,
)
from georefer.evaluation.run import BLIND, difference
from georefer.evaluation.score import GroupScore, ScoredAnswer, Scores, read_rows, read_scores, run_dialect, run_frame
from georefer.geometry import Frame
from georefer.imagery.render import Colour
from georefer.runlog import JsonLines, written_beside
from georefer.scenes import Dataset, Question
from georefer.scoring import Estimate
from georefer.tasks import TASKS

CASES = 8
"""Worst, best and troubled answers shown per task, each."""

KEY_WORDS = {"by": "kind of phrase", "label": "class"}
"""Question parameters as readers know them."""

PICTURES_BYTES = 2_000_000
"""All pictures together before base64, which adds a third: a page can be mailed."""


@dataclass(frozen=True)
class Bar:
    """One measure in the chart and the table."""

    task: str
    measure: str
    estimate: Estimate
    blind: Estimate | None
    answers: int
    images: int
    is_headline: bool


@dataclass(frozen=True)
class Gallery:
    """The cases of one task."""

    task: str
    worst: Sequence[Case]
    troubled: Sequence[Case]
    best: Sequence[Case]

    @property
    def cases(self) -> list[Case]:
        return [*self.worst, *self.troubled, *self.best]


def write_report(folder: Path | str, dataset: Dataset) -> Path:
    """`folder`/report.html from what `score_answers` left there, and beside it in blind/ where that exists.

    The page needs nothing from outside and stays below 3 MB. InputError where the run was not scored, or where
    the blind run is that of another model, dataset or selection.
    """
    folder = Path(folder)
    scores, blind = read_scores(folder), _blind_scores(folder)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "percent": summary.percent, "csp": _csp_hash, "thousands": "{:,}".format, "json": json.dumps,
    }  # fmt: skip
    galleries = _galleries(folder, dataset, scores)
    page = environment.get_template("report.html").render(
        run=scores.run,
        dataset_name=Path(scores.run["dataset"]).name,
        seconds=scores.seconds,
        frame=_frame_in_words(scores.run),
        bars=_bars(scores, blind),
        remarks=summary.remarks_on_answers(scores),
        unseen=_unseen(scores, blind),
        tasks=scores.tasks,
        sure={name: task.confidence for name, task in scores.tasks.items() if task.confidence is not None},
        calibrated=scores.calibrated,
        breakdowns=_breakdowns(scores.groups),
        galleries=galleries,
        problem_kinds=sorted({kind for gallery in galleries for case in gallery.cases for kind in case.problems}),
        colours={"truth": _css(TRUTH), "prediction": _css(PREDICTION)},
        has_blind=blind is not None,
        key_words=KEY_WORDS,
        lower_is_better=summary.LOWER_IS_BETTER,
        is_number=lambda value: not math.isnan(value),
        sort_key=lambda estimate: -1 if estimate is None or math.isnan(estimate.value) else estimate.value,
    )
    path = folder / "report.html"
    with written_beside(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _blind_scores(folder: Path) -> Scores | None:
    if not (folder / BLIND / "scores.json").exists():
        return None
    blind = read_scores(folder / BLIND)
    if differs := difference(dict(read_scores(folder).run), dict(blind.run), ignored=("blind",)):
        raise InputError(
            f"{folder / BLIND} is the blind run of something else ({differs}); remove that folder and evaluate again"
        )
    return blind


def _bars(scores: Scores, blind: Scores | None) -> list[Bar]:
    bars = []
    for name, task in scores.tasks.items():
        unseen = blind.tasks.get(name) if blind else None
        for number, (measure, estimate) in enumerate(task.measures.items()):
            beside = unseen.measures[measure] if unseen else None
            bars.append(Bar(name, measure, estimate, beside, task.answers, task.images, number == 0))
    return bars


def _unseen(scores: Scores, blind: Scores | None) -> list[str]:
    """Tasks on which the model does no better than one that does not look."""
    found = blind.tasks if blind else {}
    return [name for name, task in scores.tasks.items() if name in found and not summary.sees(task, found[name])]


def _breakdowns(groups: Sequence[GroupScore]) -> Mapping[str, list[GroupScore]]:
    tables: dict[str, list[GroupScore]] = {}
    for group in groups:
        title = f"{group.task}: {group.measure} by {KEY_WORDS.get(group.key, group.key)}"
        tables.setdefault(title, []).append(group)
    return tables


def _frame_in_words(run: Mapping[str, Any]) -> list[str]:
    """How scenes of each size were shown, and what a number is worth: a wrong factor is seen here."""
    steps, lines = DIALECTS[run["dialect"]].steps, []
    for values in run["frames"].values():
        frame = Frame(**values)
        across, down = steps.tops(frame)
        lines.append(
            f"{frame.scene_width} × {frame.scene_height} px shown at {frame.width} × {frame.height} ({frame.rule}), "
            f"numbers 0–{across}"
            + (f" and 0–{down}" if down != across else "")
            + f": one number is {steps.step_px(frame)[0]:.3g} px"
        )
    return lines


def _galleries(folder: Path, dataset: Dataset, scores: Scores) -> list[Gallery]:
    chosen, by_task = {}, rows_by_task(read_rows(folder))
    for task in scores.tasks:
        rows = by_task.get(task, [])
        worst, best = choose(rows, CASES, worst=True), choose(rows, CASES, worst=False)
        shown = {row.id for row in (*worst, *best)}
        chosen[task] = worst, choose_troubled([row for row in rows if row.id not in shown], CASES), best
    wanted = {row.id: row for groups in chosen.values() for rows in groups for row in rows}
    cases = _cases(folder, dataset, scores.run, wanted)
    return [Gallery(task, *([cases[row.id] for row in rows] for rows in groups)) for task, groups in chosen.items()]


def _cases(
    folder: Path, dataset: Dataset, run: Mapping[str, Any], wanted: Mapping[str, ScoredAnswer]
) -> dict[str, Case]:
    answers = {row["id"]: row for row in reversed(JsonLines(folder / "answers.jsonl").read()) if row["id"] in wanted}
    questions: dict[str, list[Question]] = {}
    for question in dataset.questions(run["split"]):
        if question.id in wanted:
            questions.setdefault(question.scene_id, []).append(question)
    dialect, most_bytes = run_dialect(run), PICTURES_BYTES // max(1, len(wanted))
    cases = {}
    for scene in dataset.scenes(run["split"]):
        for question in questions.get(scene.id, ()):
            frame = run_frame(run, scene)
            cases[question.id] = make_case(
                wanted[question.id],
                question,
                scene,
                prompt=answers[question.id]["prompt"],
                reading=dialect.read(answers[question.id]["text"], frame),
                expected=TASKS[question.task].answer(question, scene, dialect, frame),
                most_bytes=most_bytes,
            )
    return cases


def _css(colour: Colour) -> str:
    return "#" + bytes(colour).hex()


def _csp_hash(script: str) -> str:
    """How the page's own script is named to the browser, so that it runs that one and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
