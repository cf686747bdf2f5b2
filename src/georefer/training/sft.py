"""Supervised fine-tuning: questions and gold answers of a dataset, an image encoded once for all its questions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georefer.config import to_plain
from georefer.dialects import DIALECTS
from georefer.errors import CheckpointError, DatasetError
from georefer.geometry import Frame
from georefer.models import load_model
from georefer.models.packed import Group, forward_packed, pack
from georefer.models.tiny import TinySettings, create_tiny
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import say, swap_folder, versions, write_json
from georefer.scenes import Dataset, open_dataset
from georefer.tasks import TASKS
from georefer.training.alignment import AlignmentSlots, alignment_counts, alignment_sums
from georefer.training.examples import Aligner, Example, read_examples
from georefer.training.loop import LoopSettings, Part, Progress, Work, train


@dataclass(frozen=True)
class SftSettings:
    """A fine-tuning recipe; see `recipes/*/sft.toml`."""

    dataset: tuple[Path, ...] = ()
    """Datasets to learn from together; their training splits are used."""
    start: str | None = None
    """A checkpoint's folder, hub id or shipped name to go on from; left out: a tiny model of random weights."""
    images_per_step: int = 12
    questions_per_image: int = 8
    task_weights: Mapping[str, float] = field(default_factory=dict)
    """How much likelier a question of a task is drawn; 1 where not named."""
    alignment_only: float = 0.0
    """First part of the run in which image tokens alone learn to say what they show."""
    alignment_weight: float = 0.0
    """Weight of that loss beside the answers afterwards."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    model: TinySettings = field(default_factory=TinySettings)
    """Used only when starting from random weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.alignment_only < 1:
            raise ValueError(f"alignment_only is {self.alignment_only}; expected at least 0 and below 1")
        if unknown := set(self.task_weights) - set(TASKS):
            raise ValueError(f"task_weights names unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")

    @property
    def is_aligned(self) -> bool:
        return self.alignment_only > 0 or self.alignment_weight > 0


def sft(settings: SftSettings, out: Path | str) -> Path:
    """Trains and returns the model folder `out`/model; an interrupted run goes on where it was saved."""
    out = Path(out)
    if not settings.dataset:
        raise DatasetError("no dataset to learn from; give its folder (--dataset FOLDER or dataset in the recipe)")
    datasets = [open_dataset(folder) for folder in settings.dataset]
    model = _starting_model(settings, datasets)
    examples = read_examples(datasets, model, settings.task_weights, aligned=settings.is_aligned)
    identity = {
        "settings": to_plain(replace(settings, dataset=(), loop=replace(settings.loop, max_minutes=None))),
        "data": [d.fingerprint for d in datasets],
    }
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(settings, model, examples)
    say(f"training  {sum(p.numel() for p in model.family.model.parameters()):,} parameters on {len(examples):,} scenes")
    model.family.model.train()
    end = train(run.modules, run.step, settings.loop, out, identity)
    model.family.model.eval()
    return _save(out, model, settings, datasets, end)


def _starting_model(settings: SftSettings, datasets: Sequence[Dataset]) -> TransformersModel:
    if settings.start:
        model = load_model(settings.start)
        if not isinstance(model, TransformersModel):
            raise CheckpointError(f"{settings.start} cannot be trained here; give a checkpoint's folder or hub id")
        return model
    frame_numbers = settings.model.numbers
    texts = [text for d in datasets for text in _texts(d, frame_numbers)]
    return create_tiny(settings.model, texts)


def _texts(dataset: Dataset, numbers: int) -> list[str]:
    """Prompts and fixed words of the training questions: what the vocabulary is made of."""
    questions = dataset.questions("train")
    dialect, frame = DIALECTS["georefer"], Frame.resize((numbers, numbers), (numbers, numbers), numbers)
    prompts = [TASKS[q.task].prompt(q, dialect, frame) for q in questions]
    return [*prompts, *(q.answer_text for q in questions if q.answer_text), "none [1, 1] [1, 1]; a"]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """An example with the questions chosen of it; none where only its image is learned from."""

    example: Example
    chosen: Sequence[int]


