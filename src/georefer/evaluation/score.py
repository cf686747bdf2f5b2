"""Score kept answers: from files alone, with no model, as often as one likes.

    folder/scores.json   measures with intervals, per task and per group, and what was wrong with the answers
    folder/rows.jsonl    one row an answer: the counts it adds, its own value of each measure, its problems; and how
                         sure the model was of each object, with whether it is right

The frames in run.json say how a model saw scenes; the dataset says what is right.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georefer.dialects import DIALECTS, Dialect, Reading
from georefer.errors import InputError
from georefer.evaluation.confidences import ConfidenceScores, Judged, confidence_scores, fit, judge
from georefer.evaluation.plan import Plan, planned, questions_of
from georefer.evaluation.run import frame_key, read_run
from georefer.geometry import Frame
from georefer.inference.calibration import Calibration, load_calibration
from georefer.inference.said import scored
from georefer.runlog import JsonLines, write_json, written_beside
from georefer.scenes import Dataset, Question, Scene
from georefer.scoring import Estimate, Row, estimate
from georefer.tasks import TASKS

GROUPED_BY = {"rec": "by", "detection": "label", "presence": "label"}
"""The question parameter by which a task's headline measure is broken down."""

NO_GROUP = "(none)"

POORER = "poorer-form"
"""The problem of a shape of a poorer kind than asked, such as a box for an outline: it overlaps with nothing."""


@dataclass(frozen=True)
class ScoredAnswer:
    """What one answer came to.

    `counts` is what it adds to the task's measures, `scores` its own value of each measure: None where it adds
    nothing to one, as a right "none" to an F1. `problems` counts the kinds of `Problem` in its reading, and `POORER`.
    Where the model told its confidences, `confidences` are those of the objects, not calibrated, and `right` whether
    each is right.
    """

    id: str
    scene_id: str
    task: str
    counts: Row
    scores: Mapping[str, float | None]
    readable: bool
    problems: Mapping[str, int]
    confidences: Sequence[float | None] = ()
    right: Sequence[bool] = ()


@dataclass(frozen=True)
class TaskScores:
    """One task's measures, the headline first, over `answers` answers about `images` images."""

    measures: Mapping[str, Estimate]
    answers: int
    images: int
    unreadable: int
    problems: Mapping[str, int]
    confidence: ConfidenceScores | None = None


@dataclass(frozen=True)
class GroupScore:
    """The headline measure of one task over the questions whose parameter `key` is `value`."""

    task: str
    key: str
    value: str
    measure: str
    estimate: Estimate
    answers: int
    images: int


@dataclass(frozen=True)
class Completeness:
    """Whether the answers are those of the questions: anything but zeros was let through by `partial`."""

    asked: int
    missing: int = 0
    unknown: int = 0
    repeated: int = 0

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unknown or self.repeated)


@dataclass(frozen=True)
class Scores:
    """All that scoring finds out about one run; `run` is the content of its run.json, `seconds` what asking took.

    `calibrated` is true where confidences were made probabilities before they were scored.
    """

    run: Mapping[str, Any]
    tasks: Mapping[str, TaskScores]
    groups: tuple[GroupScore, ...]
    completeness: Completeness
    seconds: float
    calibrated: bool = False


def score_answers(
    folder: Path | str, dataset: Dataset, *, partial: bool = False, calibration: Path | None = None
) -> Scores:
    """Scores of the answers in a folder; writes scores.json and rows.jsonl beside them.

    An answer that cannot be read counts as wrong. Missing, unknown or repeated answers raise InputError; with
    `partial` the missing ones are left out, as are unknown ones, and the first of repeated ones counts. A
    `calibration` (file) of the same model is applied to confidences before they are scored.
    """
    folder = Path(folder)
    run = read_run(folder)
    if run["fingerprint"] != dataset.fingerprint:
        raise InputError(
            f"{folder} holds answers on the dataset {run['dataset']} ({run['fingerprint']}), not on {dataset.folder} "
            f"({dataset.fingerprint}); score with the dataset that was asked about"
        )
    mapping = load_calibration(calibration, run["model"]) if calibration else None
    plan = planned(dataset, run["split"], run["tasks"], run["limit"], run["seed"])
    answers = _read_answers(folder)
    completeness = _completeness(answers, plan)
    if not completeness.is_whole and not partial:
        raise InputError(_incomplete(folder, completeness))
    given = {row["id"]: row for row in reversed(answers)}
    pairs = list(_scored(given, plan, dataset, run))
    rows = [row for row, _ in pairs]
    sure = confidence_scores([judged for _, judged in pairs if judged is not None], mapping)
    scores = Scores(
        run, _task_scores(rows, sure), _group_scores(rows, plan), completeness, _seconds(answers), mapping is not None
    )
    _write(folder, scores, rows)
    return scores


