"""The fair grid of few-shot learning: ways to learn from the same few examples, from one start, and judged alike.

    out/sets/seed-0/shot-10/          few shots: bare, thinking (thoughts as written), filtered (its own thoughts)
    out/tests/<name>/{bare,thinking}  what all are judged on
    out/runs/<arm>/<shots>/seed-0/    each run, with its answers on every test in on-<name>/
    out/grid.json, out/grid.md        the tables

All arms take the same number of steps over the same number of images and questions with the same prompts and the same
token budget. What differs is said beside the scores: answers learned from, and minutes. A finished run is not repeated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from georefer.building.subsets import SubsetSettings, write_subsets
from georefer.config import to_plain
from georefer.errors import CheckpointError, DatasetError, InputError
from georefer.evaluation.grid_table import Answers, as_markdown, as_plain, cells_of
from georefer.evaluation.pipeline import evaluate
from georefer.evaluation.plan import EvaluateSettings
from georefer.evaluation.score import ScoredAnswer, read_rows
from georefer.models import load_model
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import say, versions, write_json, written_beside
from georefer.scenes import Dataset, open_dataset
from georefer.tasks import TASKS
from georefer.training.adapters import TuneSettings
from georefer.training.batches import BatchSettings
from georefer.training.grpo import grpo
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.sft import sft
from georefer.training.sft_settings import SftSettings
from georefer.training.thoughts import (
    FilterSettings,
    asking_for_thoughts,
    filtered_thoughts,
    rewritten,
    without_thoughts,
)

_CHANGES: Mapping[str, Callable[..., Any]] = {"bare": without_thoughts, "thinking": asking_for_thoughts}


@dataclass(frozen=True)
class Arm:
    """One way to learn."""

    method: Literal["none", "sft", "grpo"] = "none"
    """"none" is the start itself."""
    thoughts: Literal["none", "asked", "filtered"] = "none"
    """Whether a thought is asked for before the answer. By "sft", "asked" learns those that the dataset brings and
    "filtered" those that the start drew itself and answered well by."""
    lora: bool = False
    """Adapters (`adapters`) in place of all weights."""
    learning_rate: float | None = None
    """In place of the method's."""
    steps: int | None = None
    """In place of the grid's."""
    after: str = ""
    """The arm, named before this one, from whose model it goes on (at the same shots and seed)."""

    def __post_init__(self) -> None:
        if self.after and self.method == "none":
            raise ValueError(f"an arm goes on after '{self.after}' by the method sft or grpo, not none")
        if self.thoughts == "filtered" and self.method != "sft":
            raise ValueError(f"thoughts are filtered for the method sft alone, not {self.method}")

    @property
    def variant(self) -> str:
        """The few-shot dataset that it learns from."""
        return {"none": "bare", "asked": "thinking", "filtered": "filtered"}[self.thoughts]

    @property
    def asked(self) -> str:
        """The test set that it is judged on."""
        return "bare" if self.thoughts == "none" else "thinking"


