"""Supervised fine-tuning: questions and gold answers of a dataset, an image encoded once for all its questions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

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
from georefer.training.adapters import TuneSettings, checkpoint_layers, prepare, train_mode
from georefer.training.alignment import AlignmentSlots, alignment_counts, alignment_sums
from georefer.training.batches import Batches, BatchSettings, MicroBatch, Piece, hybrid_weights
from georefer.training.budget import Account
from georefer.training.examples import Aligner, Example, WordSettings, costs_of, read_examples
from georefer.training.loop import LoopSettings, Part, Progress, Work, train
from georefer.training.validation import Validation, set_aside


@dataclass(frozen=True)
class ValidateSettings:
    """What the model is judged by during training (`loop.validate_every`): scenes that it does not learn from."""

    share: float = 0.0
    """Of the training scenes, set aside by a hash of their ids; 0: no validation."""
    per_task: int = 50
    """Questions of each task."""
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.per_task < 1:
            raise ValueError("share must be at least 0 and below 1, per_task at least 1")


@dataclass(frozen=True)
class SftSettings:
    """A fine-tuning recipe; see `recipes/*/sft.toml`."""

    dataset: tuple[Path, ...] = ()
    """Datasets to learn from together; their training splits are used."""
    start: str | None = None
    """A checkpoint's folder, hub id or shipped name to go on from; left out: a tiny model of random weights."""
    dialect: str = ""
    """In which it learns to answer; left out: the checkpoint's own."""
    image_side: int = 0
    """Side in pixels of the square that a CLIP tower shall see, its positions interpolated; 0: as it was made."""
    epochs: float = 0.0
    """Passes over the data, in place of `loop.steps`."""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    """How much likelier a question of a task is drawn; 1 where not named."""
    hybrid: Mapping[str, float] = field(default_factory=dict)
    """The same for all tasks of a kind (hbb, obb, mask, prompt_assisted, geometry_guided); see `hybrid_weights`."""
    alignment_only: float = 0.0
    """First part of the run in which image tokens alone learn to say what they show."""
    alignment_weight: float = 0.0
    """Weight of that loss beside the answers afterwards."""
    batch: BatchSettings = field(default_factory=lambda: BatchSettings(images_per_step=12))
    words: WordSettings = field(default_factory=WordSettings)
    tune: TuneSettings | None = None
    """What of the model is trained; left out: all of it, in full."""
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    model: TinySettings = field(default_factory=TinySettings)
    """Used only when starting from random weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.alignment_only < 1:
            raise ValueError(f"alignment_only is {self.alignment_only}; expected at least 0 and below 1")
        if unknown := set(self.task_weights) - set(TASKS):
            raise ValueError(f"task_weights names unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")
        try:
            hybrid_weights(**self.hybrid)
        except TypeError as error:
            raise ValueError(f"hybrid: {error}; known: hbb, obb, mask, prompt_assisted, geometry_guided") from error

    @property
    def is_aligned(self) -> bool:
        return self.alignment_only > 0 or self.alignment_weight > 0

    @property
    def weights(self) -> dict[str, float]:
        """Of tasks: those named alone, or else by their kind."""
        return (hybrid_weights(**self.hybrid) if self.hybrid else {}) | dict(self.task_weights)


def sft(settings: SftSettings, out: Path | str) -> Path:
    """Trains and returns the model folder `out`/model; an interrupted run goes on where it was saved.

    With validation the checkpoint that answered best is kept in `out`/best as well.
    """
    out = Path(out)
    if not settings.dataset:
        raise DatasetError("no dataset to learn from; give its folder (--dataset FOLDER or dataset in the recipe)")
    datasets = [open_dataset(folder) for folder in settings.dataset]
    model = _starting_model(settings, datasets)
    tune = settings.tune or TuneSettings(vision="full", projector="full", language="full")
    prepared = prepare(model.family, tune, settings.loop.seed)
    aside = _aside(datasets, settings)
    examples, account = read_examples(
        datasets, model, settings.weights, settings.words, aligned=settings.is_aligned, left_out=aside
    )
    _expect_wanted(account, settings)
    run = _Run(settings, model, examples)
    loop = run.loop
    say(f"training  {prepared}; {len(examples):,} scenes, {loop.steps:,} steps")
    say(f"learning  {account.line()}")
    identity = {
        "settings": to_plain(replace(settings, dataset=(), loop=replace(loop, max_minutes=None))),
        "data": [d.fingerprint for d in datasets],
        "model": model.name,
    }
    card = _Card(settings, datasets, account)
    if loop.gradient_checkpointing:
        checkpoint_layers(model.family)
    train_mode(model.family)
    validate = _validation(datasets, model, settings, aside)
    end = train(
        run.modules, run.step, loop, out, identity, validate, lambda folder: card.save(model, folder) if aside else None
    )
    model.family.model.eval()
    # of several processes the first holds whole weights now
    return _save(out, model, card, end) if end.rank == 0 else out / "model"


def _expect_wanted(account: Account, settings: SftSettings) -> None:
    """A task that the recipe names must be learned at least once."""
    for task, counts in account.tasks.items():
        kept = sum(counts.get(how, 0) for how in ("whole", "simplified", "parts"))
        if settings.task_weights.get(task) and not kept:
            raise DatasetError(
                f"none of the {sum(counts.values())} questions of the task {task} can be learned "
                f"({', '.join(counts)}), which task_weights asks for; raise words.max_tokens, or leave the task out"
            )


def _aside(datasets: Sequence[Dataset], settings: SftSettings) -> frozenset[str]:
    """Scenes that are judged by and not learned from."""
    if not settings.validate.share:
        return frozenset()
    ids = {question.scene_id for dataset in datasets for question in dataset.questions("train")}
    return set_aside(ids, settings.validate.share, settings.loop.seed)


def _validation(
    datasets: Sequence[Dataset], model: TransformersModel, settings: SftSettings, aside: frozenset[str]
) -> Any:
    if not aside:
        return None
    drawn = Validation.drawn(datasets, settings.validate.per_task, settings.loop.seed, scene_ids=aside)

    def scores() -> dict[str, float]:
        found = drawn.scores(model, settings.validate.max_new_tokens)
        return {task: score.value for task, score in found.items() if score.value is not None}

    return scores


def _starting_model(settings: SftSettings, datasets: Sequence[Dataset]) -> TransformersModel:
    if settings.start:
        # the tiny model's vocabulary is made for one dialect, which its loader does not let choose
        model = load_model(settings.start, **({"dialect": settings.dialect} if settings.dialect else {}))
        if not isinstance(model, TransformersModel):
            raise CheckpointError(f"{settings.start} cannot be trained here; give a checkpoint's folder or hub id")
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


class _Run:
    """One training run: what a step learns from, and its losses."""

    def __init__(self, settings: SftSettings, model: TransformersModel, examples: list[Example]):
        self.settings = settings
        self.model = model
        self.family = model.family
        self.examples = examples
        costs = costs_of(examples, model)
        self.batches = Batches(costs, settings.batch, settings.loop.seed)
        # no text part runs, so three times the images cost about the same
        images_alone = replace(settings.batch, images_per_step=3 * settings.batch.images_per_step)
        self.images_alone = Batches(costs, images_alone, settings.loop.seed)
        self.modules: dict[str, nn.Module] = {"model": self.family.model}
        if settings.is_aligned:
            torch.manual_seed(settings.loop.seed)
            self.slots = AlignmentSlots(self.family.bare.get_input_embeddings().weight.shape[1])
            self.modules["slots"] = self.slots

    @property
    def loop(self) -> LoopSettings:
        """With the steps that the epochs come to."""
        if not self.settings.epochs:
            return self.settings.loop
        return replace(self.settings.loop, steps=max(1, math.ceil(self.settings.epochs * self.batches.steps_in_epoch)))

    def step(self, at: Progress) -> Work:
        """This process's part of one step."""
        is_alone = at.share < self.settings.alignment_only
        batches = self.images_alone if is_alone else self.batches
        make = self._images_alone if is_alone else self._answers
        mine = batches.micro_batches(at.step, at.world)[at.rank]
        share = 1.0 if is_alone else self.settings.alignment_weight
        return Work([make(micro) for micro in mine if micro], {"alignment_words": share, "alignment_boxes": share})

    def _answers(self, micro: MicroBatch) -> Part:
        groups = [self._group(piece, row) for row, piece in enumerate(micro)]
        counts = {"answers": float(sum(sum(s.learn) for group in groups for s in group.segments))}
        examples = [self.examples[piece.example] for piece in micro]
        aligned = self._alignment_counts(examples) if self.settings.is_aligned else {}

        def sums() -> dict[str, Tensor]:
            pixels = self.family.pixels([example.image() for example in examples])
            batch = pack([[group] for group in groups], pixels, pad_id=self.model.speech.pad_id).to(self.family.device)
            logits_MV, features = forward_packed(self.family, batch)
            found = {"answers": F.cross_entropy(logits_MV.float(), batch.targets_M, reduction="sum")}
            return found | (self._aligned(features, examples) if aligned else {})

        return Part(counts | aligned, sums)

    def _images_alone(self, micro: MicroBatch) -> Part:
        examples = [self.examples[piece.example] for piece in micro]

        def sums() -> dict[str, Tensor]:
            pixels = self.family.pixels([example.image() for example in examples])
            return self._aligned(self.family.image_features(pixels).tokens, examples)

        return Part(self._alignment_counts(examples), sums)

    def _group(self, piece: Piece, image: int) -> Group:
        example = self.examples[piece.example]
        turns = [example.turns[i] for i in piece.questions]
        return self.model.group(example.size, [(turn.prompt, turn.answer) for turn in turns], image)

    # --- alignment --------------------------------------------------------------------------------------------

    @cached_property
    def _number_ids(self) -> Tensor:
        return torch.tensor(Aligner(self.model).number_ids, device=self.family.device)

    def _alignment_counts(self, examples: Sequence[Example]) -> dict[str, float]:
        return alignment_counts([e.alignment for e in examples if e.alignment is not None])

    def _aligned(self, features: Sequence[Tensor], examples: Sequence[Example]) -> dict[str, Tensor]:
        embedding_VD = self.family.bare.get_input_embeddings().weight
        targets = [e.alignment for e in examples if e.alignment is not None]
        return alignment_sums(torch.stack(list(features)), targets, embedding_VD, self._number_ids, self.slots)


@dataclass(frozen=True)
class _Card:
    """Where a checkpoint comes from, written beside it."""

    settings: SftSettings
    datasets: Sequence[Dataset]
    account: Account

    def save(self, model: TransformersModel, folder: Path, **more: Any) -> None:
        model.save(folder)
        record: dict[str, Any] = {
            **more,
            "settings": to_plain(self.settings),
            "datasets": [{"folder": str(d.folder), "fingerprint": d.fingerprint} for d in self.datasets],
            "questions": self.account.plain(),
            "versions": versions(),
        }
        write_json(folder / "training.json", record)


def _save(out: Path, model: TransformersModel, card: _Card, end: Progress) -> Path:
    """The model folder, written beside and renamed."""
    partial, final = out / "model.partial", out / "model"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    card.save(model, partial, steps=end.step, minutes=round(end.minutes, 2))
    swap_folder(partial, final)
    return final
