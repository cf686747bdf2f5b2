"""Answers drawn at random, many to one question: what stands before them is attended once for all.

Each token is decided by one number between 0 and 1 that the caller drew beforehand, so what is said depends on
neither the company of other answers nor the order in which they end, and a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from georefer.models.families.base import Family
from georefer.models.packed import Prefix
from georefer.models.shared_rows import Chunk, SharedRows


@dataclass(frozen=True)
class Drawn:
    """An answer in tokens, the ending one included; `is_cut` where the tokens ran out before it.

    `logprobs` are natural logarithms at the temperature of drawing.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_cut: bool


@dataclass(frozen=True, eq=False)
class Start:
    """Where an answer begins: behind row number `row` and these ids; `uniform_T` (float64) decides its tokens."""

    row: int
    ids: Sequence[int]
    uniform_T: Tensor


def shared_start(prefix: Prefix, question: Sequence[int]) -> tuple[Prefix, list[int]]:
    """What all answers to a question have before them in common, and the ids with which each then begins.

    The last token of the question comes with each answer, since it is from there that they differ. Where the end of
    the prefix is seen both ways, nothing of the question can join it, or all of it must.
    """
    if prefix.takes_question:
        return prefix.asked(question), []
    if int(prefix.block_P[-1]) >= 0:
        return prefix, list(question)
    return prefix.asked(question[:-1]), list(question[-1:])


@torch.no_grad()
def sampled(
    rows: SharedRows, starts: Sequence[Start], *, end_ids: frozenset[int], temperature: float = 1.0
) -> list[Drawn]:
    """An answer for each start, in their order, of at most as many tokens as it has numbers.

    The rows are used up: begin others for more answers.
    """
    numbers: dict[int, int] = {}
    speakers = []
    for start in starts:
        numbers[start.row] = numbers.get(start.row, 0) + 1
        speakers.append(_Speaker(start, numbers[start.row], list(start.ids)))
    while going := [speaker for speaker in speakers if not speaker.is_done]:
        _step(rows, going, end_ids, temperature)
    return [Drawn(tuple(s.ids), tuple(s.logprobs), s.ids[-1] not in end_ids) for s in speakers]


def log_probabilities(family: Family, hidden_ND: Tensor, temperature: float = 1.0) -> Tensor:
    """Natural logarithms (N, V) of what comes next, in float32, without the placeholder of images.

    A model of random or half-trained weights does say the placeholder, and nothing could read it then.
    """
    scores_NV = family.logits(hidden_ND).float()
    if temperature != 1:
        scores_NV = scores_NV / temperature
    if family.image_token_id < scores_NV.shape[-1]:
        # in place: of a large vocabulary no copy is worth one token
        scores_NV[:, family.image_token_id] = -torch.inf
    return scores_NV.log_softmax(dim=-1)


def _step(rows: SharedRows, speakers: Sequence[_Speaker], end_ids: frozenset[int], temperature: float) -> None:
    """One more token of every answer."""
    fed = rows.feed([Chunk(s.start.row, s.number, s.place, s.pending) for s in speakers])
    # a question that belongs to the prefix has been read with it
    last_ND = torch.cat([h[-1:] if s.pending else rows.ends[s.start.row] for h, s in zip(fed, speakers, strict=True)])
    logprob_NV = log_probabilities(rows.family, last_ND, temperature)
    uniform_N = torch.stack([s.start.uniform_T[len(s.ids)] for s in speakers]).to(logprob_NV.device)
    token_N = _at(logprob_NV, uniform_N)
    logprobs = logprob_NV.gather(1, token_N[:, None])[:, 0].tolist()
    for speaker, token, logprob in zip(speakers, token_N.tolist(), logprobs, strict=True):
        speaker.say(token, logprob, end_ids)
        if speaker.is_done:
            rows.hide(speaker.start.row, speaker.number)


def _at(logprob_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The token at which the summed probabilities pass a number (N,) from 0 to 1; one of probability 0 never is."""
    up_to_NV = logprob_NV.exp().cumsum(dim=-1, dtype=torch.float64)
    reached_N1 = uniform_N[:, None] * up_to_NV[:, -1:]
    return torch.searchsorted(up_to_NV, reached_N1, right=True)[:, 0].clamp(max=up_to_NV.shape[1] - 1)


@dataclass(eq=False)
class _Speaker:
    """One answer while it is said; `place` is how many of its tokens are in the cache."""

    start: Start
    number: int
    pending: list[int]
    place: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_done: bool = False

    def say(self, token: int, logprob: float, end_ids: frozenset[int]) -> None:
        self.place += len(self.pending)
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.pending = [token]
        self.is_done = token in end_ids or len(self.ids) == len(self.start.uniform_T)
