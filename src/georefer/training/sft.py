"""Supervised fine-tuning: questions and gold answers of a dataset, an image encoded once for all its questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from georefer.dialects import DIALECTS
from georefer.errors import DatasetError
from georefer.geometry import Frame
from georefer.models.packed import Group, forward_packed, pack
from georefer.models.tiny import create_tiny
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import say
from georefer.scenes import Dataset
from georefer.tasks import TASKS
from georefer.training.adapters import checkpoint_layers, prepare, train_mode
from georefer.training.alignment import AlignmentLoss, AlignmentTargets
from georefer.training.batches import Batches, MicroBatch, Piece
from georefer.training.budget import Account
from georefer.training.examples import Aligner, Example, costs_of, read_examples
from georefer.training.loop import LoopSettings, Part, Progress, Work
from georefer.training.run import FULL, Data, starting_model, train_and_save
from georefer.training.sft_settings import SftSettings

__all__ = ["SftRun", "SftSettings", "sft"]


def sft(settings: SftSettings, out: Path | str) -> Path:
    """Trains and returns the model folder `out`/model; an interrupted run goes on where it was saved.

    With validation the checkpoint that answered best is kept in `out`/best as well.
    """
    data = Data.opened(settings, "learn from")
    model = _starting_model(settings, data.datasets)
    prepared = prepare(model.family, settings.tune or FULL, settings.loop.seed)
    examples, account = read_examples(
        data.datasets, model, settings.weights, settings.words, aligned=settings.is_aligned, left_out=data.aside
    )
    _expect_wanted(account, settings)
    run = SftRun(settings, model, examples)
    loop = run.loop
    say(f"training  {prepared}; {len(examples):,} scenes, {loop.steps:,} steps")
    say(f"learning  {account.line()}")
    if loop.gradient_checkpointing:
        checkpoint_layers(model.family)
    train_mode(model.family)
    slots = {"slots": run.alignment.slots} if run.alignment else {}
    about = {"questions": account.plain()}
    return train_and_save(settings, data, model, run.step, loop, Path(out), beside=slots, about=about)


class SftRun:
    """The steps of a run; `step` is what the loop takes."""

    def __init__(self, settings: SftSettings, model: TransformersModel, examples: Sequence[Example]):
        self.settings, self.model, self.family, self.examples = settings, model, model.family, examples
        costs = costs_of(examples, model)
        self.batches = Batches(costs, settings.batch, settings.loop.seed)
        # no text part runs, so three times the images cost about the same
        images_alone = replace(settings.batch, images_per_step=3 * settings.batch.images_per_step)
        self.images_alone = Batches(costs, images_alone, settings.loop.seed)
        self.alignment: AlignmentLoss | None = None
        if settings.is_aligned:
            self.alignment = AlignmentLoss(self.family, Aligner(model).number_ids, settings.loop.seed)

    @property
    def loop(self) -> LoopSettings:
        """With the steps that the epochs come to."""
        if not self.settings.epochs:
            return self.settings.loop
        return replace(self.settings.loop, steps=max(1, math.ceil(self.settings.epochs * self.batches.steps_in_epoch)))

    def step(self, at: Progress) -> Work:
        """This process's part of one step: image tokens alone at first, where the recipe says so, then answers."""
        if self.alignment and at.share < self.settings.alignment_only:
            parts = [self._images_alone(micro, self.alignment) for micro in _mine(self.images_alone, at)]
            return Work(parts, dict.fromkeys(("alignment_words", "alignment_boxes"), 1.0))
        parts = [self._answers(micro) for micro in _mine(self.batches, at)]
        return Work(parts, dict.fromkeys(("alignment_words", "alignment_boxes"), self.settings.alignment_weight))

    def _answers(self, micro: MicroBatch) -> Part:
        """The loss of answers, and beside it that of the image tokens that they were found by."""
        examples = [self.examples[piece.example] for piece in micro]
        groups = [self._group(piece, row) for row, piece in enumerate(micro)]
        counts = {"answers": float(sum(sum(s.learn) for group in groups for s in group.segments))}
        alignment, targets = self.alignment, _targets(examples)

        def sums() -> dict[str, Tensor]:
            pixels = self.family.pixels([example.image() for example in examples])
            batch = pack([[group] for group in groups], pixels, pad_id=self.model.speech.pad_id).to(self.family.device)
            logits_MV, features = forward_packed(self.family, batch)
            found = {"answers": F.cross_entropy(logits_MV.float(), batch.targets_M, reduction="sum")}
            return found | (alignment.sums(features, targets) if alignment else {})

        return Part(counts | (alignment.counts(targets) if alignment else {}), sums)

    def _images_alone(self, micro: MicroBatch, alignment: AlignmentLoss) -> Part:
        """The loss of image tokens without any text."""
        examples = [self.examples[piece.example] for piece in micro]
        targets = _targets(examples)

        def sums() -> dict[str, Tensor]:
            pixels = self.family.pixels([example.image() for example in examples])
            return alignment.sums(self.family.image_features(pixels).tokens, targets)

        return Part(alignment.counts(targets), sums)

    def _group(self, piece: Piece, image: int) -> Group:
        example = self.examples[piece.example]
        turns = [example.turns[i] for i in piece.questions]
        return self.model.group(example.size, [(turn.prompt, turn.answer) for turn in turns], image)


def _mine(batches: Batches, at: Progress) -> list[MicroBatch]:
    """The micro-batches of this process."""
    return [micro for micro in batches.micro_batches(at.step, at.world)[at.rank] if micro]


def _targets(examples: Sequence[Example]) -> list[AlignmentTargets]:
    return [example.alignment for example in examples if example.alignment is not None]


# --- before the run -----------------------------------------------------------------------------------------------


def _starting_model(settings: SftSettings, datasets: Sequence[Dataset]) -> TransformersModel:
    if settings.start:
        model = starting_model(settings.start, settings.dialect)
        return model.seeing(settings.image_side) if settings.image_side else model
    frame_numbers = settings.model.numbers
    texts = [text for d in datasets for text in _texts(d, frame_numbers)]
    return create_tiny(settings.model, texts)


def _texts(dataset: Dataset, numbers: int) -> list[str]:
    """Prompts and fixed words of the training questions: what the vocabulary is made of."""
    questions = dataset.questions("train")
    dialect, frame = DIALECTS["georefer"], Frame.resize((numbers, numbers), (numbers, numbers), numbers)
    prompts = [TASKS[q.task].prompt(q, dialect, frame) for q in questions]
    return [*prompts, *(q.answer_text for q in questions if q.answer_text), "none [1, 1] [1, 1]; a"]


def _expect_wanted(account: Account, settings: SftSettings) -> None:
    """A task that the recipe names must be learned at least once."""
    for task in (name for name, weight in settings.task_weights.items() if weight):
        counts = account.tasks.get(task, {})
        if not counts:
            raise DatasetError(
                f"the datasets hold no training question of the task {task}, which task_weights asks for; they hold "
                f"{', '.join(account.tasks)}: build them with it, or leave it out of task_weights"
            )
        if not sum(counts.get(how, 0) for how in ("whole", "simplified", "parts")):
            raise DatasetError(
                f"none of the {sum(counts.values())} questions of the task {task} can be learned "
                f"({', '.join(counts)}), which task_weights asks for; raise words.max_tokens, or leave the task out"
            )
