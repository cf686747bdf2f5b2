"""What every way to train begins and ends with: data, a model to start from, a model folder that is whole or absent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from georefer.config import to_plain
from georefer.errors import CheckpointError, DatasetError
from georefer.models import load_model
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import swap_folder, versions, write_json
from georefer.scenes import Dataset, open_dataset
from georefer.training.adapters import TuneSettings
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.loop import LoopSettings, Progress, Work, train
from georefer.training.sft_settings import SftSettings
from georefer.training.validation import Validation, set_aside

Recipe = SftSettings | GrpoSettings

FULL = TuneSettings(vision="full", projector="full", language="full")
"""What is trained where a recipe does not say."""


@dataclass(frozen=True)
class Data:
    """Datasets to learn from together, and the ids of their scenes that the model is judged by instead."""

    datasets: tuple[Dataset, ...]
    aside: frozenset[str]

    @classmethod
    def opened(cls, recipe: Recipe, purpose: str) -> Data:
        """DatasetError where the recipe names no dataset, or one cannot be read."""
        if not recipe.dataset:
            raise DatasetError(f"no dataset to {purpose}; give its folder (--dataset FOLDER or dataset in the recipe)")
        datasets = tuple(open_dataset(folder) for folder in recipe.dataset)
        share = recipe.validate.share
        ids = {question.scene_id for d in datasets for question in d.questions("train")} if share else set()
        return cls(datasets, set_aside(ids, share, recipe.loop.seed))


def starting_model(start: str, dialect: str) -> TransformersModel:
    """The checkpoint that a run goes on from; CheckpointError where there is none that can be trained here."""
    # the tiny model's vocabulary is made for one dialect, which its loader does not let choose
    model = load_model(start, **({"dialect": dialect} if dialect else {}))
    if not isinstance(model, TransformersModel):
        raise CheckpointError(f"{start} cannot be trained here; give a checkpoint's folder or hub id")
    return model


def train_and_save(
    recipe: Recipe,
    data: Data,
    model: TransformersModel,
    step: Callable[[Progress], Work],
    loop: LoopSettings,
    out: Path,
    *,
    beside: Mapping[str, nn.Module] | None = None,
    about: Mapping[str, Any],
) -> Path:
    """Takes the steps of a run, from where it was saved, and returns the model folder `out`/model.

    With validation the checkpoint that answered best is kept in `out`/best as well. Modules `beside` the model are
    trained with it and not kept; `about` is told of the questions in `training.json`.
    """
    same = replace(recipe, dataset=(), loop=replace(loop, max_minutes=None))
    if isinstance(same, GrpoSettings) and same.draw.server:
        # a run may go on with the same server at another address
        same = replace(same, draw=replace(same.draw, server="a server"))
    identity = {
        "settings": to_plain(same),
        "data": [d.fingerprint for d in data.datasets],
        "model": model.name,
    }
    record = {
        "settings": to_plain(recipe),
        "datasets": [{"folder": str(d.folder), "fingerprint": d.fingerprint} for d in data.datasets],
        **about,
        "versions": versions(),
    }

    def save(folder: Path, **more: Any) -> None:
        model.save(folder)
        write_json(folder / "training.json", {**more, **record})

    modules = {"model": model.family.model, **(beside or {})}
    validate = _scores_of(recipe, data, model) if data.aside else None
    end = train(modules, step, loop, out, identity, validate, save if data.aside else None)
    model.family.model.eval()
    partial, final = out / "model.partial", out / "model"
    # of several processes the first holds whole weights; the others would remove its files
    if end.rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save(partial, steps=end.step, minutes=round(end.minutes, 2))
        swap_folder(partial, final)
    return final


def _scores_of(recipe: Recipe, data: Data, model: TransformersModel) -> Callable[[], dict[str, float]]:
    """Each task's score on the scenes that were set aside."""
    asked = recipe.validate
    drawn = Validation.drawn(data.datasets, asked.per_task, recipe.loop.seed, scene_ids=data.aside)

    def scores() -> dict[str, float]:
        found = drawn.scores(model, asked.max_new_tokens)
        return {task: score.value for task, score in found.items() if score.value is not None}

    return scores
