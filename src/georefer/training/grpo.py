"""Reinforcement by groups: a question is answered G times, rewards are compared, what earned more grows likelier.

A step draws answers to its questions (`rollouts.draw`), values them (`prompts.Earnings`), compares those of a group
(`policy.advantages`) and learns from them (`policy.policy_losses`). All that is random follows from the seed, the batch
and the question: a run that goes on equals one that never stopped, and no process draws otherwise than another would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import reduce
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from georefer.models.transformers_model import TransformersModel
from georefer.training import policy
from georefer.training.batches import Batches, Costs, MicroBatch
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.loop import Part, Progress, Work
from georefer.training.prompts import Earnings, Prompts
from georefer.training.rollout_log import RolloutLog
from georefer.training.rollout_model import BegunWeights, answering, learning
from georefer.training.rollout_store import RolloutStore
from georefer.training.rollouts import Place, Rollout, Seen, answer_logprobs, draw, mask_of, uniforms

_SPARE = 0x5EED
"""Added to the seed where questions are drawn in place of others."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A micro-batch of scenes, by their numbers, with the answers to its questions."""

    scenes: tuple[int, ...]
    seen: Seen
    rollouts: tuple[Rollout, ...]


class GrpoRun:
    """The steps of a run; `step` is what the loop takes."""

    def __init__(self, settings: GrpoSettings, model: TransformersModel, prompts: Sequence[Prompts], folder: Path):
        self.settings, self.model, self.prompts = settings, model, prompts
        self.method, self.folder = settings.chosen, folder
        self.earnings = Earnings(settings.rewards, settings.task_rewards, prompts)
        costs, seed = _costs(prompts, model, settings), settings.loop.seed
        self.batches = Batches(costs, settings.batch, seed)
        self.spare = Batches(costs, replace(settings.batch, order="weights"), seed + _SPARE)
        self.begun = BegunWeights(model.family)
        self.log = RolloutLog(folder, self.earnings.names)
        self.held: tuple[int, list[Answered]] = (-1, [])

    def step(self, at: Progress) -> Work:
        """This process's part of one step; answers are drawn at the first of the steps that learn from them."""
        number = at.step // self.settings.updates
        if self.held[0] != number:
            self.held = (number, self._answered(number, at))
        rollouts = [rollout for micro in self.held[1] for rollout in micro.rollouts]
        parts = [self._measured(rollouts)] if rollouts else []
        for micro in self.held[1]:
            if learned := [r for r in micro.rollouts if not r.is_equal or self.settings.equal_groups == "keep"]:
                parts.append(self._learned(micro.seen, learned))
        names = {name for part in parts for name in part.counts}
        return Work(parts, dict.fromkeys(names, 0.0) | {"policy": 1.0, "kl": self.settings.kl_weight})

    def _answered(self, number: int, at: Progress) -> list[Answered]:
        """A batch of answers, drawn and valued now or, where a run goes on amid its steps, as they were."""
        store = RolloutStore(self.folder, self.settings.updates, at.rank)
        with answering(self.model.family, self.settings.loop):
            if at.step % self.settings.updates:
                return [Answered(n, self._see(n)[0], rollouts) for n, rollouts in store.read(number, self.prompts)]
            micros = self._with_reference(self._compared(list(self._drawn(number, at))))
        store.write(number, [(micro.scenes, micro.rollouts) for micro in micros])
        if number % self.settings.log_every == 0:
            said = [(rollout, micro.seen.images[rollout.place.image]) for micro in micros for rollout in micro.rollouts]
            self.log.write(at.step, at.rank, said)
        return micros

    # --- answers and what they earn ---------------------------------------------------------------------------------

    def _drawn(self, number: int, at: Progress) -> Iterator[Answered]:
        """The answers of a batch, and of other questions in place of those whose answers earned all the same."""
        mine = [micro for micro in self.batches.micro_batches(number, at.world)[at.rank] if micro]
        wanted = sum(len(piece.questions) for micro in mine for piece in micro)
        for micro in mine:
            yield (answered := self._draw(micro, (number, 0)))
            wanted -= sum(not rollout.is_equal for rollout in answered.rollouts)
        if self.settings.equal_groups != "resample":
            return
        for again in range(1, self.settings.resamples + 1):
            spare = self.spare.micro_batches(number * self.settings.resamples + again - 1, at.world)[at.rank]
            for micro in (micro for micro in spare if micro):
                if wanted <= 0:
                    return
                yield (answered := self._draw(micro, (number, again)))
                wanted -= sum(not rollout.is_equal for rollout in answered.rollouts)

    def _see(self, scenes: Sequence[int]) -> tuple[Seen, object]:
        return Seen.of(self.model.family, [self.prompts[n] for n in scenes])

    def _draw(self, micro: MicroBatch, key: tuple[int, int]) -> Answered:
        """G answers to each question of a micro-batch, with what they earned."""
        how, scenes = self.settings.draw, tuple(piece.example for piece in micro)
        seen, features = Seen.of(self.model.family, [self.prompts[n] for n in scenes])
        places = [Place(image, question) for image, piece in enumerate(micro) for question in piece.questions]
        noise = [
            uniforms((self.settings.loop.seed, *key, scenes[p.image], p.question), how.answers, how.max_new_tokens)
            for p in places
        ]
        answers = draw(self.model, seen.prompts, features, places, noise, how.temperature)
        rollouts = [self._valued(seen, place, group) for place, group in zip(places, answers, strict=True)]
        return Answered(scenes, seen, tuple(rollouts))

    def _valued(self, seen: Seen, place: Place, answers: tuple) -> Rollout:
        """Answers with what each reward gives them, what they earn in all, and whether that is the same for all."""
        asked = seen.prompts[place.image].asked[place.question]
        texts = tuple(self.model.speech.answer(drawn.ids) for drawn in answers)
        earned_GK = self.earnings.of(asked, texts)
        length_G = torch.tensor([len(drawn.ids) for drawn in answers], dtype=torch.float64)
        late_G = policy.overlong(length_G, self.settings.draw.max_new_tokens, self.settings.overlong)
        total_G = np.nan_to_num(earned_GK) @ self.earnings.weights_K(asked.task) + late_G.numpy()
        compared = np.nan_to_num(earned_GK).T if self.method.each else total_G[None]
        is_equal = bool(policy.equal_groups(torch.from_numpy(compared)).all())
        return Rollout(place, asked, answers, texts, earned_GK, total_G, np.zeros(len(answers)), is_equal)

    def _compared(self, micros: list[Answered]) -> list[Answered]:
        """With what each answer earned above its group."""
        rollouts = [rollout for micro in micros for rollout in micro.rollouts]
        if self.method.each:
            shape = (len(rollouts), self.settings.draw.answers, len(self.earnings.names))
            earned_NGK = torch.from_numpy(np.array([r.earned_GK for r in rollouts]).reshape(shape))
            weight_NK = torch.from_numpy(np.array([self.earnings.weights_K(r.asked.task) for r in rollouts]))
            found = policy.advantages_each(earned_NGK, weight_NK.view(-1, shape[2]), self.settings.std_floor, moments)
        else:
            total_NG = torch.from_numpy(np.array([r.total_G for r in rollouts]).reshape(-1, self.settings.draw.answers))
            found = policy.advantages(total_NG, self.method.scale, self.settings.std_floor)
        above = iter(found.numpy())
        return [replace(m, rollouts=tuple(replace(r, advantage_G=next(above)) for r in m.rollouts)) for m in micros]

    def _with_reference(self, micros: list[Answered]) -> list[Answered]:
        """With log-probabilities by the model that the run began with, where the loss looks at it."""
        if not self.settings.kl_weight:
            return micros
        with self.begun.back():
            return [replace(micro, rollouts=self._referred(micro)) for micro in micros]

    def _referred(self, micro: Answered) -> tuple[Rollout, ...]:
        found_BT, _ = answer_logprobs(self.model, micro.seen, micro.rollouts, self.settings.draw.temperature)
        rows = iter(found_BT.tolist())
        return tuple(
            replace(r, reference=tuple(tuple(next(rows)[: len(drawn.ids)]) for drawn in r.answers))
            for r in micro.rollouts
        )

    # --- losses -----------------------------------------------------------------------------------------------------

    def _measured(self, rollouts: Sequence[Rollout]) -> Part:
        """What is recorded of a batch of answers, and not learned."""
        answers = [drawn for rollout in rollouts for drawn in rollout.answers]
        values = {
            "reward": np.concatenate([r.total_G for r in rollouts]),
            "cut": [drawn.is_cut for drawn in answers],
            "tokens": [len(drawn.ids) for drawn in answers],
            # of what was drawn, its mean is an estimate of the entropy
            "surprise": [-logprob for drawn in answers for logprob in drawn.logprobs],
            "equal_groups": [rollout.is_equal for rollout in rollouts],
        }
        earned_BK = np.concatenate([r.earned_GK for r in rollouts])
        values |= {f"reward/{n}": v[~np.isnan(v)] for n, v in zip(self.earnings.names, earned_BK.T, strict=True)}
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


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation of the values of all processes."""
    own = torch.stack(
        [torch.tensor(float(values.numel())).double(), values.double().sum(), values.double().square().sum()]
    )
    count, total, squares = reduce(own, "sum")
    mean = total / count.clamp(min=1)
    return mean, ((squares - count * mean**2).clamp(min=0) / (count - 1).clamp(min=1)).sqrt()


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _costs(prompts: Sequence[Prompts], model: TransformersModel, settings: GrpoSettings) -> Costs:
    """Tokens of rows: a question stands in its row once or with each of its answers, which may all be long."""
    how = settings.draw
    lengths = [[how.answers * (int(n) + how.max_new_tokens) for n in scene.example.length_S] for scene in prompts]
    weights = [scene.example.weight_S.tolist() for scene in prompts]
    return Costs.of([len(model.prefix(scene.example.size)) for scene in prompts], lengths, weights)
