"""A batch of questions with drawn answers: what they earn, how far above their group, and how likely they were once.

All that is random follows from the seed, the batch and the question: a run that goes on equals one that never stopped,
and no process draws otherwise than another would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from georefer.training.rollout_server import RolloutServer, Wanted, corrected
from georefer.training.rollouts import Place, Rollout, Seen, answer_logprobs, draw, seed_of, uniforms

_SPARE = 0x5EED
"""Added to the seed where questions are drawn in place of others."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A micro-batch of scenes, by their numbers, with the answers to its questions."""

    scenes: tuple[int, ...]
    seen: Seen
    rollouts: tuple[Rollout, ...]


class Answerer:
    """Draws and values the answers of any batch; made before a run, it finds what cannot be asked or valued.

    `folder` is the run's; a server that draws is handed its adapters there.
    """

    def __init__(
        self, settings: GrpoSettings, model: TransformersModel, prompts: Sequence[Prompts], folder: Path
    ) -> None:
        self.settings, self.model, self.prompts = settings, model, prompts
        self.method = settings.chosen
        self.earnings = Earnings(settings.rewards, settings.task_rewards, prompts)
        costs, seed = _costs(prompts, model, settings), settings.loop.seed
        self.batches = Batches(costs, settings.batch, seed)
        self._spare = Batches(costs, replace(settings.batch, order="weights"), seed + _SPARE)
        self._begun = BegunWeights(model.family) if settings.kl_weight else None
        self._server = RolloutServer(settings, model, folder) if settings.draw.server else None

    def answered(self, number: int, at: Progress) -> list[Answered]:
        """This process's share of batch `number`; the model must be answering (`rollout_model.answering`)."""
        if self._server:
            self._server.sync(number, at)
        return self._with_reference(self._corrected(self._compared(list(self._drawn(number, at)))))

    def seen(self, scenes: Sequence[int]) -> tuple[Seen, ImageFeatures]:
        """The images of scenes, encoded once."""
        return Seen.of(self.model.family, [self.prompts[n] for n in scenes])

    def _drawn(self, number: int, at: Progress) -> Iterator[Answered]:
        """The answers of a batch, and of other questions in place of those whose answers earned all the same."""
        mine = [micro for micro in self.batches.micro_batches(number, at.world)[at.rank] if micro]
        wanted = sum(len(piece.questions) for micro in mine for piece in micro)
        for answered in self._answers(mine, (number, 0)):
            yield answered
            wanted -= sum(not rollout.is_equal for rollout in answered.rollouts)
        if self.settings.equal_groups != "resample":
            return
        for again in range(1, self.settings.resamples + 1):
            others = self._spare.micro_batches(number * self.settings.resamples + again - 1, at.world)[at.rank]
            spare = [micro for micro in others if micro]
            while spare and wanted > 0:
                up_to_N = np.cumsum([sum(len(piece.questions) for piece in micro) for micro in spare])
                enough = int(np.searchsorted(up_to_N, wanted)) + 1
                for answered in self._answers(spare[:enough], (number, again)):
                    yield answered
                    wanted -= sum(not rollout.is_equal for rollout in answered.rollouts)
                spare = spare[enough:]

    def _answers(self, micros: Sequence[MicroBatch], key: tuple[int, int]) -> Iterator[Answered]:
        """G answers to each question of micro-batches, with what they earned; a server is asked for all at once."""
        how, asked = self.settings.draw, [self._asked(micro, key) for micro in micros]
        served = iter(self._server.drawn([one for wanted in asked for one in wanted])) if self._server else None
        for micro, wanted in zip(micros, asked, strict=True):
            scenes = tuple(piece.example for piece in micro)
            seen, features = self.seen(scenes)
            places = [Place(image, question) for image, piece in enumerate(micro) for question in piece.questions]
            if served is not None:
                answers = [next(served) for _ in places]
            else:
                noise = [uniforms(one.seed, how.answers, how.max_new_tokens) for one in wanted]
                answers = draw(self.model, seen.prompts, features, places, noise, how.temperature)
            rollouts = [self._valued(seen, place, group) for place, group in zip(places, answers, strict=True)]
            yield Answered(scenes, seen, tuple(rollouts))

    def _asked(self, micro: MicroBatch, key: tuple[int, int]) -> list[Wanted]:
        """The questions of a micro-batch in order, each with the seed that decides its answers."""
        seed = self.settings.loop.seed
        return [
            Wanted(self.prompts[piece.example], question, seed_of((seed, *key, piece.example, question)))
            for piece in micro
            for question in piece.questions
        ]

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
        rows = iter(self._logprobs(micro))
        return tuple(replace(r, reference=tuple(next(rows) for _ in r.answers)) for r in micro.rollouts)

    def _corrected(self, micros: list[Answered]) -> list[Answered]:
        """With the trainer's own log-probabilities, and less or more weight, where a server drew."""
        if self._server is None:
            return micros
        found = []
        for micro in micros:
            rows = iter(self._logprobs(micro))
            rollouts = tuple(corrected(r, [next(rows) for _ in r.answers]) for r in micro.rollouts)
            found.append(replace(micro, rollouts=rollouts))
        self._server.check(zip(_answers_of(micros), _answers_of(found), strict=True))
        return found

    def _logprobs(self, micro: Answered) -> list[tuple[float, ...]]:
        """Of each answer's tokens, by the model as it is now."""
        found_BT, _ = answer_logprobs(self.model, micro.seen, micro.rollouts, self.settings.draw.temperature)
        lengths = [len(drawn.ids) for drawn in _answers_of([micro])]
        return [tuple(row[:length]) for row, length in zip(found_BT.tolist(), lengths, strict=True)]


def _answers_of(micros: Sequence[Answered]) -> list[Drawn]:
    return [drawn for micro in micros for rollout in micro.rollouts for drawn in rollout.answers]


def _costs(prompts: Sequence[Prompts], model: TransformersModel, settings: GrpoSettings) -> Costs:
    """Tokens of rows: a question stands in its row once or with each of its answers, which may all be long."""
    how = settings.draw
    lengths = [[how.answers * (int(n) + how.max_new_tokens) for n in scene.example.length_S] for scene in prompts]
    weights = [scene.example.weight_S.tolist() for scene in prompts]
    return Costs.of([len(model.prefix(scene.example.size)) for scene in prompts], lengths, weights)
