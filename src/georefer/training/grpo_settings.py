"""The settings of reinforcement by groups; see `recipes/*/grpo.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from georefer.tasks import TASKS
from georefer.training.adapters import TuneSettings
from georefer.training.batches import BatchSettings
from georefer.training.loop import LoopSettings
from georefer.training.policy import METHODS, Method
from georefer.training.prompts import Thoughts
from georefer.training.validation import ValidateSettings


@dataclass(frozen=True)
class DrawSettings:
    """How answers are drawn; evaluation is to allow as many tokens."""

    answers: int = 8
    """To each question: its group."""
    temperature: float = 1.0
    max_new_tokens: int = 256
    thoughts: Thoughts = "as written"
    """Whether a thought is asked for before the answer, where the dialect has room: as the dataset's questions bring
    one, always or never."""
    server: str = ""
    """Address of a vLLM server that draws (`http://host:8000/v1`); left out, this process does. How it is asked can
    stand behind it, as in `http://host:8000/v1#,concurrency=64,key_variable=KEY`."""
    sync_every: int = 1
    """Batches of answers between two adapters that the server gets; at 1 it always draws with what was learned last."""

    def __post_init__(self) -> None:
        if self.sync_every < 1:
            raise ValueError("sync_every must be at least 1")
        if self.answers < 2 or self.max_new_tokens < 1 or self.temperature <= 0:
            raise ValueError("answers must be at least 2, max_new_tokens at least 1, temperature above 0")


@dataclass(frozen=True)
class GrpoSettings:
    """A recipe of reinforcement."""

    dataset: tuple[Path, ...] = ()
    """Datasets to ask from together; their training splits are used."""
    start: str = "tiny-synthetic"
    """A checkpoint's folder, hub id or shipped name."""
    dialect: str = ""
    """In which it answers; left out: the checkpoint's own."""
    method: Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "gdpo"] = "grpo"
    clip_high: float | None = None
    """Upper clip of the ratio of probabilities, in place of the method's own."""
    std_floor: float = 0.1
    """Rewards of a group are divided by their spread, or by this where it is less; 0 as published."""
    kl_weight: float = 0.0
    """Of the divergence (k3) from the model that the run starts with."""
    updates: int = 1
    """Steps that learn from the same answers."""
    equal_groups: Literal["skip", "resample", "keep"] = "skip"
    """What becomes of groups that earned all the same: left out, replaced by other questions (DAPO), or kept, where
    the divergence alone then moves the model (TRL)."""
    resamples: int = 3
    """Times that other questions are drawn at most."""
    cut_answers: Literal["learn", "leave out"] = "learn"
    """Answers that ran out of tokens count in their group either way."""
    overlong: int = 0
    """Last tokens of `max_new_tokens` over which an answer loses up to 1 (DAPO's soft punishment); 0: none."""
    rewards: Mapping[str, float] = field(default_factory=lambda: {"f1": 1.0})
    """Rewards by name, or as package.module:thing, with their weights."""
    task_rewards: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """For the questions of a task, in place of these."""
    labelled: bool = False
    """Whether a shape must bear the right label, in the tasks whose answers say labels."""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    """How much likelier a question of a task is drawn; 1 where not named, never if 0."""
    log_every: int = 1
    """Answered batches between those that are written to `rollouts.jsonl` and `rollouts.html`."""
    draw: DrawSettings = field(default_factory=DrawSettings)
    batch: BatchSettings = field(default_factory=lambda: BatchSettings(images_per_step=8, questions_per_image=1))
    tune: TuneSettings | None = None
    """What of the model is trained; left out: all of it, in full."""
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(learning_rate=1e-5, weight_decay=0.0, save_every=50)
    )

    def __post_init__(self) -> None:
        if unknown := (set(self.task_weights) | set(self.task_rewards)) - set(TASKS):
            raise ValueError(f"the tasks {sorted(unknown)} are unknown; known: {', '.join(TASKS)}")
        if min(self.updates, self.resamples, self.log_every) < 1:
            raise ValueError("updates, resamples and log_every must be at least 1")
        if min(self.std_floor, self.kl_weight, self.overlong) < 0 or self.overlong > self.draw.max_new_tokens:
            raise ValueError("std_floor, kl_weight and overlong must be at least 0, overlong at most max_new_tokens")
        if not self.rewards and not self.task_rewards:
            raise ValueError("there is no reward; name at least one")

    @property
    def chosen(self) -> Method:
        """The method with what the recipe changes of it."""
        method = METHODS[self.method]
        return method if self.clip_high is None else replace(method, clip_high=self.clip_high)
