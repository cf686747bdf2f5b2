"""Answers drawn for learning, and their log-probabilities: G answers of a question share all that stands before them.

One row holds an image with its question, then all its answers as segments (`models.packed`), while they are drawn and
when they are learned. So an image is encoded and attended once where the usual way, a row for each answer, does it G
times; log-probabilities and gradients are the same (tested on every family).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from georefer.errors import InputError
from georefer.models.families.base import Family, ImageFeatures
from georefer.models.packed import Group, Prefix, Segment, pack
from georefer.models.sampling import Drawn, Start, log_probabilities, sampled, shared_start
from georefer.models.shared_rows import SharedRows
from georefer.models.transformers_model import TransformersModel
from georefer.training.prompts import Asked, Prompts

_SCORES_AT_ONCE = 1 << 26
"""Scores of the vocabulary kept for the way back; where there are more, they are computed again there."""


@dataclass(frozen=True)
class Place:
    """A question of a micro-batch: that of number `question` about its image number `image`."""

    image: int
    question: int


@dataclass(frozen=True, eq=False)
class Rollout:
    """All answers to one question, what they earned by each reward (G, K), and how far above their group (G,).

    `reference` are log-probabilities of the answers' tokens by the model that the run began with, if it looks at it.
    """

    place: Place
    asked: Asked
    answers: tuple[Drawn, ...]
    texts: tuple[str, ...]
    earned_GK: np.ndarray
    total_G: np.ndarray
    advantage_G: np.ndarray
    is_equal: bool = False
    reference: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Seen:
    """Images of a micro-batch, and their features where nothing that makes them is trained."""

    prompts: tuple[Prompts, ...]
    images: list[np.ndarray]
    kept: ImageFeatures | None

    @classmethod
    def of(cls, family: Family, prompts: Sequence[Prompts]) -> tuple[Seen, ImageFeatures]:
        """The images of some scenes, encoded once, without gradients."""
        images = [scene.example.image() for scene in prompts]
        with torch.no_grad():
            features = family.image_features(family.pixels(images))
        return cls(tuple(prompts), images, None if _sight_is_trained(family) else features), features

    def features(self, family: Family, images: Sequence[int]) -> ImageFeatures:
        """Of these images alone, in this order; with gradients where something is learned of them."""
        if self.kept is not None:
            return self.kept.of(images)
        return family.image_features(family.pixels([self.images[n] for n in images]))


@dataclass(frozen=True, eq=False)
class Row:
    """What stands before all answers of a row, and for each of its questions what its answers begin with."""

    image: int
    prefix: Prefix
    starts: tuple[tuple[Place, list[int]], ...]


def rows_of(model: TransformersModel, prompts: Sequence[Prompts], places: Sequence[Place]) -> list[Row]:
    """The rows of questions ordered by image: an image once, and its question before all answers where it has one."""
    rows = []
    for image, some in groupby(places, key=lambda place: place.image):
        scene, of_image = prompts[image], list(some)
        prefix = model.prefix(scene.example.size)
        if len(of_image) > 1 and not prefix.takes_question:
            rows.append(Row(image, prefix, tuple((p, list(scene.asked[p.question].ids)) for p in of_image)))
            continue
        for place in of_image:
            shared, first = shared_start(prefix, scene.asked[place.question].ids)
            rows.append(Row(image, shared, ((place, first),)))
    return rows


def refuse_encoder(model: TransformersModel) -> None:
    """InputError where answers do not stand behind their image in one row."""
    if model.family.is_encoder_decoder:
        raise InputError(
            f"{model.name} reads by an encoder, where a decoder is expected that answers behind its image; it can "
            "learn from examples (georefer sft)"
        )


# --- drawing ------------------------------------------------------------------------------------------------------


def draw(
    model: TransformersModel, prompts: Sequence[Prompts], features: ImageFeatures, places: Sequence[Place],
    uniforms: Sequence[Tensor], temperature: float,
) -> list[tuple[Drawn, ...]]:  # fmt: skip
    """G answers to each question, decided by its `uniform_GT`, in the order of the places."""
    refuse_encoder(model)
    rows = rows_of(model, prompts, places)
    shared = SharedRows(model.family, features.of([row.image for row in rows]), [row.prefix for row in rows])
    numbers = dict(zip(places, uniforms, strict=True))
    begun = [(place, n, first) for n, row in enumerate(rows) for place, first in row.starts]
    starts = [Start(n, first, uniform_T) for place, n, first in begun for uniform_T in numbers[place]]
    drawn = iter(sampled(shared, starts, end_ids=model.end_ids, temperature=temperature))
    of_place = {place: tuple(next(drawn) for _ in numbers[place]) for place, _, _ in begun}
    return [of_place[place] for place in places]


def seed_of(key: Sequence[int]) -> int:
    """A seed of 63 bits that follows from a key alone, whatever process asks."""
    return int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] >> 1)


def uniforms(seed: int, answers: int, tokens: int) -> Tensor:
    """Numbers (G, T) from 0 to 1 that follow from a seed alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(answers, tokens, generator=generator, dtype=torch.float64)