def read_scores(folder: Path | str) -> Scores:
    """Scores as `score_answers` wrote them; InputError where there are none."""
    path = Path(folder) / "scores.json"
    if not path.is_file():
        raise InputError(f"{folder} has no scores.json; score its answers first with 'georefer score'")
    try:
        return _to_scores(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); score the answers again with 'georefer score'") from error


def read_rows(folder: Path | str) -> list[ScoredAnswer]:
    """The scored answers beside scores.json."""
    return [ScoredAnswer(**row) for row in JsonLines(Path(folder) / "rows.jsonl").read()]


def calibrate(folder: Path | str) -> Calibration:
    """The calibration of a scored run's model, written to the run's folder; InputError where it told no confidences.

    Fitted to this very run: only another split says how good it is.
    """
    rows = read_rows(folder)
    told = [confidence for row in rows for confidence in row.confidences]
    found = fit(read_run(folder)["model"], told, [hit for row in rows for hit in row.right])
    found.save(Path(folder))
    return found


def run_dialect(run: Mapping[str, Any]) -> Dialect:
    """The dialect that the answers of a run are read in."""
    if run["dialect"] not in DIALECTS:
        raise InputError(
            f"the answers are in the dialect '{run['dialect']}', which this georefer does not know "
            f"(known: {', '.join(DIALECTS)}); score with the georefer that asked"
        )
    return DIALECTS[run["dialect"]]


def run_frame(run: Mapping[str, Any], scene: Scene) -> Frame:
    """The frame in which the model of a run saw a scene."""
    known = run["frames"]
    if frame_key(scene.size) not in known:
        raise InputError(
            f"scene {scene.id} is {frame_key(scene.size)} pixels, but the run only saw {', '.join(known)}; "
            "score with the dataset that was asked about"
        )
    return Frame(**known[frame_key(scene.size)])


# --- answers ---------------------------------------------------------------------------------------------


def _read_answers(folder: Path) -> list[dict[str, Any]]:
    file = JsonLines(folder / "answers.jsonl")
    try:
        rows = file.read()
        _ = [(row["id"], row["text"], row["seconds"] / row["batch"]) for row in rows]
        if wrong := [row["id"] for row in rows if not all(s is None or 0 <= s <= 1 for s in row.get("scores", ()))]:
            raise ValueError(f"confidences of {wrong[0]} are not within 0 and 1")
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"{file.path} is damaged ({error!r}); remove it and evaluate again") from error
    return rows


def _completeness(answers: Sequence[Mapping[str, Any]], plan: Plan) -> Completeness:
    asked = {question.id for question in questions_of(plan)}
    given = Counter(row["id"] for row in answers)
    repeated = sum(count - 1 for id_, count in given.items() if id_ in asked)
    unknown = sum(count for id_, count in given.items() if id_ not in asked)
    return Completeness(len(asked), len(asked - set(given)), unknown, repeated)


def _incomplete(folder: Path, found: Completeness) -> str:
    return (
        f"{folder} holds answers to {found.asked - found.missing} of {found.asked} questions ({found.missing} missing, "
        f"{found.unknown} to questions never asked, {found.repeated} repeated) where each is expected once; run the "
        "evaluation again to finish it, or score what is there with --partial"
    )


def _seconds(answers: Sequence[Mapping[str, Any]]) -> float:
    # every answer bears the time of its whole batch
    return sum(row["seconds"] / row["batch"] for row in answers)


def _scored(
    answers: Mapping[str, Mapping[str, Any]], plan: Plan, dataset: Dataset, run: Mapping[str, Any]
) -> Iterator[tuple[ScoredAnswer, Judged | None]]:
    dialect = run_dialect(run)
    for scene in dataset.scenes(run["split"]):
        for question in plan.get(scene.id, ()):
            if question.id in answers:
                answer = answers[question.id]
                reading = dialect.read(answer["text"], run_frame(run, scene))
                told = answer.get("scores")
                judged = None if told is None else judge(scored(reading, told), question, scene)
                yield _score_one(reading, question, scene, judged), judged


