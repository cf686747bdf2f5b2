"""Ask once and keep every raw answer, so that scoring never needs the model again.

    out/run.json            what was asked of whom; written before the first answer
    out/answers.jsonl       one row an answer: id, scene_id, task, prompt, text, seconds, batch; and from a model that
                            gives log-probabilities, scores: its confidence in each object, in the order of reading
    out/blind/...           the same two files of the run that showed mid-grey images

`seconds` is the time of the whole batch of `batch` prompts that an answer came in. `frames` in run.json holds
the model's frame of every scene size in the run (key "WIDTHxHEIGHT"): that is exact for any rule by which a
model resizes, where storing the rule would bind answers to the code that knows it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from georefer.config import to_plain
from georefer.dialects import Dialect
from georefer.errors import DatasetError, InputError
from georefer.evaluation.plan import EvaluateSettings, Plan, planned, prompts_digest, questions_of
from georefer.geometry import Frame
from georefer.inference.said import grammar_for, said_to
from georefer.models.base import Ask, Model
from georefer.runlog import JsonLines, progress, versions, write_json
from georefer.scenes import Dataset, Question, Scene
from georefer.tasks import TASKS

FORMAT = 1
"""Version of the files above; answers of another version are refused."""

BLIND = "blind"
"""Folder of the blind run, inside that of the run it belongs to."""

MID_GREY = 128

IDENTITY = (
    "format", "model", "dialect", "frames", "fingerprint", "split", "tasks", "limit", "seed", "questions",
    "prompts", "max_new_tokens", "grammar", "blind",
)  # fmt: skip
"""What must be equal for two sets of answers to be one run; the batch size and the clock may differ."""

_OLDER: Mapping[str, Any] = {"grammar": False}
"""What runs were that do not say it, because all were."""

SORTED_BATCHES = 4
"""Batches gathered before they are sorted by task: enough for equal lengths, few enough images in memory."""


def ask(model: Model, dataset: Dataset, settings: EvaluateSettings, out: Path | str, blind: bool = False) -> Path:
    """Asks the model every planned question and returns the folder of the answers.

    Continues a run that was interrupted; an exception of the model ends the run with all answers so far on
    disk. InputError where the folder holds answers of another run. A blind run shows mid-grey images.
    """
    folder = Path(out) / BLIND if blind else Path(out)
    plan = planned(dataset, settings.split, settings.tasks, settings.limit, settings.seed)
    run = _describe_run(model, dataset, plan, settings, blind)
    answers = _begin(folder, run)
    asked = {row["id"] for row in answers.read()}
    open_questions = sum(question.id not in asked for question in questions_of(plan))
    if not open_questions:
        return folder
    batches = _batches(model, dataset, plan, settings, asked, blind)
    total = -(-open_questions // settings.batch)
    for batch in progress(batches, BLIND if blind else "asking", total, "batch"):
        answers.append(_answered(model, batch, settings))
    return folder


def read_run(folder: Path | str) -> dict[str, Any]:
    """The run.json of an answers folder; InputError where there is none of this version."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise InputError(f"{folder} has no run.json, so it holds no answers; run 'georefer evaluate' into it first")
    try:
        run = {**_OLDER, **json.loads(path.read_text(encoding="utf-8"))}
        missing = [key for key in IDENTITY if key not in run]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); evaluate again into another folder") from error
    if missing or run["format"] != FORMAT:
        raise InputError(f"{path} is not of format {FORMAT}, which this georefer reads; evaluate again")
    return run


def difference(one: dict[str, Any], other: dict[str, Any], ignored: Sequence[str] = ()) -> str:
    """In what two runs are not the same, in words; empty where they are."""
    keys = [key for key in IDENTITY if key not in ignored and one.get(key) != other.get(key)]
    return ", ".join(f"{key} {_brief(one.get(key))} and {_brief(other.get(key))}" for key in keys)