@dataclass(frozen=True)
class GridSettings:
    """A grid; see `recipes/few-shot-grid`."""

    start: str
    """The model from which every arm starts."""
    dataset: Path
    """From whose training split the few shots are drawn."""
    tests: Mapping[str, Path]
    """Datasets to be judged on, the split "test" of each; others than the first show what carries over."""
    arms: Mapping[str, Arm]
    against: str = ""
    """The arm that all others are compared with; left out: the first."""
    task: str = "rec"
    shots: tuple[int, ...] = (1, 5, 10)
    by: Literal["object", "image"] = "object"
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the draw of shots and of the run."""
    steps: int = 100
    batch: BatchSettings = field(default_factory=lambda: BatchSettings(images_per_step=8, questions_per_image=1))
    max_new_tokens: int = 128
    """Of drawn answers and in evaluation."""
    limit: int | None = None
    """Scenes of each test at most."""
    keep_models: bool = False
    sft: SftSettings = field(default_factory=SftSettings)
    grpo: GrpoSettings = field(default_factory=GrpoSettings)
    adapters: TuneSettings = field(
        default_factory=lambda: TuneSettings(vision="lora", projector="lora", rank=8, alpha=16)
    )
    filter: FilterSettings = field(default_factory=FilterSettings)

    def __post_init__(self) -> None:
        if not self.arms or not self.tests:
            raise ValueError("there must be at least one of arms and tests")
        if self.against and self.against not in self.arms:
            raise ValueError(f"against is '{self.against}', which is no arm; known: {', '.join(self.arms)}")
        names = list(self.arms)
        for place, (name, arm) in enumerate(self.arms.items()):
            if arm.after and (arm.after not in names[:place] or self.arms[arm.after].method == "none"):
                raise ValueError(f"the arm {name} goes on after '{arm.after}'; expected a trained arm named before it")
        if self.task not in TASKS:
            raise ValueError(f"there is no task '{self.task}'; known: {', '.join(TASKS)}")
        if not self.seeds or self.steps < 1 or self.max_new_tokens < 1:
            raise ValueError("there must be at least one seed, and steps and max_new_tokens of at least 1")


@dataclass(frozen=True)
class Run:
    """One arm at one number of shots and one seed."""

    arm: str
    shots: int
    seed: int

    @property
    def folder(self) -> Path:
        return Path(self.arm) / str(self.shots) / f"seed-{self.seed}"


def grid(settings: GridSettings, out: Path | str) -> str:
    """Runs what is not done yet and returns the tables as Markdown, which also stand in `out`.

    InputError where `out` holds runs of other settings; what the methods refuse is said when a run begins.
    """
    return _Grid(settings, Path(out)).finished()


class _Grid:
    def __init__(self, settings: GridSettings, out: Path) -> None:
        self.settings, self.out = settings, out
        plain = json.loads(json.dumps(to_plain(settings)))
        record = out / "settings.json"
        found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else plain
        if found != plain:
            is_ours = isinstance(found, dict) and found.keys() == plain.keys()
            if not is_ours or any(out.glob("runs/*/*/*/*")):
                raise InputError(f"{out} holds a grid of other settings; choose another folder or remove it")
            # settings that were mended before the first run began: what was drawn by them is drawn again
            for left in ("sets", "tests", "runs"):
                shutil.rmtree(out / left, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        write_json(record, plain)

    @cached_property
    def start(self) -> TransformersModel:
        model = load_model(self.settings.start)
        if not isinstance(model, TransformersModel):
            raise CheckpointError(f"{self.settings.start} cannot be trained here; give a checkpoint's folder or hub id")
        return model

    def finished(self) -> str:
        runs = list(dict.fromkeys(self._runs()))
        for number, run in enumerate(runs, 1):
            say(f"run {number} of {len(runs)}: {run.arm}, {run.shots} shots, seed {run.seed}")
            self._done(run)
        for run in runs:
            self._tidied(run)
        against = self.settings.against or next(iter(self.settings.arms))
        cells = list(cells_of(self._answers(), self.settings.task, against))
        spent = {run: self._spent(run) for run in runs}
        told = {arm: _told([spent[run] for run in runs if run.arm == arm]) for arm in self.settings.arms}
        text = as_markdown(cells, told, self.settings.task, against, len(self.settings.seeds))
        write_json(self.out / "grid.json", {"cells": as_plain(cells), "spent": told, "versions": versions()})
        with written_beside(self.out / "grid.md") as beside:
            beside.write_text(text, encoding="utf-8")
        return text

    def _runs(self) -> Iterator[Run]:
        """Seeds outermost: a grid that is stopped has all arms of a seed."""
        for seed in self.settings.seeds:
            for shots in sorted(self.settings.shots):
                for name, arm in self.settings.arms.items():
                    # the start is one model, whatever the shots and seeds
                    yield Run(name, shots, seed) if arm.method != "none" else Run(name, 0, 0)

    # --- data -----------------------------------------------------------------------------------------------------

    def _set(self, shots: int, seed: int, variant: str) -> Path:
        """A few-shot dataset, made when it is first asked for."""
        folder = self.out / "sets" / f"seed-{seed}"
        if not folder.is_dir():
            settings = self.settings
            drawn = SubsetSettings(settings.shots, settings.by, (settings.task,), seed=seed)
            write_subsets(open_dataset(settings.dataset), folder, drawn)
        source, made = folder / f"shot-{shots:02d}", folder / f"shot-{shots:02d}-{variant}"
        if made.is_dir():
            return made
        if variant == "filtered":
            how = self.settings.filter
            draw = replace(how.draw, max_new_tokens=self.settings.max_new_tokens, thoughts="always")
            before = open_dataset(source)
            after = filtered_thoughts(self.start, before, made, replace(how, draw=draw, seed=seed))
            counts = [sum(1 for _ in d.questions("train")) for d in (before, after)]
            say(f"filtered  {counts[1]} of {counts[0]} questions were answered well by a thought of the start's own")
        else:
            rewritten(open_dataset(source), made, _CHANGES[variant])
        return made

    def _test(self, name: str, variant: str) -> Dataset:
        made = self.out / "tests" / name / variant
        if not made.is_dir():
            rewritten(open_dataset(self.settings.tests[name]), made, _CHANGES[variant], ["test"])
        return open_dataset(made)

    # --- runs -----------------------------------------------------------------------------------------------------

    def _done(self, run: Run) -> None:
        """Trains and judges, unless that was done; the model goes when it has answered everything."""
        folder, arm = self.out / "runs" / run.folder, self.settings.arms[run.arm]
        if (folder / "done.json").is_file():
            return
        try:
            model = self._trained(run, arm, folder)
        except DatasetError as error:
            if arm.thoughts != "filtered" and not arm.after:
                raise
            # a start that never thinks its way to the truth has nothing to learn from: that is a result
            say(f"left out  {run.arm}, {run.shots} shots, seed {run.seed}: {error}")
            return
        asked = EvaluateSettings(
            tasks=(self.settings.task,),
            limit=self.settings.limit,
            max_new_tokens=self.settings.max_new_tokens,
            blind=False,
        )
        for name in self.settings.tests:
            evaluate(model, self._test(name, arm.asked), asked, folder / f"on-{name}")
        trained = folder / "model" / "training.json"
        minutes = json.loads(trained.read_text(encoding="utf-8"))["minutes"] if trained.is_file() else 0.0
        before = self._spent(replace(run, arm=arm.after)).get("minutes", 0.0) if arm.after else 0.0
        write_json(folder / "done.json", {"minutes": before + minutes, "answers": self._learned(arm)})
        if run.arm not in {other.after for other in self.settings.arms.values()}:
            self._tidied(run)

    def _tidied(self, run: Run) -> None:
        """Models are large, and not needed once all that goes on from them is done."""
        for left in () if self.settings.keep_models else ("model", "state", "best"):
            shutil.rmtree(self.out / "runs" / run.folder / left, ignore_errors=True)

    def _trained(self, run: Run, arm: Arm, folder: Path) -> TransformersModel:
        if arm.method == "none":
            return self.start
        data = (self._set(run.shots, run.seed, arm.variant),)
        own, settings = getattr(self.settings, arm.method), self.settings
        loop = replace(
            own.loop, steps=arm.steps or settings.steps, seed=run.seed,
            learning_rate=arm.learning_rate or own.loop.learning_rate,
        )  # fmt: skip
        start = settings.start
        if arm.after:
            start = str(self.out / "runs" / replace(run, arm=arm.after).folder / "model")
            if not Path(start).is_dir():
                raise DatasetError(f"the arm {arm.after} was left out, and with it what goes on from it")
        tune = settings.adapters if arm.lora else own.tune
        recipe = replace(own, dataset=data, start=start, batch=settings.batch, tune=tune, loop=loop)
        if isinstance(recipe, GrpoSettings):
            thoughts: Literal["always", "never"] = "never" if arm.thoughts == "none" else "always"
            draw = replace(recipe.draw, max_new_tokens=settings.max_new_tokens, thoughts=thoughts)
            trained = grpo(replace(recipe, draw=draw), folder)
        else:
            trained = sft(recipe, folder)
        model = load_model(str(trained))
        assert isinstance(model, TransformersModel)
        return model

    def _learned(self, arm: Arm) -> int:
        """Answers that an arm learns from, repeated ones counted each time."""
        if arm.method == "none":
            return 0
        batch, each = self.settings.batch, self.settings.grpo.draw.answers if arm.method == "grpo" else 1
        own = (arm.steps or self.settings.steps) * batch.images_per_step * batch.questions_per_image * each
        return own + (self._learned(self.settings.arms[arm.after]) if arm.after else 0)

    # --- results --------------------------------------------------------------------------------------------------

    def _answers(self) -> Iterator[Answers]:
        """Test, shots and arm with the scored answers of every seed; the start's stand for each number of shots."""
        for name in self.settings.tests:
            for shots in sorted(self.settings.shots):
                for arm, how in self.settings.arms.items():
                    runs = [Run(arm, shots, s) if how.method != "none" else Run(arm, 0, 0) for s in self.settings.seeds]
                    folders = [self.out / "runs" / run.folder / f"on-{name}" for run in runs]
                    yield name, shots, arm, [_rows(folder) for folder in folders]

    def _spent(self, run: Run) -> Mapping[str, float]:
        path = self.out / "runs" / run.folder / "done.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _rows(folder: Path) -> list[ScoredAnswer] | None:
    return read_rows(folder) if (folder / "rows.jsonl").is_file() else None


def _told(spent: list[Mapping[str, float]]) -> dict[str, float]:
    """Minutes (mean of the runs) and answers of an arm."""
    done = [one for one in spent if one]
    if not done:
        return {"minutes": float("nan"), "answers": 0}
    return {"minutes": sum(one["minutes"] for one in done) / len(done), "answers": done[0]["answers"]}