def _score_one(reading: Reading, question: Question, scene: Scene, judged: Judged | None) -> ScoredAnswer:
    task = TASKS[question.task]
    counts = {name: float(value) for name, value in task.score(reading, question, scene).items()}
    terms = {name: ratio.terms([counts]) for name, ratio in task.measures.items()}
    scores = {name: float(top[0] / bottom[0]) if bottom[0] else None for name, (top, bottom) in terms.items()}
    # an answer in words has no shapes to be read, so that none were found is no problem of it
    problems: Counter[str] = Counter()
    if question.answer_text is None:
        problems.update(problem.kind for problem in reading.problems)
    if task.form is not None and (poorer := int((~task.form.is_met_N(reading.areas)).sum())):
        problems[POORER] = poorer
    readable = bool(counts.get("readable", reading.readable))
    confidences = [] if judged is None else [None if math.isnan(c) else c for c in judged.confidence_P.tolist()]
    return ScoredAnswer(
        question.id, scene.id, question.task, counts, scores, readable, dict(problems),
        confidences, [] if judged is None else judged.right_P.tolist(),
    )  # fmt: skip


# --- summaries -------------------------------------------------------------------------------------------


def _task_scores(rows: Sequence[ScoredAnswer], sure: Mapping[str, ConfidenceScores]) -> dict[str, TaskScores]:
    by_task = {name: [row for row in rows if row.task == name] for name in TASKS}
    return {name: _task_score(name, members, sure.get(name)) for name, members in by_task.items() if members}


def _task_score(name: str, rows: Sequence[ScoredAnswer], sure: ConfidenceScores | None) -> TaskScores:
    measures = {measure: _estimate(name, measure, rows) for measure in TASKS[name].measures}
    problems: Counter[str] = Counter()
    for row in rows:
        problems.update(row.problems)
    unreadable = sum(not row.readable for row in rows)
    return TaskScores(measures, len(rows), _images(rows), unreadable, dict(problems.most_common()), sure)


def _group_scores(rows: Sequence[ScoredAnswer], plan: Plan) -> tuple[GroupScore, ...]:
    params = {question.id: question.params for question in questions_of(plan)}
    members: dict[tuple[str, str, str], list[ScoredAnswer]] = {}
    for row in rows:
        if key := GROUPED_BY.get(row.task):
            value = str(params[row.id].get(key, NO_GROUP))
            members.setdefault((row.task, key, value), []).append(row)
    return tuple(
        _group_score(*group, members[group])
        for group in sorted(members, key=lambda group: (list(TASKS).index(group[0]), *group))
    )


def _group_score(task: str, key: str, value: str, rows: Sequence[ScoredAnswer]) -> GroupScore:
    headline = next(iter(TASKS[task].measures))
    return GroupScore(task, key, value, headline, _estimate(task, headline, rows), len(rows), _images(rows))


def _estimate(task: str, measure: str, rows: Sequence[ScoredAnswer]) -> Estimate:
    return estimate(TASKS[task].measures[measure], [row.counts for row in rows], [row.scene_id for row in rows])


def _images(rows: Sequence[ScoredAnswer]) -> int:
    return len({row.scene_id for row in rows})


# --- files -----------------------------------------------------------------------------------------------


def _write(folder: Path, scores: Scores, rows: Sequence[ScoredAnswer]) -> None:
    with written_beside(folder / "rows.jsonl") as partial:
        JsonLines(partial).append(vars(row) for row in rows)
        partial.touch()
    write_json(folder / "scores.json", asdict(scores))


def _to_scores(plain: Mapping[str, Any]) -> Scores:
    tasks = {
        name: TaskScores(
            **{
                **task,
                "measures": {m: _to_estimate(e) for m, e in task["measures"].items()},
                "confidence": _to_confidence(task.get("confidence")),
            }
        )
        for name, task in plain["tasks"].items()
    }
    groups = tuple(GroupScore(**{**group, "estimate": _to_estimate(group["estimate"])}) for group in plain["groups"])
    whole = Completeness(**plain["completeness"])
    return Scores(plain["run"], tasks, groups, whole, plain["seconds"], plain.get("calibrated", False))


def _to_confidence(plain: Mapping[str, Any] | None) -> ConfidenceScores | None:
    if plain is None:
        return None
    return ConfidenceScores(**{**plain, "ap": None if plain["ap"] is None else _to_estimate(plain["ap"])})


def _to_estimate(plain: Mapping[str, float | None]) -> Estimate:
    values = {name: math.nan if value is None else value for name, value in plain.items()}
    return Estimate(**values)