class _Run:
    """One training run: draws batches and computes the losses of a step."""

    def __init__(self, settings: SftSettings, model: TransformersModel, examples: list[Example]):
        self.settings = settings
        self.model = model
        self.family = model.family
        self.examples = examples
        self.modules: dict[str, nn.Module] = {"model": self.family.model}
        if settings.is_aligned:
            torch.manual_seed(settings.loop.seed)
            look_up = self.family.bare.get_input_embeddings()
            self.slots = AlignmentSlots(look_up.weight.shape[1])
            self.modules["slots"] = self.slots
            self.number_ids = torch.tensor(Aligner(model).number_ids)

    def step(self, at: Progress) -> Work:
        """The work of one step; everything random comes from (seed, step)."""
        rng = np.random.default_rng([self.settings.loop.seed, at.step])
        share = self.settings.alignment_weight
        if at.share < self.settings.alignment_only:
            # no text part runs, so three times the images cost about the same
            drawn = self._draw(3 * self.settings.images_per_step, rng)
            return Work([self._part([_Drawn(e, ()) for e in drawn])])
        drawn = [_Drawn(e, self._questions(e, rng)) for e in self._draw(self.settings.images_per_step, rng)]
        return Work([self._part(drawn)], {"alignment_words": share, "alignment_boxes": share})

    def _part(self, drawn: Sequence[_Drawn]) -> Part:
        groups = [self._group(d, image) for image, d in enumerate(drawn)]
        learned = sum(sum(s.learn) for group in groups for s in group.segments)
        counts = {"answers": float(learned)} if learned else {}
        if self.settings.is_aligned:
            counts |= alignment_counts([d.example.alignment for d in drawn if d.example.alignment is not None])
        return Part(counts, lambda: self._sums(drawn, groups))

    def _group(self, drawn: _Drawn, image: int) -> Group:
        turns = [drawn.example.turns[i] for i in drawn.chosen]
        return self.model.group(drawn.example.size, [(t.prompt, t.answer) for t in turns], image)

    def _sums(self, drawn: Sequence[_Drawn], groups: Sequence[Group]) -> dict[str, Tensor]:
        """Sums of the losses of a part; its images are read here and nowhere kept."""
        pixels = self.family.pixels([d.example.image() for d in drawn])
        if not any(group.segments for group in groups):
            return self._aligned(self.family.image_features(pixels).tokens, drawn)
        batch = pack([[group] for group in groups], pixels, pad_id=self.model.speech.pad_id).to(self.family.device)
        logits_MV, features = forward_packed(self.family, batch)
        sums = {"answers": F.cross_entropy(logits_MV, batch.targets_M, reduction="sum")}
        return sums | self._aligned(features, drawn) if self.settings.is_aligned else sums

    def _aligned(self, features: Sequence[Tensor], drawn: Sequence[_Drawn]) -> dict[str, Tensor]:
        embedding_VD = self.family.bare.get_input_embeddings().weight
        targets = [d.example.alignment for d in drawn if d.example.alignment is not None]
        return alignment_sums(torch.stack(list(features)), targets, embedding_VD, self.number_ids, self.slots)

    def _questions(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        count = min(self.settings.questions_per_image, len(example.turns))
        return rng.choice(len(example.turns), count, replace=False, p=example.weight_S)

    def _draw(self, count: int, rng: np.random.Generator) -> list[Example]:
        return [self.examples[i] for i in rng.choice(len(self.examples), min(count, len(self.examples)), replace=False)]


def _save(
    out: Path, model: TransformersModel, settings: SftSettings, datasets: Sequence[Dataset], end: Progress
) -> Path:
    """The model folder, written beside and renamed; its card says where it came from."""
    partial, final = out / "model.partial", out / "model"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save(partial)
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
