"""Datasets whose answers bring thoughts or none, and thoughts that a model drew itself and that led it to the truth.

Learning from one's own right answers is the plainest way to learn to think (STaR, Zelikman et al. 2022; rejection
sampling): a question is answered several times, and the thought of the answer that earned most is kept as if written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from georefer.errors import DatasetError, InputError
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import progress
from georefer.scenes import Dataset, DatasetWriter, Question
from georefer.tasks.thought import has_room
from georefer.training.grpo_settings import DrawSettings
from georefer.training.prompts import Earnings, PromptMaker, Prompts
from georefer.training.rollouts import Place, Seen, draw, seed_of, uniforms

_THOUGHT = re.compile(r"\s*<think>([^<]{1,20000})</think>")


@dataclass(frozen=True)
class FilterSettings:
    """Which drawn thoughts are kept."""

    reward: str = "f1"
    """What an answer earns, by the name of a reward."""
    least: float = 0.5
    """Below which an answer's thought is not worth learning."""
    draw: DrawSettings = field(default_factory=DrawSettings)
    questions_at_once: int = 32
    seed: int = 0


def without_thoughts(question: Question) -> Question:
    """The question, whose answer is asked for and learned bare."""
    return replace(question, params={name: value for name, value in question.params.items() if name != "thought"})


def asking_for_thoughts(question: Question) -> Question:
    """The question, which asks for a thought before the answer; one that it brings stays."""
    return replace(question, params={"thought": "look", **question.params})


def rewritten(
    dataset: Dataset, out: Path | str, change: Callable[[Question], Question | None], splits: Sequence[str] = ()
) -> Dataset:
    """A dataset with the same scenes and changed questions; those changed to None are left out, and scenes with none.

    All splits are kept, or those named.

    DatasetError where `out` exists, or no question is left.
    """
    with DatasetWriter(out) as writer:
        for split in splits or dataset.manifest["splits"]:
            kept = [new for question in dataset.questions(split) if (new := change(question)) is not None]
            wanted = {question.scene_id for question in kept}
            if not kept:
                raise DatasetError(f"no question of the split '{split}' of {dataset.folder} is left; change less")
            writer.write(split, (scene for scene in dataset.scenes(split) if scene.id in wanted), kept)
        more = {key: dataset.manifest[key] for key in ("labels", "recipe") if key in dataset.manifest}
        card = f"# {dataset.folder.resolve().name}, its questions changed\n\nOf the dataset {dataset.fingerprint}.\n"
        return writer.finish(card, **more)


def filtered_thoughts(
    model: TransformersModel, dataset: Dataset, out: Path | str, settings: FilterSettings | None = None
) -> Dataset:
    """The dataset with those training questions alone that the model answered well, with its best answers' thoughts.

    Repeatable: what is drawn follows from seed, scene and question. InputError where the model's dialect has no room
    for thoughts; DatasetError where no answer earned enough.
    """
    settings = settings or FilterSettings()
    if not has_room(model.dialect):
        raise InputError(
            f"the dialect {model.dialect.name} has no room for a thought; choose one that has, such as georefer-think"
        )
    best = dict(_drawn(model, dataset, settings))

    asked = {question.id for question in dataset.questions("train")}

    def with_thought(question: Question) -> Question | None:
        if question.id not in asked:
            return question
        thought = best.get(question.id)
        return replace(question, params={**question.params, "thought": thought}) if thought else None

    return rewritten(dataset, out, with_thought)


def _drawn(model: TransformersModel, dataset: Dataset, settings: FilterSettings) -> Iterator[tuple[str, str]]:
    """The id of each question answered well, and its thought."""
    how = settings.draw
    prompts, _ = PromptMaker(model, {}, how.max_new_tokens, "always").read([dataset])
    earnings = Earnings({settings.reward: 1.0}, {}, prompts)
    model.family.model.eval()
    for start, some in progress(_chunks(prompts, settings.questions_at_once), "thinking", None, "batch"):
        _, features = Seen.of(model.family, some)
        places = [Place(image, n) for image, scene in enumerate(some) for n in range(len(scene.asked))]
        keys = [seed_of((settings.seed, start + p.image, p.question)) for p in places]
        noise = [uniforms(key, how.answers, how.max_new_tokens) for key in keys]
        for place, group in zip(places, draw(model, some, features, places, noise, how.temperature), strict=True):
            asked = some[place.image].asked[place.question]
            texts = [model.speech.answer(answer.ids) for answer in group]
            earned_G = earnings.of(asked, texts)[:, 0]
            found = [_THOUGHT.match(text) for text in texts]
            earned_G = np.where([thought is not None for thought in found], np.nan_to_num(earned_G), -np.inf)
            thought = found[int(earned_G.argmax())]
            if thought and earned_G.max() >= settings.least:
                yield asked.id, thought[1].strip()


def _chunks(prompts: Sequence[Prompts], questions: int) -> Iterator[tuple[int, list[Prompts]]]:
    """Scenes with about so many questions, and the number of the first."""
    start = 0
    some: list[Prompts] = []
    for number, scene in enumerate(prompts):
        if some and sum(len(one.asked) for one in [*some, scene]) > questions:
            yield start, some
            start, some = number, []
        some.append(scene)
    if some:
        yield start, some