def frame_key(size: tuple[int, int]) -> str:
    """How run.json names a scene size (width, height)."""
    return f"{size[0]}x{size[1]}"


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _describe_run(
    model: Model, dataset: Dataset, plan: Plan, settings: EvaluateSettings, blind: bool
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": model.name,
        "dialect": model.dialect.name,
        "frames": _frames(model, dataset, plan, settings.split),
        "dataset": str(dataset.folder.resolve()),
        "fingerprint": dataset.fingerprint,
        "split": settings.split,
        "tasks": list(settings.tasks),
        "limit": settings.limit,
        "seed": settings.seed,
        "questions": len(questions_of(plan)),
        "prompts": prompts_digest(plan),
        "max_new_tokens": settings.max_new_tokens,
        "grammar": settings.grammar,
        "blind": blind,
        "settings": to_plain(settings),
        "versions": versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _frames(model: Model, dataset: Dataset, plan: Plan, split: str) -> dict[str, dict[str, int | float | str]]:
    """The frame of every scene size, the first scene's first; pixels are not decoded for this."""
    frames: dict[str, Frame] = {}
    seen = set()
    for scene in dataset.scenes(split):
        if scene.id in plan:
            seen.add(scene.id)
            if frame_key(scene.size) not in frames:
                frames[frame_key(scene.size)] = model.frame_for(scene.size)
    if lost := set(plan) - seen:
        raise DatasetError(
            f"{dataset.folder} has questions about {len(lost)} scenes that split '{split}' lacks "
            f"({min(lost)}, ...); build the dataset again"
        )
    # plain integers, since a model may have reckoned in numpy's
    return {key: f.describe() for key, f in frames.items()}


def _begin(folder: Path, run: dict[str, Any]) -> JsonLines:
    """The answers file, ready to append to, of this very run."""
    answers = JsonLines(folder / "answers.jsonl")
    if (folder / "run.json").exists():
        if differs := difference(read_run(folder), run):
            raise InputError(
                f"{folder} holds answers of another run (found and asked for: {differs}); "
                "choose another folder or remove that one"
            )
    elif answers.path.exists():
        raise InputError(f"{answers.path} has no run.json beside it to say whose answers it holds; remove it")
    else:
        write_json(folder / "run.json", run)
    answers.cut_tail()
    return answers


def _batches(
    model: Model, dataset: Dataset, plan: Plan, settings: EvaluateSettings, asked: set[str], blind: bool
) -> Iterator[list[tuple[Question, Ask]]]:
    """Batches of like questions: a batch lasts as long as its longest answer, and tasks differ most in that.

    All questions of a scene share one image array, which tells a model that it need encode it only once.
    """
    waiting: list[tuple[Question, Ask]] = []
    greys: dict[tuple[int, int], np.ndarray] = {}
    for scene in dataset.scenes(settings.split):
        questions = [question for question in plan.get(scene.id, ()) if question.id not in asked]
        if not questions:
            continue
        image_HW3 = _grey(scene, greys) if blind else scene.pixels()
        frame = model.frame_for(scene.size)
        waiting += [(question, _to_ask(question, model.dialect, frame, image_HW3, blind)) for question in questions]
        if len(waiting) >= SORTED_BATCHES * settings.batch:
            whole = len(waiting) - len(waiting) % settings.batch
            waiting.sort(key=lambda pair: pair[0].task)
            yield from _cut(waiting[:whole], settings.batch)
            waiting = waiting[whole:]
    yield from _cut(sorted(waiting, key=lambda pair: pair[0].task), settings.batch)


def _cut(pairs: list[tuple[Question, Ask]], size: int) -> Iterator[list[tuple[Question, Ask]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _grey(scene: Scene, greys: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    # one array per size, so that a model encodes grey once
    width, height = scene.size
    return greys.setdefault(scene.size, np.full((height, width, 3), MID_GREY, dtype=np.uint8))


def _to_ask(question: Question, dialect: Dialect, frame: Frame, image_HW3: np.ndarray, blind: bool) -> Ask:
    # without a hint not even the fake model knows the truth: it too is blind
    return Ask(image_HW3, TASKS[question.task].prompt(question, dialect, frame), "" if blind else question.id)


def _answered(model: Model, batch: list[tuple[Question, Ask]], settings: EvaluateSettings) -> list[dict[str, Any]]:
    grammars = [grammar_for(question, model.dialect) if settings.grammar else None for question, _ in batch]
    start = time.perf_counter()
    said = said_to(model, [item for _, item in batch], settings.max_new_tokens, grammars)
    seconds = round(time.perf_counter() - start, 4)
    return [
        {
            "id": question.id,
            "scene_id": question.scene_id,
            "task": question.task,
            "prompt": item.prompt,
            "text": _storable(one.text),
            "seconds": seconds,
            "batch": len(batch),
            **({} if one.scores is None else {"scores": one.scores}),
        }
        for (question, item), one in zip(batch, said, strict=True)
    ]


def _storable(text: str) -> str:
    """The text itself; half of a surrogate pair, which UTF-8 cannot hold, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
