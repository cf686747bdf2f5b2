"""The settings of supervised fine-tuning; see `recipes/*/sft.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from georefer.models.tiny import TinySettings
from georefer.tasks import TASKS
from georefer.training.adapters import TuneSettings
from georefer.training.batches import BatchSettings, hybrid_weights
from georefer.training.examples import WordSettings
from georefer.training.loop import LoopSettings
from georefer.training.validation import ValidateSettings


@dataclass(frozen=True)
class SftSettings:
    """A fine-tuning recipe."""

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
