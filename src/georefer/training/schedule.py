"""The settings of the loop, and the learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from georefer.training.work import Progress


@dataclass(frozen=True)
class LoopSettings:
    """Optimisation of any method."""

    steps: int = 2000
    max_minutes: float | None = None
    """Stop after so much training time even if steps are left; the schedule then ends with the time."""
    learning_rate: float = 2e-3
    rates: Mapping[str, float] = field(default_factory=dict)
    """Shares of the learning rate for parts of the model: "vision_tower" = 0.1 counts for every trained parameter with
    that run of names in its path; the longest that fits decides."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_rate: float = 0.02
    """Share of the learning rate that is left at the end (not of "constant")."""
    warmup_steps: int = 50
    warmup_share: float | None = None
    """Warm-up as a share of the run, in place of `warmup_steps`."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """"muon" teaches a small model from random weights several times faster; see `training/muon.py`."""
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of the computation; what is trained stays in float32. "auto": bf16 on a GPU, float32 on a CPU."""
    gradient_checkpointing: bool = False
    """Recompute layers in the backward pass in place of keeping them: a third more time, far less memory."""
    compile: bool = False
    """Compile the repeated layers: minutes at the start, faster steps after."""
    save_every: int = 500
    validate_every: int = 0
    """Steps between validations, where the method has one; 0: at the end alone."""
    best: str = ""
    """The score of the validation that picks the best checkpoint; left out: the mean of all."""
    metrics_every: int = 20
    track: tuple[Literal["tensorboard", "trackio"], ...] = ()
    """Where metrics go besides `metrics.jsonl`."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.save_every, self.metrics_every) < 1 or self.validate_every < 0:
            raise ValueError("steps, save_every and metrics_every must be at least 1, validate_every at least 0")
        if self.warmup_share is not None and not 0 <= self.warmup_share < 1:
            raise ValueError(f"warmup_share is {self.warmup_share}; expected at least 0 and below 1")
        if not 0 <= self.final_rate <= 1:
            raise ValueError(f"final_rate is {self.final_rate}; expected between 0 and 1")
        if self.clip_norm <= 0:
            raise ValueError(f"clip_norm is {self.clip_norm}; expected above 0")


def learning_rate(at: Progress, settings: LoopSettings) -> float:
    """Linear warm-up, times a cosine, a line or nothing down to `final_rate` of the peak."""
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * at.share)), "linear": 1 - at.share, "constant": 1.0}
    fall = settings.final_rate + (1 - settings.final_rate) * left[settings.schedule]
    return settings.learning_rate * _warmup(at, settings) * fall


def _warmup(at: Progress, settings: LoopSettings) -> float:
    steps: float = settings.warmup_steps
    if settings.warmup_share is not None:
        steps = settings.warmup_share * settings.steps
    # Time may end a run before its steps do: the share that has passed then tells how far the warm-up is.
    by_time = at.share / settings.warmup_share if settings.warmup_share and settings.max_minutes else 0.0
    return min(1.0, max((at.step + 1) / steps, by_time)) if steps else 1.0
