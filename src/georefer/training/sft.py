"""Supervised fine-tuning: answers learned by maximum likelihood, every image encoded once for all its questions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from georefer.config import to_plain
from georefer.dialects import DIALECTS
from georefer.errors import DatasetError
from georefer.geometry import Frame
from georefer.models.tiny import (
    Tiny,
    TinySettings,
    create_tiny,
    encode_segment,
    image_prefix,
    images_to_pixels,
    number_ids,
    save_tiny,
    word_ids,
)
from georefer.models.tiny_model import TinyModel, open_tiny
from georefer.runlog import say, swap_folder, versions, write_json
from georefer.scenes import Dataset, Question, Scene, open_dataset
from georefer.tasks import TASKS, Turn, render
from georefer.training.alignment import AlignmentSlots, AlignmentTargets, alignment_loss, alignment_targets
from georefer.training.loop import LoopSettings, Progress, StepLosses, train
from georefer.training.packing import Segment, forward_packed, pack, packed_loss


@dataclass(frozen=True)
class SftSettings:
    """A fine-tuning recipe; see `recipes/*/sft.toml`."""

    dataset: tuple[Path, ...] = ()
    """Datasets to learn from together; their training splits are used."""
    start: str | None = None
    """A model folder or the name of a shipped checkpoint to go on from; left out: random weights."""
    images_per_step: int = 12
    questions_per_image: int = 8
    task_weights: Mapping[str, float] = field(default_factory=dict)
    """How much likelier a question of a task is drawn; 1 where not named."""
    alignment_only: float = 0.15
    """First part of the run in which image tokens alone learn to say what they show."""
    alignment_weight: float = 0.3
    """Weight of that loss beside the answers afterwards."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    model: TinySettings = field(default_factory=TinySettings)
    """Used only when starting from random weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.alignment_only < 1:
            raise ValueError(f"alignment_only is {self.alignment_only}; expected at least 0 and below 1")
        if unknown := set(self.task_weights) - set(TASKS):
            raise ValueError(f"task_weights names unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")


@dataclass(frozen=True, eq=False)
class _Example:
    """One scene, ready to be drawn: pixels, tokenised questions with their weights, alignment targets."""

    image_HW3: np.ndarray
    segments: tuple[Segment, ...]
    weight_S: np.ndarray
    alignment: AlignmentTargets


def sft(settings: SftSettings, out: Path | str) -> Path:
    """Trains and returns the model folder `out`/model; an interrupted run goes on where it was saved."""
    out = Path(out)
    if not settings.dataset:
        raise DatasetError("no dataset to learn from; give its folder (--dataset FOLDER or dataset in the recipe)")
    datasets = [open_dataset(folder) for folder in settings.dataset]
    tiny = _starting_model(settings, datasets)
    examples = _examples(datasets, tiny, settings)
    identity = {
        "settings": to_plain(replace(settings, dataset=(), loop=replace(settings.loop, max_minutes=None))),
        "data": [d.fingerprint for d in datasets],
    }
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(settings, tiny, examples)
    say(f"training  {sum(p.numel() for p in tiny.model.parameters()):,} parameters on {len(examples):,} scenes")
    tiny.model.train()
    end = train({"model": tiny.model, "slots": run.slots}, run.step, settings.loop, out, identity)
    tiny.model.eval()
    return _save(out, tiny, settings, datasets, end)


def _starting_model(settings: SftSettings, datasets: Sequence[Dataset]) -> Tiny:
    if settings.start:
        return open_tiny(settings.start)
    frame_numbers = settings.model.numbers
    texts = [text for d in datasets for text in _texts(d, frame_numbers)]
    return create_tiny(settings.model, texts)


def _texts(dataset: Dataset, numbers: int) -> list[str]:
    """Prompts and fixed words of the training questions: what the vocabulary is made of."""
    questions = dataset.questions("train")
    dialect, frame = DIALECTS["georefer"], Frame.resize((numbers, numbers), (numbers, numbers), numbers)
    prompts = [TASKS[q.task].prompt(q, dialect, frame) for q in questions]
    return [*prompts, *(q.answer_text for q in questions if q.answer_text), "none [1, 1] [1, 1]; a"]


def _examples(datasets: Sequence[Dataset], tiny: Tiny, settings: SftSettings) -> list[_Example]:
    model = TinyModel(tiny)
    examples = []
    for dataset in datasets:
        asked: dict[str, list[Question]] = {}
        for question in dataset.questions("train"):
            asked.setdefault(question.scene_id, []).append(question)
        examples += [
            _example(scene, asked[scene.id], model, settings) for scene in dataset.scenes("train") if scene.id in asked
        ]
    if not examples:
        raise DatasetError("the datasets hold no training question; build them with other [ask] settings")
    return examples


def _example(scene: Scene, questions: list[Question], model: TinyModel, settings: SftSettings) -> _Example:
    frame = model.frame_for(scene.size)
    dialogue = render(scene, questions, TASKS, model.dialect, frame)
    weight_S = np.array([settings.task_weights.get(q.task, 1.0) for q in questions])
    return _Example(
        dialogue.image_HW3,
        tuple(_segment(model.tiny, turn) for turn in dialogue.turns),
        weight_S / weight_S.sum(),
        _alignment(scene, model.tiny, frame),
    )


def _segment(tiny: Tiny, turn: Turn) -> Segment:
    return Segment(*encode_segment(tiny.tokenizer, turn.prompt, turn.answer))


def _alignment(scene: Scene, tiny: Tiny, frame: Frame) -> AlignmentTargets:
    boxes_N4 = frame.to_numbers(scene.objects.hbb_N4.reshape(-1, 2)).reshape(-1, 4)
    words = [
        word_ids(tiny.tokenizer, [o.label, *(v for v in o.attributes.values() if isinstance(v, str))])
        for o in scene.objects
    ]
    grid = round(tiny.model.config.image_seq_length**0.5)
    return alignment_targets(boxes_N4, words, grid, tiny.settings.numbers)


class _Run:
    """One training run: draws batches and computes the losses of a step."""

    def __init__(self, settings: SftSettings, tiny: Tiny, examples: list[_Example]):
        self.settings = settings
        self.tiny = tiny
        self.examples = examples
        torch.manual_seed(settings.loop.seed)
        self.slots = AlignmentSlots(tiny.settings.width)
        self.number_ids = torch.tensor(number_ids(tiny.tokenizer, tiny.settings.numbers))
        self.prefix = image_prefix(tiny)

    def step(self, at: Progress) -> StepLosses:
        """Losses of one step; everything random comes from (seed, step)."""
        rng = np.random.default_rng([self.settings.loop.seed, at.step])
        if at.share < self.settings.alignment_only:
            # no text part runs, so three times the images cost about the same
            return self._alignment_step(self._draw(at.step, 3 * self.settings.images_per_step, rng))
        return self._answer_step(self._draw(at.step, self.settings.images_per_step, rng), rng)

    def _alignment_step(self, batch: list[_Example]) -> StepLosses:
        pixels = self._pixels(batch)
        features = torch.stack(list(self.tiny.model.get_image_features(pixel_values=pixels).pooler_output))
        loss = self._alignment_loss(features, batch)
        return {"loss": loss, "alignment": loss}

    def _answer_step(self, batch: list[_Example], rng: np.random.Generator) -> StepLosses:
        rows = [[e.segments[i] for i in self._questions(e, rng)] for e in batch]
        packed = pack(self.prefix, rows, pad_id=self.tiny.tokenizer.pad_token_id, pixels_I3HW=self._pixels(batch))
        logits, features = forward_packed(self.tiny.model, packed)
        answers = packed_loss(logits, packed)
        if not self.settings.alignment_weight or features is None:
            return {"loss": answers, "answers": answers}
        alignment = self._alignment_loss(features, batch)
        loss = answers + self.settings.alignment_weight * alignment
        return {"loss": loss, "answers": answers, "alignment": alignment}

    def _questions(self, example: _Example, rng: np.random.Generator) -> np.ndarray:
        count = min(self.settings.questions_per_image, len(example.segments))
        return rng.choice(len(example.segments), count, replace=False, p=example.weight_S)

    def _draw(self, step: int, count: int, rng: np.random.Generator) -> list[_Example]:
        return [self.examples[i] for i in rng.choice(len(self.examples), min(count, len(self.examples)), replace=False)]

    def _pixels(self, batch: list[_Example]) -> torch.Tensor:
        return images_to_pixels([e.image_HW3 for e in batch], self.tiny.settings.image_size)

    def _alignment_loss(self, features: torch.Tensor, batch: list[_Example]) -> torch.Tensor:
        embedding = self.tiny.model.get_input_embeddings().get_parameter("weight")
        return alignment_loss(features, [e.alignment for e in batch], embedding, self.number_ids, self.slots)


def _save(out: Path, tiny: Tiny, settings: SftSettings, datasets: Sequence[Dataset], end: Progress) -> Path:
    """The model folder, written beside and renamed; its card says where it came from."""
    partial, final = out / "model.partial", out / "model"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_tiny(tiny, partial)
    record: dict[str, Any] = {
        "steps": end.step,
        "minutes": round(end.minutes, 2),
        "settings": to_plain(settings),
        "datasets": [{"folder": str(d.folder), "fingerprint": d.fingerprint} for d in datasets],
        "versions": versions(),
    }
    write_json(partial / "training.json", record)
    swap_folder(partial, final)
    return final
