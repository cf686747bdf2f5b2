"""A batch of questions with drawn answers: what they earn, how far above their group, and how likely they were once.

All that is random follows from the seed, the batch and the question: a run that goes on equals one that never stopped,
and no process draws otherwise than another would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate.utils import reduce
from torch import Tensor

from georefer.models.families.base import ImageFeatures
from georefer.models.sampling import Drawn
from georefer.models.transformers_model import TransformersModel
from georefer.training import policy
from georefer.training.batches import Batches, Costs, MicroBatch
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.loop import Progress
from georefer.training.prompts import Earnings, Prompts
from georefer.training.rollout_model import BegunWeights
from georefer.training.rollouts import Place, Rollout, Seen, answer_logprobs, draw, uniforms

_SPARE = 0x5EED
"""Added to the seed where questions are drawn in place of others."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A micro-batch of scenes, by their numbers, with the answers to its questions."""

    scenes: tuple[int, ...]
    seen: Seen
    rollouts: tuple[Rollout, ...]


class Answerer:
    """Draws and values the answers of any batch; made before a run, it finds what cannot be asked or valued."""

    def __init__(self, settings: GrpoSettings, model: TransformersModel, prompts: Sequence[Prompts]) -> None:
        self.settings, self.model, self.prompts = settings, model, prompts
        self.method = settings.chosen
        self.earnings = Earnings(settings.rewards, settings.task_rewards, prompts)
        costs, seed = _costs(prompts, model, settings), settings.loop.seed
        self.batches = Batches(costs, settings.batch, seed)
        self._spare = Batches(costs, replace(settings.batch, order="weights"), seed + _SPARE)
        self._begun = BegunWeights(model.family) if settings.kl_weight else None

    def answered(self, number: int, at: Progress) -> list[Answered]:
        """This process's share of batch `number`; the model must be answering (`rollout_model.answering`)."""
        return self._with_reference(self._compared(list(self._drawn(number, at))))

    def seen(self, scenes: Sequence[int]) -> tuple[Seen, ImageFeatures]:
        """The images of scenes, encoded once."""
        return Seen.of(self.model.family, [self.prompts[n] for n in scenes])

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
            spare = self._spare.micro_batches(number * self.settings.resamples + again - 1, at.world)[at.rank]
            for micro in (micro for micro in spare if micro):
                if wanted <= 0:
                    return
                yield (answered := self._draw(micro, (number, again)))
                wanted -= sum(not rollout.is_equal for rollout in answered.rollouts)

    def _draw(self, micro: MicroBatch, key: tuple[int, int]) -> Answered:
        """G answers to each question of a micro-batch, with what they earned."""
        how, scenes = self.settings.draw, tuple(piece.example for piece in micro)
        seen, features = self.seen(scenes)
        places = [Place(image, question) for image, piece in enumerate(micro) for question in piece.questions]
        noise = [
            uniforms((self.settings.loop.seed, *key, scenes[p.image], p.question), how.answers, how.max_new_tokens)
            for p in places
        ]
        answers = draw(self.model, seen.prompts, features, places, noise, how.temperature)
        rollouts = [self._valued(seen, place, group) for place, group in zip(places, answers, strict=True)]
        return Answered(scenes, seen, tuple(rollouts))

    def _valued(self, seen: Seen, place: Place, answers: tuple[Drawn, ...]) -> Rollout:
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
            found = policy.advantages_each(
                earned_NGK, weight_NK.view(-1, shape[2]), self.settings.std_floor, self._moments
            )
        else:
            total_NG = torch.from_numpy(np.array([r.total_G for r in rollouts]).reshape(-1, self.settings.draw.answers))
            found = policy.advantages(total_NG, self.method.scale, self.settings.std_floor)
        above = iter(found.numpy())
        return [replace(m, rollouts=tuple(replace(r, advantage_G=next(above)) for r in m.rollouts)) for m in micros]

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and unbiased standard deviation of the values of all processes."""
        own = torch.stack([values.new_tensor(values.numel()), values.sum(), values.square().sum()])
        count, total, squares = reduce(own.to(self.model.family.device), "sum").to(values)
        mean = total / count.clamp(min=1)
        return mean, ((squares - count * mean**2).clamp(min=0) / (count - 1).clamp(min=1)).sqrt()

    def _with_reference(self, micros: list[Answered]) -> list[Answered]:
        """With log-probabilities by the model that the run began with, where the loss looks at it."""
        if self._begun is None:
            return micros
        with self._begun.back():
            return [replace(micro, rollouts=self._referred(micro)) for micro in micros]

    def _referred(self, micro: Answered) -> tuple[Rollout, ...]:
        found_BT, _ = answer_logprobs(self.model, micro.seen, micro.rollouts, self.settings.draw.temperature)
        rows = iter(found_BT.tolist())
        return tuple(
            replace(r, reference=tuple(tuple(next(rows)[: len(drawn.ids)]) for drawn in r.answers))
            for r in micro.rollouts
        )


def _costs(prompts: Sequence[Prompts], model: TransformersModel, settings: GrpoSettings) -> Costs:
    """Tokens of rows: a question stands in its row once or with each of its answers, which may all be long."""
    how = settings.draw
    lengths = [[how.answers * (int(n) + how.max_new_tokens) for n in scene.example.length_S] for scene in prompts]
    weights = [scene.example.weight_S.tolist() for scene in prompts]
    return Costs.of([len(model.prefix(scene.example.size)) for scene in prompts], lengths, weights)
