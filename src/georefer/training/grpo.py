"""Reinforcement by groups: a question is answered G times, rewards are compared, what earned more grows likelier.

A step draws answers to its questions and compares what they earn (`answered`), then learns from them by the losses of
its method (`policy`), all answers to a question in one row (`rollouts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from georefer.models.transformers_model import TransformersModel
from georefer.runlog import say
from georefer.training import policy
from georefer.training.adapters import prepare
from georefer.training.answered import Answered, Answerer
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.loop import Part, Progress, Work
from georefer.training.prompts import PromptMaker, Prompts, lost_line
from georefer.training.rollout_log import RolloutLog
from georefer.training.rollout_model import answering, learning, refuse_shards
from georefer.training.rollout_store import RolloutStore
from georefer.training.rollouts import Rollout, Seen, answer_logprobs, mask_of
from georefer.training.run import FULL, Data, starting_model, train_and_save


def grpo(settings: GrpoSettings, out: Path | str) -> Path:
    """Trains and returns the model folder `out`/model; an interrupted run goes on where it was saved.

    Beside it lie `metrics.jsonl`, the rollouts (`rollouts.jsonl`, `rollouts.html`) and, with validation, `best`. What
    cannot be asked, answered or valued is said before the first step.
    """
    refuse_shards()
    data, how = Data.opened(settings, "ask from"), settings.draw
    model = starting_model(settings.start, settings.dialect)
    model.family.model.eval()
    prepared = prepare(model.family, settings.tune or FULL, settings.loop.seed)
    maker = PromptMaker(model, settings.task_weights, how.max_new_tokens, how.thoughts, settings.labelled)
    prompts, lost = maker.read(data.datasets, data.aside)
    run = GrpoRun(settings, model, prompts, Path(out))
    say(f"training  {prepared}; {len(prompts):,} scenes, {settings.loop.steps:,} steps")
    questions = sum(len(scene.asked) for scene in prompts)
    say(f"asking    {questions:,} questions, {how.answers} answers each; {lost_line(lost)}")
    return train_and_save(settings, data, model, run.step, settings.loop, Path(out), about={"left_out": lost})


DRY_STEPS = 10
"""Steps in a row without anything to learn after which that is said."""


class GrpoRun:
    """The steps of a run; `step` is what the loop takes."""

    def __init__(self, settings: GrpoSettings, model: TransformersModel, prompts: Sequence[Prompts], folder: Path):
        self.settings, self.model, self.folder = settings, model, folder
        self.method = settings.chosen
        self.answerer = Answerer(settings, model, prompts, folder)
        self.log = RolloutLog(folder, self.answerer.earnings.names)
        self.held: tuple[int, list[Answered]] = (-1, [])
        self.dry = 0

    def step(self, at: Progress) -> Work:
        """This process's part of one step; answers are drawn at the first of the steps that learn from them."""
        number = at.step // self.settings.updates
        if self.held[0] != number:
            self.held = (number, self._answered(number, at))
        rollouts = [rollout for micro in self.held[1] for rollout in micro.rollouts]
        parts = [self._measured(rollouts)] if rollouts else []
        self._watch(rollouts)
        for micro in self.held[1]:
            if learned := [r for r in micro.rollouts if not r.is_equal or self.settings.equal_groups == "keep"]:
                parts.append(self._learned(micro.seen, learned))
        names = {name for part in parts for name in part.counts}
        return Work(parts, dict.fromkeys(names, 0.0) | {"policy": 1.0, "kl": self.settings.kl_weight}, shows="reward")

    def _answered(self, number: int, at: Progress) -> list[Answered]:
        """A batch of answers, drawn and valued now or, where a run goes on amid its steps, as they were."""
        store = RolloutStore(self.folder, self.settings.updates, at.rank, at.world)
        with answering(self.model.family, self.settings.loop):
            if at.step % self.settings.updates:
                kept = store.read(number, self.answerer.prompts)
                return [Answered(scenes, self.answerer.seen(scenes)[0], rollouts) for scenes, rollouts in kept]
            micros = self.answerer.answered(number, at)
        store.write(number, [(micro.scenes, micro.rollouts) for micro in micros])
        if number % self.settings.log_every == 0:
            said = [(rollout, micro.seen.images[rollout.place.image]) for micro in micros for rollout in micro.rollouts]
            self.log.write(at, said)
        return micros

    def _watch(self, rollouts: Sequence[Rollout]) -> None:
        """Says when the rewards tell no answer from another for long: nothing is learned then, at full cost."""
        self.dry = 0 if not all(rollout.is_equal for rollout in rollouts) else self.dry + 1
        if self.dry == DRY_STEPS:
            say(
                f"warning   all answers to each question earned the same for {DRY_STEPS} steps, so nothing is learned; "
                "the rewards may be too easy, too hard or blind to what differs (see rollouts.html)"
            )

    def _measured(self, rollouts: Sequence[Rollout]) -> Part:
        """What is recorded of a batch of answers, and not learned."""
        answers = [drawn for rollout in rollouts for drawn in rollout.answers]
        values: dict[str, Any] = {
            "reward": np.concatenate([r.total_G for r in rollouts]),
            "cut": [drawn.is_cut for drawn in answers],
            "tokens": [len(drawn.ids) for drawn in answers],
            # of what was drawn, its mean is an estimate of the entropy
            "surprise": [-logprob for drawn in answers for logprob in drawn.logprobs],
            "equal_groups": [rollout.is_equal for rollout in rollouts],
        }
        earned_BK = np.concatenate([r.earned_GK for r in rollouts])
        values |= {
            f"reward/{n}": v[~np.isnan(v)] for n, v in zip(self.answerer.earnings.names, earned_BK.T, strict=True)
        }
        counts = {name: float(len(some)) for name, some in values.items() if len(some)}
        return Part(counts, lambda: {name: torch.tensor(float(np.sum(values[name]))) for name in counts})

    def _learned(self, seen: Seen, rollouts: Sequence[Rollout]) -> Part:
        """The losses of some answers: the policy's, and the divergence from where the run began."""
        method, how, device = self.method, self.settings.draw, self.model.family.device
        answers = [drawn for rollout in rollouts for drawn in rollout.answers]
        is_left_B = torch.tensor([d.is_cut and self.settings.cut_answers == "leave out" for d in answers])
        mask_BT = mask_of([len(drawn.ids) for drawn in answers]) & ~is_left_B[:, None]
        names = ["policy", *(["kl"] if self.settings.kl_weight else [])]
        counts = {name: policy.terms(mask_BT, method.mean, how.max_new_tokens) for name in names}
        if self.settings.updates > 1:
            counts["clipped"] = policy.terms(mask_BT, "tokens", how.max_new_tokens)

        def sums() -> dict[str, Tensor]:
            learning(self.model.family)
            logprob_BT, _ = answer_logprobs(self.model, seen, rollouts, how.temperature)
            counted_BT = mask_BT.to(device)
            old_BT = (
                _padded([d.logprobs for d in answers]).to(device) if self.settings.updates > 1 else logprob_BT.detach()
            )
            advantage_B = torch.from_numpy(np.concatenate([r.advantage_G for r in rollouts])).float().to(device)
            ratio_BT = policy.ratios(logprob_BT, old_BT, counted_BT, whole=method.whole)
            found = {
                "policy": policy.summed(policy.policy_losses(ratio_BT, advantage_B, method), counted_BT, method.mean)
            }
            if "kl" in counts:
                reference_BT = _padded([row for r in rollouts for row in r.reference]).to(device)
                found["kl"] = policy.summed(policy.k3(logprob_BT, reference_BT), counted_BT, method.mean)
            if "clipped" in counts:
                clipped_BT = policy.is_clipped(ratio_BT, advantage_B, method)
                found["clipped"] = policy.summed(clipped_BT.float(), counted_BT, "tokens").detach()
            return found

        return Part(counts, sums)


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