# --- learning -----------------------------------------------------------------------------------------------------


def answer_logprobs(
    model: TransformersModel, seen: Seen, rollouts: Sequence[Rollout], temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, T) of the tokens of all answers, one rollout's after another's, and their mask."""
    family = model.family
    used = sorted({rollout.place.image for rollout in rollouts})
    number = {image: n for n, image in enumerate(used)}
    answers = {rollout.place: rollout.answers for rollout in rollouts}
    rows = []
    for row in rows_of(model, seen.prompts, [rollout.place for rollout in rollouts]):
        segments = [_segment(first, drawn) for place, first in row.starts for drawn in answers[place]]
        # an answer that begins right behind the prefix is alone there: one token predicts one other
        together = [segments] if row.starts[0][1] else [[segment] for segment in segments]
        rows += [[Group(row.prefix, some, number[row.image])] for some in together]
    batch = pack(rows, {}, pad_id=model.speech.pad_id).to(family.device)
    shown = seen.features(family, used).of(batch.image_of_group_G.tolist())
    hidden_MD = family.learned_hidden(batch, shown)
    logprob_M = chosen_logprobs(family, hidden_MD, batch.targets_M, temperature)
    lengths = [len(drawn.ids) for rollout in rollouts for drawn in rollout.answers]
    return pad_sequence(logprob_M.split(lengths), batch_first=True), mask_of(lengths, family.device)


def mask_of(lengths: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """True (B, T) where an answer has a token."""
    return torch.arange(max(lengths), device=device)[None] < torch.tensor(list(lengths), device=device)[:, None]


def chosen_logprobs(family: Family, hidden_MD: Tensor, target_M: Tensor, temperature: float) -> Tensor:
    """Log-probability (M,) of each target; scores of a large vocabulary do not lie in memory all at once."""

    def chosen(hidden_ND: Tensor, target_N: Tensor) -> Tensor:
        return log_probabilities(family, hidden_ND, temperature).gather(1, target_N[:, None])[:, 0]

    vocabulary = family.bare.get_output_embeddings().weight.shape[0]
    at_once = max(1, _SCORES_AT_ONCE // vocabulary)
    if len(target_M) <= at_once:
        return chosen(hidden_MD, target_M)
    pairs = zip(hidden_MD.split(at_once), target_M.split(at_once), strict=True)
    return torch.cat([checkpoint(chosen, hidden, target, use_reentrant=False) for hidden, target in pairs])


def _segment(first: Sequence[int], drawn: Drawn) -> Segment:
    return Segment([*first, *drawn.ids], [False] * len(first) + [True] * len(drawn.ids))


def _sight_is_trained(family: Family) -> bool:
    """Whether gradients are to reach what makes image features: tower or projector."""
    return any(p.requires_grad and family.part_of(name) != "language" for name, p in family.bare.named_parameters())
