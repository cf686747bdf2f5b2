"""Reinforcement by groups: a question is answered G times, rewards are compared, what earned more grows likelier.

A step draws answers to its questions (`rollouts.draw`), values them (`prompts.Earnings`), compares those of a group
(`policy.advantages`) and learns from them (`policy.policy_losses`). All that is random follows from the seed, the batch
and the question, so that a run that goes on equals one that never stopped, on any number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import reduce
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_layers import GradientCheckpointingLayer

from georefer.errors import ConfigError
from georefer.models.families.base import Family
from georefer.models.transformers_model import TransformersModel
from georefer.training import policy
from georefer.training.batches import Batches, Costs, MicroBatch
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.loop import Part, Progress, Work
from georefer.training.processes import judging
from georefer.training.prompts import Earnings, Prompts
from georefer.training.rollout_log import RolloutLog
from georefer.training.rollout_store import RolloutStore
from georefer.training.rollouts import Place, Rollout, Seen, answer_logprobs, draw, mask_of, uniforms

_SPARE = 0x5EED
"""Added to the seed where questions are drawn in place of others."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A micro-batch of questions with their answers."""

    seen: Seen
    rollouts: tuple[Rollout, ...]


class GrpoRun:
    """The steps of a run: `step` is what the loop takes."""

    def __init__(
        self, settings: GrpoSettings, model: TransformersModel, prompts: Sequence[Prompts], folder: Path
    ) -> None:
        refuse_shards()
        self.settings, self.model, self.prompts = settings, model, prompts
        self.method = settings.chosen
        self.earnings = Earnings(settings.rewards, settings.task_rewards, prompts)
        costs = _costs(prompts, model, settings)
        self.batches = Batches(costs, settings.batch, settings.loop.seed)
        self.spare = Batches(costs, replace(settings.batch, order="weights"), settings.loop.seed + _SPARE)
        self.folder = folder
        self.begun = BegunWeights(model.family) if settings.kl_weight else None
        self.held: tuple[int, list[Answered]] = (-1, [])

    # --- a step ---------------------------------------------------------------------------------------------------

    def step(self, at: Progress) -> Work:
        """This process's part of one step; answers are drawn at the first of those that learn from them."""
        number = at.step // self.settings.updates
        if self.held[0] != number:
            self.held = (number, self._answered(number, at))
        rollouts = [rollout for micro in self.held[1] for rollout in micro.rollouts]
        learned = [replace(m, rollouts=tuple(r for r in m.rollouts if self._is_learned(r))) for m in self.held[1]]
        parts = [self.measured(rollouts), *(self.learned(micro) for micro in learned if micro.rollouts)]
        return Work([part for part in parts if part.counts], self._weights)

    @property
    def _weights(self) -> dict[str, float]:
        recorded = ["reward", "cut", "equal_groups", "tokens", "surprise", "clipped"]
        recorded += [f"reward/{name}" for name in self.earnings.names]
        return {**dict.fromkeys(recorded, 0.0), "policy": 1.0, "kl": self.settings.kl_weight}

    def _is_learned(self, rollout: Rollout) -> bool:
        return self.settings.equal_groups == "keep" or not rollout.is_equal

    def _answered(self, number: int, at: Progress) -> list[Answered]:
        """A batch of answers, drawn now or, where a run goes on between two of its steps, as they were."""
        store = RolloutStore(self.folder, self.settings.updates, at.rank)
        if at.step % self.settings.updates:
            return [self._restored(micro) for micro in store.read(number)]
        micros = list(self._drawn(number, at))
        micros = self._with_reference(self._compared(micros))
        store.write(number, [(micro.seen.prompts, micro.rollouts) for micro in micros], self.prompts)
        if number % self.settings.log_every == 0:
            log = RolloutLog(self.folder, at.rank, self.earnings.names)
            shown = [(r, m.seen.images[r.place.image]) for m in micros for r in m.rollouts]
            self.log.write(at.step, [r for r, _ in shown], [image for _, image in shown])
        return micros
